//! Commands in the record batches of the commands topic, whoever wrote them.

use bytes::Bytes;

use super::{Command, InvalidReason, Trace};
use crate::log::batch::{self, BatchHeader, Compression};

/// A record of the commands topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandRecord {
    /// The record's offset. One record may stand for the rest of a batch that cannot be read; it has the offset
    /// of the batch's last record then.
    pub offset: u64,
    /// The command, or why the record is none.
    pub command: Result<Command, InvalidReason>,
    /// What ties the command to its purchase.
    pub trace: Trace,
}

impl CommandRecord {
    fn of<'a>(
        offset: u64,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Self {
        let mut trace = Trace::default();
        headers.for_each(|(name, value)| trace.take(name, value));
        let command = Command::from_json(value.unwrap_or_default()).map_err(|_| InvalidReason::Malformed);
        CommandRecord {
            offset,
            command,
            trace,
        }
    }

    /// The record that stands for everything unreadable up to the end of the batch.
    fn unreadable(header: &BatchHeader, reason: InvalidReason) -> Self {
        CommandRecord {
            offset: header.last_offset().0,
            command: Err(reason),
            trace: Trace::default(),
        }
    }
}

/// The commands of one whole batch, in order; none if the batch marks the end of a transaction.
///
/// Nothing in the batch is trusted: a record that is no command, and the rest of a batch that cannot be read, are
/// told as such.
pub fn commands_in(header: &BatchHeader, batch: &Bytes) -> Vec<CommandRecord> {
    if header.is_control() {
        return Vec::new();
    }
    if header.compression() != Compression::None {
        return compressed(header, batch);
    }
    let Ok(records) = batch::records(batch) else {
        return vec![CommandRecord::unreadable(header, InvalidReason::Malformed)];
    };
    let commands = records.map(|record| match record {
        Ok(record) => CommandRecord::of(record.offset.0, record.value, record.headers),
        Err(_) => CommandRecord::unreadable(header, InvalidReason::Malformed),
    });
    commands.collect()
}

#[cfg(not(feature = "daemon"))]
fn compressed(header: &BatchHeader, _batch: &Bytes) -> Vec<CommandRecord> {
    vec![CommandRecord::unreadable(
        header,
        InvalidReason::UnsupportedCompression,
    )]
}

#[cfg(feature = "daemon")]
fn compressed(header: &BatchHeader, batch: &Bytes) -> Vec<CommandRecord> {
    use kafka_wire_records::{RecordBatch, RecordDecodeLimits};

    /// Most bytes that a batch may grow to. 64 MiB: sixteen times the largest batch, JSON rarely packs tighter.
    const DECOMPRESSED_MAX_BYTES: usize = 16 * crate::log::BATCH_SIZE_MAX_BYTES;

    let mut limits = RecordDecodeLimits::default();
    limits.max_batch_bytes = crate::log::BATCH_SIZE_MAX_BYTES;
    limits.max_decompressed_records_bytes = DECOMPRESSED_MAX_BYTES;
    let Ok(decoded) = RecordBatch::decode(&mut batch.clone(), limits) else {
        return vec![CommandRecord::unreadable(header, InvalidReason::Malformed)];
    };
    let commands = decoded.records.iter().map(|record| {
        // A delta outside the batch would break the order of offsets, and with it exactly-once.
        let delta = record.offset_delta.clamp(0, header.last_offset_delta);
        let headers = record
            .headers
            .iter()
            .map(|header| (&*header.key, header.value.as_deref()));
        CommandRecord::of(
            header.base_offset.plus(delta as u64).0,
            record.value.as_deref(),
            headers,
        )
    });
    commands.collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::log::Timestamp;
    use crate::log::batch::{BatchBuilder, Record};

    fn batch(values: &[Option<&[u8]>], headers: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Timestamp(1));
        for value in values {
            let record = Record {
                timestamp: Timestamp(1),
                key: None,
                value: *value,
                headers,
            };
            builder.push(&record).unwrap();
        }
        builder.finish().to_vec()
    }

    fn read(bytes: Vec<u8>) -> Vec<CommandRecord> {
        let bytes = Bytes::from(bytes);
        commands_in(&BatchHeader::parse(&bytes).unwrap(), &bytes)
    }

    #[test]
    fn good_and_bad_records_each_have_their_place() {
        let id = Uuid::from_u128(1);
        let command = Command::Commit {
            id,
            reservation: id,
            lines: Vec::new(),
        };
        let json = command.to_json();
        let headers: [(&str, &[u8]); 3] = [
            ("ce_correlationid", b"order-7"),
            ("ce_id", b"cause"),
            ("other", b"\xff"),
        ];
        let trace = Trace {
            correlation: Some("order-7".into()),
            causation: Some("cause".into()),
        };
        let expected = |offset, command| CommandRecord {
            offset,
            command,
            trace: trace.clone(),
        };
        assert_eq!(
            read(batch(&[Some(&json), Some(b"{}"), None], &headers)),
            vec![
                expected(0, Ok(command)),
                expected(1, Err(InvalidReason::Malformed)),
                expected(2, Err(InvalidReason::Malformed)),
            ]
        );
    }

    #[test]
    fn the_unreadable_rest_of_a_batch_is_one_record_at_its_end() {
        let mut bytes = batch(&[Some(b"{}"), Some(b"{}"), Some(b"{}")], &[]);
        // The length of the second record, behind the header and the first record of 9 bytes.
        bytes[61 + 9] = 0xff;
        let offsets: Vec<u64> = read(bytes).iter().map(|record| record.offset).collect();
        assert_eq!(offsets, vec![0, 2]);
    }

    #[test]
    fn a_compressed_batch_that_is_not_what_it_says_is_one_record() {
        let mut bytes = batch(&[Some(b"{}"), Some(b"{}")], &[]);
        bytes[22] |= 1;
        let records = read(bytes);
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].offset, 1);
        assert!(records[0].command.is_err());
    }
}
