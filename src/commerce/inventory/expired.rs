//! The holds that ended by themselves a short while ago: a payment that comes too late can still be met, if the units
//! are there.

use std::collections::VecDeque;

use hashbrown::HashMap;
use uuid::Uuid;

use super::holds::HoldLine;
use super::names::NameIndex;

/// A hold that ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExpiredHold {
    pub(super) customer: NameIndex,
    pub(super) lines: Box<[HoldLine]>,
    pub(super) at_ms: i64,
}

/// A bounded memory of expired holds.
#[derive(Clone, Debug, Default)]
pub(super) struct ExpiredHolds {
    holds: HashMap<Uuid, ExpiredHold>,
    /// Ids and times, oldest first; those that were taken out since have no hold.
    order: VecDeque<(Uuid, i64)>,
}

impl ExpiredHolds {
    pub(super) fn len(&self) -> usize {
        self.holds.len()
    }

    pub(super) fn get(&self, reservation: Uuid) -> Option<&ExpiredHold> {
        self.holds.get(&reservation)
    }

    pub(super) fn keep(&mut self, reservation: Uuid, hold: ExpiredHold) {
        self.order.push_back((reservation, hold.at_ms));
        self.holds.insert(reservation, hold);
    }

    pub(super) fn take(&mut self, reservation: Uuid) -> Option<ExpiredHold> {
        self.holds.remove(&reservation)
    }

    /// Forgets the oldest hold, if there are more than `count_max` or it ended before `oldest_ms`.
    pub(super) fn forget_one(&mut self, count_max: usize, oldest_ms: i64) -> Option<ExpiredHold> {
        while let Some((reservation, at_ms)) = self.order.front().copied() {
            let is_kept = self
                .holds
                .get(&reservation)
                .is_some_and(|hold| hold.at_ms == at_ms);
            if is_kept && self.holds.len() <= count_max && at_ms >= oldest_ms {
                return None;
            }
            self.order.pop_front();
            if is_kept {
                return self.holds.remove(&reservation);
            }
        }
        None
    }

    /// All holds, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Uuid, &ExpiredHold)> {
        self.order.iter().filter_map(|(reservation, at_ms)| {
            let hold = self.holds.get(reservation)?;
            (hold.at_ms == *at_ms).then_some((*reservation, hold))
        })
    }
}
