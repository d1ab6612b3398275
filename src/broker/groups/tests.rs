//! The group protocol, step by step and under random histories.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::protocol::ErrorCode;
use super::group::{Effect, Group, GroupRules, GroupState, Moment, Ticket};
use super::member::{MemberIdentity, Protocol};
use super::{JoinRequest, JoinResult, SyncRequest, SyncResult};

const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_mins(1);

/// A group, a clock, and the answers that were given.
struct Harness {
    group: Group,
    now: Moment,
    next_ticket: Ticket,
    joined: BTreeMap<Ticket, JoinResult>,
    synced: BTreeMap<Ticket, SyncResult>,
    store_count: usize,
    /// Assignments that are being stored.
    storing: Vec<i32>,
}

impl Harness {
    fn new(initial_rebalance_delay: Duration) -> Harness {
        let rules = GroupRules {
            initial_rebalance_delay,
            members_max: 5,
        };
        Harness {
            group: Group::new(rules),
            now: Duration::ZERO,
            next_ticket: 0,
            joined: BTreeMap::new(),
            synced: BTreeMap::new(),
            store_count: 0,
            storing: Vec::new(),
        }
    }

    fn absorb(&mut self, mut effects: Vec<Effect>) {
        self.group.tick(self.now, &mut effects);
        for effect in effects {
            match effect {
                Effect::Joined(ticket, result) => {
                    assert!(self.joined.insert(ticket, result).is_none(), "answered twice");
                }
                Effect::Synced(ticket, result) => {
                    assert!(self.synced.insert(ticket, result).is_none(), "answered twice");
                }
                Effect::StoreAssignment(generation) => self.storing.push(generation),
                Effect::Store => self.store_count += 1,
            }
        }
    }

    fn join_with(&mut self, change: impl FnOnce(&mut JoinRequest)) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let mut request = JoinRequest {
            group_id: "g".into(),
            identity: MemberIdentity::default(),
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
            session_timeout: SESSION,
            rebalance_timeout: REBALANCE,
            protocol_type: "consumer".into(),
            protocols: vec![protocol("range")],
            must_know_member_id: false,
            can_skip_assignment: true,
        };
        change(&mut request);
        let mut effects = Vec::new();
        self.group
            .join(self.now, ticket, &request, format!("m{ticket:04}"), &mut effects);
        self.absorb(effects);
        ticket
    }

    fn join(&mut self, member_id: &str) -> Ticket {
        self.join_with(|request| request.identity.member_id = member_id.into())
    }

    fn join_static(&mut self, instance_id: &str, member_id: &str) -> Ticket {
        self.join_with(|request| {
            request.identity = MemberIdentity {
                member_id: member_id.into(),
                instance_id: Some(instance_id.into()),
            };
        })
    }

    fn sync(&mut self, member_id: &str, generation: i32, assignments: &[(&str, &'static str)]) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let request = SyncRequest {
            group_id: "g".into(),
            identity: dynamic(member_id),
            generation,
            protocol_type: None,
            protocol: None,
            assignments: assignments
                .iter()
                .map(|(id, bytes)| ((*id).to_owned(), Bytes::from_static(bytes.as_bytes())))
                .collect(),
        };
        let mut effects = Vec::new();
        self.group.sync(self.now, ticket, request, &mut effects);
        self.absorb(effects);
        ticket
    }

    fn stored(&mut self, outcome: Result<(), ErrorCode>) {
        for generation in std::mem::take(&mut self.storing) {
            let mut effects = Vec::new();
            self.group
                .assignment_stored(self.now, generation, outcome, &mut effects);
            self.absorb(effects);
        }
    }

    fn leave(&mut self, identity: &MemberIdentity) -> ErrorCode {
        let mut effects = Vec::new();
        let error = self.group.leave(self.now, identity, &mut effects);
        self.absorb(effects);
        error
    }

    fn advance(&mut self, by: Duration) {
        self.now += by;
        self.absorb(Vec::new());
    }

    /// Two members, the first of which leads, with assignments "a" and "b".
    fn stable_pair(delay: Duration) -> (Harness, String, String) {
        let mut harness = Harness::new(delay);
        let first = harness.join("");
        let second = harness.join("");
        harness.advance(delay);
        harness.advance(delay);
        let first = harness.joined[&first].clone();
        let second = harness.joined[&second].clone();
        assert_eq!((first.error, second.error), (ErrorCode::NONE, ErrorCode::NONE));
        let (leader, follower) = (first.member_id, second.member_id);
        assert_eq!(first.leader, leader);
        let waiting = harness.sync(&follower, 1, &[]);
        assert!(
            !harness.synced.contains_key(&waiting),
            "a follower waits for the leader"
        );
        let led = harness.sync(&leader, 1, &[(&leader, "a"), (&follower, "b")]);
        assert!(
            harness.synced.is_empty(),
            "nobody gets an assignment that is not durable"
        );
        harness.stored(Ok(()));
        assert_eq!(harness.synced[&led].assignment, Bytes::from_static(b"a"));
        assert_eq!(harness.synced[&waiting].assignment, Bytes::from_static(b"b"));
        assert_eq!(harness.group.state, GroupState::Stable);
        (harness, leader, follower)
    }
}

fn protocol(name: &str) -> Protocol {
    Protocol {
        name: name.into(),
        metadata: Bytes::copy_from_slice(name.as_bytes()),
    }
}

fn dynamic(member_id: &str) -> MemberIdentity {
    MemberIdentity {
        member_id: member_id.into(),
        instance_id: None,
    }
}

const DELAY: Duration = Duration::from_secs(3);

#[test]
fn a_new_group_waits_for_more_members() {
    let mut harness = Harness::new(DELAY);
    let first = harness.join("");
    harness.advance(Duration::from_secs(2));
    let second = harness.join("");
    harness.advance(Duration::from_secs(1));
    assert!(
        harness.joined.is_empty(),
        "a member that came late extends the wait"
    );
    harness.advance(DELAY);
    let (first, second) = (&harness.joined[&first], &harness.joined[&second]);
    assert_eq!((first.generation, second.generation), (1, 1));
    assert_eq!(first.leader, first.member_id);
    assert_eq!(first.members.len(), 2);
    assert_eq!(second.members, Vec::new());
    assert_eq!(first.protocol.as_deref(), Some("range"));
}

#[test]
fn without_a_delay_a_lone_member_gets_in_at_once() {
    let mut harness = Harness::new(Duration::ZERO);
    let ticket = harness.join("");
    assert_eq!(harness.joined[&ticket].generation, 1);
}

#[test]
fn a_new_dynamic_member_must_come_back_with_its_id() {
    let mut harness = Harness::new(Duration::ZERO);
    let refused = harness.join_with(|request| request.must_know_member_id = true);
    let refused = harness.joined[&refused].clone();
    assert_eq!(refused.error, ErrorCode::MEMBER_ID_REQUIRED);
    let joined = harness.join(&refused.member_id);
    assert_eq!(harness.joined[&joined].error, ErrorCode::NONE);
    assert_eq!(harness.joined[&joined].member_id, refused.member_id);
}

#[test]
fn a_member_id_that_is_never_used_expires() {
    let mut harness = Harness::new(Duration::ZERO);
    let refused = harness.join_with(|request| request.must_know_member_id = true);
    let member_id = harness.joined[&refused].member_id.clone();
    assert_eq!(harness.group.next_deadline(), Some(SESSION));
    harness.advance(SESSION);
    assert!(harness.group.is_unused());
    let late = harness.join(&member_id);
    assert_eq!(harness.joined[&late].error, ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn everybody_gets_the_assignment_once_it_is_durable() {
    Harness::stable_pair(DELAY);
}

#[test]
fn an_assignment_that_cannot_be_stored_is_never_given_out() {
    let mut harness = Harness::new(Duration::ZERO);
    let ticket = harness.join("");
    let id = harness.joined[&ticket].member_id.clone();
    let sync = harness.sync(&id, 1, &[(&id, "a")]);
    harness.stored(Err(ErrorCode::COORDINATOR_NOT_AVAILABLE));
    assert_eq!(
        harness.synced[&sync],
        SyncResult::failed(ErrorCode::COORDINATOR_NOT_AVAILABLE)
    );
    assert_eq!(harness.group.state, GroupState::PreparingRebalance);
}

#[test]
fn a_rebalance_that_overtakes_the_store_wins() {
    let mut harness = Harness::new(Duration::ZERO);
    let ticket = harness.join("");
    let id = harness.joined[&ticket].member_id.clone();
    let sync = harness.sync(&id, 1, &[(&id, "a")]);
    harness.join("");
    assert_eq!(
        harness.synced[&sync],
        SyncResult::failed(ErrorCode::REBALANCE_IN_PROGRESS)
    );
    harness.stored(Ok(()));
    assert_eq!(harness.group.state, GroupState::PreparingRebalance);
}

#[test]
fn a_third_member_makes_the_others_join_again() {
    let (mut harness, leader, follower) = Harness::stable_pair(DELAY);
    let third = harness.join("");
    assert_eq!(
        harness.group.heartbeat(harness.now, &dynamic(&leader), 1),
        ErrorCode::REBALANCE_IN_PROGRESS
    );
    let leader_again = harness.join(&leader);
    assert!(!harness.joined.contains_key(&leader_again));
    let follower_again = harness.join(&follower);
    for ticket in [third, leader_again, follower_again] {
        assert_eq!(harness.joined[&ticket].generation, 2);
    }
    assert_eq!(harness.joined[&leader_again].members.len(), 3);
    assert_eq!(
        harness.group.heartbeat(harness.now, &dynamic(&leader), 1),
        ErrorCode::ILLEGAL_GENERATION
    );
    assert_eq!(
        harness.group.heartbeat(harness.now, &dynamic(&leader), 2),
        ErrorCode::NONE
    );
}

#[test]
fn a_member_that_does_not_join_again_in_time_is_out() {
    let (mut harness, leader, follower) = Harness::stable_pair(DELAY);
    let third = harness.join("");
    let again = harness.join(&leader);
    for _ in 0..12 {
        // The silent member still sends heartbeats, so only the rebalance timeout can end this.
        harness.advance(Duration::from_secs(5));
        harness.group.heartbeat(harness.now, &dynamic(&follower), 1);
    }
    assert_eq!(harness.joined[&again].generation, 2);
    assert_eq!(harness.joined[&third].generation, 2);
    assert_eq!(
        harness.group.heartbeat(harness.now, &dynamic(&follower), 1),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
}

#[test]
fn a_follower_that_lost_its_answer_gets_it_again() {
    let (mut harness, leader, follower) = Harness::stable_pair(DELAY);
    let again = harness.join(&follower);
    assert_eq!(harness.joined[&again].generation, 1);
    assert_eq!(harness.group.state, GroupState::Stable);
    let leading = harness.join(&leader);
    assert!(
        !harness.joined.contains_key(&leading),
        "a leader that joins again rebalances the group"
    );
    assert_eq!(harness.group.state, GroupState::PreparingRebalance);
}

#[test]
fn a_silent_member_is_removed_after_its_session() {
    let (mut harness, leader, follower) = Harness::stable_pair(DELAY);
    harness.advance(SESSION / 2);
    harness.group.heartbeat(harness.now, &dynamic(&leader), 1);
    harness.advance(SESSION / 2);
    assert_eq!(harness.group.state, GroupState::PreparingRebalance);
    assert!(!harness.group.members.contains_key(&follower));
    let alone = harness.join(&leader);
    assert_eq!(harness.joined[&alone].generation, 2);
}

#[test]
fn the_last_one_to_leave_empties_the_group() {
    let (mut harness, leader, follower) = Harness::stable_pair(DELAY);
    assert_eq!(harness.leave(&dynamic(&leader)), ErrorCode::NONE);
    assert_eq!(harness.group.leader.as_deref(), Some(follower.as_str()));
    assert_eq!(harness.leave(&dynamic(&leader)), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(harness.leave(&dynamic(&follower)), ErrorCode::NONE);
    assert_eq!(
        (harness.group.state, harness.group.generation),
        (GroupState::Empty, 2)
    );
    assert_eq!(harness.store_count, 1);
    assert_eq!(harness.group.next_deadline(), None);
}

#[test]
fn protocols_must_have_something_in_common() {
    let (mut harness, ..) = Harness::stable_pair(DELAY);
    let other = harness.join_with(|request| request.protocols = vec![protocol("sticky")]);
    assert_eq!(
        harness.joined[&other].error,
        ErrorCode::INCONSISTENT_GROUP_PROTOCOL
    );
    let kind = harness.join_with(|request| request.protocol_type = "connect".into());
    assert_eq!(
        harness.joined[&kind].error,
        ErrorCode::INCONSISTENT_GROUP_PROTOCOL
    );
    let none = harness.join_with(|request| request.protocols = Vec::new());
    assert_eq!(
        harness.joined[&none].error,
        ErrorCode::INCONSISTENT_GROUP_PROTOCOL
    );
}

#[test]
fn the_protocol_is_one_that_all_support_and_most_prefer() {
    let mut harness = Harness::new(DELAY);
    let mut member = |names: &[&str]| {
        let protocols = names.iter().map(|name| protocol(name)).collect();
        harness.join_with(|request| request.protocols = protocols)
    };
    let first = member(&["only-mine", "range", "sticky"]);
    member(&["sticky", "range"]);
    member(&["sticky", "range"]);
    harness.advance(DELAY);
    harness.advance(DELAY);
    assert_eq!(harness.joined[&first].protocol.as_deref(), Some("sticky"));
}

#[test]
fn the_group_has_a_limit() {
    let mut harness = Harness::new(DELAY);
    for _ in 0..5 {
        harness.join("");
    }
    let sixth = harness.join("");
    assert_eq!(harness.joined[&sixth].error, ErrorCode::GROUP_MAX_SIZE_REACHED);
}

#[test]
fn a_static_member_comes_back_without_a_rebalance() {
    let mut harness = Harness::new(Duration::ZERO);
    let ticket = harness.join_static("i", "");
    let old_id = harness.joined[&ticket].member_id.clone();
    harness.sync(&old_id, 1, &[(&old_id, "a")]);
    harness.stored(Ok(()));
    let stores = harness.store_count;

    let again = harness.join_static("i", "");
    let again = harness.joined[&again].clone();
    assert_eq!(
        (again.error, again.generation, again.skip_assignment),
        (ErrorCode::NONE, 1, true)
    );
    assert_ne!(again.member_id, old_id);
    assert_eq!(harness.store_count, stores + 1);
    let sync = harness.sync(&again.member_id, 1, &[]);
    assert_eq!(harness.synced[&sync].assignment, Bytes::from_static(b"a"));

    let former = MemberIdentity {
        member_id: old_id,
        instance_id: Some("i".into()),
    };
    assert_eq!(
        harness.group.heartbeat(harness.now, &former, 1),
        ErrorCode::FENCED_INSTANCE_ID
    );
    let stranger = MemberIdentity {
        member_id: "x".into(),
        instance_id: Some("j".into()),
    };
    assert_eq!(
        harness.group.heartbeat(harness.now, &stranger, 1),
        ErrorCode::UNKNOWN_MEMBER_ID
    );
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance_id() {
    let mut harness = Harness::new(Duration::ZERO);
    harness.join_static("i", "");
    let by_instance = MemberIdentity {
        member_id: String::new(),
        instance_id: Some("i".into()),
    };
    assert_eq!(harness.leave(&by_instance), ErrorCode::NONE);
    assert_eq!(harness.group.state, GroupState::Empty);
}

#[test]
fn commits_are_checked_against_the_generation() {
    let (mut harness, leader, _) = Harness::stable_pair(DELAY);
    let now = harness.now;
    let mut check = |id: &str, generation| harness.group.check_commit(now, &dynamic(id), generation);
    assert_eq!(check(&leader, 1), Ok(()));
    assert_eq!(check(&leader, 2), Err(ErrorCode::ILLEGAL_GENERATION));
    assert_eq!(check("stranger", 1), Err(ErrorCode::UNKNOWN_MEMBER_ID));
    assert_eq!(check("", -1), Err(ErrorCode::UNKNOWN_MEMBER_ID));

    let mut empty = Harness::new(DELAY);
    assert_eq!(empty.group.check_commit(now, &dynamic(""), -1), Ok(()));
    assert_eq!(
        empty.group.check_commit(now, &dynamic("m"), 0),
        Err(ErrorCode::UNKNOWN_MEMBER_ID)
    );
}

#[test]
fn a_commit_between_join_and_sync_must_wait() {
    let mut harness = Harness::new(Duration::ZERO);
    let ticket = harness.join("");
    let id = harness.joined[&ticket].member_id.clone();
    let refused = harness.group.check_commit(harness.now, &dynamic(&id), 1);
    assert_eq!(refused, Err(ErrorCode::REBALANCE_IN_PROGRESS));
}

#[test]
fn a_member_that_joined_but_never_syncs_is_removed() {
    let mut harness = Harness::new(Duration::ZERO);
    let ticket = harness.join("");
    let id = harness.joined[&ticket].member_id.clone();
    for _ in 0..12 {
        harness.advance(Duration::from_secs(5));
        harness.group.heartbeat(harness.now, &dynamic(&id), 1);
    }
    assert_eq!(harness.group.state, GroupState::Empty);
}

#[test]
fn a_stored_group_comes_back_as_it_was() {
    let (harness, leader, follower) = Harness::stable_pair(DELAY);
    let value = harness.group.value(5);
    let mut restored = Group::restore(harness.group.rules, value.clone(), Duration::ZERO);
    assert_eq!(restored.value(5), value);
    assert_eq!(restored.state, GroupState::Stable);
    assert_eq!(restored.next_deadline(), Some(SESSION));
    assert_eq!(
        restored.heartbeat(Duration::ZERO, &dynamic(&leader), 1),
        ErrorCode::NONE
    );
    assert_eq!(
        restored.heartbeat(Duration::ZERO, &dynamic(&follower), 1),
        ErrorCode::NONE
    );
}

/// One step of a random history; members are chosen by index among the known ids.
#[derive(Clone, Debug)]
enum Step {
    JoinNew { must_know_member_id: bool },
    JoinStatic(u8),
    JoinAgain(usize),
    Sync(usize),
    Heartbeat(usize),
    Leave(usize),
    Stored(bool),
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<bool>().prop_map(|must_know_member_id| Step::JoinNew { must_know_member_id }),
        (0_u8..2).prop_map(Step::JoinStatic),
        (0_usize..8).prop_map(Step::JoinAgain),
        (0_usize..8).prop_map(Step::Sync),
        (0_usize..8).prop_map(Step::Heartbeat),
        (0_usize..8).prop_map(Step::Leave),
        any::<bool>().prop_map(Step::Stored),
        (1_u64..20_000).prop_map(Step::Advance),
    ]
}

fn known_id(harness: &Harness, index: usize) -> Option<String> {
    let ids: BTreeSet<&str> = harness
        .joined
        .values()
        .map(|result| result.member_id.as_str())
        .filter(|id| !id.is_empty())
        .collect();
    ids.into_iter().rev().nth(index).map(str::to_owned)
}

fn identity_of(harness: &Harness, member_id: &str) -> MemberIdentity {
    let member = harness.group.members.get(member_id);
    let instance_id = member.and_then(|member| member.instance_id.clone());
    MemberIdentity {
        member_id: member_id.to_owned(),
        instance_id,
    }
}

fn take(harness: &mut Harness, step: &Step) {
    match *step {
        Step::JoinNew { must_know_member_id } => {
            harness.join_with(|request| request.must_know_member_id = must_know_member_id);
        }
        Step::JoinStatic(instance) => {
            harness.join_static(&format!("i{instance}"), "");
        }
        Step::JoinAgain(index) => {
            let Some(id) = known_id(harness, index) else {
                return;
            };
            let identity = identity_of(harness, &id);
            harness.join_with(|request| request.identity = identity);
        }
        Step::Sync(index) => {
            let Some(id) = known_id(harness, index) else {
                return;
            };
            let generation = harness.group.generation;
            harness.sync(&id, generation, &[(&id, "mine")]);
        }
        Step::Heartbeat(index) => {
            let Some(id) = known_id(harness, index) else {
                return;
            };
            let identity = identity_of(harness, &id);
            harness
                .group
                .heartbeat(harness.now, &identity, harness.group.generation);
        }
        Step::Leave(index) => {
            let Some(id) = known_id(harness, index) else {
                return;
            };
            let identity = identity_of(harness, &id);
            harness.leave(&identity);
        }
        Step::Stored(ok) => {
            harness.stored(if ok {
                Ok(())
            } else {
                Err(ErrorCode::COORDINATOR_NOT_AVAILABLE)
            });
        }
        Step::Advance(milliseconds) => harness.advance(Duration::from_millis(milliseconds)),
    }
}

fn check_invariants(harness: &Harness) {
    let group = &harness.group;
    if let Some(leader) = &group.leader {
        assert!(group.members.contains_key(leader), "the leader is a member");
    }
    for (instance_id, member_id) in &group.static_members {
        assert_eq!(group.members[member_id].instance_id.as_ref(), Some(instance_id));
    }
    for member in group.members.values() {
        let may_wait_for_join = group.state == GroupState::PreparingRebalance;
        assert!(
            member.awaiting_join.is_none() || may_wait_for_join,
            "joins wait only while joining"
        );
        let may_wait_for_sync = group.state == GroupState::CompletingRebalance;
        assert!(
            member.awaiting_sync.is_none() || may_wait_for_sync,
            "syncs wait only for the leader"
        );
    }
    assert_eq!(
        group.join_phase.is_some(),
        group.state == GroupState::PreparingRebalance
    );
    if group.state == GroupState::Empty {
        assert!(group.members.is_empty());
    } else if group.state != GroupState::PreparingRebalance {
        assert!(group.leader.is_some() && group.protocol.is_some());
    }
    // Whoever got into a generation agrees about who leads it, and only the leader sees the members.
    let mut leaders: BTreeMap<i32, BTreeSet<&str>> = BTreeMap::new();
    for result in harness.joined.values().filter(|result| result.error.is_none()) {
        if !result.members.is_empty() {
            assert_eq!(result.leader, result.member_id);
            leaders
                .entry(result.generation)
                .or_default()
                .insert(&result.leader);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_keep_the_invariants_and_answer_everybody(
        steps in proptest::collection::vec(step(), 1..80),
        has_delay in any::<bool>(),
    ) {
        let mut harness = Harness::new(if has_delay { DELAY } else { Duration::ZERO });
        let mut generation = 0;
        for step in &steps {
            take(&mut harness, step);
            check_invariants(&harness);
            prop_assert!(harness.group.generation >= generation);
            generation = harness.group.generation;
        }
        // Everybody falls silent: time alone must answer every request and empty the group.
        for _ in 0..200 {
            let Some(deadline) = harness.group.next_deadline() else { break };
            let by = deadline.saturating_sub(harness.now);
            harness.stored(Ok(()));
            harness.advance(by);
            check_invariants(&harness);
        }
        prop_assert_eq!(harness.group.state, GroupState::Empty);
        prop_assert_eq!(harness.joined.len() + harness.synced.len(), harness.next_ticket as usize);
    }
}

#[test]
fn a_member_has_a_bounded_number_of_protocols() {
    let mut harness = Harness::new(Duration::ZERO);
    let error_of = |harness: &mut Harness, count: usize| {
        let names: Vec<String> = (0..count).map(|number| format!("p{number}")).collect();
        let ticket = harness.join_with(|request| {
            request.protocols = names.iter().map(|name| protocol(name)).collect();
        });
        harness.joined.get(&ticket).map(|result| result.error)
    };
    assert_eq!(
        error_of(&mut harness, 101),
        Some(ErrorCode::INCONSISTENT_GROUP_PROTOCOL)
    );
    assert_eq!(error_of(&mut harness, 100), Some(ErrorCode::NONE));
}
