//! Every reservation id that a shard knows: held, ended, or refused; the window of idempotency.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;
use uuid::Uuid;

use super::FailureReason;
use super::chunked::{Chunked, ChunkedQueue, QUEUE_NUMBER_MAX, QueueNumber};
use super::holds::HoldIndex;
use super::striped::Striped;

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

/// A UUID of alignment 4, so that what stands beside it needs no padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    pub(super) fn id(self) -> Uuid {
        Uuid::from_u128(self.bits())
    }

    /// The hash by which tables find the key. Clients choose ids, so the hasher must have a secret seed.
    pub(super) fn hash(self, hasher: &DefaultHashBuilder) -> u64 {
        hasher.hash_one(self.bits())
    }

    fn bits(self) -> u128 {
        let words = self.0.iter().rev();
        words.fold(0, |bits, word| (bits << 32) | u128::from(*word))
    }
}

/// An id that is remembered for a while, how it ended, and when.
#[derive(Clone, Copy, Debug)]
struct Ended {
    key: Key,
    /// The instant above the 8 bits of the status.
    at_and_code: [u32; 2],
}

const _: () = assert!(size_of::<Ended>() == 24);

/// The code of an id that was forgotten out of its turn.
const FORGOTTEN: u8 = u8::MAX;

impl Ended {
    fn new(key: Key, code: u8, at_ms: i64) -> Self {
        // 56 bits are a million years; what does not fit is no time that a clock shows.
        let at_ms = at_ms.clamp(i64::MIN >> 8, i64::MAX >> 8);
        let bits = (at_ms << 8) as u64 | u64::from(code);
        Ended {
            key,
            at_and_code: [bits as u32, (bits >> 32) as u32],
        }
    }

    fn code(&self) -> u8 {
        self.at_and_code[0] as u8
    }

    fn at_ms(&self) -> i64 {
        let [low, high] = self.at_and_code;
        (u64::from(low) | (u64::from(high) << 32)) as i64 >> 8
    }
}

/// Ids with a bounded memory of those that ended.
#[derive(Debug)]
pub(super) struct Reservations {
    /// Packed places of the ids, by hash: among those that are held, or among those that ended.
    places: Striped<u32>,
    /// The ids of live holds, each at the index of its hold; at other indexes anything.
    held: Chunked<Key>,
    /// Ended ids, oldest first. The first one is never one that was forgotten.
    ended: ChunkedQueue<Ended>,
    /// Ids in the queue that were forgotten out of their turn.
    forgotten: usize,
    hasher: DefaultHashBuilder,
}

impl Reservations {
    pub(super) fn new() -> Self {
        Reservations {
            places: Striped::new(),
            held: Chunked::default(),
            ended: ChunkedQueue::default(),
            forgotten: 0,
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Makes room for `count` ids in all.
    pub(super) fn reserve(&mut self, count: usize) {
        let (held, ended, hasher) = (&self.held, &self.ended, &self.hasher);
        self.places
            .reserve(count, |place| key_at(*place, held, ended).hash(hasher));
    }

    pub(super) fn get(&self, reservation: Uuid) -> Option<Status> {
        let key = Key::from(reservation);
        let found = self.places.find(key.hash(&self.hasher), self.is(key))?;
        Some(match unpack(*found) {
            Place::Held(index) => Status::Held(index),
            Place::Ended(number) => ended_status(self.ended[number].code()).unwrap_or(Status::Expired),
        })
    }

    /// The id of the live hold at `index`.
    pub(super) fn held_id(&self, index: HoldIndex) -> Uuid {
        self.held[index].id()
    }

    /// Records the hold of an id that is not known.
    pub(super) fn set_held(&mut self, reservation: Uuid, index: HoldIndex) {
        let key = Key::from(reservation);
        while self.held.len() <= index as usize {
            self.held.push(Key::default());
        }
        self.held[index] = key;
        self.put(key, pack(Place::Held(index)));
    }

    /// Records the end of a reservation, which may have ended otherwise before; it is remembered from `at_ms` on.
    pub(super) fn set_ended(&mut self, reservation: Uuid, status: Status, at_ms: i64) {
        debug_assert!(!matches!(status, Status::Held(_)), "an end is not a hold");
        let key = Key::from(reservation);
        let number = self.ended.push_back(Ended::new(key, ended_code(status), at_ms));
        let place = pack(Place::Ended(number));
        let (held, ended) = (&self.held, &self.ended);
        // Not the new element, which no entry of the table names yet.
        let is = |known: &u32| key_at(*known, held, ended) == key;
        match self.places.find_mut(key.hash(&self.hasher), is) {
            Some(known) => {
                let before = std::mem::replace(known, place);
                if let Place::Ended(number) = unpack(before) {
                    self.set_forgotten(number);
                }
            }
            None => self.put(key, place),
        }
    }

    /// Forgets the oldest ended ids: all beyond `count_max`, and a few of those from before `oldest_ms`.
    pub(super) fn forget(&mut self, count_max: usize, oldest_ms: i64) {
        for _ in 0..FORGOTTEN_PER_EVENT_MAX {
            match self.ended.front() {
                Some((number, first))
                    if self.ended.len() - self.forgotten > count_max || first.at_ms() < oldest_ms =>
                {
                    let place = pack(Place::Ended(number));
                    let hash = first.key.hash(&self.hasher);
                    self.places.remove(hash, |other| *other == place);
                    self.ended.pop_front();
                    self.drop_forgotten();
                }
                _ => return,
            }
        }
    }

    /// Forgets one ended id out of its turn. It happens only in the replay of a log whose writer had tighter bounds,
    /// for an id that came back after it was forgotten there.
    pub(super) fn forget_ended(&mut self, reservation: Uuid) {
        let key = Key::from(reservation);
        let (held, ended) = (&self.held, &self.ended);
        let is = |place: &u32| key_at(*place, held, ended) == key;
        let removed = self.places.remove(key.hash(&self.hasher), is);
        if let Some(Place::Ended(number)) = removed.map(unpack) {
            self.set_forgotten(number);
        }
    }

    /// Number of ended ids that are remembered.
    pub(super) fn ended_len(&self) -> usize {
        self.ended.len() - self.forgotten
    }

    /// Remembered ended ids with status and time, oldest first.
    pub(super) fn ended(&self) -> impl Iterator<Item = (Uuid, Status, i64)> {
        self.ended
            .iter()
            .filter_map(|ended| Some((ended.key.id(), ended_status(ended.code())?, ended.at_ms())))
    }

    /// A copy that stays as it is, for [`Reservations::ended`] and [`Reservations::held_id`] alone: it finds no ids.
    pub(super) fn frozen(&mut self) -> Self {
        Reservations {
            places: Striped::new(),
            held: self.held.frozen(),
            ended: self.ended.frozen(),
            forgotten: self.forgotten,
            hasher: self.hasher.clone(),
        }
    }

    fn is(&self, key: Key) -> impl Fn(&u32) -> bool {
        move |place| key_at(*place, &self.held, &self.ended) == key
    }

    fn put(&mut self, key: Key, place: u32) {
        let (held, ended, hasher) = (&self.held, &self.ended, &self.hasher);
        self.places.insert(key.hash(hasher), place, |place| {
            key_at(*place, held, ended).hash(hasher)
        });
    }

    /// Takes an end out of the queue that is not its first one.
    fn set_forgotten(&mut self, number: QueueNumber) {
        let Ended { key, .. } = self.ended[number];
        self.ended[number] = Ended::new(key, FORGOTTEN, self.ended[number].at_ms());
        self.forgotten += 1;
        self.drop_forgotten();
    }

    fn drop_forgotten(&mut self) {
        while self.forgotten > 0
            && let Some((_, first)) = self.ended.front()
            && first.code() == FORGOTTEN
        {
            self.ended.pop_front();
            self.forgotten -= 1;
        }
    }
}

/// Where the entry of an id stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Held(HoldIndex),
    Ended(QueueNumber),
}

/// Set in the place of an ended reservation; a hold's index stays below it.
const ENDED: u32 = QUEUE_NUMBER_MAX + 1;
const _: () = assert!(super::limits::LIVE_HOLDS_MAX < ENDED as usize);

fn pack(place: Place) -> u32 {
    match place {
        Place::Held(index) => {
            debug_assert!(index < ENDED, "hold index {index} too large");
            index
        }
        Place::Ended(number) => ENDED | number,
    }
}

fn unpack(place: u32) -> Place {
    if place < ENDED {
        Place::Held(place)
    } else {
        Place::Ended(place & QUEUE_NUMBER_MAX)
    }
}

fn key_at(place: u32, held: &Chunked<Key>, ended: &ChunkedQueue<Ended>) -> Key {
    match unpack(place) {
        Place::Held(index) => held[index],
        Place::Ended(number) => ended[number].key,
    }
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
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_status_has_a_code() {
        let ended: Vec<Status> = (0..10).map(|code| ended_status(code).unwrap()).collect();
        assert!(
            (0..)
                .zip(&ended)
                .all(|(code, status)| ended_code(*status) == code)
        );
        assert_eq!((ended_status(10), ended_status(FORGOTTEN)), (None, None));
    }

    #[test]
    fn instants_of_ends_keep_their_sign_and_stop_at_56_bits() {
        let last = i64::MAX >> 8;
        for (at_ms, kept) in [
            (0, 0),
            (-1, -1),
            (last, last),
            (i64::MAX, last),
            (i64::MIN, -last - 1),
        ] {
            let ended = Ended::new(Key::default(), 6, at_ms);
            assert_eq!((ended.at_ms(), ended.code()), (kept, 6));
        }
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

    #[derive(Clone, Debug)]
    enum Step {
        Hold(u128),
        End(u128),
        Forget(usize),
        ForgetOne(u128),
    }

    proptest! {
        #[test]
        fn the_window_is_a_list(steps in prop::collection::vec(prop_oneof![
            3 => (0..20_u128).prop_map(Step::Hold),
            3 => (0..20_u128).prop_map(Step::End),
            1 => (0..12_usize).prop_map(Step::Forget),
            1 => (0..20_u128).prop_map(Step::ForgetOne),
        ], 1..120)) {
            let mut reservations = Reservations::new();
            let (mut held, mut ended) = (HashMap::new(), Vec::<(Uuid, Status, i64)>::new());
            for (now_ms, step) in (0..).zip(steps) {
                match step {
                    Step::Hold(n) => {
                        let id = Uuid::from_u128(n);
                        if reservations.get(id).is_none() {
                            // Indexes of ended holds are used again.
                            let index = (0..20).find(|index| held.values().all(|other| other != index)).unwrap();
                            reservations.set_held(id, index);
                            held.insert(id, index);
                        }
                    }
                    Step::End(n) => {
                        let id = Uuid::from_u128(n);
                        held.remove(&id);
                        // One that ended before, as an expired hold that is committed late, ends anew.
                        ended.retain(|(other, ..)| *other != id);
                        let status = ended_status((now_ms % 10) as u8).unwrap();
                        reservations.set_ended(id, status, now_ms);
                        ended.push((id, status, now_ms));
                    }
                    Step::Forget(count_max) => {
                        reservations.forget(count_max, i64::MIN);
                        let beyond = ended.len().saturating_sub(count_max).min(FORGOTTEN_PER_EVENT_MAX);
                        ended.drain(..beyond);
                    }
                    Step::ForgetOne(n) => {
                        let id = Uuid::from_u128(n);
                        if !held.contains_key(&id) {
                            reservations.forget_ended(id);
                            ended.retain(|(other, ..)| *other != id);
                        }
                    }
                }
                prop_assert_eq!(reservations.ended_len(), ended.len());
                prop_assert_eq!(reservations.ended().collect::<Vec<_>>(), ended.clone());
                for n in 0..20 {
                    let id = Uuid::from_u128(n);
                    let status = held.get(&id).map(|index| Status::Held(*index));
                    let status = status.or(ended.iter().find(|(other, ..)| *other == id).map(|(_, status, _)| *status));
                    prop_assert_eq!(reservations.get(id), status);
                }
            }
            for (id, index) in held {
                prop_assert_eq!(reservations.held_id(index), id);
            }
        }
    }
}
