//! The coordinator of all consumer groups: locks, waiting clients, timers and durable records around the
//! pure [`Group`].

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::super::config::BrokerConfig;
use super::super::error::StateError;
use super::super::internal_topic::{CONSUMER_OFFSETS, KeyedRecord};
use super::super::offset_records::{GroupValue, RecordKey};
use super::super::protocol::ErrorCode;
use super::deadlines::Deadlines;
use super::group::{Effect, Group, GroupRules, GroupState, Moment, Ticket};
use super::offsets::{OffsetTable, OffsetsLog, append_all, offset_record};
use super::records::{Loaded, commit_records, deletion_records};
use super::{
    CommitRequest, CommittedOffset, JoinRequest, JoinResult, MemberIdentity, SyncRequest, SyncResult,
};
use crate::log::{Append, Log, Offset, Topic};

/// All consumer groups.
#[derive(Debug)]
pub(in super::super) struct GroupCoordinator {
    rules: GroupRules,
    groups_max: usize,
    offsets_log: OffsetsLog,
    slots: RwLock<BTreeMap<String, Arc<Mutex<Slot>>>>,
    deadlines: Deadlines,
    next_ticket: AtomicU64,
}

/// One group with what the coordinator keeps for it.
#[derive(Debug)]
struct Slot {
    group_id: String,
    group: Group,
    offsets: OffsetTable,
    joins: HashMap<Ticket, oneshot::Sender<JoinResult>>,
    syncs: HashMap<Ticket, oneshot::Sender<SyncResult>>,
    /// The earliest deadline that is queued for this group.
    queued: Option<Moment>,
    /// Whether the group was deleted while somebody still held this slot.
    is_deleted: bool,
}

/// What is told about a group.
#[derive(Clone, Debug)]
pub(in super::super) struct GroupOverview {
    pub(in super::super) group_id: String,
    pub(in super::super) state: GroupState,
    pub(in super::super) protocol: String,
    /// The group as it would be stored.
    pub(in super::super) value: GroupValue,
}

type SharedSlot = Arc<Mutex<Slot>>;

fn lock(slot: &SharedSlot) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GroupCoordinator {
    /// Loads all groups and offsets. Blocks.
    pub(in super::super) fn open(log: Log, config: &BrokerConfig) -> Result<GroupCoordinator, StateError> {
        let rules = GroupRules {
            initial_rebalance_delay: config.group_initial_rebalance_delay,
            members_max: config.group_members_max,
        };
        let coordinator = GroupCoordinator {
            rules,
            groups_max: config.groups_max,
            offsets_log: OffsetsLog::new(log, config.offsets_topic_partitions),
            slots: RwLock::default(),
            deadlines: Deadlines::new(),
            next_ticket: AtomicU64::new(0),
        };
        coordinator.load()?;
        Ok(coordinator)
    }

    fn load(&self) -> Result<(), StateError> {
        let Loaded { groups, mut tables } = Loaded::read(&self.offsets_log)?;
        let now = self.deadlines.now();
        for (group_id, value) in groups {
            let offsets = tables.remove(&group_id).unwrap_or_default();
            if value.is_none() && offsets.is_empty() {
                continue;
            }
            let group = value.map(|value| Group::restore(self.rules, value, now));
            let slot = self.insert(
                &group_id,
                group.unwrap_or_else(|| Group::new(self.rules)),
                offsets,
            );
            self.queue_deadline(&mut lock(&slot));
        }
        Ok(())
    }

    /// Ticks groups when their time has come, until `shutdown`.
    pub(in super::super) async fn run_timer(self: Arc<GroupCoordinator>, shutdown: CancellationToken) {
        loop {
            let (moment, group_id) = tokio::select! {
                due = self.deadlines.next() => due,
                () = shutdown.cancelled() => return,
            };
            let Some(slot) = self.find(&group_id) else {
                continue;
            };
            let mut locked = lock(&slot);
            if locked.queued == Some(moment) {
                locked.queued = None;
            }
            self.settle(&mut locked, Vec::new());
            drop(locked);
            drop(slot);
            self.forget_if_unused(&group_id);
        }
    }

    /// Makes sure that the internal topic is there, before anything needs it.
    pub(in super::super) async fn prepare(&self) -> Result<(), ErrorCode> {
        self.topic().await.map(|_| ())
    }

    /// Joins a group; resolves when the rebalance is complete.
    pub(in super::super) async fn join(self: &Arc<Self>, request: JoinRequest) -> JoinResult {
        let member_id = request.identity.member_id.clone();
        if let Err(error) = self.prepare().await {
            return JoinResult::failed(&member_id, error);
        }
        let receiver = loop {
            let slot = if member_id.is_empty() {
                match self.find_or_create(&request.group_id) {
                    Some(slot) => slot,
                    None => return JoinResult::failed("", ErrorCode::COORDINATOR_NOT_AVAILABLE),
                }
            } else {
                match self.find(&request.group_id) {
                    Some(slot) => slot,
                    None => return JoinResult::failed(&member_id, ErrorCode::UNKNOWN_MEMBER_ID),
                }
            };
            let mut slot = lock(&slot);
            if slot.is_deleted {
                continue;
            }
            let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
            let (sender, receiver) = oneshot::channel();
            slot.joins.insert(ticket, sender);
            let mut effects = Vec::new();
            let fresh_id = fresh_member_id(&request);
            slot.group
                .join(self.deadlines.now(), ticket, &request, fresh_id, &mut effects);
            self.settle(&mut slot, effects);
            break receiver;
        };
        let unavailable = |_| JoinResult::failed(&member_id, ErrorCode::COORDINATOR_NOT_AVAILABLE);
        let result = receiver.await.unwrap_or_else(unavailable);
        if !result.error.is_none() {
            self.forget_if_unused(&request.group_id);
        }
        result
    }

    /// Gets the assignment of a member; resolves when the leader brought it and it is durable.
    pub(in super::super) async fn sync(self: &Arc<Self>, request: SyncRequest) -> SyncResult {
        if let Err(error) = self.prepare().await {
            return SyncResult::failed(error);
        }
        let Some(slot) = self.find(&request.group_id) else {
            return SyncResult::failed(ErrorCode::UNKNOWN_MEMBER_ID);
        };
        let receiver = {
            let mut slot = lock(&slot);
            let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
            let (sender, receiver) = oneshot::channel();
            slot.syncs.insert(ticket, sender);
            let mut effects = Vec::new();
            slot.group
                .sync(self.deadlines.now(), ticket, request, &mut effects);
            self.settle(&mut slot, effects);
            receiver
        };
        drop(slot);
        receiver
            .await
            .unwrap_or_else(|_| SyncResult::failed(ErrorCode::COORDINATOR_NOT_AVAILABLE))
    }

    /// A sign of life of a member.
    pub(in super::super) fn heartbeat(
        self: &Arc<Self>,
        group_id: &str,
        identity: &MemberIdentity,
        generation: i32,
    ) -> ErrorCode {
        let Some(slot) = self.find(group_id) else {
            return ErrorCode::UNKNOWN_MEMBER_ID;
        };
        let mut slot = lock(&slot);
        let error = slot.group.heartbeat(self.deadlines.now(), identity, generation);
        self.settle(&mut slot, Vec::new());
        error
    }

    /// Takes members out of a group; one answer for each.
    pub(in super::super) async fn leave(
        self: &Arc<Self>,
        group_id: &str,
        members: &[MemberIdentity],
    ) -> Vec<ErrorCode> {
        if let Err(error) = self.prepare().await {
            return vec![error; members.len()];
        }
        let Some(slot) = self.find(group_id) else {
            return vec![ErrorCode::UNKNOWN_MEMBER_ID; members.len()];
        };
        let mut slot = lock(&slot);
        let now = self.deadlines.now();
        let mut effects = Vec::new();
        let errors = members
            .iter()
            .map(|member| slot.group.leave(now, member, &mut effects))
            .collect();
        self.settle(&mut slot, effects);
        errors
    }

    /// Commits offsets; resolves when they are durable.
    pub(in super::super) async fn commit(
        self: &Arc<Self>,
        request: CommitRequest,
        now_ms: i64,
    ) -> Result<(), ErrorCode> {
        let topic = self.topic().await?;
        let (slot, appends, values) = loop {
            let shared = match self.find(&request.group_id) {
                Some(slot) => slot,
                // A consumer that assigns partitions to itself commits without ever having joined.
                None if request.generation < 0 => self
                    .find_or_create(&request.group_id)
                    .ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?,
                None => return Err(ErrorCode::ILLEGAL_GENERATION),
            };
            let mut slot = lock(&shared);
            if slot.is_deleted {
                continue;
            }
            slot.group
                .check_commit(self.deadlines.now(), &request.identity, request.generation)?;
            let (records, values) = commit_records(&request, now_ms).map_err(|e| code_of(&e))?;
            // Appended under the lock, so that the log has the commits in the order of their checks.
            let appends = append_all(topic, &request.group_id, now_ms, records).map_err(|e| code_of(&e))?;
            self.queue_deadline(&mut slot);
            drop(slot);
            break (shared, appends, values);
        };
        let Some(position) = wait_all(appends).await? else {
            drop(slot);
            self.forget_if_unused(&request.group_id);
            return Ok(());
        };
        let mut slot = lock(&slot);
        for (partition, value) in request.partitions.iter().zip(values) {
            slot.offsets
                .apply(&partition.topic, partition.partition, position, value);
        }
        Ok(())
    }

    /// Calls `read` with the lookup of a group's committed offsets.
    pub(in super::super) fn committed(
        &self,
        group_id: &str,
        topic: &str,
        partition: i32,
    ) -> Option<CommittedOffset> {
        let slot = self.find(group_id)?;
        let slot = lock(&slot);
        slot.offsets.get(topic, partition).cloned()
    }

    /// All committed offsets of a group, by topic and partition.
    pub(in super::super) fn all_committed(
        &self,
        group_id: &str,
    ) -> BTreeMap<String, BTreeMap<i32, CommittedOffset>> {
        let slot = self.find(group_id);
        slot.map(|slot| lock(&slot).offsets.all().clone())
            .unwrap_or_default()
    }

    /// What there is to tell about a group.
    pub(in super::super) fn describe(&self, group_id: &str) -> Option<GroupOverview> {
        self.find(group_id).map(|slot| overview(&lock(&slot)))
    }

    /// What there is to tell about every group.
    pub(in super::super) fn list(&self) -> Vec<GroupOverview> {
        let slots: Vec<SharedSlot> = self.read_slots().values().cloned().collect();
        slots.iter().map(|slot| overview(&lock(slot))).collect()
    }

    /// Deletes a group without members, with its offsets; durable when this resolves.
    pub(in super::super) async fn delete(&self, group_id: &str, now_ms: i64) -> Result<(), ErrorCode> {
        let topic = self.topic().await?;
        let shared = self.find(group_id).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
        let appends = {
            let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
            let mut slot = lock(&shared);
            if !slot.group.is_unused() {
                return Err(ErrorCode::NON_EMPTY_GROUP);
            }
            let records = deletion_records(&slot.group_id, &slot.offsets).map_err(|e| code_of(&e))?;
            let appends = append_all(topic, group_id, now_ms, records).map_err(|e| code_of(&e))?;
            slot.is_deleted = true;
            slots.remove(group_id);
            appends
        };
        wait_all(appends).await.map(|_| ())
    }

    /// Forgets committed offsets of topics that no member reads; one answer for each, durable when this
    /// resolves.
    pub(in super::super) async fn delete_offsets(
        &self,
        group_id: &str,
        partitions: &[(String, i32)],
        now_ms: i64,
    ) -> Result<Vec<ErrorCode>, ErrorCode> {
        let topic = self.topic().await?;
        let shared = self.find(group_id).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
        let (answers, removed, appends) = {
            let slot = lock(&shared);
            if slot.is_deleted {
                return Err(ErrorCode::GROUP_ID_NOT_FOUND);
            }
            slot.group.check_offset_removal()?;
            let mut answers = Vec::with_capacity(partitions.len());
            let mut removed = Vec::new();
            let mut records = Vec::new();
            for (name, partition) in partitions {
                if slot.group.is_subscribed_to(name) {
                    answers.push(ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC);
                    continue;
                }
                answers.push(ErrorCode::NONE);
                if slot.offsets.get(name, *partition).is_some() {
                    records.push(offset_record(group_id, name, *partition, None).map_err(|e| code_of(&e))?);
                    removed.push((name, *partition));
                }
            }
            // Appended under the lock, so that a later commit is later in the log.
            let appends = append_all(topic, group_id, now_ms, records).map_err(|e| code_of(&e))?;
            (answers, removed, appends)
        };
        if let Some(position) = wait_all(appends).await? {
            let mut slot = lock(&shared);
            for (name, partition) in removed {
                slot.offsets.remove_before(name, partition, position);
            }
        }
        Ok(answers)
    }

    /// Forgets the offsets of a deleted topic in all groups.
    pub(in super::super) async fn forget_topic(&self, name: &str, now_ms: i64) -> Result<(), ErrorCode> {
        if self.offsets_log.opened().is_none() {
            return Ok(());
        }
        let topic = self.topic().await?;
        let slots: Vec<SharedSlot> = self.read_slots().values().cloned().collect();
        for shared in slots {
            let appends = {
                let mut slot = lock(&shared);
                let partitions = slot.offsets.remove_topic(name);
                let records: Result<Vec<_>, _> = partitions
                    .into_iter()
                    .map(|p| offset_record(&slot.group_id, name, p, None))
                    .collect();
                // Appended under the lock: a commit that comes later, to a new topic of that name, must
                // come later in the log too.
                records.and_then(|records| append_all(topic, &slot.group_id, now_ms, records))
            };
            wait_all(appends.map_err(|e| code_of(&e))?).await?;
        }
        Ok(())
    }

    async fn topic(&self) -> Result<&Arc<Topic>, ErrorCode> {
        self.offsets_log.topic().await.map_err(|error| code_of(&error))
    }

    fn read_slots(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, SharedSlot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, group_id: &str) -> Option<SharedSlot> {
        self.read_slots().get(group_id).cloned()
    }

    fn find_or_create(&self, group_id: &str) -> Option<SharedSlot> {
        if let Some(slot) = self.find(group_id) {
            return Some(slot);
        }
        if self.read_slots().len() >= self.groups_max {
            tracing::warn!(
                groups_max = self.groups_max,
                "group refused: there are too many groups"
            );
            return None;
        }
        Some(self.insert(group_id, Group::new(self.rules), OffsetTable::default()))
    }

    fn insert(&self, group_id: &str, group: Group, offsets: OffsetTable) -> SharedSlot {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry(group_id.to_owned()).or_insert_with(|| {
            Arc::new(Mutex::new(Slot {
                group_id: group_id.to_owned(),
                group,
                offsets,
                joins: HashMap::new(),
                syncs: HashMap::new(),
                queued: None,
                is_deleted: false,
            }))
        });
        Arc::clone(slot)
    }

    /// Gives up a group that nobody ever was in and that has no offsets, such as one whose only member was
    /// refused: a name alone must not count against `groups_max` until the broker restarts.
    fn forget_if_unused(&self, group_id: &str) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        // Whoever else holds the slot may be about to commit to it. Slots are handed out only under the lock
        // on all of them, so nobody can take one up meanwhile.
        let is_unused = slots.get(group_id).is_some_and(|slot| {
            Arc::strong_count(slot) == 1 && {
                let slot = lock(slot);
                slot.group.is_unused() && slot.group.generation == 0 && slot.offsets.is_empty()
            }
        });
        if is_unused {
            slots.remove(group_id);
        }
    }

    /// Lets time catch up with a group, then does what its changes ask for.
    fn settle(self: &Arc<Self>, slot: &mut Slot, mut effects: Vec<Effect>) {
        slot.group.tick(self.deadlines.now(), &mut effects);
        for effect in effects {
            match effect {
                Effect::Joined(ticket, result) => {
                    if let Some(sender) = slot.joins.remove(&ticket) {
                        // The client may be gone; its session will time out.
                        let _ = sender.send(result);
                    }
                }
                Effect::Synced(ticket, result) => {
                    if let Some(sender) = slot.syncs.remove(&ticket) {
                        let _ = sender.send(result);
                    }
                }
                Effect::StoreAssignment(generation) => self.store_assignment(slot, generation),
                Effect::Store => match self.store(slot) {
                    // Nobody waits for it: the next generation stores the group again.
                    Ok(appends) => drop(appends),
                    Err(error) => tracing::warn!(group = slot.group_id, %error, "group was not stored"),
                },
            }
        }
        self.queue_deadline(slot);
    }

    /// Stores the assignment and tells the group when that is done.
    fn store_assignment(self: &Arc<Self>, slot: &mut Slot, generation: i32) {
        let stored = self.store(slot);
        let coordinator = Arc::clone(self);
        let group_id = slot.group_id.clone();
        tokio::spawn(async move {
            let outcome = match stored {
                Ok(appends) => wait_all(appends).await.map(|_| ()),
                Err(error) => Err(code_of(&error)),
            };
            let Some(slot) = coordinator.find(&group_id) else {
                return;
            };
            let mut slot = lock(&slot);
            let mut effects = Vec::new();
            let now = coordinator.deadlines.now();
            slot.group
                .assignment_stored(now, generation, outcome, &mut effects);
            coordinator.settle(&mut slot, effects);
        });
    }

    fn store(&self, slot: &Slot) -> Result<Vec<Append>, StateError> {
        let too_large = |_| StateError::TooLarge {
            topic: CONSUMER_OFFSETS,
        };
        // Every way to a member leads through `topic`, so the topic is there; it is opened again only
        // for groups that were loaded at start.
        let Some(topic) = self.offsets_log.opened() else {
            return Err(StateError::Cancelled);
        };
        let now_ms = super::super::wall_clock_ms();
        let key = RecordKey::Group {
            group: slot.group_id.clone(),
        }
        .encode()
        .map_err(too_large)?;
        let value = slot.group.value(now_ms).encode().map_err(too_large)?;
        append_all(
            &topic,
            &slot.group_id,
            now_ms,
            vec![KeyedRecord {
                key,
                value: Some(value),
            }],
        )
    }

    fn queue_deadline(&self, slot: &mut Slot) {
        let Some(deadline) = slot.group.next_deadline() else {
            return;
        };
        if slot.queued.is_none_or(|queued| deadline < queued) {
            slot.queued = Some(deadline);
            self.deadlines.add(deadline, &slot.group_id);
        }
    }
}

fn overview(slot: &Slot) -> GroupOverview {
    GroupOverview {
        group_id: slot.group_id.clone(),
        state: slot.group.state,
        protocol: slot.group.protocol.clone().unwrap_or_default(),
        value: slot.group.value(super::super::wall_clock_ms()),
    }
}

/// A member id in Kafka's form: what the client calls itself, then something unique.
fn fresh_member_id(request: &JoinRequest) -> String {
    let name = request
        .identity
        .instance_id
        .as_ref()
        .unwrap_or(&request.client_id);
    format!("{name}-{}", uuid::Uuid::new_v4())
}

/// Waits until all is durable; returns where the first append is.
async fn wait_all(appends: Vec<Append>) -> Result<Option<Offset>, ErrorCode> {
    let mut position = None;
    for append in appends {
        let base = append
            .await
            .map_err(|failed| code_of(&StateError::Failed(failed)))?;
        position.get_or_insert(base);
    }
    Ok(position)
}

/// What a group member is told when the internal topic does not work.
fn code_of(error: &StateError) -> ErrorCode {
    tracing::warn!(%error, source = ?std::error::Error::source(error), "group state was not stored");
    ErrorCode::COORDINATOR_NOT_AVAILABLE
}
