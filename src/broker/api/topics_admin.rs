//! `CreateTopics` and `DeleteTopics`.

use std::collections::{BTreeMap, HashMap};

use kafka_wire::create_topics_request::CreatableTopic;
use kafka_wire::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_wire::delete_topics_response::DeletableTopicResult;
use kafka_wire::{CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse};
use kafka_wire_core::{StrBytes, Uuid};

use super::super::internal_topic;
use super::super::node::{Context, NODE_ID, Node};
use super::super::protocol::ErrorCode;
use super::super::topics::{TopicChangeError, is_legal_name};
use super::super::wall_clock_ms;
use crate::log::topic_config::{self, TOPIC_CONFIGS, TopicConfig};
use crate::log::{TopicError, TopicId};

/// First version whose answer describes the created topic.
const DESCRIBING_VERSION: i16 = 5;

/// First version of `DeleteTopics` that can name topics by id.
const DELETE_BY_ID_VERSION: i16 = 6;

/// Most partitions of one new topic.
const PARTITIONS_MAX: i32 = 100_000;

const SOURCE_TOPIC: i8 = 1;
const SOURCE_DEFAULT: i8 = 5;

/// An error with words for the client.
pub(super) type Refusal = (ErrorCode, String);

/// A topic as it will be created.
struct Plan {
    partitions: u32,
    configs: BTreeMap<String, String>,
}

pub(super) async fn create(
    node: &Node,
    context: &Context,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let mut counts: HashMap<StrBytes, usize> = HashMap::new();
    for topic in &request.topics {
        *counts.entry(topic.name.clone()).or_default() += 1;
    }
    let mut response = CreateTopicsResponse::default();
    for topic in request.topics {
        let is_repeated = match counts.remove(&topic.name) {
            Some(count) => count > 1,
            // The first of several answered for all.
            None => continue,
        };
        let created = if is_repeated {
            Err((
                ErrorCode::INVALID_REQUEST,
                "the request names the topic more than once".to_owned(),
            ))
        } else {
            create_one(node, &topic, request.validate_only).await
        };
        response
            .topics
            .push(create_result(context.version(), topic.name, created));
    }
    response
}

async fn create_one(
    node: &Node,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<(Uuid, Plan), Refusal> {
    let name = topic.name.as_str();
    let plan = plan(node, topic)?;
    if node.topics.by_name(name).is_some() {
        return Err(exists(name));
    }
    if validate_only {
        return Ok((Uuid::ZERO, plan));
    }
    match node
        .topics
        .create(name, plan.partitions, plan.configs.clone())
        .await
    {
        Ok(topic) => {
            tracing::info!(topic = name, partitions = plan.partitions, "topic created");
            Ok((Uuid::from_bytes(topic.id.0), plan))
        }
        Err(error) => Err(change_refusal(name, &error)),
    }
}

fn exists(name: &str) -> Refusal {
    (
        ErrorCode::TOPIC_ALREADY_EXISTS,
        format!("Topic '{name}' already exists."),
    )
}

/// Checks what is asked for.
fn plan(node: &Node, topic: &CreatableTopic) -> Result<Plan, Refusal> {
    let name = topic.name.as_str();
    if !is_legal_name(name) {
        let reason = format!("topic name {name:?} is not 1 to 249 characters of [a-zA-Z0-9._-]");
        return Err((ErrorCode::INVALID_TOPIC_EXCEPTION, reason));
    }
    if internal_topic::is_internal(name) {
        return Err((
            ErrorCode::INVALID_TOPIC_EXCEPTION,
            format!("topic {name:?} is the broker's own"),
        ));
    }
    let partitions = if topic.assignments.is_empty() {
        if !matches!(topic.replication_factor, -1 | 1) {
            let reason = format!(
                "Unable to replicate the partition {} time(s): there is 1 broker",
                topic.replication_factor
            );
            return Err((ErrorCode::INVALID_REPLICATION_FACTOR, reason));
        }
        topic.num_partitions
    } else {
        assigned_partitions(topic)?
    };
    let partitions = match partitions {
        -1 => node.config.default_partitions,
        1..=PARTITIONS_MAX => partitions as u32,
        _ => {
            let reason = format!("{partitions} partitions asked for; 1 to {PARTITIONS_MAX} are possible");
            return Err((ErrorCode::INVALID_PARTITIONS, reason));
        }
    };
    let mut configs = BTreeMap::new();
    for config in &topic.configs {
        let Some(value) = &config.value else {
            let reason = format!(
                "Null value not supported for topic configs: {}",
                config.name.as_str()
            );
            return Err((ErrorCode::INVALID_CONFIG, reason));
        };
        configs.insert(config.name.as_str().to_owned(), value.as_str().to_owned());
    }
    topic_config::check_all(&configs).map_err(|error| (ErrorCode::INVALID_CONFIG, error.to_string()))?;
    Ok(Plan { partitions, configs })
}

/// The number of partitions of a manual assignment, all of which must be on this broker.
fn assigned_partitions(topic: &CreatableTopic) -> Result<i32, Refusal> {
    if topic.num_partitions != -1 || topic.replication_factor != -1 {
        let reason = "a manual assignment excludes a number of partitions and a replication factor";
        return Err((ErrorCode::INVALID_REQUEST, reason.to_owned()));
    }
    let mut indexes: Vec<i32> = topic
        .assignments
        .iter()
        .map(|assigned| assigned.partition_index)
        .collect();
    indexes.sort_unstable();
    let are_consecutive = indexes
        .iter()
        .zip(0..)
        .all(|(index, expected)| *index == expected);
    let are_here = topic
        .assignments
        .iter()
        .all(|assigned| assigned.broker_ids == [NODE_ID]);
    if !are_consecutive || !are_here {
        let reason = format!("partitions must be numbered from 0, each assigned to broker {NODE_ID} alone");
        return Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, reason));
    }
    Ok(i32::try_from(indexes.len()).unwrap_or(i32::MAX))
}

pub(super) fn change_refusal(name: &str, error: &TopicChangeError) -> Refusal {
    let code = match error {
        TopicChangeError::Topic(TopicError::Exists { .. }) => return exists(name),
        TopicChangeError::Topic(TopicError::InvalidName { .. }) => ErrorCode::INVALID_TOPIC_EXCEPTION,
        TopicChangeError::Topic(TopicError::Unknown { .. }) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        TopicChangeError::Topic(TopicError::PartitionCount { .. }) => ErrorCode::INVALID_PARTITIONS,
        TopicChangeError::Topic(TopicError::Config(_)) => ErrorCode::INVALID_CONFIG,
        TopicChangeError::TooManyPartitions { .. } => ErrorCode::POLICY_VIOLATION,
        TopicChangeError::Topic(_) | TopicChangeError::Cancelled => ErrorCode::KAFKA_STORAGE_ERROR,
    };
    tracing::warn!(topic = name, %error, "topic was not changed");
    (code, error.to_string())
}

fn create_result(
    version: i16,
    name: StrBytes,
    created: Result<(Uuid, Plan), Refusal>,
) -> CreatableTopicResult {
    let mut result = CreatableTopicResult::default();
    result.name = name;
    match created {
        Ok((id, plan)) => {
            if version >= 7 {
                result.topic_id = id;
            }
            if version >= DESCRIBING_VERSION {
                result.num_partitions = i32::try_from(plan.partitions).unwrap_or(i32::MAX);
                result.replication_factor = 1;
                result.configs = Some(described_configs(&plan.configs));
            }
        }
        Err((error, reason)) => {
            result.error_code = error.0;
            result.error_message = Some(StrBytes::from(reason));
        }
    }
    result
}

fn described_configs(configs: &BTreeMap<String, String>) -> Vec<CreatableTopicConfigs> {
    let describe = |config: &TopicConfig| {
        let own = configs.get(config.name);
        let mut described = CreatableTopicConfigs::default();
        described.name = StrBytes::from(config.name);
        described.value = Some(StrBytes::from(own.map_or(config.default, String::as_str)));
        described.config_source = if own.is_some() {
            SOURCE_TOPIC
        } else {
            SOURCE_DEFAULT
        };
        described
    };
    TOPIC_CONFIGS.iter().map(describe).collect()
}

pub(super) async fn delete(
    node: &Node,
    context: &Context,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let mut response = DeleteTopicsResponse::default();
    if context.version() < DELETE_BY_ID_VERSION {
        for name in request.topic_names {
            let deleted = delete_one(node, &name).await;
            response
                .responses
                .push(delete_result(context.version(), Some(name), Uuid::ZERO, deleted));
        }
        return response;
    }
    for topic in request.topics {
        let (name, id) = if let Some(name) = topic.name {
            (Some(name), Uuid::ZERO)
        } else {
            let found = node.topics.by_id(TopicId(topic.topic_id.to_bytes()));
            (
                found.map(|topic| StrBytes::from(topic.name.as_str())),
                topic.topic_id,
            )
        };
        let deleted = match &name {
            Some(name) => delete_one(node, name).await,
            None => Err((ErrorCode::UNKNOWN_TOPIC_ID, "no topic has this id".to_owned())),
        };
        response
            .responses
            .push(delete_result(context.version(), name, id, deleted));
    }
    response
}

async fn delete_one(node: &Node, name: &str) -> Result<Uuid, Refusal> {
    let unknown = || {
        (
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            format!("topic {name:?} does not exist"),
        )
    };
    let topic = node.topics.by_name(name).ok_or_else(unknown)?;
    if internal_topic::is_internal(name) {
        return Err((
            ErrorCode::INVALID_TOPIC_EXCEPTION,
            format!("topic {name:?} is the broker's own"),
        ));
    }
    if node.is_in_use(name) {
        return Err((
            ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            format!("topic {name:?} is in use by another part of this server"),
        ));
    }
    node.topics
        .delete(name)
        .await
        .map_err(|error| change_refusal(name, &error))?;
    tracing::info!(topic = name, "topic deleted");
    if let Err(error) = node.groups.forget_topic(name, wall_clock_ms()).await {
        tracing::warn!(topic = name, %error, "committed offsets of the deleted topic were not removed");
    }
    Ok(Uuid::from_bytes(topic.id.0))
}

fn delete_result(
    version: i16,
    name: Option<StrBytes>,
    asked_id: Uuid,
    deleted: Result<Uuid, Refusal>,
) -> DeletableTopicResult {
    let mut result = DeletableTopicResult::default();
    result.name = name;
    if version >= DELETE_BY_ID_VERSION {
        result.topic_id = *deleted.as_ref().unwrap_or(&asked_id);
    }
    if let Err((error, reason)) = deleted {
        result.error_code = error.0;
        if version >= 5 {
            result.error_message = Some(StrBytes::from(reason));
        }
    }
    result
}
