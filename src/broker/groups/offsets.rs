//! Committed offsets: the request to commit them, the table of a group, and their records in the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OnceCell;

use super::super::error::StateError;
use super::super::internal_topic::{self, CONSUMER_OFFSETS, KeyedRecord, RECORDS_SIZE_MAX_BYTES};
use super::super::offset_records::{OffsetValue, RecordKey};
use super::member::MemberIdentity;
use crate::log::{Append, Log, Offset, Partition, Topic};

/// A request to commit offsets.
#[derive(Clone, Debug)]
pub(in super::super) struct CommitRequest {
    pub(in super::super) group_id: String,
    pub(in super::super) identity: MemberIdentity,
    pub(in super::super) generation: i32,
    pub(in super::super) partitions: Vec<CommitPartition>,
}

/// One offset to commit.
#[derive(Clone, Debug)]
pub(in super::super) struct CommitPartition {
    pub(in super::super) topic: String,
    pub(in super::super) partition: i32,
    pub(in super::super) offset: i64,
    pub(in super::super) leader_epoch: i32,
    pub(in super::super) metadata: String,
}

/// A committed offset, as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct CommittedOffset {
    pub(in super::super) value: OffsetValue,
    /// Where the commit is in `__consumer_offsets`; of two commits the later one counts.
    pub(super) position: Offset,
}

/// The committed offsets of one group, by topic and partition.
#[derive(Clone, Debug, Default)]
pub(super) struct OffsetTable {
    topics: BTreeMap<String, BTreeMap<i32, CommittedOffset>>,
}

impl OffsetTable {
    /// Takes over a commit that became durable at `position`.
    pub(super) fn apply(&mut self, topic: &str, partition: i32, position: Offset, value: OffsetValue) {
        let partitions = match self.topics.get_mut(topic) {
            Some(partitions) => partitions,
            None => self.topics.entry(topic.to_owned()).or_default(),
        };
        let newer = partitions
            .get(&partition)
            .is_none_or(|known| known.position <= position);
        if newer {
            partitions.insert(partition, CommittedOffset { value, position });
        }
    }

    /// Forgets one offset.
    pub(super) fn remove(&mut self, topic: &str, partition: i32) {
        if let Some(partitions) = self.topics.get_mut(topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                self.topics.remove(topic);
            }
        }
    }

    /// Forgets one offset, unless it was committed after `position`.
    pub(super) fn remove_before(&mut self, topic: &str, partition: i32, position: Offset) {
        if self
            .get(topic, partition)
            .is_some_and(|known| known.position < position)
        {
            self.remove(topic, partition);
        }
    }

    /// Forgets the offsets of a topic and returns the partitions that had one.
    pub(super) fn remove_topic(&mut self, topic: &str) -> Vec<i32> {
        self.topics
            .remove(topic)
            .map(|partitions| partitions.into_keys().collect())
            .unwrap_or_default()
    }

    /// The offset of one partition.
    pub(super) fn get(&self, topic: &str, partition: i32) -> Option<&CommittedOffset> {
        self.topics.get(topic)?.get(&partition)
    }

    /// All offsets by topic.
    pub(super) fn all(&self) -> &BTreeMap<String, BTreeMap<i32, CommittedOffset>> {
        &self.topics
    }

    /// Whether nothing was committed.
    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }
}

/// The internal topic behind all groups.
#[derive(Debug)]
pub(super) struct OffsetsLog {
    log: Log,
    partitions_at_creation: u32,
    topic: OnceCell<Arc<Topic>>,
}

impl OffsetsLog {
    pub(super) fn new(log: Log, partitions_at_creation: u32) -> OffsetsLog {
        OffsetsLog {
            log,
            partitions_at_creation,
            topic: OnceCell::new(),
        }
    }

    /// The topic, created on first use as in Kafka.
    pub(super) async fn topic(&self) -> Result<&Arc<Topic>, StateError> {
        let open = || async {
            let log = self.log.clone();
            let partitions = self.partitions_at_creation;
            let opened =
                tokio::task::spawn_blocking(move || internal_topic::open(&log, CONSUMER_OFFSETS, partitions));
            opened.await.map_err(|_| StateError::Cancelled)?
        };
        self.topic.get_or_try_init(open).await
    }

    /// The topic, if [`OffsetsLog::topic`] opened it.
    pub(super) fn opened(&self) -> Option<Arc<Topic>> {
        self.topic
            .get()
            .cloned()
            .or_else(|| self.log.topic(CONSUMER_OFFSETS))
    }

    /// Calls `fold` with every record that was ever committed, if there is any. Blocks.
    pub(super) fn fold(&self, mut fold: impl FnMut(Offset, KeyedRecord)) -> Result<(), StateError> {
        let Some(topic) = self.log.topic(CONSUMER_OFFSETS) else {
            return Ok(());
        };
        for partition in &topic.partitions {
            internal_topic::fold(CONSUMER_OFFSETS, partition, &mut fold)?;
        }
        Ok(())
    }
}

/// Appends records of a group, in as few batches as their size allows.
pub(super) fn append_all(
    topic: &Topic,
    group_id: &str,
    now_ms: i64,
    records: Vec<KeyedRecord>,
) -> Result<Vec<Append>, StateError> {
    let partition = partition_of(topic, group_id);
    let mut appends = Vec::with_capacity(1);
    let mut chunk = Vec::new();
    let mut chunk_size_bytes = 0;
    for record in records {
        let size_bytes = record.size_bytes();
        if chunk_size_bytes + size_bytes > RECORDS_SIZE_MAX_BYTES && !chunk.is_empty() {
            let full = std::mem::take(&mut chunk);
            appends.push(internal_topic::append(CONSUMER_OFFSETS, partition, now_ms, full)?);
            chunk_size_bytes = 0;
        }
        chunk_size_bytes += size_bytes;
        chunk.push(record);
    }
    if !chunk.is_empty() {
        appends.push(internal_topic::append(
            CONSUMER_OFFSETS,
            partition,
            now_ms,
            chunk,
        )?);
    }
    Ok(appends)
}

/// The partition that holds a group's records: Java's hash of the group id, as in Kafka.
fn partition_of<'a>(topic: &'a Topic, group_id: &str) -> &'a Partition {
    let hash = java_hash(group_id) & 0x7fff_ffff;
    &topic.partitions[hash as usize % topic.partitions.len()]
}

/// `java.lang.String.hashCode`.
fn java_hash(text: &str) -> u32 {
    text.encode_utf16().fold(0_u32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(u32::from(unit))
    })
}

/// The record of a committed offset, or of its removal.
pub(super) fn offset_record(
    group: &str,
    topic: &str,
    partition: i32,
    value: Option<&OffsetValue>,
) -> Result<KeyedRecord, StateError> {
    let too_large = |_| StateError::TooLarge {
        topic: CONSUMER_OFFSETS,
    };
    let key = RecordKey::Offset {
        group: group.to_owned(),
        topic: topic.to_owned(),
        partition,
    };
    let value: Option<Bytes> = value.map(OffsetValue::encode).transpose().map_err(too_large)?;
    Ok(KeyedRecord {
        key: key.encode().map_err(too_large)?,
        value,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hash_as_in_java() {
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("a"), 97);
        assert_eq!(
            java_hash("console-consumer"),
            "console-consumer"
                .bytes()
                .fold(0, |h: u32, b| { h.wrapping_mul(31).wrapping_add(u32::from(b)) })
        );
        // "polygenelubricants".hashCode() is Integer.MIN_VALUE.
        assert_eq!(java_hash("polygenelubricants"), 0x8000_0000);
    }

    fn value(offset: i64) -> OffsetValue {
        OffsetValue {
            offset,
            leader_epoch: -1,
            metadata: String::new(),
            commit_timestamp_ms: 0,
        }
    }

    #[test]
    fn the_later_commit_counts_whatever_the_order_of_arrival() {
        let mut table = OffsetTable::default();
        table.apply("t", 0, Offset(8), value(80));
        table.apply("t", 0, Offset(7), value(70));
        assert_eq!(table.get("t", 0).unwrap().value.offset, 80);
        assert_eq!(table.get("t", 1), None);
        table.remove_before("t", 1, Offset(9));
        table.remove_before("t", 0, Offset(8));
        assert_eq!(
            table.get("t", 0).unwrap().value.offset,
            80,
            "committed after the removal"
        );
        table.remove_before("t", 0, Offset(9));
        assert!(table.is_empty());
        table.apply("t", 0, Offset(9), value(90));
        assert_eq!(table.remove_topic("t"), vec![0]);
        assert!(table.is_empty());
    }
}
