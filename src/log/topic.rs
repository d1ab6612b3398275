//! A topic: a name, an identity, its configuration and its partitions.

use std::collections::BTreeMap;

use super::{Partition, TopicId};

/// What a new topic should be like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicSpec {
    /// Number of partitions, at least 1.
    pub partitions: u32,
    /// Kafka topic configuration that differs from the defaults (`segment.bytes`, `max.message.bytes`, …),
    /// stored verbatim with the topic.
    pub configs: BTreeMap<String, String>,
}

impl TopicSpec {
    /// That many partitions and no configuration.
    #[must_use]
    pub fn with_partitions(partitions: u32) -> TopicSpec {
        TopicSpec {
            partitions,
            ..TopicSpec::default()
        }
    }
}

/// A topic of a [`super::Log`].
#[derive(Debug)]
pub struct Topic {
    /// The name, `[a-zA-Z0-9._-]{1,249}`, not `.` or `..`.
    pub name: String,
    /// The identity; a re-created topic has another.
    pub id: TopicId,
    /// The configuration given at creation.
    pub configs: BTreeMap<String, String>,
    /// The partitions, by index.
    pub partitions: Vec<Partition>,
}
