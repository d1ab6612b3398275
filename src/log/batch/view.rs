//! Records of a batch, and batches of a byte run, borrowed and not copied.

use bytes::Bytes;

use super::header::HEADER_SIZE_BYTES;
use super::{BatchError, BatchHeader, Compression, varint};
use crate::log::{Offset, Timestamp};

/// One record of a batch.
#[derive(Clone, Debug)]
pub struct RecordView<'a> {
    /// The record's offset.
    pub offset: Offset,
    /// The record's timestamp, or the batch's if the broker set it.
    pub timestamp: Timestamp,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// The headers, in order; a name may occur several times.
    pub headers: RecordHeaders<'a>,
    /// Key, value and headers as they are encoded.
    pub(in crate::log) encoded: &'a [u8],
}

/// Iterator over the headers of one record: name and value.
#[derive(Clone, Debug)]
pub struct RecordHeaders<'a> {
    rest: &'a [u8],
    count: usize,
}

/// Iterator over the records of one uncompressed batch; ends after the first error.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    header: BatchHeader,
    /// Bytes of the header and of the uncompressed records.
    size_bytes: usize,
    /// Bytes of the batch behind the records that were read.
    rest: &'a [u8],
    index: i32,
    /// Smallest offset delta that the next record may have.
    delta_min: i64,
}

/// Iterator over concatenated batches; ends after the first error.
#[derive(Clone, Debug)]
pub struct Batches {
    rest: Bytes,
}

/// The records of `batch`, which is one whole uncompressed batch. The checksum is not checked.
///
/// # Errors
/// When the header is not valid, the bytes are not one batch, or the batch is compressed. Malformed records
/// are errors of the iterator.
pub fn records(batch: &[u8]) -> Result<Records<'_>, BatchError> {
    let header = BatchHeader::parse_whole(batch)?;
    if header.compression() != Compression::None {
        return Err(BatchError::Compressed {
            compression: header.compression(),
        });
    }
    Ok(uncompressed_records(header, &batch[HEADER_SIZE_BYTES..]))
}

/// The records of the batch with that header, which were taken out of its codec.
pub(in crate::log) fn uncompressed_records(header: BatchHeader, records: &[u8]) -> Records<'_> {
    Records {
        header,
        size_bytes: HEADER_SIZE_BYTES + records.len(),
        rest: records,
        index: 0,
        delta_min: 0,
    }
}

/// Splits concatenated batches, as [`crate::log::Partition::read`] returns them, without copying.
///
/// Checksums are not checked.
pub fn batches(bytes: &Bytes) -> Batches {
    Batches { rest: bytes.clone() }
}

impl Iterator for Batches {
    type Item = Result<(BatchHeader, Bytes), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let batch = BatchHeader::parse(&self.rest).and_then(|header| {
            let (expected_bytes, found_bytes) = (header.size_bytes(), self.rest.len());
            if found_bytes < expected_bytes {
                return Err(BatchError::Truncated {
                    expected_bytes,
                    found_bytes,
                });
            }
            Ok((header, self.rest.split_to(expected_bytes)))
        });
        if batch.is_err() {
            self.rest.clear();
        }
        Some(batch)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordView<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.header.record_count {
            let count = std::mem::take(&mut self.rest).len();
            return (count > 0).then_some(Err(BatchError::BytesAfterRecords { count }));
        }
        let record = self.read_record();
        self.index += 1;
        if record.is_err() {
            self.index = self.header.record_count;
            self.rest = &[];
        }
        Some(record)
    }
}

impl<'a> Records<'a> {
    /// The iterator at a place that [`Records::into_state`] told: `rest` begins with record `index`.
    pub(super) fn resume(header: BatchHeader, rest: &'a [u8], index: i32, delta_min: i64) -> Records<'a> {
        Records {
            size_bytes: header.size_bytes(),
            header,
            rest,
            index,
            delta_min,
        }
    }

    /// Bytes that are left, the next record's index, and its smallest possible offset delta.
    pub(super) fn into_state(self) -> (usize, i32, i64) {
        (self.rest.len(), self.index, self.delta_min)
    }

    fn read_record(&mut self) -> Result<RecordView<'a>, BatchError> {
        let malformed = |rest: &[u8]| BatchError::Record {
            index: self.index,
            position: self.size_bytes - rest.len(),
        };
        let mut rest = self.rest;
        let Some(body) = take_sized(&mut rest) else {
            return Err(malformed(rest));
        };
        let mut fields = body;
        let Some((timestamp_delta, offset_delta, key, value, headers, encoded)) = read_fields(&mut fields)
        else {
            // Fields are a suffix of the record's body, which ends where `rest` begins.
            return Err(BatchError::Record {
                index: self.index,
                position: self.size_bytes - rest.len() - fields.len(),
            });
        };
        let maximum = i64::from(self.header.last_offset_delta);
        if offset_delta < self.delta_min || offset_delta > maximum {
            return Err(BatchError::RecordOffset {
                index: self.index,
                found: offset_delta,
                minimum: self.delta_min,
                maximum,
            });
        }
        self.delta_min = offset_delta + 1;
        self.rest = rest;
        let timestamp = if self.header.is_log_append_time() {
            self.header.max_timestamp
        } else {
            Timestamp(self.header.base_timestamp.0.wrapping_add(timestamp_delta))
        };
        let offset = self.header.base_offset.plus(offset_delta as u64);
        Ok(RecordView {
            offset,
            timestamp,
            key,
            value,
            headers,
            encoded,
        })
    }
}

impl<'a> RecordHeaders<'a> {
    /// `count` headers in `bytes`, which were seen to decode.
    pub(super) fn new(bytes: &'a [u8], count: usize) -> RecordHeaders<'a> {
        RecordHeaders { rest: bytes, count }
    }

    /// The bytes of the headers that are left, and how many those are.
    pub(super) fn into_parts(self) -> (&'a [u8], usize) {
        (self.rest, self.count)
    }
}

impl<'a> Iterator for RecordHeaders<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        read_header(&mut self.rest)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for RecordHeaders<'_> {}

type Fields<'a> = (
    i64,
    i64,
    Option<&'a [u8]>,
    Option<&'a [u8]>,
    RecordHeaders<'a>,
    &'a [u8],
);

/// Timestamp delta, offset delta, key, value and headers, and the encoding of the last three; all headers were
/// seen to decode.
fn read_fields<'a>(body: &mut &'a [u8]) -> Option<Fields<'a>> {
    let (_attributes, rest) = body.split_first()?;
    *body = rest;
    let timestamp_delta = varint::read(body)?;
    let offset_delta = varint::read(body)?;
    let encoded = *body;
    let key = take_nullable(body)?;
    let value = take_nullable(body)?;
    let count = usize::try_from(varint::read(body)?).ok()?;
    // A header takes at least two bytes; checked before the count is believed.
    if count > body.len() / 2 {
        return None;
    }
    let headers = RecordHeaders { rest: body, count };
    for _ in 0..count {
        read_header(body)?;
    }
    body.is_empty()
        .then_some((timestamp_delta, offset_delta, key, value, headers, encoded))
}

fn read_header<'a>(bytes: &mut &'a [u8]) -> Option<(&'a str, Option<&'a [u8]>)> {
    let name = std::str::from_utf8(take_sized(bytes)?).ok()?;
    Some((name, take_nullable(bytes)?))
}

/// A length that may not be negative, and as many bytes.
fn take_sized<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    take_nullable(bytes)?
}

/// A length and as many bytes; length −1 stands for null, other negative lengths are malformed.
#[expect(clippy::option_option, reason = "malformed and null are different things")]
fn take_nullable<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = varint::read(bytes)?;
    if length == -1 {
        return Some(None);
    }
    let (taken, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(Some(taken))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log::batch::{BatchBuilder, Record, validate, write_base_offset};

    fn record<'a>(value: &'a [u8], headers: &'a [(&'a str, &'a [u8])]) -> Record<'a> {
        Record {
            timestamp: Timestamp(5),
            key: None,
            value: Some(value),
            headers,
        }
    }

    /// One batch with `body` as its only record, and `count` in its header.
    fn batch_of(body: &[u8], count: i32) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Timestamp(5));
        builder.push(&record(b"", &[])).unwrap();
        let mut bytes = builder.finish()[..HEADER_SIZE_BYTES].to_vec();
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
        bytes.extend_from_slice(body);
        let length = bytes.len() as i32 - 12;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes
    }

    fn first_error(bytes: &[u8]) -> Option<BatchError> {
        records(bytes).unwrap().find_map(Result::err)
    }

    #[test]
    fn malformed_records_are_errors_at_their_position() {
        let malformed = |position| Some(BatchError::Record { index: 0, position });
        assert_eq!(first_error(&batch_of(&[], 1)), malformed(61));
        // Length 7 (zigzag 14): attributes, timestamp, offset, null key, empty value, no headers.
        assert_eq!(first_error(&batch_of(&[12, 0, 0, 0, 1, 0, 0], 1)), None);
        assert_eq!(first_error(&batch_of(&[14, 0, 0, 0, 1, 0, 0], 1)), malformed(62));
        assert_eq!(first_error(&batch_of(&[1], 1)), malformed(62), "null record");
        assert_eq!(
            first_error(&batch_of(&[12, 0, 0, 0, 1, 9, 0], 1)),
            malformed(67),
            "value length -5"
        );
        assert_eq!(
            first_error(&batch_of(&[12, 0, 0, 0, 1, 0, 2], 1)),
            malformed(68),
            "header missing"
        );
        assert_eq!(
            first_error(&batch_of(&[14, 0, 0, 0, 1, 0, 0, 0], 1)),
            malformed(68),
            "byte left over"
        );
        let header_not_utf8 = [18, 0, 0, 0, 1, 0, 2, 2, 0xff, 0];
        assert_eq!(first_error(&batch_of(&header_not_utf8, 1)), malformed(70));
        assert_eq!(
            first_error(&batch_of(&[12, 0, 0, 2, 1, 0, 0], 1)),
            Some(BatchError::RecordOffset {
                index: 0,
                found: 1,
                minimum: 0,
                maximum: 0
            })
        );
        assert_eq!(
            first_error(&batch_of(&[12, 0, 0, 0, 1, 0, 0, 9, 9], 1)),
            Some(BatchError::BytesAfterRecords { count: 2 })
        );
        assert!(first_error(&batch_of(&[12, 0, 0, 0, 1, 0, 0], i32::MAX)).is_some());
    }

    #[test]
    fn an_error_ends_the_iteration() {
        let bytes = batch_of(&[], 5);
        assert_eq!(records(&bytes).unwrap().count(), 1);
    }

    #[test]
    fn compressed_batches_are_refused() {
        let mut bytes = batch_of(&[], 1);
        bytes[22] = 2;
        let error = BatchError::Compressed {
            compression: Compression::Snappy,
        };
        assert_eq!(records(&bytes).unwrap_err(), error);
    }

    #[test]
    fn log_append_time_replaces_the_records_timestamps() {
        let mut bytes = batch_of(&[12, 0, 8, 0, 1, 0, 0], 1);
        let timestamp = |bytes: &[u8]| records(bytes).unwrap().next().unwrap().unwrap().timestamp;
        assert_eq!(timestamp(&bytes), Timestamp(9));
        bytes[22] = 8;
        bytes[35..43].copy_from_slice(&77_i64.to_be_bytes());
        assert_eq!(timestamp(&bytes), Timestamp(77));
    }

    #[test]
    fn splits_concatenated_batches() {
        let mut builder = BatchBuilder::new(Timestamp(5));
        let mut all = Vec::new();
        for base_offset in [0, 1, 2] {
            builder.push(&record(b"value", &[])).unwrap();
            let mut bytes = builder.finish().to_vec();
            write_base_offset(&mut bytes, Offset(base_offset), 0);
            all.extend_from_slice(&bytes);
        }
        let all = Bytes::from(all);
        let split: Vec<_> = batches(&all).map(Result::unwrap).collect();
        let offsets: Vec<_> = split.iter().map(|(header, _)| header.base_offset.0).collect();
        assert_eq!(offsets, [0, 1, 2]);
        assert!(split.iter().all(|(_, bytes)| validate(bytes).is_ok()));
        assert_eq!(
            split.iter().map(|(_, bytes)| bytes.len()).sum::<usize>(),
            all.len()
        );

        let torn: Vec<_> = batches(&all.slice(..all.len() - 1)).collect();
        let size_bytes = all.len() / 3;
        let error = BatchError::Truncated {
            expected_bytes: size_bytes,
            found_bytes: size_bytes - 1,
        };
        assert_eq!(torn.len(), 3);
        assert_eq!(torn[2], Err(error));
        assert_eq!(batches(&Bytes::new()).count(), 0);
    }

    proptest! {
        #[test]
        fn arbitrary_records_never_panic(body: Vec<u8>, count: i32) {
            let bytes = batch_of(&body, count.max(0));
            let seen = records(&bytes).unwrap().count();
            prop_assert!(seen <= body.len() + 1);
        }

        #[test]
        fn reads_what_the_builder_wrote(
            written in prop::collection::vec(
                (
                    any::<i32>(),
                    any::<Option<Vec<u8>>>(),
                    any::<Option<Vec<u8>>>(),
                    prop::collection::vec((".{0,5}", any::<Vec<u8>>()), 0..4),
                ),
                1..20,
            )
        ) {
            let mut builder = BatchBuilder::new(Timestamp(1_000));
            for (timestamp, key, value, headers) in &written {
                let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), &value[..])).collect();
                builder.push(&Record {
                    timestamp: Timestamp(i64::from(*timestamp)),
                    key: key.as_deref(),
                    value: value.as_deref(),
                    headers: &headers,
                }).unwrap();
            }
            let size_bytes = builder.size_bytes();
            let bytes = builder.finish();
            prop_assert_eq!(bytes.len(), size_bytes);
            let header = validate(&bytes).unwrap();
            prop_assert_eq!(header.max_timestamp.0, written.iter().map(|r| i64::from(r.0)).max().unwrap());
            let read: Vec<_> = records(&bytes).unwrap().map(Result::unwrap).collect();
            prop_assert_eq!(read.len(), written.len());
            for (index, (record, (timestamp, key, value, headers))) in read.into_iter().zip(written).enumerate() {
                prop_assert_eq!(record.offset, Offset(index as u64));
                prop_assert_eq!(record.timestamp, Timestamp(i64::from(timestamp)));
                prop_assert_eq!(record.key, key.as_deref());
                prop_assert_eq!(record.value, value.as_deref());
                let names: Vec<_> = record.headers.map(|(n, v)| (n.to_owned(), v.unwrap().to_vec())).collect();
                prop_assert_eq!(names, headers);
            }
        }
    }
}
