//! A topic that the broker keeps for itself: keyed records, appended in small batches, folded at start.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kafka_wire_records::{
    Compression, Record, RecordBatch, RecordDecodeLimits, RecordEncodeLimits, TimestampType,
};

use super::error::StateError;
use crate::log::{Append, Log, Offset, Partition, Topic, TopicError, TopicSpec};

/// Name of the topic of committed offsets and group metadata, as in Kafka.
pub(super) const CONSUMER_OFFSETS: &str = "__consumer_offsets";

/// Name of the topic of what else the broker must remember. Not shown to clients.
pub(super) const BROKER_STATE: &str = "__broker_state";

/// How much is read at once while folding.
const FOLD_READ_BYTES: usize = 1024 * 1024;

/// Largest sum of keys and values in one batch; well below the log's limit on a batch.
pub(super) const RECORDS_SIZE_MAX_BYTES: usize = 1024 * 1024;

/// Whether clients may not write to, create or delete the topic.
pub(super) fn is_internal(name: &str) -> bool {
    name == CONSUMER_OFFSETS || name == BROKER_STATE
}

/// Whether clients do not get to see the topic at all.
pub(super) fn is_hidden(name: &str) -> bool {
    name == BROKER_STATE
}

/// One keyed record; without a value it deletes what the key named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyedRecord {
    pub(super) key: Bytes,
    pub(super) value: Option<Bytes>,
}

impl KeyedRecord {
    /// Size that counts against [`RECORDS_SIZE_MAX_BYTES`].
    pub(super) fn size_bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// Opens the internal topic, creating it with `partitions` partitions if it is not there.
pub(super) fn open(log: &Log, name: &'static str, partitions: u32) -> Result<Arc<Topic>, StateError> {
    if let Some(topic) = log.topic(name) {
        return Ok(topic);
    }
    let mut spec = TopicSpec {
        partitions,
        ..TopicSpec::default()
    };
    spec.configs
        .insert("cleanup.policy".to_owned(), "compact".to_owned());
    match log.create_topic(name, &spec) {
        Ok(topic) => Ok(topic),
        Err(TopicError::Exists { name: existing }) => {
            let source = TopicError::Exists { name: existing };
            log.topic(name).ok_or(StateError::Create { topic: name, source })
        }
        Err(source) => Err(StateError::Create { topic: name, source }),
    }
}

/// Appends `records` as one batch.
pub(super) fn append(
    topic: &'static str,
    partition: &Partition,
    now_ms: i64,
    records: Vec<KeyedRecord>,
) -> Result<Append, StateError> {
    let batch = build_batch(now_ms, records).ok_or(StateError::TooLarge { topic })?;
    // Commits go on while a full disk refuses records.
    partition
        .clone()
        .with_reserve()
        .append(batch)
        .map_err(|source| StateError::Append { topic, source })
}

/// One uncompressed v2 batch of `records`.
fn build_batch(now_ms: i64, records: Vec<KeyedRecord>) -> Option<Bytes> {
    let last_offset_delta = i32::try_from(records.len()).ok()? - 1;
    if last_offset_delta < 0 {
        return None;
    }
    let records = records.into_iter().zip(0..).map(|(record, offset_delta)| Record {
        attributes: 0,
        timestamp_delta: 0,
        offset_delta,
        key: Some(record.key),
        value: record.value,
        headers: Vec::new(),
    });
    let batch = RecordBatch {
        base_offset: 0,
        last_offset_delta,
        partition_leader_epoch: 0,
        compression: Compression::None,
        timestamp_type: TimestampType::CreateTime,
        is_transactional: false,
        is_control: false,
        has_delete_horizon: false,
        base_timestamp: now_ms,
        max_timestamp: now_ms,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        records: records.collect(),
    };
    let mut buffer = BytesMut::new();
    batch
        .encode_into(&mut buffer, RecordEncodeLimits::default())
        .ok()?;
    Some(buffer.freeze())
}

/// Calls `fold` with every record of the partition and its offset, in order.
pub(super) fn fold(
    topic: &'static str,
    partition: &Partition,
    mut fold: impl FnMut(Offset, KeyedRecord),
) -> Result<(), StateError> {
    let mut offset = partition.log_start();
    let end = partition.high_watermark();
    while offset < end {
        let parts = partition
            .read(offset, FOLD_READ_BYTES)
            .map_err(|source| StateError::Read { topic, source })?;
        let mut bytes = Bytes::from(parts.concat());
        let malformed = StateError::Malformed {
            topic,
            offset: offset.0,
        };
        if bytes.is_empty() {
            return Err(malformed);
        }
        while !bytes.is_empty() {
            let Ok(batch) = RecordBatch::decode(&mut bytes, RecordDecodeLimits::default()) else {
                return Err(malformed);
            };
            let base_offset = batch.base_offset as u64;
            offset = Offset(base_offset + batch.last_offset_delta as u64 + 1);
            for record in batch.records {
                let Some(key) = record.key else { continue };
                let offset = Offset(base_offset + record.offset_delta as u64);
                fold(
                    offset,
                    KeyedRecord {
                        key,
                        value: record.value,
                    },
                );
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_holds_its_records_in_order() {
        let record = |key: &'static str, value| KeyedRecord {
            key: Bytes::from(key),
            value,
        };
        let records = vec![record("a", Some(Bytes::from("1"))), record("b", None)];
        let mut bytes = build_batch(5, records.clone()).unwrap();
        let batch = RecordBatch::decode(&mut bytes, RecordDecodeLimits::default()).unwrap();
        assert_eq!((batch.last_offset_delta, batch.max_timestamp), (1, 5));
        let decoded: Vec<_> = batch
            .records
            .into_iter()
            .map(|record| KeyedRecord {
                key: record.key.unwrap(),
                value: record.value,
            })
            .collect();
        assert_eq!(decoded, records);
    }

    #[test]
    fn there_is_no_empty_batch() {
        assert_eq!(build_batch(5, Vec::new()), None);
    }
}
