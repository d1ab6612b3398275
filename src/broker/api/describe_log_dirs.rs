//! `DescribeLogDirs`: the data folder, and how large each partition in it is.

use std::sync::Arc;

use kafka_wire::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_wire::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_wire::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use kafka_wire_core::StrBytes;

use super::super::delayed_fetch::partition_of;
use super::super::node::Node;
use super::super::protocol::ErrorCode;
use crate::log::{ReadError, Topic};

pub(super) fn answer(node: &Node, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let mut folder = DescribeLogDirsResult::default();
    folder.log_dir = StrBytes::from(node.topics.folder().display().to_string());
    match topics(node, request.topics) {
        Ok(topics) => folder.topics = topics,
        Err(error) => {
            tracing::warn!(%error, "the size of a partition could not be told");
            folder.error_code = ErrorCode::KAFKA_STORAGE_ERROR.0;
        }
    }
    let mut response = DescribeLogDirsResponse::default();
    response.results = vec![folder];
    response
}

/// The asked topics, or all; what does not exist is left out, as in Kafka.
fn topics(
    node: &Node,
    asked: Option<Vec<DescribableLogDirTopic>>,
) -> Result<Vec<DescribeLogDirsTopic>, ReadError> {
    let Some(asked) = asked else {
        let all = node.topics.all();
        return all
            .iter()
            .map(|topic| describe(topic, (0..).take(topic.partitions.len())))
            .collect();
    };
    let mut described = Vec::with_capacity(asked.len());
    for wanted in asked {
        if let Some(topic) = node.topics.by_name(&wanted.topic) {
            described.push(describe(&topic, wanted.partitions.into_iter())?);
        }
    }
    Ok(described)
}

fn describe(
    topic: &Arc<Topic>,
    indexes: impl Iterator<Item = i32>,
) -> Result<DescribeLogDirsTopic, ReadError> {
    let mut described = DescribeLogDirsTopic::default();
    described.name = StrBytes::from(topic.name.as_str());
    for index in indexes {
        let Some(partition) = partition_of(topic, index) else {
            continue;
        };
        let size_bytes = match partition.size_bytes() {
            Ok(size_bytes) => size_bytes,
            // Deleted since it was looked up.
            Err(ReadError::Deleted) => continue,
            Err(error) => return Err(error),
        };
        let mut result = DescribeLogDirsPartition::default();
        result.partition_index = index;
        result.partition_size = i64::try_from(size_bytes).unwrap_or(i64::MAX);
        described.partitions.push(result);
    }
    Ok(described)
}
