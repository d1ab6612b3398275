//! What the configurations of a topic ask of the log: how long data stays, how it is compacted, how it is cut.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use super::Durability;
use super::topic_config::{self, DURABILITY};

/// The typed configurations of one topic, as far as the log acts on them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TopicPolicy {
    /// Whether old segments are removed (`cleanup.policy=delete`).
    pub deletes: bool,
    /// Whether only the newest record of each key is kept (`cleanup.policy=compact`).
    pub compacts: bool,
    /// Age at which records are removed; none for never.
    pub retention: Option<Duration>,
    /// Size of a partition above which the oldest segments are removed; none for never.
    pub retention_size_max_bytes: Option<u64>,
    /// Size at which a segment ends; none for what the log was opened with.
    pub segment_size_max_bytes: Option<u64>,
    /// Age at which a segment ends.
    pub segment_age_max: Duration,
    /// How long every record is kept from compaction.
    pub compaction_lag_min: Duration,
    /// How long a record may wait for compaction; none for as long as the share of uncompacted data allows.
    pub compaction_lag_max: Option<Duration>,
    /// How long a tombstone stays after all that it deletes was removed.
    pub tombstone_retention: Duration,
    /// Share of uncompacted data above which compaction begins, 0 to 1.
    pub dirty_ratio_min: f64,
    /// When an append is acknowledged.
    pub durability: Durability,
}

impl Default for TopicPolicy {
    /// The policy of a topic without configurations: Kafka's.
    fn default() -> TopicPolicy {
        TopicPolicy::of(&BTreeMap::new())
    }
}

impl TopicPolicy {
    /// The policy that `configs` ask for. A value that is not legal counts as not given: it was refused when the
    /// topic was made, unless another version made it.
    pub fn of(configs: &BTreeMap<String, String>) -> TopicPolicy {
        let configs = Configs(configs);
        let cleanup = configs.text("cleanup.policy");
        let cleans = |wanted| cleanup.split(',').any(|part| part.trim() == wanted);
        TopicPolicy {
            deletes: cleans("delete"),
            compacts: cleans("compact"),
            retention: configs.duration("retention.ms"),
            retention_size_max_bytes: u64::try_from(configs.number::<i64>("retention.bytes")).ok(),
            segment_size_max_bytes: configs.own("segment.bytes").and_then(|value| value.parse().ok()),
            segment_age_max: configs.duration("segment.ms").unwrap_or(Duration::MAX),
            compaction_lag_min: configs
                .duration("min.compaction.lag.ms")
                .unwrap_or(Duration::ZERO),
            compaction_lag_max: configs.duration("max.compaction.lag.ms"),
            tombstone_retention: configs.duration("delete.retention.ms").unwrap_or(Duration::MAX),
            dirty_ratio_min: configs.number("min.cleanable.dirty.ratio"),
            durability: match configs.text(DURABILITY) {
                "os" => Durability::Os,
                _ => Durability::Fsync,
            },
        }
    }

    /// The age at which the segment that is appended to ends, although nothing is appended: at the latest when
    /// its records must be compacted.
    pub fn roll_age(&self) -> Duration {
        let lag = self.compaction_lag_max.filter(|_| self.compacts);
        lag.map_or(self.segment_age_max, |lag| lag.min(self.segment_age_max))
    }
}

/// Configurations by name, and the defaults of those that are not there.
struct Configs<'a>(&'a BTreeMap<String, String>);

impl<'a> Configs<'a> {
    fn own(&self, name: &str) -> Option<&'a str> {
        let value = self.0.get(name).map(String::as_str);
        value.filter(|value| topic_config::check(name, value).is_ok())
    }

    fn text(&self, name: &str) -> &'a str {
        let default = || topic_config::find(name).map_or("", |config| config.default);
        self.own(name).unwrap_or_else(default)
    }

    /// A number whose default is one: the table's test says so.
    fn number<T: FromStr + Default>(&self, name: &str) -> T {
        self.text(name).parse().unwrap_or_default()
    }

    /// Milliseconds; none where the number is negative or so large that it stands for ever.
    fn duration(&self, name: &str) -> Option<Duration> {
        let milliseconds = u64::try_from(self.number::<i64>(name)).ok();
        milliseconds
            .filter(|milliseconds| *milliseconds < i64::MAX as u64)
            .map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(configs: &[(&str, &str)]) -> TopicPolicy {
        let pairs = configs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        TopicPolicy::of(&pairs.collect())
    }

    #[test]
    fn a_topic_without_configurations_has_kafkas_defaults() {
        let week = Duration::from_hours(7 * 24);
        let expected = TopicPolicy {
            deletes: true,
            compacts: false,
            retention: Some(week),
            retention_size_max_bytes: None,
            segment_size_max_bytes: None,
            segment_age_max: week,
            compaction_lag_min: Duration::ZERO,
            compaction_lag_max: None,
            tombstone_retention: Duration::from_hours(24),
            dirty_ratio_min: 0.5,
            durability: Durability::Fsync,
        };
        assert_eq!(policy(&[]), expected);
        assert_eq!(TopicPolicy::default(), expected);
    }

    #[test]
    fn every_configuration_is_read() {
        let read = policy(&[
            ("cleanup.policy", "compact, delete"),
            ("retention.ms", "-1"),
            ("retention.bytes", "0"),
            ("segment.bytes", "1048576"),
            ("segment.ms", "10"),
            ("min.compaction.lag.ms", "1"),
            ("max.compaction.lag.ms", "2"),
            ("delete.retention.ms", "3"),
            ("min.cleanable.dirty.ratio", "0.25"),
            ("durability", "os"),
        ]);
        let expected = TopicPolicy {
            deletes: true,
            compacts: true,
            retention: None,
            retention_size_max_bytes: Some(0),
            segment_size_max_bytes: Some(1024 * 1024),
            segment_age_max: Duration::from_millis(10),
            compaction_lag_min: Duration::from_millis(1),
            compaction_lag_max: Some(Duration::from_millis(2)),
            tombstone_retention: Duration::from_millis(3),
            dirty_ratio_min: 0.25,
            durability: Durability::Os,
        };
        assert_eq!(read, expected);
        assert_eq!(read.roll_age(), Duration::from_millis(2));
        let keeps_all = policy(&[("cleanup.policy", ""), ("max.compaction.lag.ms", "2")]);
        assert_eq!((keeps_all.deletes, keeps_all.compacts), (false, false));
        assert_eq!(keeps_all.roll_age(), Duration::from_hours(7 * 24));
    }

    #[test]
    fn a_value_that_is_not_legal_counts_as_not_given() {
        let read = policy(&[
            ("retention.ms", "soon"),
            ("segment.bytes", "1"),
            ("durability", "hope"),
            ("no.such.config", "1"),
        ]);
        assert_eq!(read, TopicPolicy::default());
    }
}
