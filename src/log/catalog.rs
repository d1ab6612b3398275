//! The topics of a log: a fold of the records in the metadata partition.
//!
//! A record's key is the topic's name. Its value is `version u8 = 1, topic id 16 bytes, partition count u32,
//! partition ids u32 each, config count u32, then name and value of each with a u32 length before`. A record
//! without a value deletes the topic.
//!
//! The record with the key [`LAST_PARTITION_KEY`], which no topic can have, has the largest partition number that was
//! ever used as a u32: compaction removes the records of deleted topics, and numbers are never used again.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes};

use super::batch::{self, BatchBuilder, BatchError, Record};
use super::topic_policy::TopicPolicy;
use super::{PartitionId, Timestamp, TopicId};

/// The partition that holds the catalog's records.
pub const METADATA_PARTITION: PartitionId = PartitionId(0);
/// Most partitions of one topic. 10,000: the design's target for one machine.
pub const PARTITIONS_PER_TOPIC_MAX: u32 = 10_000;
/// Size of a segment of the catalog. 4 MiB: some ten thousand changes of topics, folded at start in moments.
const SEGMENT_SIZE_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Longest topic name, as in Kafka.
const NAME_LENGTH_MAX: usize = 249;
const VALUE_VERSION: u8 = 1;
/// The key of the record that remembers partition numbers.
const LAST_PARTITION_KEY: &[u8] = b":last-partition";

/// A topic as it is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRecord {
    /// Its identity.
    pub id: TopicId,
    /// Its partitions, by index.
    pub partitions: Vec<PartitionId>,
    /// Its configuration.
    pub configs: BTreeMap<String, String>,
}

/// The fold of the metadata partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// The topics that exist, by name.
    pub topics: BTreeMap<String, TopicRecord>,
    /// The largest partition number ever used.
    pub last_partition: u32,
}

impl Catalog {
    /// Takes in the records of `batch`.
    pub fn apply(&mut self, batch: &Bytes) -> Result<(), CatalogError> {
        for record in batch::records(batch)? {
            let record = record?;
            if record.key == Some(LAST_PARTITION_KEY) {
                let offset = record.offset.0;
                let number = record.value.and_then(|value| value.try_into().ok());
                let number = number.ok_or(CatalogError::Value { offset })?;
                self.last_partition = self.last_partition.max(u32::from_le_bytes(number));
                continue;
            }
            let name = record
                .key
                .and_then(|key| std::str::from_utf8(key).ok())
                .filter(|name| is_valid_name(name));
            let offset = record.offset.0;
            let name = name.ok_or(CatalogError::Name { offset })?;
            match record.value {
                None => {
                    self.topics.remove(name);
                }
                Some(value) => {
                    let topic = decode(value).ok_or(CatalogError::Value { offset })?;
                    let newest = topic.partitions.iter().map(|id| id.0).max().unwrap_or(0);
                    self.last_partition = self.last_partition.max(newest);
                    self.topics.insert(name.to_owned(), topic);
                }
            }
        }
        Ok(())
    }

    /// The partitions of all topics, and the metadata partition.
    pub fn partitions(&self) -> BTreeSet<PartitionId> {
        let of_topics = self
            .topics
            .values()
            .flat_map(|topic| topic.partitions.iter().copied());
        of_topics.chain([METADATA_PARTITION]).collect()
    }
}

/// The batch that logs one topic.
pub fn encode(name: &str, topic: &TopicRecord, now: Timestamp) -> Result<Bytes, BatchError> {
    let mut value = Vec::new();
    value.put_u8(VALUE_VERSION);
    value.put_slice(&topic.id.0);
    value.put_u32_le(topic.partitions.len() as u32);
    for partition in &topic.partitions {
        value.put_u32_le(partition.0);
    }
    value.put_u32_le(topic.configs.len() as u32);
    for text in topic.configs.iter().flat_map(|(name, value)| [name, value]) {
        value.put_u32_le(text.len() as u32);
        value.put_slice(text.as_bytes());
    }
    batch_of(&[(name.as_bytes(), Some(&value))], now)
}

/// The batch that logs the deletion of a topic, and the largest partition number that was ever used: it may have been
/// that topic's.
pub fn encode_deletion(name: &str, last_partition: u32, now: Timestamp) -> Result<Bytes, BatchError> {
    let number = last_partition.to_le_bytes();
    batch_of(
        &[(name.as_bytes(), None), (LAST_PARTITION_KEY, Some(&number))],
        now,
    )
}

/// How the catalog is kept: compacted, in small segments, since only closed ones are compacted.
pub fn policy() -> TopicPolicy {
    TopicPolicy {
        deletes: false,
        compacts: true,
        segment_size_max_bytes: Some(SEGMENT_SIZE_MAX_BYTES),
        ..TopicPolicy::default()
    }
}

fn batch_of(records: &[(&[u8], Option<&[u8]>)], now: Timestamp) -> Result<Bytes, BatchError> {
    let mut builder = BatchBuilder::new(now);
    for (key, value) in records {
        builder.push(&Record {
            timestamp: now,
            key: Some(key),
            value: *value,
            headers: &[],
        })?;
    }
    Ok(builder.finish())
}

fn decode(mut value: &[u8]) -> Option<TopicRecord> {
    if value.try_get_u8().ok()? != VALUE_VERSION {
        return None;
    }
    let mut id = [0; 16];
    value.try_copy_to_slice(&mut id).ok()?;
    let count = value.try_get_u32_le().ok()?;
    if count > PARTITIONS_PER_TOPIC_MAX {
        return None;
    }
    let partitions = (0..count)
        .map(|_| value.try_get_u32_le().ok().map(PartitionId))
        .collect::<Option<_>>()?;
    let mut configs = BTreeMap::new();
    for _ in 0..value.try_get_u32_le().ok()? {
        let name = text(&mut value)?;
        configs.insert(name, text(&mut value)?);
    }
    value.is_empty().then_some(TopicRecord {
        id: TopicId(id),
        partitions,
        configs,
    })
}

fn text(value: &mut &[u8]) -> Option<String> {
    let length = value.try_get_u32_le().ok()? as usize;
    let bytes = value.get(..length)?;
    value.advance(length);
    String::from_utf8(bytes.to_vec()).ok()
}

/// Whether Kafka allows `name` for a topic.
pub fn is_valid_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=NAME_LENGTH_MAX).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(allowed)
}

/// The metadata partition has a record that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The batch is malformed.
    #[error("metadata batch is malformed")]
    Batch(#[from] BatchError),
    /// The key is no topic name.
    #[error("metadata record at offset {offset} has no valid topic name")]
    Name {
        /// The record.
        offset: u64,
    },
    /// The value is malformed or of an unknown version.
    #[error("metadata record at offset {offset} has a value that this version cannot read")]
    Value {
        /// The record.
        offset: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic() -> TopicRecord {
        TopicRecord {
            id: TopicId([7; 16]),
            partitions: vec![PartitionId(3), PartitionId(4)],
            configs: BTreeMap::from([("segment.bytes".to_owned(), "1048576".to_owned())]),
        }
    }

    #[test]
    fn topics_come_and_go_and_numbers_are_never_used_again() {
        let mut catalog = Catalog::default();
        catalog
            .apply(&encode("orders", &topic(), Timestamp(1)).unwrap())
            .unwrap();
        assert_eq!(catalog.topics, BTreeMap::from([("orders".to_owned(), topic())]));
        assert_eq!(catalog.partitions(), BTreeSet::from([0, 3, 4].map(PartitionId)));
        catalog
            .apply(&encode_deletion("orders", 4, Timestamp(2)).unwrap())
            .unwrap();
        assert_eq!(
            catalog,
            Catalog {
                topics: BTreeMap::new(),
                last_partition: 4
            }
        );
    }

    #[test]
    fn the_largest_number_is_remembered_without_the_topic_that_had_it() {
        let mut catalog = Catalog::default();
        catalog
            .apply(&encode_deletion("gone", 9, Timestamp(1)).unwrap())
            .unwrap();
        catalog
            .apply(&encode("orders", &topic(), Timestamp(2)).unwrap())
            .unwrap();
        assert_eq!((catalog.last_partition, catalog.topics.len()), (9, 1));
        assert!(!is_valid_name(std::str::from_utf8(LAST_PARTITION_KEY).unwrap()));
    }

    #[test]
    fn names_are_those_that_kafka_allows() {
        for good in ["a", "A-b_c.9", "__consumer_offsets", &"x".repeat(249)] {
            assert!(is_valid_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä", "a\0", "../x", &"x".repeat(250)] {
            assert!(!is_valid_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_cut_value_is_refused() {
        let batch = encode("t", &topic(), Timestamp(1)).unwrap();
        let value = batch::records(&batch)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .value
            .unwrap()
            .to_vec();
        assert_eq!(decode(&value), Some(topic()));
        for end in 0..value.len() {
            assert_eq!(decode(&value[..end]), None, "cut at {end}");
        }
    }
}
