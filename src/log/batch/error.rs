//! Why bytes are not the record batch, or the record, that they should be.

use super::Compression;

/// Why bytes are not a record batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the header or the batch does.
    #[error("batch needs {expected_bytes} bytes, found {found_bytes}")]
    Truncated {
        /// Bytes that the header, or the length in it, asks for.
        expected_bytes: usize,
        /// Bytes that are there.
        found_bytes: usize,
    },
    /// Bytes follow the batch where exactly one batch should be.
    #[error("{found_bytes} bytes hold more than one batch of {expected_bytes} bytes")]
    TrailingBytes {
        /// Size of the batch by its header.
        expected_bytes: usize,
        /// Bytes that are there.
        found_bytes: usize,
    },
    /// The length field is too small for a header.
    #[error("batch length {found} is below {minimum}")]
    Length {
        /// The length field.
        found: i32,
        /// The length of a batch without records.
        minimum: i32,
    },
    /// The format is not v2.
    #[error("batch has magic {found}, want 2")]
    Magic {
        /// The magic field.
        found: i8,
    },
    /// The checksum does not match the bytes.
    #[error("batch has crc {found:#010x}, its bytes have {computed:#010x}")]
    Crc {
        /// The checksum field.
        found: u32,
        /// The CRC-32C of the bytes that it covers.
        computed: u32,
    },
    /// The offsets of the batch are not within 0..=2^63-1.
    #[error("batch with base offset {base_offset} and last offset delta {last_offset_delta} is out of range")]
    Offsets {
        /// The base offset field.
        base_offset: i64,
        /// The last offset delta field.
        last_offset_delta: i32,
    },
    /// The codec is none of Kafka's.
    #[error("batch has unknown compression codec {codec}")]
    UnknownCompression {
        /// Bits 0 to 2 of the attributes.
        codec: u8,
    },
    /// The record count is negative, zero where records must be, or does not match the last offset delta.
    #[error("batch has {record_count} records with last offset delta {last_offset_delta}")]
    RecordCount {
        /// The record count field.
        record_count: i32,
        /// The last offset delta field.
        last_offset_delta: i32,
    },
    /// A producer id without a valid epoch or sequence, or a transaction without a producer id.
    #[error(
        "producer id {producer_id} with epoch {producer_epoch}, sequence {base_sequence} is inconsistent"
    )]
    Producer {
        /// The producer id field.
        producer_id: i64,
        /// The producer epoch field.
        producer_epoch: i16,
        /// The base sequence field.
        base_sequence: i32,
    },
    /// The records of a compressed batch cannot be viewed in place.
    #[error("batch is compressed with {compression:?}; its records cannot be read in place")]
    Compressed {
        /// The codec.
        compression: Compression,
    },
    /// A record does not decode.
    #[error("record {index} of the batch is malformed at byte {position}")]
    Record {
        /// Index of the record in the batch.
        index: i32,
        /// Byte of the batch at which decoding stopped.
        position: usize,
    },
    /// A record's offset does not follow the one before, or is behind the batch's last.
    #[error("record {index} of the batch has offset delta {found}, want {minimum}..={maximum}")]
    RecordOffset {
        /// Index of the record in the batch.
        index: i32,
        /// The record's offset delta.
        found: i64,
        /// Smallest possible delta.
        minimum: i64,
        /// Largest possible delta.
        maximum: i64,
    },
    /// Bytes follow the last record.
    #[error("{count} bytes follow the last record of the batch")]
    BytesAfterRecords {
        /// How many.
        count: usize,
    },
    /// The batch under construction would be larger than the log takes.
    #[error("batch would have {size_bytes} bytes, the limit is {limit_bytes}")]
    TooLarge {
        /// Size with the record that was refused.
        size_bytes: usize,
        /// The limit, [`crate::log::BATCH_SIZE_MAX_BYTES`].
        limit_bytes: usize,
    },
}
