//! One consumer group: its state, its members, and the rules that joining, syncing and timing share.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::super::offset_records::{GroupMemberValue, GroupValue};
use super::super::protocol::ErrorCode;
use super::join::JoinResult;
use super::member::{Member, MemberIdentity, Protocol};
use super::sync::SyncResult;

/// Time since the coordinator started.
pub(super) type Moment = Duration;

/// The number of a request that waits for its answer.
pub(super) type Ticket = u64;

/// Where a group stands in the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) enum GroupState {
    /// No members; there may be committed offsets.
    #[default]
    Empty,
    /// Waiting for members to join.
    PreparingRebalance,
    /// Waiting for the leader's assignment.
    CompletingRebalance,
    /// Every member has its assignment.
    Stable,
}

impl GroupState {
    /// Kafka's name of the state.
    pub(in super::super) fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
        }
    }
}

/// What the coordinator must do after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Answer a `JoinGroup` request.
    Joined(Ticket, JoinResult),
    /// Answer a `SyncGroup` request.
    Synced(Ticket, SyncResult),
    /// Store the group, then call [`Group::assignment_stored`] with this generation.
    StoreAssignment(i32),
    /// Store the group; the `JoinGroup` that is answered next, if there is one, waits for it.
    Store,
}

/// The phase in which members join.
#[derive(Clone, Copy, Debug)]
pub(super) struct JoinPhase {
    /// When it ends at the latest, or is looked at again.
    pub(super) until: Moment,
    /// In the first rebalance of an empty group: how much longer it may be extended for new members.
    /// `None` in an ordinary rebalance, which ends as soon as all known members joined.
    pub(super) extension: Option<Duration>,
    /// Whether a member was added since `until` was set.
    pub(super) member_added: bool,
}

/// Rules that are the same for every group.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupRules {
    pub(super) initial_rebalance_delay: Duration,
    pub(super) members_max: usize,
}

/// One consumer group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) rules: GroupRules,
    pub(super) state: GroupState,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<String>,
    pub(super) members: BTreeMap<String, Member>,
    /// Member ids of static members, by instance id.
    pub(super) static_members: HashMap<String, String>,
    /// Member ids that were given out with `MEMBER_ID_REQUIRED` and not used yet, with their expiry.
    pub(super) pending_members: BTreeMap<String, Moment>,
    pub(super) join_phase: Option<JoinPhase>,
    /// When members that joined but did not sync are given up.
    pub(super) sync_deadline: Option<Moment>,
}

impl Group {
    /// A group without members.
    pub(super) fn new(rules: GroupRules) -> Group {
        Group {
            rules,
            state: GroupState::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: HashMap::new(),
            pending_members: BTreeMap::new(),
            join_phase: None,
            sync_deadline: None,
        }
    }

    /// A group as it was stored; its members have a session timeout to show up again.
    pub(super) fn restore(rules: GroupRules, value: GroupValue, now: Moment) -> Group {
        let mut group = Group::new(rules);
        group.generation = value.generation;
        group.protocol_type = Some(value.protocol_type).filter(|name| !name.is_empty());
        if value.members.is_empty() {
            return group;
        }
        group.state = GroupState::Stable;
        group.leader = value.leader;
        for member in value.members {
            let protocol = value.protocol.clone().unwrap_or_default();
            let session_timeout = duration_ms(member.session_timeout_ms);
            if let Some(instance_id) = &member.instance_id {
                group
                    .static_members
                    .insert(instance_id.clone(), member.member_id.clone());
            }
            let restored = Member {
                member_id: member.member_id.clone(),
                instance_id: member.instance_id,
                client_id: member.client_id,
                client_host: member.client_host,
                rebalance_timeout: duration_ms(member.rebalance_timeout_ms),
                session_timeout,
                protocols: vec![Protocol {
                    name: protocol,
                    metadata: member.subscription,
                }],
                assignment: member.assignment,
                session_deadline: now + session_timeout,
                awaiting_join: None,
                awaiting_sync: None,
                is_new: false,
                must_sync: false,
            };
            group.members.insert(member.member_id, restored);
        }
        group.protocol = value.protocol;
        group
    }

    /// The group as it is stored.
    pub(super) fn value(&self, now_ms: i64) -> GroupValue {
        let member = |member: &Member| GroupMemberValue {
            member_id: member.member_id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: milliseconds(member.rebalance_timeout),
            session_timeout_ms: milliseconds(member.session_timeout),
            subscription: member.metadata(self.protocol.as_deref()),
            assignment: member.assignment.clone(),
        };
        GroupValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_timestamp_ms: now_ms,
            members: self.members.values().map(member).collect(),
        }
    }

    /// Whether nobody is in the group or about to be.
    pub(super) fn is_unused(&self) -> bool {
        self.state == GroupState::Empty && self.members.is_empty() && self.pending_members.is_empty()
    }

    /// The error for a request of a member that is not the one it claims to be.
    pub(super) fn check_member(&self, identity: &MemberIdentity) -> Result<(), ErrorCode> {
        if let Some(instance_id) = &identity.instance_id {
            return match self.static_members.get(instance_id) {
                None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(member_id) if *member_id != identity.member_id => Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => Ok(()),
            };
        }
        if self.members.contains_key(&identity.member_id) {
            Ok(())
        } else {
            Err(ErrorCode::UNKNOWN_MEMBER_ID)
        }
    }

    /// A sign of life of a member.
    pub(super) fn heartbeat(&mut self, now: Moment, identity: &MemberIdentity, generation: i32) -> ErrorCode {
        if let Err(error) = self.check_member(identity) {
            return error;
        }
        if generation != self.generation {
            return ErrorCode::ILLEGAL_GENERATION;
        }
        self.extend_session(now, &identity.member_id);
        match self.state {
            GroupState::Empty => ErrorCode::UNKNOWN_MEMBER_ID,
            GroupState::PreparingRebalance => ErrorCode::REBALANCE_IN_PROGRESS,
            GroupState::CompletingRebalance | GroupState::Stable => ErrorCode::NONE,
        }
    }

    /// A member goes; the rest rebalances.
    pub(super) fn leave(
        &mut self,
        now: Moment,
        identity: &MemberIdentity,
        effects: &mut Vec<Effect>,
    ) -> ErrorCode {
        if self.pending_members.remove(&identity.member_id).is_some() {
            self.try_complete_join(now, effects);
            return ErrorCode::NONE;
        }
        let member_id = match &identity.instance_id {
            Some(instance_id) => match self.static_members.get(instance_id) {
                None => return ErrorCode::UNKNOWN_MEMBER_ID,
                // An administrator removes a static member by its instance id alone.
                Some(known) if identity.member_id.is_empty() || *known == identity.member_id => known.clone(),
                Some(_) => return ErrorCode::FENCED_INSTANCE_ID,
            },
            None => identity.member_id.clone(),
        };
        if !self.members.contains_key(&member_id) {
            return ErrorCode::UNKNOWN_MEMBER_ID;
        }
        self.remove_member(now, &member_id, effects);
        ErrorCode::NONE
    }

    /// The error for a commit of offsets, if there is one; a commit is a sign of life.
    pub(super) fn check_commit(
        &mut self,
        now: Moment,
        identity: &MemberIdentity,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        if generation < 0 && self.state == GroupState::Empty {
            return Ok(());
        }
        if generation < 0 && identity.member_id.is_empty() && identity.instance_id.is_none() {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        self.check_member(identity)?;
        if generation != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        match self.state {
            GroupState::Empty => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            GroupState::CompletingRebalance => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            GroupState::Stable | GroupState::PreparingRebalance => {
                self.extend_session(now, &identity.member_id);
                Ok(())
            }
        }
    }

    /// Restarts the session of a member that showed life.
    pub(super) fn extend_session(&mut self, now: Moment, member_id: &str) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.session_deadline = now + member.session_timeout;
        }
    }

    /// Takes a member out and rebalances the rest.
    pub(super) fn remove_member(&mut self, now: Moment, member_id: &str, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.remove(member_id) else {
            return;
        };
        if let Some(ticket) = member.awaiting_join {
            effects.push(Effect::Joined(
                ticket,
                JoinResult::failed("", ErrorCode::UNKNOWN_MEMBER_ID),
            ));
        }
        if let Some(ticket) = member.awaiting_sync {
            effects.push(Effect::Synced(
                ticket,
                SyncResult::failed(ErrorCode::UNKNOWN_MEMBER_ID),
            ));
        }
        if let Some(instance_id) = member.instance_id {
            self.static_members.remove(&instance_id);
        }
        if self.leader.as_deref() == Some(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        match self.state {
            GroupState::Empty => {}
            GroupState::Stable | GroupState::CompletingRebalance => self.prepare_rebalance(now, effects),
            GroupState::PreparingRebalance => self.try_complete_join(now, effects),
        }
    }

    /// The longest rebalance timeout of the members.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        self.members
            .values()
            .map(|member| member.rebalance_timeout)
            .max()
            .unwrap_or_default()
    }

    /// Whether a member with these protocols can be in the group.
    pub(super) fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if protocol_type.is_empty() || protocols.is_empty() {
            return false;
        }
        if self.members.is_empty() {
            return true;
        }
        let by_all = |name: &str| {
            self.members
                .values()
                .all(|m| m.protocols.iter().any(|p| p.name == name))
        };
        self.protocol_type.as_deref() == Some(protocol_type) && protocols.iter().any(|p| by_all(&p.name))
    }

    /// The protocol that most members prefer, of those that all support.
    pub(super) fn elect_protocol(&self) -> Option<String> {
        let by_all = |name: &str| {
            self.members
                .values()
                .all(|m| m.protocols.iter().any(|p| p.name == name))
        };
        // What all support, the first does: looked up once, not once per member.
        let first = self.members.values().next()?;
        let common = first.protocols.iter().filter(|protocol| by_all(&protocol.name));
        let common: HashSet<&str> = common.map(|protocol| protocol.name.as_str()).collect();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let mut names = member.protocols.iter().map(|protocol| protocol.name.as_str());
            if let Some(choice) = names.find(|name| common.contains(name)) {
                *votes.entry(choice).or_default() += 1;
            }
        }
        votes
            .into_iter()
            .max_by_key(|(_, count)| *count)
            .map(|(name, _)| name.to_owned())
    }
}

fn duration_ms(milliseconds: i32) -> Duration {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}

fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
