//! `OffsetCommit`: remembers where a group is, durably.

use std::sync::Arc;

use kafka_wire::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_wire::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_wire::{OffsetCommitRequest, OffsetCommitResponse};
use kafka_wire_core::Uuid;

use super::super::delayed_fetch::partition_of;
use super::super::groups::{CommitPartition, CommitRequest};
use super::super::node::{Context, Node};
use super::super::protocol::ErrorCode;
use super::super::wall_clock_ms;
use super::group_membership::identity;
use crate::log::{Topic, TopicId};

/// First version that names topics by id.
const TOPIC_ID_VERSION: i16 = 10;

/// Largest metadata of one commit, Kafka's default of `offset.metadata.max.bytes`.
const METADATA_SIZE_MAX_BYTES: usize = 4096;

pub(super) async fn answer(
    node: &Node,
    context: &Context,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let by_id = context.version() >= TOPIC_ID_VERSION;
    let mut partitions = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in request.topics {
        let found = find_topic(node, by_id, &asked);
        let mut answered = OffsetCommitResponseTopic::default();
        answered.topic_id = if by_id { asked.topic_id } else { Uuid::ZERO };
        for partition in &asked.partitions {
            let mut result = OffsetCommitResponsePartition::default();
            result.partition_index = partition.partition_index;
            match to_commit(&found, partition) {
                Ok(commit) => partitions.push(commit),
                Err(error) => result.error_code = error.0,
            }
            answered.partitions.push(result);
        }
        if !by_id {
            answered.name = asked.name;
        }
        topics.push(answered);
    }

    let outcome = if request.group_id.is_empty() {
        Err(ErrorCode::INVALID_GROUP_ID)
    } else {
        let commit = CommitRequest {
            group_id: request.group_id.as_str().to_owned(),
            identity: identity(&request.member_id, request.group_instance_id.as_ref()),
            generation: request.generation_id_or_member_epoch,
            partitions,
        };
        node.groups.commit(commit, wall_clock_ms()).await
    };
    if let Err(error) = outcome {
        for partition in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            partition.error_code = error.0;
        }
    }
    let mut response = OffsetCommitResponse::default();
    response.topics = topics;
    response
}

fn find_topic(node: &Node, by_id: bool, topic: &OffsetCommitRequestTopic) -> Result<Arc<Topic>, ErrorCode> {
    if by_id {
        let id = TopicId(topic.topic_id.to_bytes());
        node.topics.by_id(id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
    } else {
        node.topics
            .by_name(&topic.name)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }
}

fn to_commit(
    topic: &Result<Arc<Topic>, ErrorCode>,
    asked: &OffsetCommitRequestPartition,
) -> Result<CommitPartition, ErrorCode> {
    let topic = topic.as_ref().map_err(|error| *error)?;
    partition_of(topic, asked.partition_index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let metadata = asked.committed_metadata.as_deref().unwrap_or_default();
    if metadata.len() > METADATA_SIZE_MAX_BYTES {
        return Err(ErrorCode::OFFSET_METADATA_TOO_LARGE);
    }
    Ok(CommitPartition {
        topic: topic.name.clone(),
        partition: asked.partition_index,
        offset: asked.committed_offset,
        leader_epoch: asked.committed_leader_epoch,
        metadata: metadata.to_owned(),
    })
}
