//! What the passing of time does to a group.

use super::group::{Effect, Group, GroupState, Moment};

impl Group {
    /// Gives up members whose time is over and ends phases that are due.
    pub(super) fn tick(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let pending_before = self.pending_members.len();
        self.pending_members.retain(|_, expiry| *expiry > now);
        if self.pending_members.len() < pending_before {
            self.try_complete_join(now, effects);
        }
        for member_id in self.expired_members(now) {
            tracing::debug!(member_id, "group member gave no sign of life and is removed");
            self.remove_member(now, &member_id, effects);
        }
        if self.join_phase.is_some_and(|phase| phase.until <= now) {
            self.join_phase_ended(now, effects);
        }
        if self.sync_deadline.is_some_and(|deadline| deadline <= now) {
            self.sync_phase_ended(now, effects);
        }
    }

    /// When [`Group::tick`] has something to do next.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        let pending = self.pending_members.values().copied();
        let sessions = self.members.values().filter_map(super::member::Member::expiry);
        let phase = self.join_phase.map(|phase| phase.until);
        pending
            .chain(sessions)
            .chain(phase)
            .chain(self.sync_deadline)
            .min()
    }

    fn expired_members(&self, now: Moment) -> Vec<String> {
        let expired = self.members.values().filter(|member| member.is_expired(now));
        expired.map(|member| member.member_id.clone()).collect()
    }

    /// Members that joined but did not sync in time are given up.
    fn sync_phase_ended(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.sync_deadline = None;
        if !matches!(self.state, GroupState::CompletingRebalance | GroupState::Stable) {
            return;
        }
        let late = self.members.values().filter(|member| member.must_sync);
        let late: Vec<String> = late.map(|member| member.member_id.clone()).collect();
        for member_id in late {
            tracing::debug!(member_id, "group member did not sync in time and is removed");
            self.remove_member(now, &member_id, effects);
        }
    }
}
