//! `CreatePartitions`: more partitions for topics that exist.

use std::collections::HashMap;

use kafka_wire::create_partitions_request::CreatePartitionsTopic;
use kafka_wire::create_partitions_response::CreatePartitionsTopicResult;
use kafka_wire::{CreatePartitionsRequest, CreatePartitionsResponse};
use kafka_wire_core::StrBytes;

use super::super::internal_topic;
use super::super::node::{NODE_ID, Node};
use super::super::protocol::ErrorCode;
use super::topics_admin::{Refusal, change_refusal};

pub(super) async fn answer(node: &Node, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let mut counts: HashMap<StrBytes, usize> = HashMap::new();
    for topic in &request.topics {
        *counts.entry(topic.name.clone()).or_default() += 1;
    }
    let mut response = CreatePartitionsResponse::default();
    for topic in request.topics {
        let created = match counts.remove(&topic.name) {
            // The first of several answered for all.
            None => continue,
            Some(1) => create(node, &topic, request.validate_only).await,
            Some(_) => Err((ErrorCode::INVALID_REQUEST, "Duplicate topic name.".to_owned())),
        };
        let mut result = CreatePartitionsTopicResult::default();
        result.name = topic.name;
        if let Err((error, reason)) = created {
            result.error_code = error.0;
            result.error_message = Some(StrBytes::from(reason));
        }
        response.results.push(result);
    }
    response
}

async fn create(node: &Node, asked: &CreatePartitionsTopic, validate_only: bool) -> Result<(), Refusal> {
    let name = asked.name.as_str();
    let topic = node.topics.by_name(name).ok_or_else(|| {
        let reason = format!("topic {name:?} does not exist");
        (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, reason)
    })?;
    if internal_topic::is_internal(name) {
        let reason = format!("topic {name:?} is the broker's own");
        return Err((ErrorCode::INVALID_TOPIC_EXCEPTION, reason));
    }
    if node.is_in_use(name) {
        let reason = format!("topic {name:?} is in use by another part of this server");
        return Err((ErrorCode::TOPIC_AUTHORIZATION_FAILED, reason));
    }
    let existing = topic.partitions.len();
    let count = usize::try_from(asked.count).unwrap_or(0);
    if count <= existing {
        let reason = if count == existing {
            format!("Topic already has {existing} partition(s).")
        } else {
            format!(
                "The topic {name} currently has {existing} partition(s); {} would not be an increase.",
                asked.count
            )
        };
        return Err((ErrorCode::INVALID_PARTITIONS, reason));
    }
    if let Some(assignments) = &asked.assignments {
        let are_here = assignments
            .iter()
            .all(|assigned| assigned.broker_ids == [NODE_ID]);
        if assignments.len() != count - existing || !are_here {
            let reason = format!("each new partition must be assigned to broker {NODE_ID} alone");
            return Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, reason));
        }
    }
    let added = node
        .topics
        .add_partitions(name, count, count - existing, validate_only)
        .await;
    added.map_err(|error| change_refusal(name, &error))?;
    if !validate_only {
        tracing::info!(topic = name, partitions = count, "partitions created");
    }
    Ok(())
}
