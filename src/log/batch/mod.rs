//! Kafka v2 record batches: the fixed header, a borrowed view of the records, and a builder.
//!
//! A batch is stored and served verbatim. The log reads its 61-byte header, patches the base offset and
//! the leader epoch (which the batch's checksum does not cover), and never looks at the records.

mod builder;
mod error;
mod header;
mod lost;
mod owned;
mod stored;
mod varint;
mod view;

pub use builder::{BatchBuilder, Record};
pub use error::BatchError;
pub(in crate::log) use header::CRC_COVERS_FROM;
pub use header::{BatchHeader, Compression, HEADER_SIZE_BYTES, validate, verify, write_base_offset};
pub use lost::{absent_records, lost_records};
pub use owned::{OwnedRecord, OwnedRecords};
pub use stored::{Place, StoredBatch};
pub(in crate::log) use varint::{size_bytes as varint_size_bytes, write as write_varint};
pub(in crate::log) use view::uncompressed_records;
pub use view::{Batches, RecordHeaders, RecordView, Records, batches, records};
