//! `DescribeCluster`: this broker is the cluster.

use kafka_wire::describe_cluster_response::DescribeClusterBroker;
use kafka_wire::{DescribeClusterRequest, DescribeClusterResponse};
use kafka_wire_core::StrBytes;

use super::super::node::{Context, NODE_ID, Node};
use super::super::protocol::ErrorCode;
use super::authorized_operations;

const BROKERS: i8 = 1;

pub(super) fn answer(
    node: &Node,
    context: &Context,
    request: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    let mut response = DescribeClusterResponse::default();
    response.cluster_id = node.cluster_id();
    if context.version() >= 1 && request.endpoint_type != BROKERS {
        response.error_code = ErrorCode::INVALID_REQUEST.0;
        response.error_message = Some(StrBytes::from("only endpoints of brokers are served"));
        return response;
    }
    let mut broker = DescribeClusterBroker::default();
    broker.broker_id = NODE_ID;
    (broker.host, broker.port) = node.advertised(context);
    response.controller_id = NODE_ID;
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = authorized_operations::CLUSTER;
    }
    response.brokers = vec![broker];
    response
}
