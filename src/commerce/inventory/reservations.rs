//! Every reservation id that a shard knows: held, ended, or refused; the window of idempotency.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use uuid::Uuid;

use super::FailureReason;
use super::holds::HoldIndex;
use super::striped::{Stripe, Striped};

/// Most ids that one event makes the window forget by age, so that no event pays for a quiet day.
const FORGOTTEN_PER_EVENT_MAX: usize = 4;

/// Where a reservation stands; all but the first are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Held(HoldIndex),
    Committed,
    Released,
    Expired,
    Refused(FailureReason),
}

/// A UUID as a map key of alignment 4: an entry takes 20 bytes instead of 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key([u32; 4]);

impl From<Uuid> for Key {
    fn from(id: Uuid) -> Self {
        let bits = id.as_u128();
        Key([
            bits as u32,
            (bits >> 32) as u32,
            (bits >> 64) as u32,
            (bits >> 96) as u32,
        ])
    }
}

impl Key {
    fn bits(self) -> u128 {
        self.0
            .iter()
            .rev()
            .fold(0, |bits, word| (bits << 32) | u128::from(*word))
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.bits());
    }
}

impl Stripe for Key {
    fn stripe(&self) -> u32 {
        self.0[0]
    }
}

/// An id that is remembered for a while.
#[derive(Clone, Copy, Debug)]
struct Ended {
    key: Key,
    at_ms: i64,
}

/// Ids with a bounded memory of those that ended.
#[derive(Debug)]
pub(super) struct Reservations {
    statuses: Striped<Key, u32>,
    /// Ended ids, oldest first.
    ended: VecDeque<Ended>,
}

impl Reservations {
    pub(super) fn new() -> Self {
        Reservations {
            statuses: Striped::new(),
            ended: VecDeque::new(),
        }
    }

    pub(super) fn get(&self, reservation: Uuid) -> Option<Status> {
        self.statuses.get(&reservation.into()).map(|code| unpack(*code))
    }

    pub(super) fn set_held(&mut self, reservation: Uuid, index: HoldIndex) {
        self.statuses
            .insert(reservation.into(), pack(Status::Held(index)));
    }

    /// Records the end of a reservation; it is remembered from `at_ms` on.
    pub(super) fn set_ended(&mut self, reservation: Uuid, status: Status, at_ms: i64) {
        debug_assert!(!matches!(status, Status::Held(_)), "an end is not a hold");
        let key = reservation.into();
        self.statuses.insert(key, pack(status));
        self.ended.push_back(Ended { key, at_ms });
    }

    /// Forgets the oldest ended ids: all beyond `count_max`, and a few of those from before `oldest_ms`.
    pub(super) fn forget(&mut self, count_max: usize, oldest_ms: i64) {
        for _ in 0..FORGOTTEN_PER_EVENT_MAX {
            match self.ended.front() {
                Some(first) if self.ended.len() > count_max || first.at_ms < oldest_ms => {
                    self.statuses.remove(&first.key);
                    self.ended.pop_front();
                }
                _ => return,
            }
        }
    }

    /// Forgets one ended id out of its turn. Takes time in proportion to all ended ids: it happens only in the
    /// replay of a log whose writer had tighter bounds, for an id that came back after it was forgotten there.
    pub(super) fn forget_ended(&mut self, reservation: Uuid) {
        let key = Key::from(reservation);
        self.statuses.remove(&key);
        self.ended.retain(|ended| ended.key != key);
    }

    /// Remembered ended ids with status and time, oldest first.
    pub(super) fn ended(&self) -> impl Iterator<Item = (Uuid, Status, i64)> {
        self.ended.iter().filter_map(|ended| {
            let code = self.statuses.get(&ended.key)?;
            Some((Uuid::from_u128(ended.key.bits()), unpack(*code), ended.at_ms))
        })
    }
}

/// Set in the code of an ended reservation; a hold's index stays below it.
const ENDED: u32 = 1 << 31;
const _: () = assert!(super::limits::LIVE_HOLDS_MAX < ENDED as usize);

fn pack(status: Status) -> u32 {
    match status {
        Status::Held(index) => {
            debug_assert!(index < ENDED, "hold index {index} too large");
            index
        }
        ended => ENDED | u32::from(ended_code(ended)),
    }
}

fn unpack(code: u32) -> Status {
    if code < ENDED {
        return Status::Held(code);
    }
    ended_status(code as u8).unwrap_or(Status::Expired)
}

/// The number of a final status, here and in snapshots; `u8::MAX` for a hold.
pub(super) fn ended_code(status: Status) -> u8 {
    match status {
        Status::Held(_) => u8::MAX,
        Status::Committed => 0,
        Status::Released => 1,
        Status::Expired => 2,
        Status::Refused(reason) => 3 + reason as u8,
    }
}

/// The final status with this number.
pub(super) fn ended_status(code: u8) -> Option<Status> {
    Some(match code {
        0 => Status::Committed,
        1 => Status::Released,
        2 => Status::Expired,
        _ => Status::Refused(*FailureReason::ALL.get(usize::from(code) - 3)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_survives_packing() {
        let ended = (0..10).map(|code| ended_status(code).unwrap());
        for status in ended.chain([Status::Held(0), Status::Held(ENDED - 1)]) {
            assert_eq!(unpack(pack(status)), status);
        }
        assert_eq!(ended_status(10), None);
    }

    #[test]
    fn forgets_the_oldest_beyond_count_and_age() {
        let id = Uuid::from_u128;
        let mut reservations = Reservations::new();
        reservations.set_held(id(9), 4);
        for n in 0..4 {
            reservations.set_ended(id(n), Status::Released, n as i64);
        }
        reservations.forget(3, i64::MIN);
        assert_eq!(reservations.get(id(0)), None);
        assert_eq!(reservations.get(id(1)), Some(Status::Released));
        reservations.forget(3, 3);
        assert_eq!(
            (reservations.get(id(2)), reservations.get(id(3))),
            (None, Some(Status::Released))
        );
        assert_eq!(
            reservations.get(id(9)),
            Some(Status::Held(4)),
            "a live hold is never forgotten"
        );
        assert_eq!(
            reservations.ended().collect::<Vec<_>>(),
            vec![(id(3), Status::Released, 3)]
        );
    }
}
