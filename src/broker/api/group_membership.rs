//! `JoinGroup`, `SyncGroup`, Heartbeat and `LeaveGroup`: the wire's side of membership.

use std::time::Duration;

use bytes::Bytes;
use kafka_wire::join_group_response::JoinGroupResponseMember;
use kafka_wire::leave_group_response::MemberResponse;
use kafka_wire::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_wire_core::StrBytes;

use super::super::groups::{JoinRequest, JoinResult, MemberIdentity, Protocol, SyncRequest, SyncResult};
use super::super::node::{Context, Node};
use super::super::protocol::ErrorCode;

pub(super) fn identity(member_id: &str, instance_id: Option<&StrBytes>) -> MemberIdentity {
    MemberIdentity {
        member_id: member_id.to_owned(),
        instance_id: instance_id.map(|instance_id| instance_id.as_str().to_owned()),
    }
}

fn owned(text: Option<&StrBytes>) -> Option<String> {
    text.map(|text| text.as_str().to_owned())
}

fn wire(text: Option<String>) -> Option<StrBytes> {
    text.map(StrBytes::from)
}

/// A copy that does not keep the request's frame in memory for as long as the group lives.
fn detached(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

pub(super) async fn join(node: &Node, context: &Context, request: JoinGroupRequest) -> JoinGroupResponse {
    let version = context.version();
    let session_timeout = timeout(request.session_timeout_ms);
    let allowed = node.config.group_session_timeout_min..=node.config.group_session_timeout_max;
    let refusal = if request.group_id.is_empty() {
        Some(ErrorCode::INVALID_GROUP_ID)
    } else if !allowed.contains(&session_timeout) {
        Some(ErrorCode::INVALID_SESSION_TIMEOUT)
    } else {
        None
    };
    if let Some(error) = refusal {
        return join_response(version, JoinResult::failed(&request.member_id, error));
    }
    let result = tokio::select! {
        result = node.groups.join(join_request(context, &request)) => result,
        // The rebalance will not end here; the client finds the coordinator again after the restart.
        () = node.shutdown.cancelled() => {
            JoinResult::failed(&request.member_id, ErrorCode::COORDINATOR_NOT_AVAILABLE)
        }
    };
    join_response(version, result)
}

fn join_request(context: &Context, request: &JoinGroupRequest) -> JoinRequest {
    let version = context.version();
    let session_timeout = timeout(request.session_timeout_ms);
    let protocols = request.protocols.iter().map(|protocol| Protocol {
        name: protocol.name.as_str().to_owned(),
        metadata: detached(&protocol.metadata),
    });
    JoinRequest {
        group_id: request.group_id.as_str().to_owned(),
        identity: identity(&request.member_id, request.group_instance_id.as_ref()),
        client_id: context.client_id().to_owned(),
        client_host: context.client_host(),
        session_timeout,
        // Version 0 has no rebalance timeout of its own.
        rebalance_timeout: if version == 0 {
            session_timeout
        } else {
            timeout(request.rebalance_timeout_ms)
        },
        protocol_type: request.protocol_type.as_str().to_owned(),
        protocols: protocols.collect(),
        must_know_member_id: version >= 4,
        can_skip_assignment: version >= 9,
    }
}

fn join_response(version: i16, result: JoinResult) -> JoinGroupResponse {
    let mut response = JoinGroupResponse::default();
    response.error_code = result.error.0;
    response.generation_id = result.generation;
    if version >= 7 {
        response.protocol_type = wire(result.protocol_type);
        response.protocol_name = wire(result.protocol);
    } else {
        response.protocol_name = Some(wire(result.protocol).unwrap_or_default());
    }
    response.leader = StrBytes::from(result.leader);
    response.skip_assignment = version >= 9 && result.skip_assignment;
    response.member_id = StrBytes::from(result.member_id);
    response.members = result
        .members
        .into_iter()
        .map(|(identity, metadata)| {
            let mut member = JoinGroupResponseMember::default();
            member.member_id = StrBytes::from(identity.member_id);
            if version >= 5 {
                member.group_instance_id = wire(identity.instance_id);
            }
            member.metadata = metadata;
            member
        })
        .collect();
    response
}

pub(super) async fn sync(node: &Node, context: &Context, request: SyncGroupRequest) -> SyncGroupResponse {
    let mut response = SyncGroupResponse::default();
    if request.group_id.is_empty() {
        response.error_code = ErrorCode::INVALID_GROUP_ID.0;
        return response;
    }
    let assignments = request.assignments.iter().map(|assignment| {
        (
            assignment.member_id.as_str().to_owned(),
            detached(&assignment.assignment),
        )
    });
    let synced = node.groups.sync(SyncRequest {
        group_id: request.group_id.as_str().to_owned(),
        identity: identity(&request.member_id, request.group_instance_id.as_ref()),
        generation: request.generation_id,
        protocol_type: owned(request.protocol_type.as_ref()),
        protocol: owned(request.protocol_name.as_ref()),
        assignments: assignments.collect(),
    });
    let result = tokio::select! {
        result = synced => result,
        () = node.shutdown.cancelled() => SyncResult::failed(ErrorCode::COORDINATOR_NOT_AVAILABLE),
    };
    response.error_code = result.error.0;
    if context.version() >= 5 {
        response.protocol_type = wire(result.protocol_type);
        response.protocol_name = wire(result.protocol);
    }
    response.assignment = result.assignment;
    response
}

pub(super) fn heartbeat(node: &Node, request: &HeartbeatRequest) -> HeartbeatResponse {
    let mut response = HeartbeatResponse::default();
    let error = if request.group_id.is_empty() {
        ErrorCode::INVALID_GROUP_ID
    } else {
        let identity = identity(&request.member_id, request.group_instance_id.as_ref());
        node.groups
            .heartbeat(&request.group_id, &identity, request.generation_id)
    };
    response.error_code = error.0;
    response
}

pub(super) async fn leave(node: &Node, context: &Context, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let mut response = LeaveGroupResponse::default();
    if request.group_id.is_empty() {
        response.error_code = ErrorCode::INVALID_GROUP_ID.0;
        return response;
    }
    // Up to version 2 exactly one member leaves, and its error is the request's.
    if context.version() <= 2 {
        let errors = node
            .groups
            .leave(&request.group_id, &[identity(&request.member_id, None)])
            .await;
        response.error_code = errors.first().copied().unwrap_or_default().0;
        return response;
    }
    let members: Vec<MemberIdentity> = request
        .members
        .iter()
        .map(|member| identity(&member.member_id, member.group_instance_id.as_ref()))
        .collect();
    let errors = node.groups.leave(&request.group_id, &members).await;
    response.members = request
        .members
        .into_iter()
        .zip(errors)
        .map(|(member, error)| {
            let mut left = MemberResponse::default();
            left.member_id = member.member_id;
            left.group_instance_id = member.group_instance_id;
            left.error_code = error.0;
            left
        })
        .collect();
    response
}

fn timeout(milliseconds: i32) -> Duration {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}
