//! `FindCoordinator`: this broker coordinates every group.

use kafka_wire::find_coordinator_response::Coordinator;
use kafka_wire::{FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_wire_core::StrBytes;

use super::super::node::{Context, NODE_ID, Node};
use super::super::protocol::ErrorCode;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// First version that asks for several keys at once.
const BATCHED_VERSION: i16 = 4;

pub(super) async fn answer(
    node: &Node,
    context: &Context,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let refusal = refusal(node, request.key_type).await;
    let mut response = FindCoordinatorResponse::default();
    if context.version() >= BATCHED_VERSION {
        let keys = request.coordinator_keys.into_iter();
        response.coordinators = keys.map(|key| coordinator(node, context, key, refusal)).collect();
        return response;
    }
    let found = coordinator(node, context, request.key, refusal);
    response.error_code = found.error_code;
    response.error_message = found.error_message;
    response.node_id = found.node_id;
    response.host = found.host;
    response.port = found.port;
    response
}

/// Why there is no coordinator of this type.
async fn refusal(node: &Node, key_type: i8) -> Option<(ErrorCode, &'static str)> {
    match key_type {
        GROUP => {
            let error = node.groups.prepare().await.err()?;
            Some((error, "the topic of committed offsets is not available"))
        }
        TRANSACTION => Some((
            ErrorCode::INVALID_REQUEST,
            "transactions are not served by this broker",
        )),
        _ => Some((
            ErrorCode::INVALID_REQUEST,
            "this kind of coordinator is not served by this broker",
        )),
    }
}

fn coordinator(
    node: &Node,
    context: &Context,
    key: StrBytes,
    refusal: Option<(ErrorCode, &'static str)>,
) -> Coordinator {
    let mut coordinator = Coordinator::default();
    coordinator.key = key;
    match refusal {
        None => {
            coordinator.node_id = NODE_ID;
            (coordinator.host, coordinator.port) = node.advertised(context);
        }
        Some((error, reason)) => {
            coordinator.error_code = error.0;
            coordinator.error_message = Some(StrBytes::from(reason));
            coordinator.node_id = -1;
            coordinator.port = -1;
        }
    }
    coordinator
}
