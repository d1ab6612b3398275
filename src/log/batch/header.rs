//! The fixed 61-byte header of a Kafka v2 record batch: parse, check, and patch.

use std::cmp::Ordering;

use zerocopy::big_endian::{I16, I32, I64, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::BatchError;
use crate::log::{Offset, Timestamp};

/// Size of the header, records follow.
pub const HEADER_SIZE_BYTES: usize = 61;

/// The part of the header that the length field does not count: base offset and the length itself.
const LENGTH_PREFIX_BYTES: usize = 12;

/// Where the checksum's coverage begins: at the attributes, to the end of the batch.
pub(in crate::log) const CRC_COVERS_FROM: usize = 21;

/// The only batch format that is stored.
pub(super) const MAGIC: i8 = 2;

const ATTRIBUTE_COMPRESSION_MASK: i16 = 0b111;
const ATTRIBUTE_LOG_APPEND_TIME: i16 = 1 << 3;
const ATTRIBUTE_TRANSACTIONAL: i16 = 1 << 4;
const ATTRIBUTE_CONTROL: i16 = 1 << 5;
const ATTRIBUTE_DELETE_HORIZON: i16 = 1 << 6;

/// "No producer", "no epoch", "no sequence", as Kafka writes them.
const NONE: i8 = -1;

const _: () = assert!(size_of::<WireHeader>() == HEADER_SIZE_BYTES);
const _: () = assert!(std::mem::offset_of!(WireHeader, attributes) == CRC_COVERS_FROM);

/// The header as it lies in the bytes (Kafka protocol guide, "Record Batch"); all numbers big-endian.
///
/// ```text
///  0 base offset i64 | 8 length i32 | 12 leader epoch i32 | 16 magic i8 | 17 crc u32
/// 21 attributes i16 | 23 last offset delta i32 | 27 base timestamp i64 | 35 max timestamp i64
/// 43 producer id i64 | 51 producer epoch i16 | 53 base sequence i32 | 57 record count i32 | 61 records
/// ```
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct WireHeader {
    pub base_offset: I64,
    pub length: I32,
    pub leader_epoch: I32,
    pub magic: i8,
    pub crc: U32,
    pub attributes: I16,
    pub last_offset_delta: I32,
    pub base_timestamp: I64,
    pub max_timestamp: I64,
    pub producer_id: I64,
    pub producer_epoch: I16,
    pub base_sequence: I32,
    pub record_count: I32,
}

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// Codec 1.
    Gzip,
    /// Codec 2.
    Snappy,
    /// Codec 3.
    Lz4,
    /// Codec 4.
    Zstd,
}

/// The decoded header of a batch; its offsets, length and codec are in range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record; what a producer sends here is replaced by the log.
    pub base_offset: Offset,
    /// The length field: size of the batch less 12 bytes, at least 49.
    pub length: i32,
    /// Epoch of the leader that stored the batch.
    pub leader_epoch: i32,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Offset of the last record less the base offset, at least 0.
    pub last_offset_delta: i32,
    /// Timestamp to which the records' timestamps are relative.
    pub base_timestamp: Timestamp,
    /// Largest timestamp of the records.
    pub max_timestamp: Timestamp,
    /// The producer, −1 for none.
    pub producer_id: i64,
    /// The producer's epoch, −1 for none.
    pub producer_epoch: i16,
    /// Sequence number of the first record, −1 for none.
    pub base_sequence: i32,
    /// Number of records, at least 0.
    pub record_count: i32,
    attributes: i16,
    compression: Compression,
}

impl BatchHeader {
    /// Decodes the header at the start of `bytes`. The records need not be there and no checksum is checked.
    ///
    /// # Errors
    /// When there are fewer than 61 bytes, the magic is not 2, or length, offsets, count or codec are out of
    /// range.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let (wire, _) = WireHeader::ref_from_prefix(bytes).map_err(|_| BatchError::Truncated {
            expected_bytes: HEADER_SIZE_BYTES,
            found_bytes: bytes.len(),
        })?;
        if wire.magic != MAGIC {
            return Err(BatchError::Magic { found: wire.magic });
        }
        let length_min = (HEADER_SIZE_BYTES - LENGTH_PREFIX_BYTES) as i32;
        if wire.length.get() < length_min {
            return Err(BatchError::Length {
                found: wire.length.get(),
                minimum: length_min,
            });
        }
        let (base_offset, last_offset_delta) = (wire.base_offset.get(), wire.last_offset_delta.get());
        let last_offset = base_offset.checked_add(i64::from(last_offset_delta));
        if base_offset < 0 || last_offset_delta < 0 || last_offset.is_none_or(|last| last == i64::MAX) {
            return Err(BatchError::Offsets {
                base_offset,
                last_offset_delta,
            });
        }
        let record_count = wire.record_count.get();
        if record_count < 0 {
            return Err(BatchError::RecordCount {
                record_count,
                last_offset_delta,
            });
        }
        let attributes = wire.attributes.get();
        Ok(BatchHeader {
            base_offset: Offset(base_offset as u64),
            length: wire.length.get(),
            leader_epoch: wire.leader_epoch.get(),
            crc: wire.crc.get(),
            last_offset_delta,
            base_timestamp: Timestamp(wire.base_timestamp.get()),
            max_timestamp: Timestamp(wire.max_timestamp.get()),
            producer_id: wire.producer_id.get(),
            producer_epoch: wire.producer_epoch.get(),
            base_sequence: wire.base_sequence.get(),
            record_count,
            attributes,
            compression: compression_of(attributes)?,
        })
    }

    /// Decodes the header of `bytes`, which must be exactly one batch. No checksum is checked.
    pub fn parse_whole(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        let (expected_bytes, found_bytes) = (header.size_bytes(), bytes.len());
        match found_bytes.cmp(&expected_bytes) {
            Ordering::Equal => Ok(header),
            Ordering::Less => Err(BatchError::Truncated {
                expected_bytes,
                found_bytes,
            }),
            Ordering::Greater => Err(BatchError::TrailingBytes {
                expected_bytes,
                found_bytes,
            }),
        }
    }

    /// Size of the whole batch, header included.
    pub fn size_bytes(&self) -> usize {
        self.length as usize + LENGTH_PREFIX_BYTES
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> Offset {
        self.base_offset.plus(self.last_offset_delta as u64)
    }

    /// Offset behind the last record.
    pub fn next_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    /// How the records are compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Whether every record carries the broker's time, which is the batch's largest timestamp.
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & ATTRIBUTE_TRANSACTIONAL != 0
    }

    /// Whether the batch holds a marker of the broker instead of records; clients may not send one.
    pub fn is_control(&self) -> bool {
        self.attributes & ATTRIBUTE_CONTROL != 0
    }

    /// When compaction may remove the batch's tombstones; none before they were compacted once (KIP-534).
    pub fn delete_horizon(&self) -> Option<Timestamp> {
        (self.attributes & ATTRIBUTE_DELETE_HORIZON != 0).then_some(self.base_timestamp)
    }

    /// The header of what compaction leaves of this batch: the same offsets, producer and codec.
    ///
    /// With a `delete_horizon` that is the base timestamp, to which the records' timestamps are then relative.
    pub(in crate::log) fn after_compaction(
        &self,
        record_count: i32,
        max_timestamp: Timestamp,
        delete_horizon: Option<Timestamp>,
    ) -> BatchHeader {
        let horizon_bit = delete_horizon.map_or(0, |_| ATTRIBUTE_DELETE_HORIZON);
        BatchHeader {
            record_count,
            max_timestamp,
            base_timestamp: delete_horizon.unwrap_or(self.base_timestamp),
            attributes: self.attributes & !ATTRIBUTE_DELETE_HORIZON | horizon_bit,
            ..*self
        }
    }

    /// The header of a batch without records that stands for the offsets from `base_offset` to `last_offset`.
    ///
    /// # Panics
    /// When there are none, or more than 2^31.
    pub(in crate::log) fn empty(base_offset: Offset, last_offset: Offset) -> BatchHeader {
        let span = last_offset.0 - base_offset.0;
        assert!(i32::try_from(span).is_ok(), "callers split longer gaps");
        BatchHeader {
            base_offset,
            length: (HEADER_SIZE_BYTES - LENGTH_PREFIX_BYTES) as i32,
            leader_epoch: 0,
            crc: 0,
            last_offset_delta: span as i32,
            base_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
            producer_id: NONE.into(),
            producer_epoch: NONE.into(),
            base_sequence: NONE.into(),
            record_count: 0,
            attributes: 0,
            compression: Compression::None,
        }
    }

    /// The header of this batch once all its records are gone, which remembers its producer.
    pub(in crate::log) fn emptied(&self) -> BatchHeader {
        BatchHeader {
            leader_epoch: self.leader_epoch,
            last_offset_delta: self.last_offset_delta,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            attributes: self.attributes & (ATTRIBUTE_TRANSACTIONAL | ATTRIBUTE_LOG_APPEND_TIME),
            ..BatchHeader::empty(self.base_offset, self.base_offset)
        }
    }

    /// The batch of this header and these encoded records, with length and checksum made right.
    pub(in crate::log) fn encode(&self, records: &[u8]) -> Vec<u8> {
        let length = (HEADER_SIZE_BYTES - LENGTH_PREFIX_BYTES + records.len()) as i32;
        let header = WireHeader {
            base_offset: I64::new(self.base_offset.0 as i64),
            length: I32::new(length),
            leader_epoch: I32::new(self.leader_epoch),
            magic: MAGIC,
            crc: U32::ZERO,
            attributes: I16::new(self.attributes),
            last_offset_delta: I32::new(self.last_offset_delta),
            base_timestamp: I64::new(self.base_timestamp.0),
            max_timestamp: I64::new(self.max_timestamp.0),
            producer_id: I64::new(self.producer_id),
            producer_epoch: I16::new(self.producer_epoch),
            base_sequence: I32::new(self.base_sequence),
            record_count: I32::new(self.record_count),
        };
        let mut batch = Vec::with_capacity(HEADER_SIZE_BYTES + records.len());
        batch.extend_from_slice(header.as_bytes());
        batch.extend_from_slice(records);
        let crc = crc32c::crc32c(&batch[CRC_COVERS_FROM..]);
        batch[CRC_COVERS_FROM - size_of::<U32>()..CRC_COVERS_FROM].copy_from_slice(&crc.to_be_bytes());
        batch
    }

    /// Whether an idempotent or transactional producer sent the batch.
    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }
}

/// Checks that `bytes` are exactly one batch with an intact checksum.
pub fn verify(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = BatchHeader::parse_whole(bytes)?;
    let computed = crc32c::crc32c(&bytes[CRC_COVERS_FROM..]);
    if computed != header.crc {
        return Err(BatchError::Crc {
            found: header.crc,
            computed,
        });
    }
    Ok(header)
}

/// Checks that `bytes` are exactly one intact batch as a producer, or the broker itself, may append it.
///
/// Beyond [`verify`]: it has records, one per offset; a producer id comes with an epoch and (unless the
/// batch is a control batch) a sequence; a transactional batch has a producer id.
pub fn validate(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = verify(bytes)?;
    let BatchHeader {
        record_count,
        last_offset_delta,
        ..
    } = header;
    if record_count < 1 || last_offset_delta != record_count - 1 {
        return Err(BatchError::RecordCount {
            record_count,
            last_offset_delta,
        });
    }
    let sequence_missing = header.base_sequence < 0 && !header.is_control();
    let producer_is_sane = if header.has_producer() {
        header.producer_epoch >= 0 && !sequence_missing
    } else {
        !header.is_transactional()
    };
    if !producer_is_sane {
        return Err(BatchError::Producer {
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
        });
    }
    Ok(header)
}

/// Gives a batch its place in the partition: both fields lie outside the checksum.
///
/// # Panics
/// When `header` is shorter than 16 bytes.
pub fn write_base_offset(header: &mut [u8], base_offset: Offset, leader_epoch: i32) {
    header[0..8].copy_from_slice(&base_offset.0.to_be_bytes());
    header[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

fn compression_of(attributes: i16) -> Result<Compression, BatchError> {
    match attributes & ATTRIBUTE_COMPRESSION_MASK {
        0 => Ok(Compression::None),
        1 => Ok(Compression::Gzip),
        2 => Ok(Compression::Snappy),
        3 => Ok(Compression::Lz4),
        4 => Ok(Compression::Zstd),
        codec => Err(BatchError::UnknownCompression { codec: codec as u8 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::batch::{BatchBuilder, Record};

    /// A valid batch of three records whose `field` bytes are replaced, checksum made right again.
    fn batch_with(field: usize, value: &[u8]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Timestamp(1_000)).producer(7, 1, 40);
        for value in [b"a", b"b", b"c"] {
            let record = Record {
                timestamp: Timestamp(1_002),
                key: None,
                value: Some(value),
                headers: &[],
            };
            builder.push(&record).unwrap();
        }
        let mut bytes = builder.finish().to_vec();
        bytes[field..field + value.len()].copy_from_slice(value);
        let crc = crc32c::crc32c(&bytes[CRC_COVERS_FROM..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    #[test]
    fn decodes_every_field() {
        let mut bytes = batch_with(0, &[]);
        write_base_offset(&mut bytes, Offset(500), 3);
        let header = validate(&bytes).unwrap();
        let expected = BatchHeader {
            base_offset: Offset(500),
            length: bytes.len() as i32 - 12,
            leader_epoch: 3,
            crc: crc32c::crc32c(&bytes[21..]),
            last_offset_delta: 2,
            base_timestamp: Timestamp(1_000),
            max_timestamp: Timestamp(1_002),
            producer_id: 7,
            producer_epoch: 1,
            base_sequence: 40,
            record_count: 3,
            attributes: 0,
            compression: Compression::None,
        };
        assert_eq!(header, expected);
        assert_eq!(header.size_bytes(), bytes.len());
        assert_eq!(
            (header.last_offset(), header.next_offset()),
            (Offset(502), Offset(503))
        );
    }

    #[test]
    fn finds_every_flipped_bit_behind_the_leader_epoch() {
        let bytes = batch_with(0, &[]);
        for position in 16..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[position] ^= 1 << bit;
                assert!(verify(&flipped).is_err(), "bit {bit} of byte {position}");
            }
        }
    }

    #[test]
    fn wants_exactly_one_whole_batch() {
        let bytes = batch_with(0, &[]);
        for size_bytes in 0..bytes.len() {
            let expected_bytes = if size_bytes < HEADER_SIZE_BYTES {
                HEADER_SIZE_BYTES
            } else {
                bytes.len()
            };
            let error = BatchError::Truncated {
                expected_bytes,
                found_bytes: size_bytes,
            };
            assert_eq!(validate(&bytes[..size_bytes]), Err(error));
        }
        let two = [&bytes[..], &bytes[..]].concat();
        let error = BatchError::TrailingBytes {
            expected_bytes: bytes.len(),
            found_bytes: two.len(),
        };
        assert_eq!(validate(&two), Err(error));
    }

    #[test]
    fn refuses_fields_out_of_range() {
        let check = |field: usize, value: &[u8], expected: BatchError| {
            assert_eq!(validate(&batch_with(field, value)), Err(expected));
        };
        check(
            8,
            &48_i32.to_be_bytes(),
            BatchError::Length {
                found: 48,
                minimum: 49,
            },
        );
        check(
            8,
            &(-1_i32).to_be_bytes(),
            BatchError::Length {
                found: -1,
                minimum: 49,
            },
        );
        check(16, &[1], BatchError::Magic { found: 1 });
        check(
            0,
            &(-1_i64).to_be_bytes(),
            BatchError::Offsets {
                base_offset: -1,
                last_offset_delta: 2,
            },
        );
        check(
            0,
            &(i64::MAX - 2).to_be_bytes(),
            BatchError::Offsets {
                base_offset: i64::MAX - 2,
                last_offset_delta: 2,
            },
        );
        check(
            21,
            &5_i16.to_be_bytes(),
            BatchError::UnknownCompression { codec: 5 },
        );
        check(
            23,
            &(-1_i32).to_be_bytes(),
            BatchError::Offsets {
                base_offset: 0,
                last_offset_delta: -1,
            },
        );
        for (delta, count) in [(2, 0), (2, -1), (2, 2), (2, 4)] {
            let error = BatchError::RecordCount {
                record_count: count,
                last_offset_delta: delta,
            };
            check(57, &count.to_be_bytes(), error);
        }
    }

    #[test]
    fn refuses_an_inconsistent_producer() {
        let check = |field: usize, value: &[u8], found: (i64, i16, i32)| {
            let (producer_id, producer_epoch, base_sequence) = found;
            let error = BatchError::Producer {
                producer_id,
                producer_epoch,
                base_sequence,
            };
            assert_eq!(validate(&batch_with(field, value)), Err(error));
        };
        check(51, &(-1_i16).to_be_bytes(), (7, -1, 40));
        check(53, &(-1_i32).to_be_bytes(), (7, 1, -1));
        let mut transactional = batch_with(43, &(-1_i64).to_be_bytes());
        assert!(
            validate(&transactional).is_ok(),
            "a sequence without a producer is ignored"
        );
        transactional[21..23].copy_from_slice(&ATTRIBUTE_TRANSACTIONAL.to_be_bytes());
        let crc = crc32c::crc32c(&transactional[21..]);
        transactional[17..21].copy_from_slice(&crc.to_be_bytes());
        let error = BatchError::Producer {
            producer_id: -1,
            producer_epoch: 1,
            base_sequence: 40,
        };
        assert_eq!(validate(&transactional), Err(error));
    }

    #[test]
    fn a_control_batch_needs_no_sequence() {
        let mut bytes = batch_with(53, &(-1_i32).to_be_bytes());
        bytes[21..23].copy_from_slice(&(ATTRIBUTE_CONTROL | ATTRIBUTE_TRANSACTIONAL).to_be_bytes());
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        let header = validate(&bytes).unwrap();
        assert!(header.is_control() && header.is_transactional() && !header.is_log_append_time());
    }
}
