//! Builds uncompressed v2 batches of many records in one buffer, without an allocation per record.

use bytes::{BufMut, Bytes, BytesMut};
use zerocopy::IntoBytes;
use zerocopy::big_endian::{I16, I32, I64, U32};

use super::header::{CRC_COVERS_FROM, HEADER_SIZE_BYTES, MAGIC, WireHeader};
use super::{BatchError, varint};
use crate::log::{BATCH_SIZE_MAX_BYTES, Timestamp};

/// "No producer", "no epoch", "no sequence", as Kafka writes them.
const NONE: i8 = -1;

/// The bytes of a record before its key: only their sum matters here.
const ATTRIBUTES_SIZE_BYTES: usize = 1;

/// A record to be put into a batch.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// When it happened.
    pub timestamp: Timestamp,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// Headers: name and value.
    pub headers: &'a [(&'a str, &'a [u8])],
}

impl<'a> Record<'a> {
    /// A record of a value alone.
    pub fn of_value(timestamp: Timestamp, value: &'a [u8]) -> Record<'a> {
        Record {
            timestamp,
            key: None,
            value: Some(value),
            headers: &[],
        }
    }
}

/// A batch under construction; reusable after [`BatchBuilder::finish`].
#[derive(Debug)]
pub struct BatchBuilder {
    /// Room for the header, then the records.
    buffer: BytesMut,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
    record_count: i32,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
}

impl BatchBuilder {
    /// An empty batch whose records' timestamps are stored relative to `base_timestamp`.
    #[must_use]
    pub fn new(base_timestamp: Timestamp) -> BatchBuilder {
        let mut builder = BatchBuilder {
            buffer: BytesMut::new(),
            base_timestamp,
            max_timestamp: Timestamp(i64::MIN),
            record_count: 0,
            producer_id: NONE.into(),
            producer_epoch: NONE.into(),
            base_sequence: NONE.into(),
        };
        builder.restart(base_timestamp);
        builder
    }

    /// Stamps this and the following batches with a producer; each batch continues the sequence.
    #[must_use]
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> BatchBuilder {
        self.producer_id = id;
        self.producer_epoch = epoch;
        self.base_sequence = base_sequence;
        self
    }

    /// Drops what was pushed and begins an empty batch.
    pub fn restart(&mut self, base_timestamp: Timestamp) {
        self.base_timestamp = base_timestamp;
        self.max_timestamp = Timestamp(i64::MIN);
        self.record_count = 0;
        self.buffer.clear();
        self.buffer.put_bytes(0, HEADER_SIZE_BYTES);
    }

    /// Appends one record.
    ///
    /// # Errors
    /// [`BatchError::TooLarge`] when the batch would exceed what the log takes; it is left as it was.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), BatchError> {
        let timestamp_delta = record.timestamp.0.wrapping_sub(self.base_timestamp.0);
        let offset_delta = i64::from(self.record_count);
        let body_size_bytes = ATTRIBUTES_SIZE_BYTES
            + varint::size_bytes(timestamp_delta)
            + varint::size_bytes(offset_delta)
            + sized_size_bytes(record.key)
            + sized_size_bytes(record.value)
            + varint::size_bytes(record.headers.len() as i64)
            + record.headers.iter().map(header_size_bytes).sum::<usize>();
        let record_size_bytes = varint::size_bytes(body_size_bytes as i64) + body_size_bytes;
        let size_bytes = self.buffer.len() + record_size_bytes;
        if size_bytes > BATCH_SIZE_MAX_BYTES {
            return Err(BatchError::TooLarge {
                size_bytes,
                limit_bytes: BATCH_SIZE_MAX_BYTES,
            });
        }
        let out = &mut self.buffer;
        out.reserve(record_size_bytes);
        varint::write(out, body_size_bytes as i64);
        out.put_u8(0);
        varint::write(out, timestamp_delta);
        varint::write(out, offset_delta);
        write_sized(out, record.key);
        write_sized(out, record.value);
        varint::write(out, record.headers.len() as i64);
        for (name, value) in record.headers {
            write_sized(out, Some(name.as_bytes()));
            write_sized(out, Some(value));
        }
        debug_assert_eq!(self.buffer.len(), size_bytes);
        self.record_count += 1;
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        Ok(())
    }

    /// Number of records pushed so far.
    pub fn len(&self) -> usize {
        self.record_count as usize
    }

    /// Whether nothing was pushed yet.
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Size of the batch so far, header included.
    pub fn size_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Completes the batch, with base offset 0, and begins an empty one with the same base timestamp.
    ///
    /// # Panics
    /// When nothing was pushed: there is no batch without records.
    pub fn finish(&mut self) -> Bytes {
        assert!(!self.is_empty(), "a batch needs a record");
        let header = WireHeader {
            base_offset: I64::ZERO,
            length: I32::new((self.buffer.len() - size_of::<I64>() - size_of::<I32>()) as i32),
            leader_epoch: I32::ZERO,
            magic: MAGIC,
            crc: U32::ZERO,
            attributes: I16::ZERO,
            last_offset_delta: I32::new(self.record_count - 1),
            base_timestamp: I64::new(self.base_timestamp.0),
            max_timestamp: I64::new(self.max_timestamp.0),
            producer_id: I64::new(self.producer_id),
            producer_epoch: I16::new(self.producer_epoch),
            base_sequence: I32::new(self.base_sequence),
            record_count: I32::new(self.record_count),
        };
        let mut batch = self.buffer.split();
        batch[..HEADER_SIZE_BYTES].copy_from_slice(header.as_bytes());
        let crc = crc32c::crc32c(&batch[CRC_COVERS_FROM..]);
        batch[CRC_COVERS_FROM - size_of::<U32>()..CRC_COVERS_FROM].copy_from_slice(&crc.to_be_bytes());
        if self.base_sequence >= 0 {
            self.base_sequence = sequence_plus(self.base_sequence, self.record_count);
        }
        self.restart(self.base_timestamp);
        batch.freeze()
    }
}

/// The sequence `count` records further on; after 2^31-1 comes 0.
fn sequence_plus(sequence: i32, count: i32) -> i32 {
    sequence.wrapping_add(count) & i32::MAX
}

fn header_size_bytes((name, value): &(&str, &[u8])) -> usize {
    sized_size_bytes(Some(name.as_bytes())) + sized_size_bytes(Some(value))
}

fn sized_size_bytes(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint::size_bytes(bytes.len() as i64) + bytes.len())
}

fn write_sized(out: &mut BytesMut, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes else {
        return varint::write(out, -1);
    };
    varint::write(out, bytes.len() as i64);
    out.put_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::batch::{BatchHeader, validate};

    fn push(builder: &mut BatchBuilder, value: &[u8]) -> Result<(), BatchError> {
        builder.push(&Record {
            timestamp: Timestamp(7),
            key: None,
            value: Some(value),
            headers: &[],
        })
    }

    #[test]
    fn a_batch_has_exactly_these_bytes() {
        let mut builder = BatchBuilder::new(Timestamp(6));
        builder
            .push(&Record {
                timestamp: Timestamp(7),
                key: Some(b"k"),
                value: None,
                headers: &[("h", b"v")],
            })
            .unwrap();
        let batch = builder.finish();
        let record = [24, 0, 2, 0, 2, b'k', 1, 2, 2, b'h', 2, b'v'];
        assert_eq!(batch[61..], [&[22][..], &record[1..]].concat());
        let header = validate(&batch).unwrap();
        assert_eq!(
            (header.base_timestamp, header.max_timestamp),
            (Timestamp(6), Timestamp(7))
        );
        assert_eq!(
            (header.producer_id, header.producer_epoch, header.base_sequence),
            (-1, -1, -1)
        );
    }

    #[test]
    fn a_finished_builder_begins_the_next_batch_of_its_producer() {
        let mut builder = BatchBuilder::new(Timestamp(6)).producer(9, 0, i32::MAX - 1);
        let mut sequences = Vec::new();
        for count in [1, 2, 1] {
            for _ in 0..count {
                push(&mut builder, b"v").unwrap();
            }
            assert_eq!(builder.len(), count);
            let header: BatchHeader = validate(&builder.finish()).unwrap();
            assert_eq!(header.record_count as usize, count);
            sequences.push(header.base_sequence);
            assert_eq!((builder.len(), builder.size_bytes()), (0, HEADER_SIZE_BYTES));
        }
        assert_eq!(sequences, [i32::MAX - 1, i32::MAX, 1]);
    }

    #[test]
    fn a_record_that_does_not_fit_leaves_the_batch_as_it_was() {
        let mut builder = BatchBuilder::new(Timestamp(6));
        push(&mut builder, b"first").unwrap();
        let size_bytes = builder.size_bytes();
        let large = vec![0; BATCH_SIZE_MAX_BYTES];
        assert!(matches!(
            push(&mut builder, &large),
            Err(BatchError::TooLarge { .. })
        ));
        assert_eq!((builder.len(), builder.size_bytes()), (1, size_bytes));
        let room = BATCH_SIZE_MAX_BYTES - size_bytes - 13;
        push(&mut builder, &large[..room]).unwrap();
        assert_eq!(builder.size_bytes(), BATCH_SIZE_MAX_BYTES);
        assert!(push(&mut builder, b"").is_err());
        validate(&builder.finish()).unwrap();
    }
}
