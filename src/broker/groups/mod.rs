//! Consumer groups by Kafka's classic protocol: membership, assignment, committed offsets.
//!
//! [`group::Group`] is the protocol as a pure state machine: requests, time and fresh member ids are passed
//! in, answers come out as effects. [`coordinator::GroupCoordinator`] is the thin shell around it: locks,
//! waiting clients, timers, and the durable records in `__consumer_offsets`.

mod coordinator;
mod deadlines;
mod group;
mod join;
mod member;
mod offsets;
mod records;
mod subscription;
mod sync;
mod timing;

#[cfg(test)]
mod tests;

pub(super) use coordinator::{GroupCoordinator, GroupOverview};
pub(super) use group::GroupState;
pub(super) use join::{JoinRequest, JoinResult};
pub(super) use member::{MemberIdentity, Protocol};
pub(super) use offsets::{CommitPartition, CommitRequest, CommittedOffset};
pub(super) use sync::{SyncRequest, SyncResult};
