//! Which segments a partition has held long enough, or in too large a number: a pure decision.

use super::segment::SegmentSummary;
use super::topic_policy::TopicPolicy;
use super::{Offset, Timestamp};

/// What is to be removed from a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The first offset that stays.
    pub log_start: Offset,
    /// Whether the segment that is appended to must end first, because all of it is removed.
    pub rolls: bool,
}

/// What `policy` removes from the partition with these segments, oldest first, at the broker's time `now`.
///
/// Only whole segments from the front are removed. By age, that is while the newest record of each is older than
/// the policy allows, the segment that is appended to included; by size, while what remains is still as large
/// as the policy allows, that segment excluded. The result is above `log_start`.
pub fn removal(
    segments: &[SegmentSummary],
    policy: &TopicPolicy,
    now: Timestamp,
    log_start: Offset,
) -> Option<Removal> {
    if !policy.deletes {
        return None;
    }
    let live = &segments[segments.partition_point(|segment| segment.next_offset <= log_start)..];
    let count = expired_count(live, policy, now).max(excess_count(live, policy));
    let last = live[..count].last()?;
    Some(Removal {
        log_start: last.next_offset,
        rolls: last.is_active,
    })
}

fn expired_count(segments: &[SegmentSummary], policy: &TopicPolicy, now: Timestamp) -> usize {
    let Some(retention) = policy.retention else {
        return 0;
    };
    let retention_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    let is_expired = |segment: &&SegmentSummary| {
        segment.size_bytes > 0 && now.0.saturating_sub(segment.newest().0) > retention_ms
    };
    segments.iter().take_while(is_expired).count()
}

fn excess_count(segments: &[SegmentSummary], policy: &TopicPolicy) -> usize {
    let Some(limit_bytes) = policy.retention_size_max_bytes else {
        return 0;
    };
    let total_bytes: u64 = segments.iter().map(|segment| segment.size_bytes).sum();
    let mut excess_bytes = total_bytes.saturating_sub(limit_bytes);
    let is_excess = |segment: &&SegmentSummary| {
        let fits = !segment.is_active && segment.size_bytes <= excess_bytes;
        excess_bytes -= if fits { segment.size_bytes } else { 0 };
        fits
    };
    segments.iter().take_while(is_excess).count()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp(10_000);

    /// Segments of ten records and a hundred bytes with these timestamps; the last one is appended to.
    fn segments(timestamps: &[(i64, i64)]) -> Vec<SegmentSummary> {
        let summary = |(index, (max, appended)): (usize, &(i64, i64))| SegmentSummary {
            base_offset: Offset(index as u64 * 10),
            next_offset: Offset(index as u64 * 10 + 10),
            size_bytes: 100,
            max_timestamp: Timestamp(*max),
            last_append: Timestamp(*appended),
            is_active: index + 1 == timestamps.len(),
        };
        timestamps.iter().enumerate().map(summary).collect()
    }

    fn by_age(retention_ms: u64) -> TopicPolicy {
        TopicPolicy {
            retention: Some(Duration::from_millis(retention_ms)),
            ..TopicPolicy::default()
        }
    }

    fn by_size(limit_bytes: u64) -> TopicPolicy {
        TopicPolicy {
            retention: None,
            retention_size_max_bytes: Some(limit_bytes),
            ..TopicPolicy::default()
        }
    }

    fn start(segments: &[SegmentSummary], policy: &TopicPolicy, log_start: u64) -> Option<(u64, bool)> {
        let removal = removal(segments, policy, NOW, Offset(log_start))?;
        Some((removal.log_start.0, removal.rolls))
    }

    #[test]
    fn age_removes_from_the_front_what_is_older_than_allowed() {
        let found = segments(&[(1_000, 1_000), (2_000, 2_000), (3_000, 3_000), (9_000, 9_000)]);
        assert_eq!(start(&found, &by_age(9_000), 0), None, "as old as allowed");
        assert_eq!(start(&found, &by_age(8_999), 0), Some((10, false)));
        assert_eq!(start(&found, &by_age(7_999), 0), Some((20, false)));
        assert_eq!(start(&found, &by_age(1_000), 0), Some((30, false)));
        assert_eq!(
            start(&found, &by_age(0), 0),
            Some((40, true)),
            "the last one ends first"
        );
        assert_eq!(start(&found, &by_age(1_000), 30), None, "nothing moves back");
        assert_eq!(start(&[], &by_age(0), 0), None);
    }

    #[test]
    fn a_newer_segment_keeps_what_is_behind_it() {
        let found = segments(&[(9_500, 9_500), (1_000, 1_000), (1_000, 1_000)]);
        assert_eq!(start(&found, &by_age(1_000), 0), None);
    }

    #[test]
    fn a_timestamp_in_the_future_counts_as_the_time_of_the_append() {
        let year_3000 = 32_503_680_000_000;
        let found = segments(&[(year_3000, 1_000), (-1, 2_000), (i64::MAX, 9_999)]);
        assert_eq!(start(&found, &by_age(8_500), 0), Some((10, false)));
        assert_eq!(
            start(&found, &by_age(7_999), 0),
            Some((20, false)),
            "without a timestamp"
        );
    }

    #[test]
    fn an_old_timestamp_counts_as_it_is() {
        let found = segments(&[(i64::MIN, 9_999), (5, 9_999), (9_999, 9_999)]);
        assert_eq!(start(&found, &by_age(9_000), 0), None, "below -1 is no timestamp");
        let found = segments(&[(5, 9_999), (9_999, 9_999)]);
        assert_eq!(start(&found, &by_age(9_000), 0), Some((10, false)));
    }

    #[test]
    fn size_removes_while_the_rest_is_as_large_as_allowed() {
        let found = segments(&[(1, 1), (1, 1), (1, 1)]);
        assert_eq!(start(&found, &by_size(300), 0), None);
        assert_eq!(start(&found, &by_size(201), 0), None);
        assert_eq!(start(&found, &by_size(200), 0), Some((10, false)));
        assert_eq!(start(&found, &by_size(100), 0), Some((20, false)));
        assert_eq!(
            start(&found, &by_size(0), 0),
            Some((20, false)),
            "never the last one"
        );
        assert_eq!(
            start(&found, &by_size(200), 10),
            None,
            "what is gone does not count"
        );
    }

    #[test]
    fn an_empty_segment_and_a_compacted_topic_stay() {
        let mut found = segments(&[(1, 1), (1, 1)]);
        found[1].size_bytes = 0;
        assert_eq!(start(&found, &by_age(0), 0), Some((10, false)));
        let compacted = TopicPolicy {
            deletes: false,
            ..by_age(0)
        };
        assert_eq!(start(&found, &compacted, 0), None);
    }
}
