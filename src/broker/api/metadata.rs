//! Metadata: the broker, and the topics with their partitions; creates topics that are asked for.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use kafka_wire::metadata_request::MetadataRequestTopic;
use kafka_wire::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_wire::{MetadataRequest, MetadataResponse};
use kafka_wire_core::{StrBytes, Uuid};

use super::super::internal_topic;
use super::super::node::{Context, LEADER_EPOCH, NODE_ID, Node};
use super::super::protocol::ErrorCode;
use super::super::topics::{TopicChangeError, is_legal_name};
use super::authorized_operations;
use crate::log::{Topic, TopicError, TopicId};

pub(super) async fn answer(node: &Node, context: &Context, request: MetadataRequest) -> MetadataResponse {
    let version = context.version();
    let may_create = node.config.auto_create_topics && (version < 4 || request.allow_auto_topic_creation);
    let mut response = MetadataResponse::default();
    response.topics = match request.topics {
        None => all(node),
        Some(topics) if topics.is_empty() && version == 0 => all(node),
        Some(topics) => {
            let mut described = Vec::new();
            for topic in distinct(topics) {
                described.push(one(node, may_create, topic).await);
            }
            described
        }
    };
    if request.include_topic_authorized_operations {
        for topic in response.topics.iter_mut().filter(|topic| topic.error_code == 0) {
            topic.topic_authorized_operations = authorized_operations::TOPIC;
        }
    }
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = authorized_operations::CLUSTER;
    }
    response.brokers = vec![broker(node, context)];
    response.cluster_id = Some(node.cluster_id());
    response.controller_id = NODE_ID;
    response
}

fn broker(node: &Node, context: &Context) -> MetadataResponseBroker {
    let mut broker = MetadataResponseBroker::default();
    broker.node_id = NODE_ID;
    (broker.host, broker.port) = node.advertised(context);
    broker
}

fn all(node: &Node) -> Vec<MetadataResponseTopic> {
    node.topics.all().iter().map(|topic| describe(topic)).collect()
}

/// Each topic once, as Kafka answers: a small request that repeats a name must not become a response of a
/// hundred thousand times all the topic's partitions.
fn distinct(mut topics: Vec<MetadataRequestTopic>) -> Vec<MetadataRequestTopic> {
    let mut known_names = HashSet::new();
    let mut known_ids = HashSet::new();
    topics.retain(|topic| match asked_name(topic) {
        Some(name) => known_names.insert(name.clone()),
        None => known_ids.insert(topic.topic_id.to_bytes()),
    });
    topics
}

/// The name that counts. Java's client leaves the name empty, others make it null, where an id is given: an id alone
/// says that it counts.
fn asked_name(topic: &MetadataRequestTopic) -> Option<&StrBytes> {
    topic.name.as_ref().filter(|_| topic.topic_id == Uuid::ZERO)
}

async fn one(node: &Node, may_create: bool, asked: MetadataRequestTopic) -> MetadataResponseTopic {
    let Some(name) = asked_name(&asked) else {
        let found = node.topics.by_id(TopicId(asked.topic_id.to_bytes()));
        return match found {
            Some(topic) => describe(&topic),
            None => failed(None, asked.topic_id, ErrorCode::UNKNOWN_TOPIC_ID),
        };
    };
    if let Some(topic) = node.topics.by_name(name) {
        return describe(&topic);
    }
    match create_missing(node, may_create, name).await {
        Ok(topic) => describe(&topic),
        Err(error) => failed(Some(name.clone()), Uuid::ZERO, error),
    }
}

/// Creates a topic that a client asked about, if it may.
async fn create_missing(node: &Node, may_create: bool, name: &str) -> Result<Arc<Topic>, ErrorCode> {
    if !is_legal_name(name) {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    if internal_topic::is_internal(name) || !may_create {
        return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    match node
        .topics
        .create(name, node.config.default_partitions, BTreeMap::new())
        .await
    {
        Ok(topic) => {
            tracing::info!(
                topic = name,
                partitions = node.config.default_partitions,
                "topic auto-created"
            );
            Ok(topic)
        }
        Err(TopicChangeError::Topic(TopicError::Exists { .. })) => node
            .topics
            .by_name(name)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        Err(error) => {
            tracing::warn!(topic = name, %error, "topic was not auto-created");
            Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        }
    }
}

fn describe(topic: &Topic) -> MetadataResponseTopic {
    let mut described = MetadataResponseTopic::default();
    described.name = Some(StrBytes::from(topic.name.as_str()));
    described.topic_id = Uuid::from_bytes(topic.id.0);
    described.is_internal = internal_topic::is_internal(&topic.name);
    described.partitions = (0..).take(topic.partitions.len()).map(partition).collect();
    described
}

fn partition(index: i32) -> MetadataResponsePartition {
    let mut partition = MetadataResponsePartition::default();
    partition.partition_index = index;
    partition.leader_id = NODE_ID;
    partition.leader_epoch = LEADER_EPOCH;
    partition.replica_nodes = vec![NODE_ID];
    partition.isr_nodes = vec![NODE_ID];
    partition
}

fn failed(name: Option<StrBytes>, id: Uuid, error: ErrorCode) -> MetadataResponseTopic {
    let mut topic = MetadataResponseTopic::default();
    topic.error_code = error.0;
    topic.name = name;
    topic.topic_id = id;
    topic
}
