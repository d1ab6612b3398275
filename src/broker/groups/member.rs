//! One member of a consumer group, and how requests name it.

use std::time::Duration;

use bytes::Bytes;

use super::group::{Moment, Ticket};

/// How a request names the member that it speaks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct MemberIdentity {
    /// The id that the coordinator gave out; empty before that.
    pub(in super::super) member_id: String,
    /// The id that a static member (KIP-345) brings itself.
    pub(in super::super) instance_id: Option<String>,
}

/// A way to assign partitions that a member supports, with its subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Protocol {
    /// Name of the assignor.
    pub(in super::super) name: String,
    /// The member's subscription, opaque to the broker.
    pub(in super::super) metadata: Bytes,
}

/// One member of a group.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_field_names,
    reason = "the protocol calls it the member id everywhere"
)]
pub(super) struct Member {
    pub(super) member_id: String,
    pub(super) instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) rebalance_timeout: Duration,
    pub(super) session_timeout: Duration,
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    /// When the member is given up without another sign of life.
    pub(super) session_deadline: Moment,
    /// The `JoinGroup` request that waits for the rebalance to complete.
    pub(super) awaiting_join: Option<Ticket>,
    /// The `SyncGroup` request that waits for the leader's assignment.
    pub(super) awaiting_sync: Option<Ticket>,
    /// Whether the member never completed a rebalance.
    pub(super) is_new: bool,
    /// Whether the member still has to send `SyncGroup` in this generation.
    pub(super) must_sync: bool,
}

impl Member {
    /// Whether the member is out of time at `now`. A waiting client cannot send heartbeats, so waiting
    /// counts as life, except for a member that was never seen before.
    pub(super) fn is_expired(&self, now: Moment) -> bool {
        let waits = self.awaiting_join.is_some() || self.awaiting_sync.is_some();
        self.session_deadline <= now && (self.is_new || !waits)
    }

    /// When [`Member::is_expired`] can become true.
    pub(super) fn expiry(&self) -> Option<Moment> {
        let waits = self.awaiting_join.is_some() || self.awaiting_sync.is_some();
        (self.is_new || !waits).then_some(self.session_deadline)
    }

    /// The subscription for one protocol.
    pub(super) fn metadata(&self, protocol: Option<&str>) -> Bytes {
        let found = self
            .protocols
            .iter()
            .find(|candidate| Some(candidate.name.as_str()) == protocol);
        found
            .map(|candidate| candidate.metadata.clone())
            .unwrap_or_default()
    }
}
