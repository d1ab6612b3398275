//! Record batches in and out: built from commands to send, and taken apart again when read back.

use bytes::{Bytes, BytesMut};
use kafka_wire_core::DecodeLimits;
use kafka_wire_records::{
    Compression, Record, RecordBatch, RecordBatchDecode, RecordDecodeLimits, RecordEncodeLimits, RecordError,
    RecordHeader, TimestampType,
};

/// Largest batch that is built or read, and the largest it may become when decompressed. 16 MiB: four
/// times the largest batch that this crate's broker takes.
const BATCH_SIZE_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Why record bytes were not understood.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// The batch is not an intact v2 batch.
    #[error("record batch at or behind offset {offset} is damaged")]
    Damaged {
        /// The offset up to which records were read.
        offset: i64,
        /// What is wrong.
        #[source]
        source: RecordError,
    },
}

/// Collects records for one batch.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    records: Vec<Record>,
    size_bytes: usize,
}

impl BatchBuilder {
    /// Adds one record.
    pub fn push(&mut self, key: Option<Bytes>, value: Bytes) {
        self.size_bytes += value.len() + key.as_ref().map_or(0, Bytes::len);
        self.records.push(Record {
            attributes: 0,
            timestamp_delta: 0,
            offset_delta: self.records.len() as i32,
            key,
            value: Some(value),
            headers: Vec::new(),
        });
    }

    /// Number of records so far.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of keys and values so far.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// The batch, uncompressed, all records at `timestamp_ms`; the builder is empty afterwards.
    ///
    /// # Errors
    /// When the batch exceeds the client's limit.
    pub fn finish(&mut self, timestamp_ms: i64) -> Result<Bytes, RecordError> {
        let records = std::mem::take(&mut self.records);
        let capacity = records.len();
        self.size_bytes = 0;
        let batch = RecordBatch {
            base_offset: 0,
            last_offset_delta: records.len() as i32 - 1,
            partition_leader_epoch: -1,
            compression: Compression::None,
            timestamp_type: TimestampType::CreateTime,
            is_transactional: false,
            is_control: false,
            has_delete_horizon: false,
            base_timestamp: timestamp_ms,
            max_timestamp: timestamp_ms,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            records,
        };
        let mut buffer = BytesMut::new();
        batch.encode_into(
            &mut buffer,
            RecordEncodeLimits::new(BATCH_SIZE_MAX_BYTES, BATCH_SIZE_MAX_BYTES),
        )?;
        self.records = batch.records;
        self.records.clear();
        self.records.reserve(capacity);
        Ok(buffer.freeze())
    }
}

/// One record that was read.
#[derive(Debug)]
pub struct RecordView<'a> {
    /// Its offset in the partition.
    pub offset: i64,
    /// Its timestamp, milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Its key.
    pub key: Option<&'a Bytes>,
    /// Its value; `None` is a tombstone.
    pub value: Option<&'a Bytes>,
    /// Its headers.
    pub headers: &'a [RecordHeader],
}

/// Calls `visit` with every data record at or above `from`, in order, and returns the offset to read
/// next. A batch that is cut off at the end is left for the next fetch; control batches are skipped.
pub fn for_each_record(
    mut bytes: Bytes,
    from: i64,
    mut visit: impl FnMut(&RecordView<'_>),
) -> Result<i64, RecordsError> {
    let limits = RecordDecodeLimits::new(
        BATCH_SIZE_MAX_BYTES,
        BATCH_SIZE_MAX_BYTES,
        DecodeLimits::default(),
    );
    let mut next = from;
    while !bytes.is_empty() {
        let decoded = RecordBatch::decode_next(&mut bytes, limits, BATCH_SIZE_MAX_BYTES)
            .map_err(|source| RecordsError::Damaged { offset: next, source })?;
        let RecordBatchDecode::Complete { batch, .. } = decoded else {
            break;
        };
        if !batch.is_control {
            for record in &batch.records {
                let offset = batch.base_offset.saturating_add(i64::from(record.offset_delta));
                if offset >= from {
                    visit(&RecordView {
                        offset,
                        timestamp_ms: batch.base_timestamp.saturating_add(record.timestamp_delta),
                        key: record.key.as_ref(),
                        value: record.value.as_ref(),
                        headers: &record.headers,
                    });
                }
            }
        }
        let end = batch
            .base_offset
            .saturating_add(i64::from(batch.last_offset_delta))
            .saturating_add(1);
        next = next.max(end);
    }
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch_at(base_offset: i64, values: &[&str]) -> Bytes {
        let mut builder = BatchBuilder::default();
        for value in values {
            builder.push(
                Some(Bytes::from_static(b"k")),
                Bytes::copy_from_slice(value.as_bytes()),
            );
        }
        let mut batch = BytesMut::from(&builder.finish(1_000).unwrap()[..]);
        // The batch's checksum does not cover its base offset.
        batch[..8].copy_from_slice(&base_offset.to_be_bytes());
        batch.freeze()
    }

    fn read(bytes: Bytes, from: i64) -> (Vec<(i64, Bytes)>, i64) {
        let mut seen = Vec::new();
        let next = for_each_record(bytes, from, |record| {
            seen.push((record.offset, record.value.unwrap().clone()));
        });
        (seen, next.unwrap())
    }

    #[test]
    fn what_was_built_is_read_back() {
        let two = [batch_at(5, &["a", "b"]), batch_at(7, &["c"])].concat();
        let (seen, next) = read(two.into(), 5);
        let want = [(5, "a"), (6, "b"), (7, "c")].map(|(offset, value)| (offset, Bytes::from(value)));
        assert_eq!((seen, next), (want.to_vec(), 8));
    }

    #[test]
    fn records_before_the_asked_offset_are_skipped() {
        let (seen, next) = read(batch_at(5, &["a", "b"]), 6);
        assert_eq!((seen, next), (vec![(6, Bytes::from("b"))], 7));
    }

    #[test]
    fn a_cut_batch_is_left_for_the_next_fetch() {
        let whole = batch_at(5, &["a"]);
        let cut = [whole.clone(), batch_at(6, &["b"]).slice(..40)].concat();
        let (seen, next) = read(cut.into(), 5);
        assert_eq!((seen, next), (vec![(5, Bytes::from("a"))], 6));
        assert_eq!(read(Bytes::new(), 9), (Vec::new(), 9));
    }

    #[test]
    fn a_flipped_bit_is_an_error() {
        let mut damaged = BytesMut::from(&batch_at(5, &["a"])[..]);
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        let result = for_each_record(damaged.freeze(), 5, |_| panic!("visited a damaged record"));
        assert!(matches!(result, Err(RecordsError::Damaged { offset: 5, .. })));
    }

    #[test]
    fn the_builder_is_empty_after_a_batch() {
        let mut builder = BatchBuilder::default();
        builder.push(None, Bytes::from_static(b"abc"));
        assert_eq!(
            (builder.len(), builder.size_bytes(), builder.is_empty()),
            (1, 3, false)
        );
        builder.finish(0).unwrap();
        assert_eq!(
            (builder.len(), builder.size_bytes(), builder.is_empty()),
            (0, 0, true)
        );
    }
}
