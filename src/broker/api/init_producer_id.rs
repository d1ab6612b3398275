//! `InitProducerId`: an identity for an idempotent producer.

use kafka_wire::{InitProducerIdRequest, InitProducerIdResponse};

use super::super::node::Node;
use super::super::protocol::ErrorCode;
use super::super::wall_clock_ms;

pub(super) async fn answer(node: &Node, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let mut response = InitProducerIdResponse::default();
    response.producer_id = -1;
    response.producer_epoch = -1;
    if request.transactional_id.is_some() {
        // Transactions are not served; FindCoordinator says so in words.
        response.error_code = ErrorCode::INVALID_REQUEST.0;
        return response;
    }
    // A producer that asks for a newer epoch (KIP-360) gets a new id instead, as from Kafka.
    match node.producer_ids.allocate(&node.state, wall_clock_ms()).await {
        Ok(producer_id) => {
            response.producer_id = producer_id;
            response.producer_epoch = 0;
        }
        Err(error) => {
            tracing::warn!(%error, "no producer id was allocated");
            response.error_code = ErrorCode::COORDINATOR_NOT_AVAILABLE.0;
        }
    }
    response
}
