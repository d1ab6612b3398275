//! How far the timestamps of a producer's batch may be from the broker's clock.

use bytes::Bytes;
use kafka_wire_records::{RecordBatch, RecordDecodeLimits};

use super::batch_check::BatchRefusal;
use super::protocol::ErrorCode;
use crate::log::Topic;

/// Where the header says how new the newest record is.
const MAX_TIMESTAMP_POSITION: usize = 35;

/// Kafka's default of `message.timestamp.after.max.ms`: one hour.
const AFTER_MAX_DEFAULT_MS: i64 = 60 * 60 * 1000;

/// The timestamp of a record that has none.
const NO_TIMESTAMP: i64 = -1;

/// Checks a batch whose header is whole against the limits of its topic.
///
/// A timestamp in microseconds, the usual mistake, would keep its segment from ever being old enough to
/// be removed. Newness is judged by the header, by which the log goes too, without opening the batch.
pub(super) fn check(records: &Bytes, topic: &Topic, now_ms: i64) -> Result<(), BatchRefusal> {
    let limit = |name: &str| topic.configs.get(name).and_then(|value| value.parse().ok());
    let after_max_ms = limit("message.timestamp.after.max.ms").unwrap_or(AFTER_MAX_DEFAULT_MS);
    let newest = records
        .get(MAX_TIMESTAMP_POSITION..)
        .and_then(|rest| rest.first_chunk())
        .map_or(NO_TIMESTAMP, |bytes| i64::from_be_bytes(*bytes));
    if newest.saturating_sub(now_ms) > after_max_ms {
        return Err(BatchRefusal {
            error: ErrorCode::INVALID_TIMESTAMP,
            reason: "a timestamp lies further ahead than message.timestamp.after.max.ms",
        });
    }
    match limit("message.timestamp.before.max.ms") {
        Some(before_max_ms) if before_max_ms < i64::MAX => check_age(records, before_max_ms, now_ms),
        _ => Ok(()),
    }
}

/// Refuses a batch with a record that is too old; only the records tell which is the oldest.
fn check_age(records: &Bytes, before_max_ms: i64, now_ms: i64) -> Result<(), BatchRefusal> {
    let batch = RecordBatch::decode(&mut records.clone(), RecordDecodeLimits::default());
    let Ok(batch) = batch else {
        return Err(BatchRefusal {
            error: ErrorCode::CORRUPT_MESSAGE,
            reason: "the records do not decode",
        });
    };
    let is_too_old = batch.records.iter().any(|record| {
        let timestamp = batch.base_timestamp.saturating_add(record.timestamp_delta);
        timestamp != NO_TIMESTAMP && now_ms.saturating_sub(timestamp) > before_max_ms
    });
    if is_too_old {
        return Err(BatchRefusal {
            error: ErrorCode::INVALID_TIMESTAMP,
            reason: "a timestamp lies further back than message.timestamp.before.max.ms",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_wire_records::{Compression, Record, RecordEncodeLimits, TimestampType};

    use super::*;
    use crate::log::TopicId;

    const NOW_MS: i64 = 1_700_000_000_000;

    fn batch(timestamps: &[i64]) -> Bytes {
        let record = |(offset_delta, timestamp): (i32, &i64)| Record {
            attributes: 0,
            timestamp_delta: timestamp - timestamps[0],
            offset_delta,
            key: None,
            value: None,
            headers: Vec::new(),
        };
        let batch = RecordBatch {
            base_offset: 0,
            last_offset_delta: timestamps.len() as i32 - 1,
            partition_leader_epoch: -1,
            compression: Compression::Lz4,
            timestamp_type: TimestampType::CreateTime,
            is_transactional: false,
            is_control: false,
            has_delete_horizon: false,
            base_timestamp: timestamps[0],
            max_timestamp: *timestamps.iter().max().unwrap(),
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            records: (0..).zip(timestamps).map(record).collect(),
        };
        let mut bytes = BytesMut::new();
        batch
            .encode_into(&mut bytes, RecordEncodeLimits::default())
            .unwrap();
        bytes.freeze()
    }

    fn is_taken(configs: &[(&str, &str)], timestamps: &[i64]) -> bool {
        let configs = configs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let topic = Topic {
            name: "t".to_owned(),
            id: TopicId([1; 16]),
            configs: configs.collect(),
            partitions: Vec::new(),
        };
        match check(&batch(timestamps), &topic, NOW_MS) {
            Ok(()) => true,
            Err(refusal) => {
                assert_eq!(refusal.error, ErrorCode::INVALID_TIMESTAMP);
                false
            }
        }
    }

    #[test]
    fn an_hour_ahead_is_the_limit_and_the_past_has_none() {
        let limit = NOW_MS + 3_600_000;
        for taken in [limit, NOW_MS, 0, NO_TIMESTAMP] {
            assert!(is_taken(&[], &[taken]), "{taken}");
        }
        assert!(!is_taken(&[], &[limit + 1]));
        assert!(!is_taken(&[], &[NOW_MS, limit + 1, NOW_MS]));
        assert!(!is_taken(&[], &[NOW_MS * 1000]), "microseconds");
    }

    #[test]
    fn topics_have_their_own_limits() {
        let after = [("message.timestamp.after.max.ms", "10")];
        assert!(is_taken(&after, &[NOW_MS + 10]));
        assert!(!is_taken(&after, &[NOW_MS + 11]));
        let unlimited = [("message.timestamp.after.max.ms", "9223372036854775807")];
        assert!(is_taken(&unlimited, &[NOW_MS * 1000]));
        let before = [("message.timestamp.before.max.ms", "10")];
        assert!(is_taken(&before, &[NOW_MS, NOW_MS - 10]));
        assert!(!is_taken(&before, &[NOW_MS, NOW_MS - 11, NOW_MS]));
        assert!(is_taken(&before, &[NO_TIMESTAMP]));
    }
}
