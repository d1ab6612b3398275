//! DescribeConfigs: every configuration of topics and of the broker, with where its value comes from.

use kafka_wire::describe_configs_request::DescribeConfigsResource;
use kafka_wire::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_wire::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_wire_core::StrBytes;

use super::super::node::{Context, NODE_ID, Node};
use super::super::protocol::ErrorCode;
use super::topic_configs::{ConfigType, TOPIC_CONFIGS};
use crate::log::Topic;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

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
    let resources = request.resources.into_iter();
    response.results = resources
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
    let entry = |config: &super::topic_configs::TopicConfig| {
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
    let config = &node.config;
    let entry = |name, kind, value: String, documentation| Entry {
        name,
        value,
        source: SOURCE_STATIC_BROKER,
        kind,
        read_only: true,
        documentation,
        default: None,
    };
    let advertised = match &config.advertised {
        Some((host, port)) => format!("PLAINTEXT://{host}:{port}"),
        None => String::new(),
    };
    let ms = |duration: std::time::Duration| duration.as_millis().to_string();
    vec![
        entry(
            "advertised.listeners",
            ConfigType::String,
            advertised,
            "Address that clients are told.",
        ),
        entry(
            "auto.create.topics.enable",
            ConfigType::Boolean,
            config.auto_create_topics.to_string(),
            "Whether asking for an unknown topic creates it.",
        ),
        entry(
            "broker.id",
            ConfigType::Int,
            NODE_ID.to_string(),
            "Id of this broker.",
        ),
        entry(
            "default.replication.factor",
            ConfigType::Int,
            "1".to_owned(),
            "There is one replica of everything.",
        ),
        entry(
            "fetch.max.bytes",
            ConfigType::Int,
            config.fetch_size_max_bytes.to_string(),
            "Largest sum of records in one response.",
        ),
        entry(
            "group.initial.rebalance.delay.ms",
            ConfigType::Int,
            ms(config.group_initial_rebalance_delay),
            "How long a new group waits for more members.",
        ),
        entry(
            "group.max.session.timeout.ms",
            ConfigType::Int,
            ms(config.group_session_timeout_max),
            "Longest session timeout of a member.",
        ),
        entry(
            "group.max.size",
            ConfigType::Int,
            config.group_members_max.to_string(),
            "Most members of one group.",
        ),
        entry(
            "group.min.session.timeout.ms",
            ConfigType::Int,
            ms(config.group_session_timeout_min),
            "Shortest session timeout of a member.",
        ),
        entry(
            "listeners",
            ConfigType::String,
            format!("PLAINTEXT://{}", config.listen),
            "Address to listen on.",
        ),
        entry(
            "max.connections",
            ConfigType::Int,
            config.connections_max.to_string(),
            "Most connections at once.",
        ),
        entry(
            "node.id",
            ConfigType::Int,
            NODE_ID.to_string(),
            "Id of this broker.",
        ),
        entry(
            "num.partitions",
            ConfigType::Int,
            config.default_partitions.to_string(),
            "Partitions of a topic whose creator did not say.",
        ),
        entry(
            "offsets.topic.num.partitions",
            ConfigType::Int,
            config.offsets_topic_partitions.to_string(),
            "Partitions of __consumer_offsets when it is created.",
        ),
        entry(
            "socket.request.max.bytes",
            ConfigType::Int,
            config.frame_size_max_bytes.to_string(),
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
