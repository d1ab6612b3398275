//! What the broker must remember beyond topics and groups: its cluster id and the producer ids it gave out.

use std::sync::Arc;

use bytes::Bytes;

use super::error::StateError;
use super::internal_topic::{self, BROKER_STATE, KeyedRecord};
use crate::log::{Append, Log, Topic};

const CLUSTER_ID_KEY: &[u8] = b"cluster.id";
const NEXT_PRODUCER_ID_KEY: &[u8] = b"producer.id.next";

/// The durable state of the broker, one key per fact, in an internal topic.
#[derive(Debug)]
pub(super) struct BrokerState {
    topic: Arc<Topic>,
    /// The cluster's id, 22 characters, the same for ever.
    pub(super) cluster_id: String,
    /// The first producer id that was never reserved, as of start.
    pub(super) next_producer_id: i64,
}

impl BrokerState {
    /// Reads the state, or begins it. Blocks.
    pub(super) fn open(log: &Log, now_ms: i64) -> Result<BrokerState, StateError> {
        let topic = internal_topic::open(log, BROKER_STATE, 1)?;
        let mut cluster_id = None;
        let mut next_producer_id = 0;
        internal_topic::fold(BROKER_STATE, &topic.partitions[0], |_, record| {
            let value = record
                .value
                .as_deref()
                .and_then(|value| std::str::from_utf8(value).ok());
            match (&record.key[..], value) {
                (CLUSTER_ID_KEY, Some(value)) => cluster_id = Some(value.to_owned()),
                (NEXT_PRODUCER_ID_KEY, Some(value)) => {
                    next_producer_id = value
                        .parse()
                        .map_or(next_producer_id, |id| next_producer_id.max(id));
                }
                _ => {}
            }
        })?;
        let known = cluster_id.is_some();
        let cluster_id = cluster_id.unwrap_or_else(random_cluster_id);
        let state = BrokerState {
            topic,
            cluster_id,
            next_producer_id,
        };
        if !known {
            let value = Bytes::from(state.cluster_id.clone());
            let append = state.put(CLUSTER_ID_KEY, value, now_ms)?;
            append.wait()?;
        }
        Ok(state)
    }

    /// Records that every producer id below `next` is taken; durable when the append resolves.
    pub(super) fn reserve_producer_ids(&self, next: i64, now_ms: i64) -> Result<Append, StateError> {
        self.put(NEXT_PRODUCER_ID_KEY, Bytes::from(next.to_string()), now_ms)
    }

    fn put(&self, key: &'static [u8], value: Bytes, now_ms: i64) -> Result<Append, StateError> {
        let record = KeyedRecord {
            key: Bytes::from_static(key),
            value: Some(value),
        };
        internal_topic::append(BROKER_STATE, &self.topic.partitions[0], now_ms, vec![record])
    }
}

/// 128 random bits in the URL-safe base64 alphabet, as Kafka writes its cluster ids.
fn random_cluster_id() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // A first character of "-" reads as an option on a command line; Kafka avoids it too.
    let bits = uuid::Uuid::new_v4().as_u128() >> 1;
    (0..22)
        .map(|index| char::from(ALPHABET[((bits << 2) >> (126 - 6 * index)) as usize & 63]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_ids_look_like_kafkas() {
        for _ in 0..200 {
            let id = random_cluster_id();
            assert_eq!(id.len(), 22);
            assert!(
                id.bytes()
                    .all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_'),
                "{id}"
            );
            assert!(!id.starts_with('-'));
        }
        assert_ne!(random_cluster_id(), random_cluster_id());
    }
}
