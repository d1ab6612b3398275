//! The configurations that a topic can have: names, types, defaults, and which values are taken.
//!
//! Names, types and defaults are those of Kafka 4, so that its tools work; [`DURABILITY`] is this log's own.

use std::collections::BTreeMap;

/// Smallest `segment.bytes`, as in Kafka 4 (KIP-1030). 1 MiB: smaller ones make more files than data.
const SEGMENT_SIZE_MIN_BYTES: i64 = 1024 * 1024;

/// When an append is acknowledged: `fsync` or `os`.
pub const DURABILITY: &str = "durability";

/// Kafka's type of a configuration, by its number in Kafka's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean = 1,
    /// Text.
    String = 2,
    /// A signed 32-bit number.
    Int = 3,
    /// A signed 64-bit number.
    Long = 5,
    /// A finite number.
    Double = 6,
    /// Texts with commas between them.
    List = 7,
}

/// One topic configuration.
#[derive(Clone, Copy, Debug)]
pub struct TopicConfig {
    /// Its name.
    pub name: &'static str,
    /// The type of its value.
    pub kind: ConfigType,
    /// The value of a topic that does not have it.
    pub default: &'static str,
    /// What it is for, in one sentence.
    pub documentation: &'static str,
}

/// Why a topic cannot have a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is no configuration of that name.
    #[error("Unknown topic config name: {name:?}")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The value is of another type, outside its range, or not supported.
    #[error("Invalid value {value:?} for configuration {name}: {wanted}")]
    Value {
        /// The name.
        name: String,
        /// The value.
        value: String,
        /// What a value must be.
        wanted: &'static str,
    },
    /// Two values contradict each other.
    #[error("{smaller} is larger than {larger}")]
    Order {
        /// The configuration that must not be larger.
        smaller: &'static str,
        /// Than this one.
        larger: &'static str,
    },
}

const fn config(
    name: &'static str,
    kind: ConfigType,
    default: &'static str,
    documentation: &'static str,
) -> TopicConfig {
    TopicConfig {
        name,
        kind,
        default,
        documentation,
    }
}

/// All topic configurations, by name.
pub const TOPIC_CONFIGS: [TopicConfig; 34] = [
    config(
        "cleanup.policy",
        ConfigType::List,
        "delete",
        "How old data is removed: delete, compact, or both.",
    ),
    config(
        "compression.gzip.level",
        ConfigType::Int,
        "-1",
        "Level of gzip compression.",
    ),
    config(
        "compression.lz4.level",
        ConfigType::Int,
        "9",
        "Level of lz4 compression.",
    ),
    config(
        "compression.type",
        ConfigType::String,
        "producer",
        "Codec of stored batches; producer keeps the sent one.",
    ),
    config(
        "compression.zstd.level",
        ConfigType::Int,
        "3",
        "Level of zstd compression.",
    ),
    config(
        "delete.retention.ms",
        ConfigType::Long,
        "86400000",
        "How long tombstones of compacted topics are kept.",
    ),
    config(
        DURABILITY,
        ConfigType::String,
        "fsync",
        "When an append is acknowledged: fsync (on stable storage) or os (with the device, on stable storage within a second).",
    ),
    config(
        "file.delete.delay.ms",
        ConfigType::Long,
        "60000",
        "Not used: a removed file stays readable for those who read it.",
    ),
    config(
        "flush.messages",
        ConfigType::Long,
        "9223372036854775807",
        "Every batch is on stable storage when it is acknowledged.",
    ),
    config(
        "flush.ms",
        ConfigType::Long,
        "9223372036854775807",
        "Every batch is on stable storage when it is acknowledged.",
    ),
    config(
        "follower.replication.throttled.replicas",
        ConfigType::List,
        "",
        "Not used: there is one replica.",
    ),
    config(
        "index.interval.bytes",
        ConfigType::Int,
        "4096",
        "Distance of index entries.",
    ),
    config(
        "leader.replication.throttled.replicas",
        ConfigType::List,
        "",
        "Not used: there is one replica.",
    ),
    config(
        "local.retention.bytes",
        ConfigType::Long,
        "-2",
        "Not used: nothing is tiered.",
    ),
    config(
        "local.retention.ms",
        ConfigType::Long,
        "-2",
        "Not used: nothing is tiered.",
    ),
    config(
        "max.compaction.lag.ms",
        ConfigType::Long,
        "9223372036854775807",
        "Longest time a record stays uncompacted.",
    ),
    config(
        "max.message.bytes",
        ConfigType::Int,
        "1048588",
        "Largest record batch.",
    ),
    config(
        "message.timestamp.after.max.ms",
        ConfigType::Long,
        "3600000",
        "How far a timestamp may lie ahead.",
    ),
    config(
        "message.timestamp.before.max.ms",
        ConfigType::Long,
        "9223372036854775807",
        "How far a timestamp may lie back.",
    ),
    config(
        "message.timestamp.type",
        ConfigType::String,
        "CreateTime",
        "Who stamps records.",
    ),
    config(
        "min.cleanable.dirty.ratio",
        ConfigType::Double,
        "0.5",
        "Share of uncompacted data that starts compaction.",
    ),
    config(
        "min.compaction.lag.ms",
        ConfigType::Long,
        "0",
        "Shortest time a record stays uncompacted.",
    ),
    config(
        "min.insync.replicas",
        ConfigType::Int,
        "1",
        "There is one replica.",
    ),
    config(
        "preallocate",
        ConfigType::Boolean,
        "false",
        "Segments are always preallocated.",
    ),
    config(
        "remote.log.copy.disable",
        ConfigType::Boolean,
        "false",
        "Not used: nothing is tiered.",
    ),
    config(
        "remote.log.delete.on.disable",
        ConfigType::Boolean,
        "false",
        "Not used: nothing is tiered.",
    ),
    config(
        "remote.storage.enable",
        ConfigType::Boolean,
        "false",
        "Nothing is tiered.",
    ),
    config(
        "retention.bytes",
        ConfigType::Long,
        "-1",
        "Size at which old segments are removed.",
    ),
    config(
        "retention.ms",
        ConfigType::Long,
        "604800000",
        "Age at which old segments are removed.",
    ),
    config(
        "segment.bytes",
        ConfigType::Int,
        "1073741824",
        "Size of a segment file.",
    ),
    config(
        "segment.index.bytes",
        ConfigType::Int,
        "10485760",
        "Size of an index file.",
    ),
    config(
        "segment.jitter.ms",
        ConfigType::Long,
        "0",
        "Random part of the age at which a segment ends.",
    ),
    config(
        "segment.ms",
        ConfigType::Long,
        "604800000",
        "Age at which a segment ends.",
    ),
    config(
        "unclean.leader.election.enable",
        ConfigType::Boolean,
        "false",
        "Not used: there is one replica.",
    ),
];

/// The configuration of that name.
pub fn find(name: &str) -> Option<&'static TopicConfig> {
    TOPIC_CONFIGS.iter().find(|config| config.name == name)
}

/// Checks the value of one configuration.
///
/// # Errors
/// When the name is unknown, or the value is of another type, outside its range, or not supported.
pub fn check(name: &str, value: &str) -> Result<(), ConfigError> {
    let Some(config) = find(name) else {
        return Err(ConfigError::Unknown {
            name: name.to_owned(),
        });
    };
    let wanted = type_refusal(config.kind, value).or_else(|| value_refusal(name, value));
    match wanted {
        None => Ok(()),
        Some(wanted) => Err(ConfigError::Value {
            name: name.to_owned(),
            value: value.to_owned(),
            wanted,
        }),
    }
}

/// Checks the configurations of one topic, alone and together.
///
/// # Errors
/// The first refusal of [`check`], or a minimum above its maximum.
pub fn check_all(configs: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    if let Some(name) = configs.keys().find(|name| find(name).is_none()) {
        return Err(ConfigError::Unknown { name: name.clone() });
    }
    check_known(configs)
}

/// Like [`check_all`], but names that are unknown are passed over: who embeds the log may have some of its own.
///
/// # Errors
/// The first refusal of [`check`] of a known name, or a minimum above its maximum.
pub fn check_known(configs: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    for (name, value) in configs.iter().filter(|(name, _)| find(name).is_some()) {
        check(name, value)?;
    }
    let number = |name: &'static str| {
        let value = configs.get(name).map(String::as_str);
        let value = value.or_else(|| find(name).map(|config| config.default));
        value.and_then(|value| value.parse::<i64>().ok())
    };
    let (smaller, larger) = ("min.compaction.lag.ms", "max.compaction.lag.ms");
    if number(smaller) > number(larger) {
        return Err(ConfigError::Order { smaller, larger });
    }
    Ok(())
}

fn type_refusal(kind: ConfigType, value: &str) -> Option<&'static str> {
    let (is_legal, wanted) = match kind {
        ConfigType::Boolean => (matches!(value, "true" | "false"), "must be true or false"),
        ConfigType::Int => (value.parse::<i32>().is_ok(), "must be a 32-bit number"),
        ConfigType::Long => (value.parse::<i64>().is_ok(), "must be a 64-bit number"),
        ConfigType::Double => (value.parse::<f64>().is_ok_and(f64::is_finite), "must be a number"),
        ConfigType::String | ConfigType::List => (true, ""),
    };
    (!is_legal).then_some(wanted)
}

fn value_refusal(name: &str, value: &str) -> Option<&'static str> {
    let is_below = |minimum: i64| value.parse::<i64>().is_ok_and(|value| value < minimum);
    let (is_refused, wanted) = match name {
        "cleanup.policy" => (!value.split(',').all(is_cleanup), "must be delete or compact"),
        "compression.type" => (
            value != "producer",
            "must be producer, batches are stored as they were sent",
        ),
        "message.timestamp.type" => (
            value != "CreateTime",
            "must be CreateTime, batches are stored as they were sent",
        ),
        DURABILITY => (!matches!(value, "fsync" | "os"), "must be fsync or os"),
        "min.cleanable.dirty.ratio" => (
            !value.parse().is_ok_and(|value| (0.0..=1.0).contains(&value)),
            "must be between 0 and 1",
        ),
        "segment.bytes" => (is_below(SEGMENT_SIZE_MIN_BYTES), "must be at least 1048576"),
        "retention.ms" | "retention.bytes" => (is_below(-1), "must be at least -1"),
        "segment.ms" | "max.compaction.lag.ms" | "min.insync.replicas" => (is_below(1), "must be at least 1"),
        "max.message.bytes"
        | "min.compaction.lag.ms"
        | "delete.retention.ms"
        | "file.delete.delay.ms"
        | "segment.jitter.ms"
        | "index.interval.bytes"
        | "flush.ms"
        | "message.timestamp.after.max.ms"
        | "message.timestamp.before.max.ms" => (is_below(0), "must be at least 0"),
        _ => (false, ""),
    };
    is_refused.then_some(wanted)
}

fn is_cleanup(part: &str) -> bool {
    matches!(part.trim(), "delete" | "compact" | "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_its_defaults_are_legal() {
        assert!(TOPIC_CONFIGS.windows(2).all(|pair| pair[0].name < pair[1].name));
        for config in TOPIC_CONFIGS {
            assert_eq!(check(config.name, config.default), Ok(()), "{}", config.name);
        }
        assert_eq!(check_all(&BTreeMap::new()), Ok(()));
    }

    #[test]
    fn illegal_values_are_refused() {
        for (name, value) in [
            ("no.such.config", "1"),
            ("segment.bytes", "many"),
            ("segment.bytes", "2147483648"),
            ("segment.bytes", "1048575"),
            ("segment.ms", "0"),
            ("retention.ms", "-2"),
            ("retention.bytes", "-2"),
            ("preallocate", "yes"),
            ("min.cleanable.dirty.ratio", "NaN"),
            ("min.cleanable.dirty.ratio", "1.01"),
            ("min.compaction.lag.ms", "-1"),
            ("max.compaction.lag.ms", "0"),
            ("delete.retention.ms", "-1"),
            ("cleanup.policy", "shred"),
            ("cleanup.policy", "delete,shred"),
            ("max.message.bytes", "-1"),
            ("compression.type", "gzip"),
            ("message.timestamp.type", "LogAppendTime"),
            ("durability", "hope"),
        ] {
            assert!(check(name, value).is_err(), "{name}={value}");
        }
    }

    #[test]
    fn a_minimum_above_its_maximum_is_refused() {
        let configs = |lag_min: &str, lag_max: &str| {
            let pairs = [
                ("min.compaction.lag.ms", lag_min),
                ("max.compaction.lag.ms", lag_max),
            ];
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into()
        };
        assert_eq!(check_all(&configs("5", "5")), Ok(()));
        assert!(matches!(
            check_all(&configs("6", "5")),
            Err(ConfigError::Order { .. })
        ));
    }
}
