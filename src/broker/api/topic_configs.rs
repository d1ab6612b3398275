//! Kafka's topic configurations: names, types, defaults, and what this broker takes.

/// Kafka's type of a configuration, by its number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub(super) enum ConfigType {
    Boolean = 1,
    String = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

/// One topic configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct TopicConfig {
    pub(super) name: &'static str,
    pub(super) kind: ConfigType,
    pub(super) default: &'static str,
    pub(super) documentation: &'static str,
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

/// All topic configurations of Kafka 4, with Kafka's defaults, by name.
pub(super) const TOPIC_CONFIGS: [TopicConfig; 33] = [
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
        "file.delete.delay.ms",
        ConfigType::Long,
        "60000",
        "How long a removed file stays on disk.",
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
pub(super) fn find(name: &str) -> Option<&'static TopicConfig> {
    TOPIC_CONFIGS.iter().find(|config| config.name == name)
}

/// Why a topic cannot have this configuration, in words for its creator.
pub(super) fn refusal(name: &str, value: &str) -> Option<String> {
    let Some(config) = find(name) else {
        return Some(format!("Unknown topic config name: {name:?}"));
    };
    let is_legal = match config.kind {
        ConfigType::Boolean => matches!(value, "true" | "false"),
        ConfigType::Int => value.parse::<i32>().is_ok(),
        ConfigType::Long => value.parse::<i64>().is_ok(),
        ConfigType::Double => value.parse::<f64>().is_ok_and(f64::is_finite),
        ConfigType::String | ConfigType::List => true,
    };
    if !is_legal {
        return Some(format!("Invalid value {value:?} for configuration {name}"));
    }
    match name {
        "cleanup.policy"
            if !value
                .split(',')
                .all(|part| matches!(part.trim(), "delete" | "compact" | "")) =>
        {
            Some(format!(
                "Invalid value {value:?} for configuration {name}: must be delete or compact"
            ))
        }
        "max.message.bytes" if value.starts_with('-') => Some(format!(
            "Invalid value {value:?} for configuration {name}: must be at least 0"
        )),
        "compression.type" if value != "producer" => {
            Some("compression.type must be producer: batches are stored as they were sent".to_owned())
        }
        "message.timestamp.type" if value != "CreateTime" => {
            Some("message.timestamp.type must be CreateTime: batches are stored as they were sent".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_its_defaults_are_legal() {
        assert!(TOPIC_CONFIGS.windows(2).all(|pair| pair[0].name < pair[1].name));
        for config in TOPIC_CONFIGS {
            assert_eq!(refusal(config.name, config.default), None, "{}", config.name);
        }
    }

    #[test]
    fn illegal_values_are_refused() {
        for (name, value) in [
            ("no.such.config", "1"),
            ("segment.bytes", "many"),
            ("segment.bytes", "2147483648"),
            ("preallocate", "yes"),
            ("min.cleanable.dirty.ratio", "NaN"),
            ("cleanup.policy", "shred"),
            ("max.message.bytes", "-1"),
            ("compression.type", "gzip"),
            ("message.timestamp.type", "LogAppendTime"),
        ] {
            assert!(refusal(name, value).is_some(), "{name}={value}");
        }
    }
}
