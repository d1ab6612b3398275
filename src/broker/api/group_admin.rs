//! `DescribeGroups`, `ListGroups` and `DeleteGroups`.

use std::collections::HashSet;

use kafka_wire::delete_groups_response::DeletableGroupResult;
use kafka_wire::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_wire::list_groups_response::ListedGroup;
use kafka_wire::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    ListGroupsRequest, ListGroupsResponse,
};
use kafka_wire_core::StrBytes;

use super::super::groups::{GroupOverview, GroupState};
use super::super::node::{Context, Node};
use super::super::offset_records::GroupMemberValue;
use super::super::protocol::ErrorCode;
use super::super::wall_clock_ms;
use super::authorized_operations;

/// The only type of group that is served (KIP-848 would add "consumer").
const CLASSIC: &str = "classic";

/// First version that tells of a missing group by an error instead of the state "Dead".
const NOT_FOUND_VERSION: i16 = 6;

pub(super) fn describe(
    node: &Node,
    context: &Context,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let mut response = DescribeGroupsResponse::default();
    // Each group once: a group is any number of times the size of its name.
    let mut known = HashSet::new();
    let groups = request.groups.into_iter();
    response.groups = groups
        .filter(|group_id| known.insert(group_id.clone()))
        .map(|group_id| match node.groups.describe(&group_id) {
            Some(group) => {
                let mut described = described(context, group);
                if request.include_authorized_operations {
                    described.authorized_operations = authorized_operations::GROUP;
                }
                described
            }
            None => missing(context, group_id),
        })
        .collect();
    response
}

fn described(context: &Context, group: GroupOverview) -> DescribedGroup {
    let mut described = DescribedGroup::default();
    described.group_id = StrBytes::from(group.group_id);
    described.group_state = StrBytes::from(group.state.name());
    described.protocol_type = StrBytes::from(group.value.protocol_type);
    let is_stable = group.state == GroupState::Stable;
    if is_stable {
        described.protocol_data = StrBytes::from(group.protocol);
    }
    let members = group.value.members.into_iter();
    described.members = members
        .map(|member| describe_member(context, is_stable, member))
        .collect();
    described
}

fn describe_member(context: &Context, is_stable: bool, member: GroupMemberValue) -> DescribedGroupMember {
    let mut described = DescribedGroupMember::default();
    described.member_id = StrBytes::from(member.member_id);
    if context.version() >= 4 {
        described.group_instance_id = member.instance_id.map(StrBytes::from);
    }
    described.client_id = StrBytes::from(member.client_id);
    described.client_host = StrBytes::from(member.client_host);
    if is_stable {
        described.member_metadata = member.subscription;
        described.member_assignment = member.assignment;
    }
    described
}

fn missing(context: &Context, group_id: StrBytes) -> DescribedGroup {
    let mut missing = DescribedGroup::default();
    missing.group_state = StrBytes::from("Dead");
    if context.version() >= NOT_FOUND_VERSION {
        missing.error_code = ErrorCode::GROUP_ID_NOT_FOUND.0;
        missing.error_message = Some(StrBytes::from(format!("Group {} not found.", group_id.as_str())));
    }
    missing.group_id = group_id;
    missing
}

pub(super) fn list(node: &Node, context: &Context, request: &ListGroupsRequest) -> ListGroupsResponse {
    let is_asked_for = |filter: &[StrBytes], name: &str| {
        filter.is_empty() || filter.iter().any(|asked| asked.eq_ignore_ascii_case(name))
    };
    let mut response = ListGroupsResponse::default();
    if !is_asked_for(&request.types_filter, CLASSIC) {
        return response;
    }
    let groups = node.groups.list().into_iter();
    response.groups = groups
        .filter(|group| is_asked_for(&request.states_filter, group.state.name()))
        .map(|group| {
            let mut listed = ListedGroup::default();
            listed.group_id = StrBytes::from(group.group_id);
            listed.protocol_type = StrBytes::from(group.value.protocol_type);
            if context.version() >= 4 {
                listed.group_state = StrBytes::from(group.state.name());
            }
            if context.version() >= 5 {
                listed.group_type = StrBytes::from(CLASSIC);
            }
            listed
        })
        .collect();
    response
}

pub(super) async fn delete(node: &Node, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut response = DeleteGroupsResponse::default();
    for group_id in request.groups_names {
        let mut result = DeletableGroupResult::default();
        if let Err(error) = node.groups.delete(&group_id, wall_clock_ms()).await {
            result.error_code = error.0;
        }
        result.group_id = group_id;
        response.results.push(result);
    }
    response
}
