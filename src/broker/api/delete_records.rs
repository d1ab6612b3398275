//! `DeleteRecords`: moves the start of partitions up, durably.

use std::sync::Arc;

use kafka_wire::delete_records_request::DeleteRecordsPartition;
use kafka_wire::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_wire::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::super::delayed_fetch::partition_of;
use super::super::internal_topic;
use super::super::node::Node;
use super::super::protocol::ErrorCode;
use crate::log::{Append, AppendError, Offset, Topic, TopicPolicy};

/// The offset that stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;

/// The start of a partition that an error keeps unknown.
const NO_LOW_WATERMARK: i64 = -1;

/// A partition whose answer is known, or waits for the journal.
type Pending = (i32, Result<Append, ErrorCode>);

pub(super) async fn answer(node: &Node, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    // All deletions are on their way before the first is waited for: they share journal writes.
    let mut pending_topics = Vec::with_capacity(request.topics.len());
    for asked in request.topics {
        let topic = check_topic(node, &asked.name);
        let begin = |partition: &DeleteRecordsPartition| -> Pending {
            (partition.partition_index, begin(&topic, partition))
        };
        let pending: Vec<Pending> = asked.partitions.iter().map(begin).collect();
        pending_topics.push((asked.name, pending));
    }
    let mut response = DeleteRecordsResponse::default();
    for (name, pending) in pending_topics {
        let mut result = DeleteRecordsTopicResult::default();
        result.name = name;
        for (index, deletion) in pending {
            let moved = match deletion {
                Ok(deletion) => deletion.await.map_err(|_| ErrorCode::KAFKA_STORAGE_ERROR),
                Err(error) => Err(error),
            };
            result.partitions.push(partition_result(index, moved));
        }
        response.topics.push(result);
    }
    response
}

fn partition_result(index: i32, moved: Result<Offset, ErrorCode>) -> DeleteRecordsPartitionResult {
    let mut result = DeleteRecordsPartitionResult::default();
    result.partition_index = index;
    match moved {
        Ok(log_start) => result.low_watermark = log_start.0 as i64,
        Err(error) => {
            result.low_watermark = NO_LOW_WATERMARK;
            result.error_code = error.0;
        }
    }
    result
}

/// The topic, if its records may be deleted.
fn check_topic(node: &Node, name: &str) -> Result<Arc<Topic>, ErrorCode> {
    if internal_topic::is_internal(name) {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    let topic = node
        .topics
        .by_name(name)
        .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    if node.is_in_use(name) {
        return Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    }
    if !TopicPolicy::of(&topic.configs).deletes {
        return Err(ErrorCode::POLICY_VIOLATION);
    }
    Ok(topic)
}

fn begin(topic: &Result<Arc<Topic>, ErrorCode>, asked: &DeleteRecordsPartition) -> Result<Append, ErrorCode> {
    let topic = topic.as_ref().map_err(|error| *error)?;
    let partition =
        partition_of(topic, asked.partition_index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let offset = if asked.offset == HIGH_WATERMARK {
        partition.high_watermark()
    } else {
        u64::try_from(asked.offset)
            .map(Offset)
            .map_err(|_| ErrorCode::OFFSET_OUT_OF_RANGE)?
    };
    if offset > partition.high_watermark() {
        return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    partition.delete_records_before(offset).map_err(|error| {
        if matches!(error, AppendError::Deleted) {
            return ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        }
        tracing::warn!(partition = %partition.id(), %error, "records were not deleted");
        ErrorCode::KAFKA_STORAGE_ERROR
    })
}
