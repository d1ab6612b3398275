//! The topics as clients see them: found by name or id, created and deleted without blocking a worker.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use super::internal_topic;
use crate::log::{Log, PARTITIONS_PER_TOPIC_MAX, Topic, TopicError, TopicId, TopicSpec};

/// A view of the log's topics.
#[derive(Debug)]
pub(super) struct Topics {
    log: Log,
    /// Most partitions of all topics together.
    partitions_max: usize,
    /// Names by id, as last seen; the log has the truth.
    names: RwLock<HashMap<TopicId, String>>,
    /// Held by who changes a topic's configurations after looking at them.
    altering: tokio::sync::Mutex<()>,
}

/// Why a topic was not created, changed or deleted.
#[derive(Debug, thiserror::Error)]
pub(super) enum TopicChangeError {
    /// The log refused.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// There would be more partitions than allowed.
    #[error("there are {existing} partitions of at most {limit}, so {asked} more are refused")]
    TooManyPartitions {
        /// The number in all topics.
        existing: usize,
        /// The number in the new topic.
        asked: u32,
        /// The limit.
        limit: usize,
    },
    /// The thread that did the work was cancelled.
    #[error("the runtime is shutting down")]
    Cancelled,
}

impl Topics {
    pub(super) fn new(log: Log, partitions_max: usize) -> Topics {
        Topics {
            log,
            partitions_max,
            names: RwLock::default(),
            altering: tokio::sync::Mutex::default(),
        }
    }

    /// The topic of that name, unless it is hidden from clients.
    pub(super) fn by_name(&self, name: &str) -> Option<Arc<Topic>> {
        if internal_topic::is_hidden(name) {
            None
        } else {
            self.log.topic(name)
        }
    }

    /// The topic of that id.
    pub(super) fn by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        let known = self
            .names
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned();
        if let Some(topic) = known
            .and_then(|name| self.by_name(&name))
            .filter(|topic| topic.id == id)
        {
            return Some(topic);
        }
        let topic = self.all().into_iter().find(|topic| topic.id == id);
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        match &topic {
            Some(topic) => {
                names.insert(id, topic.name.clone());
            }
            None => {
                names.remove(&id);
            }
        }
        topic
    }

    /// All topics that clients see, by name.
    pub(super) fn all(&self) -> Vec<Arc<Topic>> {
        let mut topics = self.log.topics();
        topics.retain(|topic| !internal_topic::is_hidden(&topic.name));
        topics
    }

    /// The data folder that holds them, as an absolute path.
    pub(super) fn folder(&self) -> PathBuf {
        let folder = self.log.status().folder;
        std::path::absolute(&folder).unwrap_or(folder)
    }

    /// Creates a topic; durable when this returns.
    pub(super) async fn create(
        &self,
        name: &str,
        partitions: u32,
        configs: BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, TopicChangeError> {
        let log = self.log.clone();
        let name = name.to_owned();
        let spec = TopicSpec { partitions, configs };
        let limit = self.partitions_max;
        let create = move || {
            check_partitions(&log, spec.partitions, limit)?;
            Ok(log.create_topic(&name, &spec)?)
        };
        let created = tokio::task::spawn_blocking(create).await;
        created.map_err(|_| TopicChangeError::Cancelled)?
    }

    /// Waits until nobody else changes configurations, for as long as the guard lives.
    pub(super) async fn altering(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.altering.lock().await
    }

    /// Replaces the configurations of a topic; durable when this returns.
    pub(super) async fn alter(
        &self,
        name: &str,
        configs: BTreeMap<String, String>,
    ) -> Result<(), TopicChangeError> {
        let log = self.log.clone();
        let name = name.to_owned();
        let altered = tokio::task::spawn_blocking(move || log.alter_topic(&name, configs)).await;
        altered.map_err(|_| TopicChangeError::Cancelled)??;
        Ok(())
    }

    /// Gives a topic `added` more partitions, `count` in all; durable when this returns. Or only tells whether that
    /// is possible.
    pub(super) async fn add_partitions(
        &self,
        name: &str,
        count: usize,
        added: usize,
        validate_only: bool,
    ) -> Result<(), TopicChangeError> {
        let log = self.log.clone();
        let name = name.to_owned();
        let limit = self.partitions_max;
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let add = move || {
            check_partitions(&log, u32::try_from(added).unwrap_or(u32::MAX), limit)?;
            if count > PARTITIONS_PER_TOPIC_MAX {
                let limit = PARTITIONS_PER_TOPIC_MAX;
                return Err(TopicError::PartitionCount { found: count, limit }.into());
            }
            if !validate_only {
                log.add_partitions(&name, count)?;
            }
            Ok(())
        };
        let added = tokio::task::spawn_blocking(add).await;
        added.map_err(|_| TopicChangeError::Cancelled)?
    }

    /// Deletes a topic; durable when this returns.
    pub(super) async fn delete(&self, name: &str) -> Result<(), TopicChangeError> {
        let log = self.log.clone();
        let name = name.to_owned();
        let deleted = tokio::task::spawn_blocking(move || log.delete_topic(&name)).await;
        Ok(deleted.map_err(|_| TopicChangeError::Cancelled)??)
    }
}

/// Refuses `asked` more partitions if all topics together would have more than `limit`.
fn check_partitions(log: &Log, asked: u32, limit: usize) -> Result<(), TopicChangeError> {
    let existing: usize = log.topics().iter().map(|topic| topic.partitions.len()).sum();
    if existing.saturating_add(asked as usize) > limit {
        return Err(TopicChangeError::TooManyPartitions {
            existing,
            asked,
            limit,
        });
    }
    Ok(())
}

/// Whether Kafka allows the name for a topic.
pub(super) fn is_legal_name(name: &str) -> bool {
    const NAME_LENGTH_MAX: usize = 249;
    !name.is_empty()
        && name.len() <= NAME_LENGTH_MAX
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rule() {
        let longest = "a".repeat(249);
        for name in ["a", "orders.v1", "A_b-9", "...", longest.as_str()] {
            assert!(is_legal_name(name), "{name}");
        }
        let too_long = "a".repeat(250);
        for name in ["", ".", "..", "a/b", "a b", "ü", "a\n", too_long.as_str()] {
            assert!(!is_legal_name(name), "{name}");
        }
    }
}
