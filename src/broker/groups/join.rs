//! Joining a group: who gets in at once, who waits, and how a rebalance comes to its end.

use std::time::Duration;

use bytes::Bytes;

use super::super::protocol::ErrorCode;
use super::group::{Effect, Group, GroupState, JoinPhase, Moment, Ticket};
use super::member::{Member, MemberIdentity, Protocol};
use super::sync::SyncResult;

/// How long a member that joins for the first time may wait for the rebalance to complete.
const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_mins(5);

/// Most protocols of one member; clients have up to five. The cost of finding a common one grows with the
/// product of the protocols of all members.
const PROTOCOLS_MAX: usize = 100;

/// A request to join.
#[derive(Clone, Debug)]
pub(in super::super) struct JoinRequest {
    pub(in super::super) group_id: String,
    pub(in super::super) identity: MemberIdentity,
    pub(in super::super) client_id: String,
    pub(in super::super) client_host: String,
    pub(in super::super) session_timeout: Duration,
    pub(in super::super) rebalance_timeout: Duration,
    pub(in super::super) protocol_type: String,
    pub(in super::super) protocols: Vec<Protocol>,
    /// Whether a new dynamic member must come back with the id that it gets (KIP-394).
    pub(in super::super) must_know_member_id: bool,
    /// Whether the client understands "you lead, but keep the assignment" (KIP-814).
    pub(in super::super) can_skip_assignment: bool,
}

/// The answer to a request to join.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct JoinResult {
    pub(in super::super) error: ErrorCode,
    pub(in super::super) generation: i32,
    pub(in super::super) protocol_type: Option<String>,
    pub(in super::super) protocol: Option<String>,
    pub(in super::super) leader: String,
    pub(in super::super) skip_assignment: bool,
    pub(in super::super) member_id: String,
    /// All members with their subscriptions; for the leader only.
    pub(in super::super) members: Vec<(MemberIdentity, Bytes)>,
}

impl JoinResult {
    /// A refusal.
    pub(in super::super) fn failed(member_id: &str, error: ErrorCode) -> JoinResult {
        JoinResult {
            error,
            generation: -1,
            member_id: member_id.to_owned(),
            ..JoinResult::default()
        }
    }
}

impl Group {
    /// Handles a request to join; its answer is an effect with `ticket`, now or later.
    ///
    /// `fresh_id` becomes the member's id if it needs one.
    pub(super) fn join(
        &mut self,
        now: Moment,
        ticket: Ticket,
        request: &JoinRequest,
        fresh_id: String,
        effects: &mut Vec<Effect>,
    ) {
        let is_bounded = request.protocols.len() <= PROTOCOLS_MAX;
        let outcome = if !is_bounded || !self.supports(&request.protocol_type, &request.protocols) {
            Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL)
        } else if request.identity.member_id.is_empty() {
            self.join_new(now, ticket, request, fresh_id, effects)
        } else {
            self.join_known(now, ticket, request, effects)
        };
        if let Err(error) = outcome {
            effects.push(Effect::Joined(
                ticket,
                JoinResult::failed(&request.identity.member_id, error),
            ));
        }
    }

    fn join_new(
        &mut self,
        now: Moment,
        ticket: Ticket,
        request: &JoinRequest,
        fresh_id: String,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ErrorCode> {
        if let Some(instance_id) = &request.identity.instance_id
            && let Some(old_id) = self.static_members.get(instance_id).cloned()
        {
            self.replace_static_member(now, ticket, request, &old_id, &fresh_id, effects);
            return Ok(());
        }
        if self.members.len() + self.pending_members.len() >= self.rules.members_max {
            return Err(ErrorCode::GROUP_MAX_SIZE_REACHED);
        }
        if request.identity.instance_id.is_none() && request.must_know_member_id {
            self.pending_members
                .insert(fresh_id.clone(), now + request.session_timeout);
            let result = JoinResult::failed(&fresh_id, ErrorCode::MEMBER_ID_REQUIRED);
            effects.push(Effect::Joined(ticket, result));
            return Ok(());
        }
        self.add_member(now, ticket, request, fresh_id, effects);
        Ok(())
    }

    fn join_known(
        &mut self,
        now: Moment,
        ticket: Ticket,
        request: &JoinRequest,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ErrorCode> {
        let member_id = request.identity.member_id.as_str();
        if request.identity.instance_id.is_none() && self.pending_members.remove(member_id).is_some() {
            self.add_member(now, ticket, request, member_id.to_owned(), effects);
            return Ok(());
        }
        self.check_member(&request.identity)?;
        let unchanged = self
            .members
            .get(member_id)
            .is_some_and(|m| m.protocols == request.protocols);
        let is_leader = self.leader.as_deref() == Some(member_id);
        match self.state {
            GroupState::Empty => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
            // The client did not get its answer: it gets the same again.
            GroupState::CompletingRebalance if unchanged => {
                self.answer_join_again(now, ticket, member_id, is_leader, effects);
            }
            GroupState::Stable if unchanged && !is_leader => {
                self.answer_join_again(now, ticket, member_id, false, effects);
            }
            _ => self.rejoin(now, ticket, request, effects),
        }
        Ok(())
    }

    /// Answers a member with the generation that it is already part of.
    fn answer_join_again(
        &mut self,
        now: Moment,
        ticket: Ticket,
        member_id: &str,
        with_members: bool,
        effects: &mut Vec<Effect>,
    ) {
        self.extend_session(now, member_id);
        let members = if with_members {
            self.subscriptions()
        } else {
            Vec::new()
        };
        let leader = self.leader.clone().unwrap_or_default();
        effects.push(Effect::Joined(
            ticket,
            self.join_result(member_id, leader, members),
        ));
    }

    /// A new member comes in, and the group rebalances for it.
    fn add_member(
        &mut self,
        now: Moment,
        ticket: Ticket,
        request: &JoinRequest,
        member_id: String,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(instance_id) = &request.identity.instance_id {
            self.static_members.insert(instance_id.clone(), member_id.clone());
        }
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        self.leader.get_or_insert_with(|| member_id.clone());
        let member = Member {
            member_id: member_id.clone(),
            instance_id: request.identity.instance_id.clone(),
            client_id: request.client_id.clone(),
            client_host: request.client_host.clone(),
            rebalance_timeout: request.rebalance_timeout,
            session_timeout: request.session_timeout,
            protocols: request.protocols.clone(),
            assignment: Bytes::new(),
            session_deadline: now + NEW_MEMBER_JOIN_TIMEOUT,
            awaiting_join: Some(ticket),
            awaiting_sync: None,
            is_new: true,
            must_sync: false,
        };
        self.members.insert(member_id, member);
        if let Some(phase) = &mut self.join_phase {
            phase.member_added = true;
        }
        self.rebalance_or_complete(now, effects);
    }

    /// A known member joins again, perhaps with other protocols.
    fn rejoin(&mut self, now: Moment, ticket: Ticket, request: &JoinRequest, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(&request.identity.member_id) else {
            return;
        };
        member.protocols.clone_from(&request.protocols);
        member.rebalance_timeout = request.rebalance_timeout;
        member.session_timeout = request.session_timeout;
        member.session_deadline = now + request.session_timeout;
        if let Some(earlier) = member.awaiting_join.replace(ticket) {
            // The same member asked twice; the earlier request is from a connection that it gave up.
            let id = member.member_id.clone();
            let result = JoinResult::failed(&id, ErrorCode::REBALANCE_IN_PROGRESS);
            effects.push(Effect::Joined(earlier, result));
        }
        self.rebalance_or_complete(now, effects);
    }

    fn rebalance_or_complete(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if self.state == GroupState::PreparingRebalance {
            self.try_complete_join(now, effects);
        } else {
            self.prepare_rebalance(now, effects);
        }
    }

    /// A static member comes back under a new member id and takes its old place.
    fn replace_static_member(
        &mut self,
        now: Moment,
        ticket: Ticket,
        request: &JoinRequest,
        old_id: &str,
        new_id: &str,
        effects: &mut Vec<Effect>,
    ) {
        let Some(mut member) = self.members.remove(old_id) else {
            return;
        };
        let fenced = ErrorCode::FENCED_INSTANCE_ID;
        if let Some(earlier) = member.awaiting_join.take() {
            effects.push(Effect::Joined(earlier, JoinResult::failed(old_id, fenced)));
        }
        if let Some(earlier) = member.awaiting_sync.take() {
            effects.push(Effect::Synced(earlier, SyncResult::failed(fenced)));
        }
        let was_leader = self.leader.as_deref() == Some(old_id);
        new_id.clone_into(&mut member.member_id);
        member.protocols.clone_from(&request.protocols);
        member.rebalance_timeout = request.rebalance_timeout;
        member.session_timeout = request.session_timeout;
        member.session_deadline = now + request.session_timeout;
        member.client_id.clone_from(&request.client_id);
        member.client_host.clone_from(&request.client_host);
        if let Some(instance_id) = &request.identity.instance_id {
            self.static_members.insert(instance_id.clone(), new_id.to_owned());
        }
        self.members.insert(new_id.to_owned(), member);
        if was_leader {
            self.leader = Some(new_id.to_owned());
        }

        if self.state == GroupState::Stable && self.elect_protocol() == self.protocol {
            effects.push(Effect::Store);
            let result = self.keep_assignment(new_id, old_id, was_leader, request.can_skip_assignment);
            effects.push(Effect::Joined(ticket, result));
            return;
        }
        if let Some(member) = self.members.get_mut(new_id) {
            member.awaiting_join = Some(ticket);
        }
        self.rebalance_or_complete(now, effects);
    }

    /// The answer to a static member that comes back into a stable group: no rebalance.
    fn keep_assignment(
        &self,
        new_id: &str,
        old_id: &str,
        was_leader: bool,
        can_skip_assignment: bool,
    ) -> JoinResult {
        let leads = was_leader && can_skip_assignment;
        let members = if leads { self.subscriptions() } else { Vec::new() };
        // An old client that leads would assign anew, so it is told that its former self leads.
        let leader = if was_leader && !can_skip_assignment {
            old_id.to_owned()
        } else {
            self.leader.clone().unwrap_or_default()
        };
        JoinResult {
            skip_assignment: leads,
            ..self.join_result(new_id, leader, members)
        }
    }

    fn join_result(
        &self,
        member_id: &str,
        leader: String,
        members: Vec<(MemberIdentity, Bytes)>,
    ) -> JoinResult {
        JoinResult {
            error: ErrorCode::NONE,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader,
            skip_assignment: false,
            member_id: member_id.to_owned(),
            members,
        }
    }

    /// All members with their subscriptions to the chosen protocol.
    fn subscriptions(&self) -> Vec<(MemberIdentity, Bytes)> {
        let subscription = |member: &Member| {
            let identity = MemberIdentity {
                member_id: member.member_id.clone(),
                instance_id: member.instance_id.clone(),
            };
            (identity, member.metadata(self.protocol.as_deref()))
        };
        self.members.values().map(subscription).collect()
    }

    /// Asks every member to join again.
    pub(super) fn prepare_rebalance(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if self.state == GroupState::CompletingRebalance {
            self.fail_syncs(ErrorCode::REBALANCE_IN_PROGRESS, effects);
        }
        let timeout = self.rebalance_timeout();
        let delay = self.rules.initial_rebalance_delay;
        self.join_phase = Some(if self.state == GroupState::Empty {
            JoinPhase {
                until: now + delay,
                extension: Some(timeout.saturating_sub(delay)),
                member_added: false,
            }
        } else {
            JoinPhase {
                until: now + timeout,
                extension: None,
                member_added: false,
            }
        });
        self.sync_deadline = None;
        self.state = GroupState::PreparingRebalance;
        self.try_complete_join(now, effects);
    }

    /// Ends the join phase if everybody who can be expected has joined.
    pub(super) fn try_complete_join(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Some(JoinPhase { extension: None, .. }) = self.join_phase else {
            return;
        };
        let all_joined = self.members.values().all(|member| member.awaiting_join.is_some());
        if all_joined && self.pending_members.is_empty() {
            self.complete_join(now, effects);
        }
    }

    /// The join phase reached its end of time.
    pub(super) fn join_phase_ended(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Some(phase) = self.join_phase else { return };
        let extension = phase.extension.unwrap_or_default();
        if phase.member_added && !extension.is_zero() && !self.members.is_empty() {
            let delay = self.rules.initial_rebalance_delay.min(extension);
            let extension = Some(extension.saturating_sub(delay));
            self.join_phase = Some(JoinPhase {
                until: now + delay,
                extension,
                member_added: false,
            });
            return;
        }
        self.complete_join(now, effects);
    }

    /// Begins the next generation with those who joined. Static members keep their place without joining.
    fn complete_join(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.members
            .retain(|_, member| member.awaiting_join.is_some() || member.instance_id.is_some());
        let joined = |group: &Group, id: &String| {
            group
                .members
                .get(id)
                .is_some_and(|member| member.awaiting_join.is_some())
        };
        let leader_joined = self.leader.as_ref().is_some_and(|leader| joined(self, leader));
        if !leader_joined {
            let mut members = self.members.values();
            let elected = members
                .find(|m| m.awaiting_join.is_some())
                .map(|m| m.member_id.clone());
            if elected.is_none() && !self.members.is_empty() {
                // Only static members, none of them here: there is nobody to lead, so wait on.
                let until = now + self.rebalance_timeout();
                self.join_phase = Some(JoinPhase {
                    until,
                    extension: None,
                    member_added: false,
                });
                return;
            }
            self.leader = elected;
        }
        self.join_phase = None;
        self.generation = self.generation.wrapping_add(1).max(1);
        if self.members.is_empty() {
            self.state = GroupState::Empty;
            self.protocol = None;
            effects.push(Effect::Store);
            return;
        }
        self.state = GroupState::CompletingRebalance;
        self.protocol = self.elect_protocol();
        self.sync_deadline = Some(now + self.rebalance_timeout());
        self.answer_joins(now, effects);
    }

    fn answer_joins(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let leader = self.leader.clone().unwrap_or_default();
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let members = if id == leader {
                self.subscriptions()
            } else {
                Vec::new()
            };
            let result = self.join_result(&id, leader.clone(), members);
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            member.must_sync = true;
            let Some(ticket) = member.awaiting_join.take() else {
                continue;
            };
            member.is_new = false;
            member.session_deadline = now + member.session_timeout;
            effects.push(Effect::Joined(ticket, result));
        }
    }
}
