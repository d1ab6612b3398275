//! `OffsetDelete`: forgets committed offsets of topics that a group does not read any more.

use kafka_wire::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_wire::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::super::delayed_fetch::partition_of;
use super::super::node::Node;
use super::super::protocol::ErrorCode;
use super::super::wall_clock_ms;

pub(super) async fn answer(node: &Node, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    let mut response = OffsetDeleteResponse::default();
    let mut deletable = Vec::new();
    for asked in request.topics {
        let topic = node.topics.by_name(&asked.name);
        let mut answered = OffsetDeleteResponseTopic::default();
        for partition in asked.partitions {
            let mut result = OffsetDeleteResponsePartition::default();
            result.partition_index = partition.partition_index;
            let known = topic
                .as_ref()
                .and_then(|topic| partition_of(topic, partition.partition_index));
            if known.is_some() {
                deletable.push((asked.name.as_str().to_owned(), partition.partition_index));
            } else {
                result.error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
            }
            answered.partitions.push(result);
        }
        answered.name = asked.name;
        response.topics.push(answered);
    }

    let deleted = node
        .groups
        .delete_offsets(&request.group_id, &deletable, wall_clock_ms())
        .await;
    match deleted {
        Ok(answers) => {
            let partitions = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
            let asked = partitions.filter(|partition| partition.error_code == ErrorCode::NONE.0);
            for (partition, answer) in asked.zip(answers) {
                partition.error_code = answer.0;
            }
        }
        Err(error) => {
            response.error_code = error.0;
            response.topics.clear();
        }
    }
    response
}
