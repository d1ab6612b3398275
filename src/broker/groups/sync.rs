//! Syncing: the leader brings the assignment, everybody gets a share once it is durable.

use bytes::Bytes;

use super::super::protocol::ErrorCode;
use super::group::{Effect, Group, GroupState, Moment, Ticket};
use super::member::MemberIdentity;

/// A request for the own assignment; the leader's carries everybody's.
#[derive(Clone, Debug)]
pub(in super::super) struct SyncRequest {
    pub(in super::super) group_id: String,
    pub(in super::super) identity: MemberIdentity,
    pub(in super::super) generation: i32,
    pub(in super::super) protocol_type: Option<String>,
    pub(in super::super) protocol: Option<String>,
    /// Assignments by member id.
    pub(in super::super) assignments: Vec<(String, Bytes)>,
}

/// The answer to a request to sync.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct SyncResult {
    pub(in super::super) error: ErrorCode,
    pub(in super::super) protocol_type: Option<String>,
    pub(in super::super) protocol: Option<String>,
    pub(in super::super) assignment: Bytes,
}

impl SyncResult {
    /// A refusal.
    pub(in super::super) fn failed(error: ErrorCode) -> SyncResult {
        SyncResult {
            error,
            ..SyncResult::default()
        }
    }
}

impl Group {
    /// Handles a request to sync; its answer is an effect with `ticket`, now or later.
    pub(super) fn sync(
        &mut self,
        now: Moment,
        ticket: Ticket,
        request: SyncRequest,
        effects: &mut Vec<Effect>,
    ) {
        if let Err(error) = self.check_sync(&request) {
            effects.push(Effect::Synced(ticket, SyncResult::failed(error)));
            return;
        }
        let member_id = request.identity.member_id;
        self.extend_session(now, &member_id);
        let Some(member) = self.members.get_mut(&member_id) else {
            return;
        };
        member.must_sync = false;
        if self.state == GroupState::Stable {
            effects.push(Effect::Synced(ticket, self.sync_result(&member_id)));
            return;
        }
        if let Some(earlier) = member.awaiting_sync.replace(ticket) {
            // The same member asked twice; the earlier request is from a connection that it gave up.
            let result = SyncResult::failed(ErrorCode::REBALANCE_IN_PROGRESS);
            effects.push(Effect::Synced(earlier, result));
        }
        if self.leader.as_ref() == Some(&member_id) {
            let mut assignments: std::collections::HashMap<_, _> = request.assignments.into_iter().collect();
            for (id, member) in &mut self.members {
                member.assignment = assignments.remove(id).unwrap_or_default();
            }
            effects.push(Effect::StoreAssignment(self.generation));
        }
    }

    fn check_sync(&self, request: &SyncRequest) -> Result<(), ErrorCode> {
        self.check_member(&request.identity)?;
        if request.generation != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        let differs = |asked: &Option<String>, found: &Option<String>| asked.is_some() && asked != found;
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol, &self.protocol)
        {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        match self.state {
            GroupState::Empty => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            GroupState::PreparingRebalance => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
        }
    }

    /// The assignment of `generation` is durable, or could not be stored.
    pub(super) fn assignment_stored(
        &mut self,
        now: Moment,
        generation: i32,
        outcome: Result<(), ErrorCode>,
        effects: &mut Vec<Effect>,
    ) {
        if self.state != GroupState::CompletingRebalance || self.generation != generation {
            // The group went on meanwhile; whoever waited was told to join again.
            return;
        }
        if let Err(error) = outcome {
            for member in self.members.values_mut() {
                member.assignment = Bytes::new();
            }
            self.fail_syncs(error, effects);
            self.prepare_rebalance(now, effects);
            return;
        }
        self.state = GroupState::Stable;
        let waiting: Vec<(String, Ticket)> = self
            .members
            .values_mut()
            .filter_map(|member| Some((member.member_id.clone(), member.awaiting_sync.take()?)))
            .collect();
        for (member_id, ticket) in waiting {
            self.extend_session(now, &member_id);
            effects.push(Effect::Synced(ticket, self.sync_result(&member_id)));
        }
    }

    /// Answers every waiting sync with `error`.
    pub(super) fn fail_syncs(&mut self, error: ErrorCode, effects: &mut Vec<Effect>) {
        for member in self.members.values_mut() {
            if let Some(ticket) = member.awaiting_sync.take() {
                effects.push(Effect::Synced(ticket, SyncResult::failed(error)));
            }
        }
    }

    fn sync_result(&self, member_id: &str) -> SyncResult {
        SyncResult {
            error: ErrorCode::NONE,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self
                .members
                .get(member_id)
                .map(|m| m.assignment.clone())
                .unwrap_or_default(),
        }
    }
}
