//! What a broker refuses in a producer's batch before the log sees it.

use bytes::Bytes;
use kafka_wire_records::{RecordBatch, RecordDecodeLimits};

use super::protocol::ErrorCode;
use super::timestamp_check;
use crate::log::{BATCH_SIZE_MAX_BYTES, Topic};

/// Size of the fixed part of a batch.
const HEADER_SIZE_BYTES: usize = 61;
const LENGTH_POSITION: usize = 8;
/// The length field does not count itself and the base offset before it.
const LENGTH_EXCLUDED_BYTES: usize = 12;
const MAGIC_POSITION: usize = 16;
const ATTRIBUTES_POSITION: usize = 21;

const COMPRESSION_MASK: i16 = 0x07;
const CODEC_MAX: i16 = 4;
const TRANSACTIONAL_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;

/// Kafka's default of `max.message.bytes`: 1 MiB and the 12 bytes before the counted part.
pub(super) const MESSAGE_SIZE_MAX_DEFAULT_BYTES: usize = 1024 * 1024 + 12;

/// Why a batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchRefusal {
    pub(super) error: ErrorCode,
    pub(super) reason: &'static str,
}

fn refuse(error: ErrorCode, reason: &'static str) -> Result<(), BatchRefusal> {
    Err(BatchRefusal { error, reason })
}

/// Checks what Kafka checks of a producer's records: one batch, of format 2, from a client's hand, within
/// the topic's limits. Checksum, counts and sequence numbers are checked by the log.
pub(super) fn check(records: &Bytes, topic: &Topic, now_ms: i64) -> Result<(), BatchRefusal> {
    let size_max_bytes = topic
        .configs
        .get("max.message.bytes")
        .and_then(|value| value.parse().ok())
        .unwrap_or(MESSAGE_SIZE_MAX_DEFAULT_BYTES);
    check_header(records, size_max_bytes)?;
    timestamp_check::check(records, topic, now_ms)?;
    if topic
        .configs
        .get("cleanup.policy")
        .is_some_and(|policy| policy.contains("compact"))
    {
        return check_keys(records);
    }
    Ok(())
}

fn check_header(records: &Bytes, size_max_bytes: usize) -> Result<(), BatchRefusal> {
    if records.is_empty() {
        return refuse(
            ErrorCode::INVALID_RECORD,
            "a produce request must carry a record batch per partition",
        );
    }
    let Some(header) = records.get(..HEADER_SIZE_BYTES) else {
        return refuse(
            ErrorCode::CORRUPT_MESSAGE,
            "the record batch is shorter than its header",
        );
    };
    if header[MAGIC_POSITION] != 2 {
        return refuse(
            ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT,
            "only record batches of magic 2 are taken",
        );
    }
    let length: [u8; 4] = [
        header[LENGTH_POSITION],
        header[LENGTH_POSITION + 1],
        header[LENGTH_POSITION + 2],
        header[LENGTH_POSITION + 3],
    ];
    let Ok(length) = usize::try_from(i32::from_be_bytes(length)) else {
        return refuse(
            ErrorCode::CORRUPT_MESSAGE,
            "the length of the record batch is negative",
        );
    };
    let size_bytes = length + LENGTH_EXCLUDED_BYTES;
    if size_bytes > size_max_bytes.min(BATCH_SIZE_MAX_BYTES) {
        return refuse(
            ErrorCode::MESSAGE_TOO_LARGE,
            "the record batch is larger than max.message.bytes",
        );
    }
    if size_bytes < records.len() {
        return refuse(
            ErrorCode::INVALID_RECORD,
            "more than one record batch for a partition",
        );
    }
    if size_bytes > records.len() {
        return refuse(ErrorCode::CORRUPT_MESSAGE, "the record batch is cut short");
    }
    let attributes = i16::from_be_bytes([header[ATTRIBUTES_POSITION], header[ATTRIBUTES_POSITION + 1]]);
    if attributes & CONTROL_BIT != 0 {
        return refuse(ErrorCode::INVALID_RECORD, "clients may not write control batches");
    }
    if attributes & TRANSACTIONAL_BIT != 0 {
        return refuse(ErrorCode::INVALID_REQUEST, "transactions are not served");
    }
    if attributes & COMPRESSION_MASK > CODEC_MAX {
        return refuse(
            ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
            "the compression codec is unknown",
        );
    }
    Ok(())
}

/// Compaction needs a key in every record.
fn check_keys(records: &Bytes) -> Result<(), BatchRefusal> {
    match RecordBatch::decode(&mut records.clone(), RecordDecodeLimits::default()) {
        Err(_) => refuse(ErrorCode::CORRUPT_MESSAGE, "the records do not decode"),
        Ok(batch) if batch.records.iter().any(|record| record.key.is_none()) => refuse(
            ErrorCode::INVALID_RECORD,
            "compacted topic takes only records with a key",
        ),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::BytesMut;
    use kafka_wire_records::{Compression, Record, RecordEncodeLimits, TimestampType};

    use super::*;
    use crate::log::TopicId;

    fn batch(key: Option<&'static [u8]>, change: impl FnOnce(&mut RecordBatch)) -> Bytes {
        let record = Record {
            attributes: 0,
            timestamp_delta: 0,
            offset_delta: 0,
            key: key.map(Bytes::from_static),
            value: Some(Bytes::from_static(b"value")),
            headers: Vec::new(),
        };
        let mut batch = RecordBatch {
            base_offset: 0,
            last_offset_delta: 0,
            partition_leader_epoch: -1,
            compression: Compression::None,
            timestamp_type: TimestampType::CreateTime,
            is_transactional: false,
            is_control: false,
            has_delete_horizon: false,
            base_timestamp: 1,
            max_timestamp: 1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            records: vec![record],
        };
        change(&mut batch);
        let mut bytes = BytesMut::new();
        batch
            .encode_into(&mut bytes, RecordEncodeLimits::default())
            .unwrap();
        bytes.freeze()
    }

    fn topic(configs: &[(&str, &str)]) -> Topic {
        let configs: BTreeMap<_, _> = configs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Topic {
            name: "t".to_owned(),
            id: TopicId([1; 16]),
            configs,
            partitions: Vec::new(),
        }
    }

    fn error_of(records: &Bytes, topic: &Topic) -> ErrorCode {
        check(records, topic, 0).map_or_else(|refusal| refusal.error, |()| ErrorCode::NONE)
    }

    #[test]
    fn one_intact_batch_passes() {
        for compression in [
            Compression::None,
            Compression::Gzip,
            Compression::Lz4,
            Compression::Zstd,
        ] {
            let records = batch(None, |batch| batch.compression = compression);
            assert_eq!(error_of(&records, &topic(&[])), ErrorCode::NONE);
        }
    }

    #[test]
    fn exactly_one_batch_is_taken() {
        let one = batch(None, |_| {});
        let two = Bytes::from([&one[..], &one[..]].concat());
        let plain = topic(&[]);
        assert_eq!(error_of(&two, &plain), ErrorCode::INVALID_RECORD);
        assert_eq!(error_of(&Bytes::new(), &plain), ErrorCode::INVALID_RECORD);
        for length in 1..one.len() {
            assert_eq!(
                error_of(&one.slice(..length), &plain),
                ErrorCode::CORRUPT_MESSAGE,
                "{length}"
            );
        }
    }

    #[test]
    fn hostile_lengths_are_refused() {
        let plain = topic(&[]);
        for length in [i32::MIN, -1, 0, 48, i32::MAX] {
            let mut bytes = BytesMut::from(&batch(None, |_| {})[..]);
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            let error = error_of(&bytes.freeze(), &plain);
            assert!(!error.is_none(), "{length}: {error}");
        }
    }

    #[test]
    fn control_and_transactional_batches_are_refused() {
        let plain = topic(&[]);
        let control = batch(None, |batch| batch.is_control = true);
        assert_eq!(error_of(&control, &plain), ErrorCode::INVALID_RECORD);
        let transactional = batch(None, |batch| batch.is_transactional = true);
        assert_eq!(error_of(&transactional, &plain), ErrorCode::INVALID_REQUEST);
    }

    #[test]
    fn old_formats_are_refused() {
        let mut bytes = BytesMut::from(&batch(None, |_| {})[..]);
        bytes[MAGIC_POSITION] = 1;
        assert_eq!(
            error_of(&bytes.freeze(), &topic(&[])),
            ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT
        );
    }

    #[test]
    fn the_topics_size_limit_is_exact() {
        let records = batch(None, |_| {});
        let exact = records.len().to_string();
        let below = (records.len() - 1).to_string();
        assert_eq!(
            error_of(&records, &topic(&[("max.message.bytes", &exact)])),
            ErrorCode::NONE
        );
        let error = error_of(&records, &topic(&[("max.message.bytes", &below)]));
        assert_eq!(error, ErrorCode::MESSAGE_TOO_LARGE);
    }

    #[test]
    fn compacted_topics_want_keys() {
        let compacted = topic(&[("cleanup.policy", "compact")]);
        assert_eq!(error_of(&batch(Some(b"k"), |_| {}), &compacted), ErrorCode::NONE);
        for compression in [Compression::None, Compression::Zstd] {
            let keyless = batch(None, |batch| batch.compression = compression);
            assert_eq!(error_of(&keyless, &compacted), ErrorCode::INVALID_RECORD);
        }
    }
}
