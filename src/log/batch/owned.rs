//! Records that keep their batch alive: slices of its bytes, not copies.

use bytes::Bytes;

use super::header::HEADER_SIZE_BYTES;
use super::view::{RecordHeaders, RecordView, Records};
use super::{BatchError, BatchHeader, Compression};
use crate::log::{Offset, Timestamp};

/// One record that owns its bytes by sharing those of its batch; cheap to clone, free to be kept or sent to
/// another thread.
///
/// What it keeps alive is the buffer that the batch was read into, or a mapped segment: copy key and value
/// out of records that are kept for long.
#[derive(Clone, Debug)]
pub struct OwnedRecord {
    /// The record's offset.
    pub offset: Offset,
    /// The record's timestamp, or the batch's if the broker set it.
    pub timestamp: Timestamp,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; none is a tombstone in a compacted topic.
    pub value: Option<Bytes>,
    headers: Bytes,
    header_count: usize,
}

impl OwnedRecord {
    /// The headers, in order; a name may occur several times.
    pub fn headers(&self) -> RecordHeaders<'_> {
        RecordHeaders::new(&self.headers, self.header_count)
    }
}

/// Iterator over the records of one batch that owns the batch; ends after the first error.
#[derive(Clone, Debug)]
pub struct OwnedRecords {
    header: BatchHeader,
    /// The records that were not read yet.
    rest: Bytes,
    index: i32,
    delta_min: i64,
}

impl OwnedRecords {
    /// The records of `batch`, which is one whole batch. The checksum is not checked.
    ///
    /// # Errors
    /// When the header is not valid, the bytes are not one batch, or the batch is compressed. Malformed
    /// records are errors of the iterator.
    pub fn new(batch: &Bytes) -> Result<OwnedRecords, BatchError> {
        let header = BatchHeader::parse_whole(batch)?;
        if header.compression() != Compression::None {
            return Err(BatchError::Compressed {
                compression: header.compression(),
            });
        }
        Ok(OwnedRecords::of_uncompressed(
            header,
            batch.slice(HEADER_SIZE_BYTES..),
        ))
    }

    /// The records in `records`, which is what a batch with this header holds behind it, uncompressed.
    pub(in crate::log) fn of_uncompressed(header: BatchHeader, records: Bytes) -> OwnedRecords {
        OwnedRecords {
            header,
            rest: records,
            index: 0,
            delta_min: 0,
        }
    }

    fn own(&self, view: RecordView<'_>) -> OwnedRecord {
        let own = |bytes: Option<&[u8]>| bytes.map(|bytes| self.rest.slice_ref(bytes));
        let (headers, header_count) = view.headers.into_parts();
        OwnedRecord {
            offset: view.offset,
            timestamp: view.timestamp,
            key: own(view.key),
            value: own(view.value),
            headers: self.rest.slice_ref(headers),
            header_count,
        }
    }
}

impl Iterator for OwnedRecords {
    type Item = Result<OwnedRecord, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut records = Records::resume(self.header, &self.rest, self.index, self.delta_min);
        let record = records.next();
        let (left_bytes, index, delta_min) = records.into_state();
        let record = record.map(|record| record.map(|view| self.own(view)));
        (self.index, self.delta_min) = (index, delta_min);
        let start = self.rest.len() - left_bytes;
        bytes::Buf::advance(&mut self.rest, start);
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::batch::{BatchBuilder, Record, records};

    fn batch() -> Bytes {
        let mut builder = BatchBuilder::new(Timestamp(5));
        for (key, value) in [
            (Some(&b"k"[..]), None),
            (None, Some(&b"value"[..])),
            (None, Some(&b""[..])),
        ] {
            let headers: &[(&str, &[u8])] = &[("h", b"1"), ("h", b"")];
            let record = Record {
                timestamp: Timestamp(6),
                key,
                value,
                headers,
            };
            builder.push(&record).unwrap();
        }
        builder.finish()
    }

    /// Whole records in a form that compares.
    fn whole(records: OwnedRecords) -> Vec<String> {
        records
            .map(|record| {
                let record = record.unwrap();
                let headers: Vec<_> = record.headers().collect();
                format!(
                    "{} {:?} {:?} {:?} {headers:?}",
                    record.offset,
                    record.timestamp,
                    record.key.as_deref(),
                    record.value.as_deref()
                )
            })
            .collect()
    }

    #[test]
    fn owned_records_are_the_borrowed_ones_and_share_their_bytes() {
        let batch = batch();
        let borrowed: Vec<_> = records(&batch)
            .unwrap()
            .map(|record| {
                let record = record.unwrap();
                let headers: Vec<_> = record.headers.collect();
                format!(
                    "{} {:?} {:?} {:?} {headers:?}",
                    record.offset, record.timestamp, record.key, record.value
                )
            })
            .collect();
        assert_eq!(whole(OwnedRecords::new(&batch).unwrap()), borrowed);
        let second = OwnedRecords::new(&batch).unwrap().nth(1).unwrap().unwrap();
        assert!(
            batch.as_ptr_range().contains(&second.value.unwrap().as_ptr()),
            "a copy"
        );
    }

    #[test]
    fn a_malformed_record_ends_the_iteration_with_an_error() {
        let good = batch();
        let mut bad = good.to_vec();
        bad[61] = 1;
        let found: Vec<_> = OwnedRecords::new(&Bytes::from(bad)).unwrap().collect();
        assert!(
            matches!(found[..], [Err(BatchError::Record { index: 0, .. })]),
            "{found:?}"
        );
        let mut more = good.to_vec();
        more.push(9);
        let length = i32::try_from(more.len()).unwrap() - 12;
        more[8..12].copy_from_slice(&length.to_be_bytes());
        let found: Vec<_> = OwnedRecords::new(&Bytes::from(more)).unwrap().collect();
        assert_eq!(found.len(), 4);
        assert!(matches!(
            found[3],
            Err(BatchError::BytesAfterRecords { count: 1 })
        ));
    }

    #[test]
    fn a_batch_without_records_is_empty() {
        let mut empty = batch()[..HEADER_SIZE_BYTES].to_vec();
        empty[8..12].copy_from_slice(&49_i32.to_be_bytes());
        empty[57..61].copy_from_slice(&0_i32.to_be_bytes());
        assert_eq!(OwnedRecords::new(&Bytes::from(empty)).unwrap().count(), 0);
    }
}
