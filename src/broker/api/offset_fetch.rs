//! `OffsetFetch`: where groups are.

use std::collections::HashSet;

use kafka_wire::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_wire::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_wire::{OffsetFetchRequest, OffsetFetchResponse};
use kafka_wire_core::{StrBytes, Uuid};

use super::super::groups::CommittedOffset;
use super::super::node::{Context, Node};
use super::super::protocol::ErrorCode;
use crate::log::TopicId;

/// First version that asks for several groups at once.
const BATCHED_VERSION: i16 = 8;

/// First version that names topics by id.
const TOPIC_ID_VERSION: i16 = 10;

/// First version in which a missing leader epoch can be told from epoch 0.
const LEADER_EPOCH_VERSION: i16 = 5;

pub(super) fn answer(node: &Node, context: &Context, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let version = context.version();
    let mut response = OffsetFetchResponse::default();
    if version >= BATCHED_VERSION {
        // Each group once: all its offsets are any number of times the size of its name.
        let mut known = HashSet::new();
        response.groups = request
            .groups
            .into_iter()
            .filter(|group| known.insert(group.group_id.clone()))
            .map(|group| fetch_group(node, version, group))
            .collect();
        return response;
    }
    let mut group = OffsetFetchRequestGroup::default();
    group.group_id = request.group_id;
    group.topics = request.topics.map(|topics| {
        let renamed = topics.into_iter().map(|topic| {
            let mut renamed = OffsetFetchRequestTopics::default();
            renamed.name = topic.name;
            renamed.partition_indexes = topic.partition_indexes;
            renamed
        });
        renamed.collect()
    });
    let fetched = fetch_group(node, version, group);
    response.error_code = if version >= 2 { fetched.error_code } else { 0 };
    response.topics = fetched
        .topics
        .into_iter()
        .map(|topic| single_group_topic(version, topic))
        .collect();
    response
}

fn single_group_topic(version: i16, topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let mut renamed = OffsetFetchResponseTopic::default();
    renamed.name = topic.name;
    renamed.partitions = topic
        .partitions
        .into_iter()
        .map(|partition| {
            let mut renamed = OffsetFetchResponsePartition::default();
            renamed.partition_index = partition.partition_index;
            renamed.committed_offset = partition.committed_offset;
            if version >= LEADER_EPOCH_VERSION {
                renamed.committed_leader_epoch = partition.committed_leader_epoch;
            }
            renamed.metadata = partition.metadata;
            renamed.error_code = partition.error_code;
            renamed
        })
        .collect();
    renamed
}

fn fetch_group(node: &Node, version: i16, asked: OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
    let mut response = OffsetFetchResponseGroup::default();
    response.topics = match asked.topics {
        None => all_topics(node, version, &asked.group_id),
        Some(topics) => {
            let mut known = HashSet::new();
            topics
                .into_iter()
                .map(|topic| asked_topic(node, version, &asked.group_id, topic, &mut known))
                .collect()
        }
    };
    response.group_id = asked.group_id;
    response
}

fn all_topics(node: &Node, version: i16, group_id: &str) -> Vec<OffsetFetchResponseTopics> {
    let mut topics = Vec::new();
    for (name, partitions) in node.groups.all_committed(group_id) {
        let mut topic = OffsetFetchResponseTopics::default();
        if version >= TOPIC_ID_VERSION {
            // A topic that is gone has no id to be told by.
            let Some(found) = node.topics.by_name(&name) else {
                continue;
            };
            topic.topic_id = Uuid::from_bytes(found.id.0);
        } else {
            topic.name = StrBytes::from(name);
        }
        topic.partitions = partitions
            .into_iter()
            .map(|(index, offset)| partition(index, Some(offset)))
            .collect();
        topics.push(topic);
    }
    topics
}

fn asked_topic(
    node: &Node,
    version: i16,
    group_id: &str,
    asked: OffsetFetchRequestTopics,
    known: &mut HashSet<(Option<String>, i32)>,
) -> OffsetFetchResponseTopics {
    let mut topic = OffsetFetchResponseTopics::default();
    let name = if version >= TOPIC_ID_VERSION {
        topic.topic_id = asked.topic_id;
        node.topics
            .by_id(TopicId(asked.topic_id.to_bytes()))
            .map(|found| found.name.clone())
    } else {
        let name = asked.name.as_str().to_owned();
        topic.name = asked.name;
        Some(name)
    };
    topic.partitions = asked
        .partition_indexes
        .into_iter()
        // Each partition once: the metadata of its commit is up to a thousand times the size of its number.
        .filter(|index| name.is_none() || known.insert((name.clone(), *index)))
        .map(|index| {
            if let Some(name) = &name {
                partition(index, node.groups.committed(group_id, name, index))
            } else {
                let mut unknown = partition(index, None);
                unknown.error_code = ErrorCode::UNKNOWN_TOPIC_ID.0;
                unknown
            }
        })
        .collect();
    topic
}

fn partition(index: i32, committed: Option<CommittedOffset>) -> OffsetFetchResponsePartitions {
    let mut partition = OffsetFetchResponsePartitions::default();
    partition.partition_index = index;
    partition.committed_offset = -1;
    partition.committed_leader_epoch = -1;
    partition.metadata = Some(StrBytes::default());
    if let Some(CommittedOffset { value, .. }) = committed {
        partition.committed_offset = value.offset;
        partition.committed_leader_epoch = value.leader_epoch;
        partition.metadata = Some(StrBytes::from(value.metadata));
    }
    partition
}
