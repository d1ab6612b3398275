//! `DescribeConfigs`: every configuration of topics and of the broker, with where its value comes from.

use std::collections::HashSet;

use kafka_wire::describe_configs_request::DescribeConfigsResource;
use kafka_wire::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_wire::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_wire_core::StrBytes;

use super::super::config::BrokerConfig;
use super::super::node::{Context, NODE_ID, Node};
use super::super::protocol::ErrorCode;
use crate::log::Topic;
use crate::log::topic_config::{ConfigType, TOPIC_CONFIGS, TopicConfig};

/// Kafka's number of a topic as a resource.
pub(super) const TOPIC: i8 = 2;
/// Kafka's number of a broker as a resource.
pub(super) const BROKER: i8 = 4;

const SOURCE_TOPIC: i8 = 1;
const SOURCE_STATIC_BROKER: i8 = 4;
const SOURCE_DEFAULT: i8 = 5;

/// One configuration before it is put on the wire.
struct Entry {
    name: &'static str,
    value: String,
    source: i8,
    kind: ConfigType,
    read_only: bool,
    documentation: &'static str,
    default: Option<&'static str>,
}

pub(super) fn answer(
    node: &Node,
    context: &Context,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let mut response = DescribeConfigsResponse::default();
    let (synonyms, documentation) = (request.include_synonyms, request.include_documentation);
    // Each resource once: its configurations are a hundred times the size of its name.
    let mut known = HashSet::new();
    let resources = request.resources.into_iter();
    response.results = resources
        .filter(|resource| known.insert((resource.resource_type, resource.resource_name.clone())))
        .map(|resource| {
            let mut result = DescribeConfigsResult::default();
            match entries(node, &resource) {
                Ok(entries) => {
                    let asked = entries
                        .into_iter()
                        .filter(|entry| is_asked_for(&resource, entry.name));
                    result.configs = asked
                        .map(|entry| wire(context.version(), entry, synonyms, documentation))
                        .collect();
                }
                Err((error, reason)) => {
                    result.error_code = error.0;
                    result.error_message = Some(StrBytes::from(reason));
                }
            }
            result.resource_type = resource.resource_type;
            result.resource_name = resource.resource_name;
            result
        })
        .collect();
    response
}

fn is_asked_for(resource: &DescribeConfigsResource, name: &str) -> bool {
    let Some(keys) = &resource.configuration_keys else {
        return true;
    };
    keys.is_empty() || keys.iter().any(|key| key.as_str() == name)
}

fn entries(node: &Node, resource: &DescribeConfigsResource) -> Result<Vec<Entry>, (ErrorCode, String)> {
    let name = resource.resource_name.as_str();
    match resource.resource_type {
        TOPIC => match node.topics.by_name(name) {
            Some(topic) => Ok(topic_entries(&topic)),
            None => Err((
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                format!("topic {name:?} does not exist"),
            )),
        },
        BROKER if name.is_empty() || name.parse() == Ok(NODE_ID) => Ok(broker_entries(node)),
        BROKER => Err((
            ErrorCode::INVALID_REQUEST,
            format!("Unexpected broker id, expected {NODE_ID} or empty string, but received {name}"),
        )),
        other => Err((
            ErrorCode::INVALID_REQUEST,
            format!("configurations of resource type {other} are not served"),
        )),
    }
}

fn topic_entries(topic: &Topic) -> Vec<Entry> {
    let entry = |config: &TopicConfig| {
        let own = topic.configs.get(config.name);
        Entry {
            name: config.name,
            value: own.cloned().unwrap_or_else(|| config.default.to_owned()),
            source: if own.is_some() {
                SOURCE_TOPIC
            } else {
                SOURCE_DEFAULT
            },
            kind: config.kind,
            read_only: false,
            documentation: config.documentation,
            default: Some(config.default),
        }
    };
    TOPIC_CONFIGS.iter().map(entry).collect()
}

fn broker_entries(node: &Node) -> Vec<Entry> {
    let mut entries = address_entries(&node.config);
    entries.extend(topic_default_entries(&node.config));
    entries.extend(limit_entries(&node.config));
    entries.sort_by_key(|entry| entry.name);
    entries
}

fn broker_entry(
    name: &'static str,
    kind: ConfigType,
    value: &dyn std::fmt::Display,
    documentation: &'static str,
) -> Entry {
    Entry {
        name,
        value: value.to_string(),
        source: SOURCE_STATIC_BROKER,
        kind,
        read_only: true,
        documentation,
        default: None,
    }
}

fn address_entries(config: &BrokerConfig) -> Vec<Entry> {
    use ConfigType::{Int, String};
    let listeners = format!("PLAINTEXT://{}", config.listen);
    let advertised = match &config.advertised {
        Some((host, port)) => format!("PLAINTEXT://{host}:{port}"),
        None => std::string::String::new(),
    };
    vec![
        broker_entry(
            "advertised.listeners",
            String,
            &advertised,
            "Address that clients are told.",
        ),
        broker_entry("broker.id", Int, &NODE_ID, "Id of this broker."),
        broker_entry("listeners", String, &listeners, "Address to listen on."),
        broker_entry("node.id", Int, &NODE_ID, "Id of this broker."),
    ]
}

fn topic_default_entries(config: &BrokerConfig) -> Vec<Entry> {
    use ConfigType::{Boolean, Int};
    let (create, partitions) = (config.auto_create_topics, config.default_partitions);
    let offsets = config.offsets_topic_partitions;
    vec![
        broker_entry(
            "auto.create.topics.enable",
            Boolean,
            &create,
            "Asking for an unknown topic creates it.",
        ),
        broker_entry(
            "default.replication.factor",
            Int,
            &1,
            "There is one replica of everything.",
        ),
        broker_entry(
            "num.partitions",
            Int,
            &partitions,
            "Partitions of a topic whose creator did not say.",
        ),
        broker_entry(
            "offsets.topic.num.partitions",
            Int,
            &offsets,
            "Partitions of __consumer_offsets.",
        ),
    ]
}

fn limit_entries(config: &BrokerConfig) -> Vec<Entry> {
    use ConfigType::Int;
    let delay = config.group_initial_rebalance_delay.as_millis();
    let session_min = config.group_session_timeout_min.as_millis();
    let session_max = config.group_session_timeout_max.as_millis();
    vec![
        broker_entry(
            "fetch.max.bytes",
            Int,
            &config.fetch_size_max_bytes,
            "Most records in one response.",
        ),
        broker_entry(
            "group.initial.rebalance.delay.ms",
            Int,
            &delay,
            "How long a new group waits for members.",
        ),
        broker_entry(
            "group.max.session.timeout.ms",
            Int,
            &session_max,
            "Longest session timeout.",
        ),
        broker_entry(
            "group.max.size",
            Int,
            &config.group_members_max,
            "Most members of one group.",
        ),
        broker_entry(
            "group.min.session.timeout.ms",
            Int,
            &session_min,
            "Shortest session timeout.",
        ),
        broker_entry(
            "max.connections",
            Int,
            &config.connections_max,
            "Most connections at once.",
        ),
        broker_entry(
            "socket.request.max.bytes",
            Int,
            &config.frame_size_max_bytes,
            "Largest request.",
        ),
    ]
}

fn wire(
    version: i16,
    entry: Entry,
    with_synonyms: bool,
    with_documentation: bool,
) -> DescribeConfigsResourceResult {
    let mut result = DescribeConfigsResourceResult::default();
    if with_synonyms {
        if entry.source != SOURCE_DEFAULT {
            result
                .synonyms
                .push(synonym(entry.name, &entry.value, entry.source));
        }
        if let Some(default) = entry.default {
            result.synonyms.push(synonym(entry.name, default, SOURCE_DEFAULT));
        }
    }
    result.name = StrBytes::from(entry.name);
    result.value = Some(StrBytes::from(entry.value));
    result.read_only = entry.read_only;
    result.config_source = entry.source;
    if version >= 3 {
        result.config_type = entry.kind as i8;
        result.documentation = with_documentation.then(|| StrBytes::from(entry.documentation));
    }
    result
}

fn synonym(name: &str, value: &str, source: i8) -> DescribeConfigsSynonym {
    let mut synonym = DescribeConfigsSynonym::default();
    synonym.name = StrBytes::from(name);
    synonym.value = Some(StrBytes::from(value));
    synonym.source = source;
    synonym
}
