//! A topic: a name, an identity, its configuration and its partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::catalog::TopicRecord;
use super::partition_state::PartitionState;
use super::{Partition, TopicId};

/// What a new topic should be like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicSpec {
    /// Number of partitions, at least 1.
    pub partitions: u32,
    /// Kafka topic configuration that differs from the defaults (`segment.bytes`, `max.message.bytes`, …),
    /// stored verbatim with the topic. A topic without any keeps its records for seven days, as in Kafka:
    /// `retention.ms` = -1 keeps them for ever. Names that are not in
    /// [`TOPIC_CONFIGS`](super::topic_config::TOPIC_CONFIGS) are stored and mean nothing to the log.
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
    /// The configuration when this handle was made.
    pub configs: BTreeMap<String, String>,
    /// The partitions, by index.
    pub partitions: Vec<Partition>,
}

impl Topic {
    /// The topic as it is logged.
    pub(super) fn record(&self) -> TopicRecord {
        TopicRecord {
            id: self.id,
            partitions: self.partitions.iter().map(Partition::id).collect(),
            configs: self.configs.clone(),
        }
    }

    /// The state behind each partition.
    pub(super) fn states(&self) -> Vec<Arc<PartitionState>> {
        let states = self.partitions.iter().map(|partition| &partition.state);
        states.map(Arc::clone).collect()
    }
}
