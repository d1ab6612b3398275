//! Whether a partition is worth compacting now, and in which steps: a pure decision.

use crate::log::segment::SegmentSummary;
use crate::log::topic_policy::TopicPolicy;
use crate::log::{Offset, Timestamp};

/// Largest number of offsets in one segment, which keeps them in 32 bits.
const OFFSETS_PER_SEGMENT_MAX: u64 = i32::MAX as u64;

/// What is to be compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The offset from which on nothing was compacted yet.
    pub dirty: Offset,
    /// The offset behind the last segment that may be compacted.
    pub end: Offset,
}

/// What of these segments, oldest first, `policy` wants to be compacted at the broker's time `now`; none if it is
/// not worth it yet.
///
/// Segments from `closed_below` on are out of bounds. Below `cleaned` everything was compacted before. Younger records
/// than the policy's lag wait, and all behind them.
pub fn plan(
    segments: &[SegmentSummary],
    policy: &TopicPolicy,
    now: Timestamp,
    cleaned: Offset,
    closed_below: Offset,
) -> Option<Plan> {
    if !policy.compacts {
        return None;
    }
    let lag_min_ms = policy.compaction_lag_min.as_millis();
    let age_ms =
        |segment: &SegmentSummary| u128::try_from(now.0.saturating_sub(segment.newest().0)).unwrap_or(0);
    let is_cleanable = |segment: &&SegmentSummary| {
        !segment.is_active
            && segment.next_offset <= closed_below
            && (segment.next_offset <= cleaned || lag_min_ms == 0 || age_ms(segment) > lag_min_ms)
    };
    let count = segments.iter().take_while(is_cleanable).count();
    let (clean, dirty): (Vec<_>, Vec<_>) = segments[..count]
        .iter()
        .partition(|segment| segment.next_offset <= cleaned);
    let (first, last) = (dirty.first()?, dirty.last()?);
    let size_bytes = |segments: &[&SegmentSummary]| segments.iter().map(|s| s.size_bytes).sum::<u64>() as f64;
    let (clean_bytes, dirty_bytes) = (size_bytes(&clean), size_bytes(&dirty));
    let is_dirty_enough = dirty_bytes / (clean_bytes + dirty_bytes) > policy.dirty_ratio_min;
    let is_late = policy
        .compaction_lag_max
        .is_some_and(|lag| age_ms(first) > lag.as_millis());
    (is_dirty_enough || is_late).then_some(Plan {
        dirty: first.base_offset.max(cleaned),
        end: last.next_offset,
    })
}

/// Cuts segments into runs that become one segment each.
pub fn groups(segments: &[SegmentSummary], segment_size_max_bytes: u64) -> Vec<&[SegmentSummary]> {
    let mut groups = Vec::new();
    let mut rest = segments;
    while let Some(first) = rest.first() {
        let mut size_bytes = 0;
        let fits = |segment: &&SegmentSummary| {
            size_bytes += segment.size_bytes;
            size_bytes <= segment_size_max_bytes
                && segment.next_offset.0 - first.base_offset.0 <= OFFSETS_PER_SEGMENT_MAX
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (group, behind) = rest.split_at(count);
        groups.push(group);
        rest = behind;
    }
    groups
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp(10_000);

    /// Segments of ten offsets with these sizes and times; the last one is appended to.
    fn segments(sizes: &[(u64, i64)]) -> Vec<SegmentSummary> {
        let summary = |(index, (size_bytes, newest)): (usize, &(u64, i64))| SegmentSummary {
            base_offset: Offset(index as u64 * 10),
            next_offset: Offset(index as u64 * 10 + 10),
            size_bytes: *size_bytes,
            max_timestamp: Timestamp(*newest),
            last_append: NOW,
            is_active: index + 1 == sizes.len(),
        };
        sizes.iter().enumerate().map(summary).collect()
    }

    fn policy() -> TopicPolicy {
        TopicPolicy {
            deletes: false,
            compacts: true,
            ..TopicPolicy::default()
        }
    }

    fn range(found: Option<Plan>) -> Option<(u64, u64)> {
        found.map(|plan| (plan.dirty.0, plan.end.0))
    }

    #[test]
    fn a_partition_is_compacted_when_enough_of_it_is_dirty() {
        let found = segments(&[(60, 1), (40, 1), (20, 1), (100, 1)]);
        let plan_from = |cleaned| range(plan(&found, &policy(), NOW, Offset(cleaned), Offset(30)));
        assert_eq!(plan_from(0), Some((0, 30)));
        assert_eq!(plan_from(10), None, "60 of 120 bytes are not more than half");
        assert_eq!(
            plan_from(5),
            Some((5, 30)),
            "a segment that is clean in part is dirty"
        );
        assert_eq!(plan_from(30), None);
        let eager = TopicPolicy {
            dirty_ratio_min: 0.0,
            ..policy()
        };
        assert_eq!(
            range(plan(&found, &eager, NOW, Offset(20), Offset(30))),
            Some((20, 30))
        );
        assert_eq!(
            range(plan(&found, &eager, NOW, Offset(20), Offset(20))),
            None,
            "out of bounds"
        );
        let never = TopicPolicy {
            compacts: false,
            ..eager
        };
        assert_eq!(plan(&found, &never, NOW, Offset(0), Offset(30)), None);
    }

    #[test]
    fn young_records_wait_and_old_ones_do_not() {
        let found = segments(&[(60, 1_000), (40, 9_500), (20, 1_000), (100, 9_999)]);
        let lagging = TopicPolicy {
            compaction_lag_min: Duration::from_millis(500),
            ..policy()
        };
        assert_eq!(
            range(plan(&found, &lagging, NOW, Offset(0), Offset(30))),
            Some((0, 10))
        );
        let late = TopicPolicy {
            compaction_lag_max: Some(Duration::from_millis(499)),
            dirty_ratio_min: 1.0,
            ..policy()
        };
        assert_eq!(
            range(plan(&found, &late, NOW, Offset(10), Offset(30))),
            Some((10, 30))
        );
        let found = segments(&[(60, 9_600), (1, 9_999)]);
        assert_eq!(plan(&found, &late, NOW, Offset(0), Offset(10)), None);
    }

    #[test]
    fn small_neighbours_become_one_segment() {
        let found = segments(&[(60, 1), (40, 1), (20, 1), (500, 1), (1, 1)]);
        let counts =
            |limit_bytes| -> Vec<usize> { groups(&found, limit_bytes).into_iter().map(<[_]>::len).collect() };
        assert_eq!(counts(100), [2, 1, 1, 1]);
        assert_eq!(counts(10), [1, 1, 1, 1, 1]);
        assert_eq!(counts(1_000), [5]);
        let mut far = found.clone();
        far[1].next_offset = Offset(OFFSETS_PER_SEGMENT_MAX + 1);
        far[2].base_offset = far[1].next_offset;
        far[2].next_offset = far[1].next_offset.plus(1);
        let lengths: Vec<_> = groups(&far[..3], 1_000).into_iter().map(<[_]>::len).collect();
        assert_eq!(lengths, [1, 2]);
    }
}
