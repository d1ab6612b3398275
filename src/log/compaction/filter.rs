//! Which records of a batch stay when a partition is compacted: a pure decision, and the batch that is left.
//!
//! A record stays while it is the newest of its key. A tombstone that is the newest stays for the topic's
//! `delete.retention.ms` after it was compacted for the first time, so that who reads from the start learns of
//! the deletion; until when is noted in its batch, as Kafka does (KIP-534).

use std::time::Duration;

use super::codec;
use super::offset_map::{MapFull, OffsetMap};
use crate::log::batch::{
    self, BatchError, BatchHeader, Compression, HEADER_SIZE_BYTES, RecordView, uncompressed_records,
    varint_size_bytes, write_varint,
};
use crate::log::{Offset, Timestamp};

/// Bytes of a record before its timestamp: its attributes, which nothing uses.
const ATTRIBUTES_SIZE_BYTES: usize = 1;

/// What a compaction knows when it looks at a batch.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a> {
    /// The newest offsets of keys below `end`.
    pub map: &'a OffsetMap,
    /// Records from here on stay whatever the map says.
    pub end: Offset,
    /// The broker's time.
    pub now: Timestamp,
    /// How long tombstones stay.
    pub tombstone_retention: Duration,
}

/// What is left of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All of it, byte for byte.
    Whole,
    /// Some of its records, or all with a note until when tombstones stay.
    Part(Vec<u8>),
    /// Nothing: its offsets are empty.
    Nothing,
}

/// Notes the keys of `batch` in `map`; a batch that cannot be opened has none.
///
/// # Errors
/// When the map is full; some of the keys may be in it, which does no harm.
pub fn note_keys(map: &mut OffsetMap, header: &BatchHeader, batch: &[u8]) -> Result<(), MapFull> {
    if header.is_control() {
        return Ok(());
    }
    let Some(records) = open(header, batch) else {
        return Ok(());
    };
    for record in parse(header, &records).unwrap_or_default() {
        if let Some(key) = record.key {
            map.note(key, record.offset)?;
        }
    }
    Ok(())
}

impl Filter<'_> {
    /// What is left of `batch`, whose checksum was verified. Control batches, and batches that cannot be opened,
    /// are left as they are.
    pub fn apply(&self, header: &BatchHeader, batch: &[u8]) -> Kept {
        if header.is_control() {
            return Kept::Whole;
        }
        let Some(records) = open(header, batch) else {
            return Kept::Whole;
        };
        let Ok(records) = parse(header, &records) else {
            return Kept::Whole;
        };
        let kept: Vec<&RecordView<'_>> = records
            .iter()
            .filter(|record| self.stays(header, record))
            .collect();
        if kept.is_empty() {
            return Kept::Nothing;
        }
        let is_noted = header.delete_horizon().is_some();
        let is_tombstone = |record: &&&RecordView<'_>| record.value.is_none() && record.offset < self.end;
        let must_note = !is_noted && kept.iter().any(|record| is_tombstone(&record));
        if kept.len() == records.len() && !must_note {
            return Kept::Whole;
        }
        let retention_ms = i64::try_from(self.tombstone_retention.as_millis()).unwrap_or(i64::MAX);
        let new_horizon = must_note.then(|| Timestamp(self.now.0.saturating_add(retention_ms)));
        rewrite(header, &kept, header.delete_horizon().or(new_horizon)).map_or(Kept::Whole, Kept::Part)
    }

    fn stays(&self, header: &BatchHeader, record: &RecordView<'_>) -> bool {
        if record.offset >= self.end {
            return true;
        }
        // Without a key there is nothing that a later record could replace: Kafka removes it as well.
        let Some(key) = record.key else { return false };
        let is_newest = self.map.newest(key).is_none_or(|newest| newest <= record.offset);
        let is_over = header.delete_horizon().is_some_and(|horizon| horizon <= self.now);
        is_newest && (record.value.is_some() || !is_over)
    }
}

/// The uncompressed records of a batch, or none if its codec is not known here.
fn open<'a>(header: &BatchHeader, batch: &'a [u8]) -> Option<std::borrow::Cow<'a, [u8]>> {
    let records = &batch[HEADER_SIZE_BYTES..];
    if header.compression() == Compression::None || records.is_empty() {
        return Some(records.into());
    }
    codec::decompress(header.compression(), records).map(Into::into)
}

fn parse<'a>(header: &BatchHeader, records: &'a [u8]) -> Result<Vec<RecordView<'a>>, BatchError> {
    uncompressed_records(*header, records).collect()
}

/// The batch with only these records, in its own codec; none if that fails.
fn rewrite(
    header: &BatchHeader,
    records: &[&RecordView<'_>],
    delete_horizon: Option<Timestamp>,
) -> Option<Vec<u8>> {
    let newest = records.iter().map(|record| record.timestamp).max()?;
    let header = header.after_compaction(records.len() as i32, newest, delete_horizon);
    let mut encoded = Vec::new();
    for record in records {
        let timestamp_delta = record.timestamp.0.wrapping_sub(header.base_timestamp.0);
        let offset_delta = (record.offset.0 - header.base_offset.0) as i64;
        let body_size_bytes = ATTRIBUTES_SIZE_BYTES
            + varint_size_bytes(timestamp_delta)
            + varint_size_bytes(offset_delta)
            + record.encoded.len();
        write_varint(&mut encoded, body_size_bytes as i64);
        encoded.push(0);
        write_varint(&mut encoded, timestamp_delta);
        write_varint(&mut encoded, offset_delta);
        encoded.extend_from_slice(record.encoded);
    }
    let encoded = codec_of(&header, encoded)?;
    let batch = header.encode(&encoded);
    debug_assert!(batch::verify(&batch).is_ok());
    Some(batch)
}

fn codec_of(header: &BatchHeader, records: Vec<u8>) -> Option<Vec<u8>> {
    match header.compression() {
        Compression::None => Some(records),
        compression => codec::compress(compression, &records),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::batch::{BatchBuilder, Record, records, verify, write_base_offset};

    const NOW: Timestamp = Timestamp(100_000);

    type Row = (u64, &'static str, Option<&'static str>);

    /// One batch at offset 10 with these keys and values, a millisecond apart; an empty key is none.
    fn batch_of(rows: &[(&str, Option<&str>)]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Timestamp(1_000)).producer(7, 1, 40);
        for (index, (key, value)) in rows.iter().enumerate() {
            let record = Record {
                timestamp: Timestamp(1_000 + index as i64),
                key: (!key.is_empty()).then_some(key.as_bytes()),
                value: value.map(str::as_bytes),
                headers: &[("h", b"v")],
            };
            builder.push(&record).unwrap();
        }
        let mut batch = builder.finish().to_vec();
        write_base_offset(&mut batch, Offset(10), 0);
        batch
    }

    fn map_of(newest: &[(&str, u64)]) -> OffsetMap {
        let mut map = OffsetMap::new(100, [1, 2]);
        for (key, offset) in newest {
            map.note(key.as_bytes(), Offset(*offset)).unwrap();
        }
        map
    }

    fn filtered(batch: &[u8], map: &OffsetMap, end: u64, now: Timestamp) -> Kept {
        let filter = Filter {
            map,
            end: Offset(end),
            now,
            tombstone_retention: Duration::from_millis(500),
        };
        filter.apply(&verify(batch).unwrap(), batch)
    }

    fn part(kept: Kept) -> Vec<u8> {
        match kept {
            Kept::Part(batch) => batch,
            other => panic!("{other:?} is no part"),
        }
    }

    fn rows(batch: &[u8]) -> Vec<Row> {
        let text = |bytes: &[u8]| &*String::from_utf8(bytes.to_vec()).unwrap().leak();
        let row =
            |record: RecordView<'_>| (record.offset.0, text(record.key.unwrap()), record.value.map(text));
        records(batch)
            .unwrap()
            .map(|record| row(record.unwrap()))
            .collect()
    }

    #[test]
    fn only_the_newest_record_of_a_key_stays_and_its_place_and_producer_too() {
        let batch = batch_of(&[
            ("a", Some("1")),
            ("b", Some("2")),
            ("a", Some("3")),
            ("c", Some("4")),
        ]);
        let map = map_of(&[("a", 12), ("b", 50)]);
        let kept = part(filtered(&batch, &map, 100, NOW));
        assert_eq!(rows(&kept), [(12, "a", Some("3")), (13, "c", Some("4"))]);
        let (before, after) = (verify(&batch).unwrap(), verify(&kept).unwrap());
        let places = |header: &BatchHeader| {
            (
                header.base_offset,
                header.last_offset_delta,
                header.base_timestamp,
            )
        };
        assert_eq!(places(&after), places(&before));
        let producer =
            |header: &BatchHeader| (header.producer_id, header.producer_epoch, header.base_sequence);
        assert_eq!(producer(&after), (7, 1, 40));
        assert_eq!((after.record_count, after.max_timestamp), (2, Timestamp(1_003)));
        let first = records(&kept).unwrap().next().unwrap().unwrap();
        assert_eq!(first.timestamp, Timestamp(1_002));
        assert_eq!(first.headers.collect::<Vec<_>>(), [("h", Some(&b"v"[..]))]);
    }

    #[test]
    fn a_batch_that_keeps_everything_is_not_written_anew() {
        let batch = batch_of(&[("a", Some("1")), ("b", Some("2"))]);
        assert_eq!(filtered(&batch, &map_of(&[("a", 10)]), 100, NOW), Kept::Whole);
        let newer = map_of(&[("a", 90), ("b", 91)]);
        assert_eq!(filtered(&batch, &newer, 100, NOW), Kept::Nothing);
        assert_eq!(
            filtered(&batch, &newer, 10, NOW),
            Kept::Whole,
            "not covered by the map"
        );
        assert_eq!(
            rows(&part(filtered(&batch, &newer, 11, NOW))),
            [(11, "b", Some("2"))]
        );
    }

    #[test]
    fn a_record_without_a_key_goes() {
        let batch = batch_of(&[("", Some("1")), ("b", Some("2"))]);
        assert_eq!(
            rows(&part(filtered(&batch, &map_of(&[]), 100, NOW))),
            [(11, "b", Some("2"))]
        );
    }

    #[test]
    fn a_tombstone_stays_until_its_horizon_which_the_first_pass_sets() {
        let batch = batch_of(&[("a", None), ("b", Some("2"))]);
        let map = map_of(&[("a", 10)]);
        let noted = part(filtered(&batch, &map, 100, NOW));
        assert_eq!(verify(&noted).unwrap().delete_horizon(), Some(Timestamp(100_500)));
        assert_eq!(rows(&noted), [(10, "a", None), (11, "b", Some("2"))]);
        let times = |batch: &[u8]| -> Vec<i64> {
            records(batch)
                .unwrap()
                .map(|record| record.unwrap().timestamp.0)
                .collect()
        };
        assert_eq!(times(&noted), [1_000, 1_001], "timestamps do not move");
        assert_eq!(filtered(&noted, &map, 100, Timestamp(100_499)), Kept::Whole);
        let over = part(filtered(&noted, &map, 100, Timestamp(100_500)));
        assert_eq!(rows(&over), [(11, "b", Some("2"))]);
        assert_eq!(times(&over), [1_001]);
        assert_eq!(
            filtered(&batch, &map, 10, NOW),
            Kept::Whole,
            "not compacted, so its time does not begin"
        );
    }

    #[test]
    fn what_cannot_be_opened_stays_as_it_is() {
        let mut control = batch_of(&[("a", Some("1"))]);
        let mut garbage = control.clone();
        for (batch, attributes) in [(&mut control, 0x20_i16), (&mut garbage, 1)] {
            batch[21..23].copy_from_slice(&attributes.to_be_bytes());
            let crc = crc32c::crc32c(&batch[21..]);
            batch[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        let map = map_of(&[("a", 90)]);
        for batch in [control, garbage] {
            assert_eq!(filtered(&batch, &map, 100, NOW), Kept::Whole);
            let mut noted = map_of(&[]);
            note_keys(&mut noted, &verify(&batch).unwrap(), &batch).unwrap();
            assert_eq!(noted.len(), 0);
        }
    }

    #[cfg(feature = "compression")]
    #[test]
    fn a_compressed_batch_is_opened_and_closed_in_its_own_codec() {
        for (number, codec) in [
            (1, Compression::Gzip),
            (2, Compression::Snappy),
            (3, Compression::Lz4),
            (4, Compression::Zstd),
        ] {
            let plain = batch_of(&[("a", Some("1")), ("b", Some("2"))]);
            let mut batch = plain[..HEADER_SIZE_BYTES].to_vec();
            batch.extend(codec::compress(codec, &plain[HEADER_SIZE_BYTES..]).unwrap());
            let length = batch.len() as i32 - 12;
            batch[8..12].copy_from_slice(&length.to_be_bytes());
            batch[22] = number;
            let crc = crc32c::crc32c(&batch[21..]);
            batch[17..21].copy_from_slice(&crc.to_be_bytes());
            let kept = part(filtered(&batch, &map_of(&[("a", 90)]), 100, NOW));
            let header = verify(&kept).unwrap();
            assert_eq!((header.compression(), header.record_count), (codec, 1));
            let opened = open(&header, &kept).unwrap();
            let found = parse(&header, &opened).unwrap();
            assert_eq!((found[0].offset, found[0].key), (Offset(11), Some(&b"b"[..])));
        }
    }
}
