//! `OffsetForLeaderEpoch`: where an epoch of leadership ended; there is only one, and it goes on.

use std::sync::Arc;

use kafka_wire::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_wire::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_wire::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::super::delayed_fetch::partition_of;
use super::super::node::{LEADER_EPOCH, Node, check_leader_epoch};
use super::super::protocol::ErrorCode;
use crate::log::Topic;

pub(super) fn answer(node: &Node, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let mut response = OffsetForLeaderEpochResponse::default();
    for asked in request.topics {
        let topic = node.topics.by_name(&asked.topic);
        let mut result = OffsetForLeaderTopicResult::default();
        result.partitions = asked
            .partitions
            .iter()
            .map(|partition| one(topic.as_ref(), partition))
            .collect();
        result.topic = asked.topic;
        response.topics.push(result);
    }
    response
}

fn one(topic: Option<&Arc<Topic>>, asked: &OffsetForLeaderPartition) -> EpochEndOffset {
    let mut end = EpochEndOffset::default();
    end.partition = asked.partition;
    end.leader_epoch = -1;
    end.end_offset = -1;
    let partition = topic.and_then(|topic| partition_of(topic, asked.partition));
    match (partition, check_leader_epoch(asked.current_leader_epoch)) {
        (None, _) => end.error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0,
        (Some(_), Err(error)) => end.error_code = error.0,
        (Some(partition), Ok(())) if asked.leader_epoch == LEADER_EPOCH => {
            end.leader_epoch = LEADER_EPOCH;
            end.end_offset = partition.high_watermark().0 as i64;
        }
        (Some(_), Ok(())) => {}
    }
    end
}
