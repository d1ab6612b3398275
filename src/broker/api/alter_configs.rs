//! `AlterConfigs` and `IncrementalAlterConfigs`: other configurations for topics.
//!
//! The broker's own configuration comes from its file and its command line and cannot be altered here.

use std::collections::{BTreeMap, HashSet};

use kafka_wire::alter_configs_response::AlterConfigsResourceResponse as ReplaceResult;
use kafka_wire::incremental_alter_configs_request::AlterableConfig as Change;
use kafka_wire::incremental_alter_configs_response::AlterConfigsResourceResponse as ChangeResult;
use kafka_wire::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use kafka_wire_core::StrBytes;

use super::super::internal_topic;
use super::super::node::Node;
use super::super::protocol::ErrorCode;
use super::describe_configs::{BROKER, TOPIC};
use super::topics_admin::{Refusal, change_refusal};
use crate::log::topic_config::{self, ConfigType};

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// What keeps the broker's own topics whole.
const CLEANUP_POLICY: &str = "cleanup.policy";

type Configs = BTreeMap<String, String>;

/// Replaces all configurations of each topic.
pub(super) async fn replace(node: &Node, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut response = AlterConfigsResponse::default();
    let repeated = repeated(
        request
            .resources
            .iter()
            .map(|resource| (resource.resource_type, &resource.resource_name)),
    );
    for resource in request.resources {
        let key = (resource.resource_type, resource.resource_name.clone());
        let replaced = |_: &Configs| {
            let mut configs = Configs::new();
            for config in &resource.configs {
                let value = config.value.as_ref().ok_or_else(|| null_value(&config.name))?;
                configs.insert(config.name.as_str().to_owned(), value.as_str().to_owned());
            }
            Ok(configs)
        };
        let altered = if repeated.contains(&key) {
            Err(repeats_resource())
        } else {
            alter(node, key.0, &key.1, request.validate_only, replaced).await
        };
        let mut result = ReplaceResult::default();
        (result.resource_type, result.resource_name) = key;
        (result.error_code, result.error_message) = outcome(altered);
        response.responses.push(result);
    }
    response
}

/// Changes some configurations of each topic.
pub(super) async fn change(
    node: &Node,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut response = IncrementalAlterConfigsResponse::default();
    let repeated = repeated(
        request
            .resources
            .iter()
            .map(|resource| (resource.resource_type, &resource.resource_name)),
    );
    for resource in request.resources {
        let key = (resource.resource_type, resource.resource_name.clone());
        let changed = |configs: &Configs| changed(configs, &resource.configs);
        let altered = if repeated.contains(&key) {
            Err(repeats_resource())
        } else {
            alter(node, key.0, &key.1, request.validate_only, changed).await
        };
        let mut result = ChangeResult::default();
        (result.resource_type, result.resource_name) = key;
        (result.error_code, result.error_message) = outcome(altered);
        response.responses.push(result);
    }
    response
}

/// The resources that are named more than once.
fn repeated<'a>(resources: impl Iterator<Item = (i8, &'a StrBytes)>) -> HashSet<(i8, StrBytes)> {
    let mut known = HashSet::new();
    resources
        .map(|(kind, name)| (kind, name.clone()))
        .filter(|key| !known.insert(key.clone()))
        .collect()
}

/// Error code and message on the wire.
fn outcome(altered: Result<(), Refusal>) -> (i16, Option<StrBytes>) {
    match altered {
        Ok(()) => (ErrorCode::NONE.0, None),
        Err((error, reason)) => (error.0, Some(StrBytes::from(reason))),
    }
}

fn repeats_resource() -> Refusal {
    let reason = "Each resource must appear at most once.";
    (ErrorCode::INVALID_REQUEST, reason.to_owned())
}

fn null_value(name: &str) -> Refusal {
    (
        ErrorCode::INVALID_REQUEST,
        format!("Null value not supported for : {name}"),
    )
}

/// Gives the topic what `change` makes of its configurations.
async fn alter(
    node: &Node,
    kind: i8,
    name: &str,
    validate_only: bool,
    change: impl FnOnce(&Configs) -> Result<Configs, Refusal>,
) -> Result<(), Refusal> {
    match kind {
        TOPIC => {}
        BROKER => {
            let reason = "the broker's configuration is set by its file and command line";
            return Err((ErrorCode::INVALID_REQUEST, reason.to_owned()));
        }
        other => {
            let reason = format!("configurations of resource type {other} are not served");
            return Err((ErrorCode::INVALID_REQUEST, reason));
        }
    }
    // Two changes at once must not undo each other.
    let _altering = node.topics.altering().await;
    let topic = node.topics.by_name(name).ok_or_else(|| {
        let reason = format!("topic {name:?} does not exist");
        (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, reason)
    })?;
    if node.is_in_use(name) {
        let reason = format!("topic {name:?} is in use by another part of this server");
        return Err((ErrorCode::TOPIC_AUTHORIZATION_FAILED, reason));
    }
    let configs = change(&topic.configs)?;
    topic_config::check_all(&configs).map_err(|error| (ErrorCode::INVALID_CONFIG, error.to_string()))?;
    if internal_topic::is_internal(name) && configs.get(CLEANUP_POLICY) != topic.configs.get(CLEANUP_POLICY) {
        let reason = format!("{CLEANUP_POLICY} of the broker's own topics cannot be altered");
        return Err((ErrorCode::INVALID_CONFIG, reason));
    }
    if validate_only || configs == topic.configs {
        return Ok(());
    }
    node.topics
        .alter(name, configs)
        .await
        .map_err(|error| change_refusal(name, &error))?;
    tracing::info!(topic = name, "topic configuration altered");
    Ok(())
}

fn changed(configs: &Configs, changes: &[Change]) -> Result<Configs, Refusal> {
    let mut known = HashSet::new();
    if changes.iter().any(|change| !known.insert(change.name.as_str())) {
        let reason = "Error due to duplicate config keys";
        return Err((ErrorCode::INVALID_REQUEST, reason.to_owned()));
    }
    let mut configs = configs.clone();
    for change in changes {
        let name = change.name.as_str();
        if change.config_operation == DELETE {
            configs.remove(name);
            continue;
        }
        let value = change.value.as_ref().ok_or_else(|| null_value(name))?.as_str();
        let value = match change.config_operation {
            SET => value.to_owned(),
            operation @ (APPEND | SUBTRACT) => changed_list(&configs, name, value, operation)?,
            operation => {
                let reason = format!("Unknown operation type {operation}");
                return Err((ErrorCode::INVALID_REQUEST, reason));
            }
        };
        configs.insert(name.to_owned(), value);
    }
    Ok(configs)
}

/// The list `name` with the items of `value` added or taken away.
fn changed_list(configs: &Configs, name: &str, value: &str, operation: i8) -> Result<String, Refusal> {
    let config = topic_config::find(name).filter(|config| config.kind == ConfigType::List);
    let config = config.ok_or_else(|| {
        let reason = format!("Config value append or subtract is not allowed for config key: {name}");
        (ErrorCode::INVALID_CONFIG, reason)
    })?;
    let current = configs.get(name).map_or(config.default, String::as_str);
    let split = |list: &str| -> Vec<String> {
        let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(str::to_owned).collect()
    };
    let (mut items, given) = (split(current), split(value));
    if operation == SUBTRACT {
        items.retain(|item| !given.contains(item));
    } else {
        items.extend(given.into_iter().filter(|item| !split(current).contains(item)));
    }
    Ok(items.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change_of(name: &str, operation: i8, value: Option<&str>) -> Change {
        let mut change = Change::default();
        change.name = StrBytes::from(name);
        change.config_operation = operation;
        change.value = value.map(StrBytes::from);
        change
    }

    #[test]
    fn changes_add_up() {
        let before = Configs::from([("retention.ms".to_owned(), "5".to_owned())]);
        let changes = [
            change_of("retention.ms", DELETE, None),
            change_of("segment.ms", SET, Some("7")),
            change_of("cleanup.policy", APPEND, Some("compact,delete")),
        ];
        let expected = [("cleanup.policy", "delete,compact"), ("segment.ms", "7")];
        let expected: Configs = expected
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        assert_eq!(changed(&before, &changes).unwrap(), expected);
        let subtracted = changed(
            &expected,
            &[change_of("cleanup.policy", SUBTRACT, Some("delete"))],
        );
        assert_eq!(subtracted.unwrap()["cleanup.policy"], "compact");
    }

    #[test]
    fn changes_that_mean_nothing_are_refused() {
        let check = |changes: &[Change], expected| {
            let (error, _) = changed(&Configs::new(), changes).unwrap_err();
            assert_eq!(error, expected);
        };
        check(&[change_of("segment.ms", SET, None)], ErrorCode::INVALID_REQUEST);
        check(
            &[change_of("segment.ms", 4, Some("1"))],
            ErrorCode::INVALID_REQUEST,
        );
        check(
            &[change_of("segment.ms", APPEND, Some("1"))],
            ErrorCode::INVALID_CONFIG,
        );
        let twice = [
            change_of("segment.ms", SET, Some("1")),
            change_of("segment.ms", DELETE, None),
        ];
        check(&twice, ErrorCode::INVALID_REQUEST);
    }
}
