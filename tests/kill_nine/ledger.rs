//! What the test sent, and what it was told: its own truth, which no crash touches.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Number of a place in the list of all places.
pub type PlaceIndex = usize;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The topic.
    pub topic: &'static str,
    /// The partition.
    pub partition: i32,
}

/// One record that a producer handed over. Sequences count per lane and place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The producer.
    pub lane: u32,
    /// Where the record should go.
    pub place: PlaceIndex,
    /// Its number among the lane's records for that place.
    pub sequence: u32,
}

/// What is known of a record that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Handed over, no answer.
    Unknown,
    /// Acknowledged at an offset; none if the client was not told which.
    Acknowledged(Option<i64>),
    /// The client gave up: it may be there or not.
    GivenUp,
}

/// One record in the ledger.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Checksum of what was sent.
    pub digest: u32,
    /// What became of it.
    pub fate: Fate,
}

/// All records of all lanes.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Books>);

#[derive(Debug, Default)]
struct Books {
    entries: HashMap<(u32, PlaceIndex), Vec<Entry>>,
    acknowledged: Vec<Sent>,
    given_up: Vec<(Sent, String)>,
}

impl Ledger {
    /// Enters a record that is about to be sent.
    pub fn send(&self, lane: u32, place: PlaceIndex, digest: u32) -> Sent {
        let mut books = self.lock();
        let entries = books.entries.entry((lane, place)).or_default();
        let sequence = entries.len() as u32;
        entries.push(Entry {
            digest,
            fate: Fate::Unknown,
        });
        Sent {
            lane,
            place,
            sequence,
        }
    }

    /// Takes back the newest record of its lane and place: the client refused to take it.
    pub fn take_back(&self, sent: Sent) {
        let mut books = self.lock();
        let entries = books
            .entries
            .get_mut(&(sent.lane, sent.place))
            .expect("it was entered");
        assert_eq!(
            entries.len() as u32,
            sent.sequence + 1,
            "only the newest is taken back"
        );
        entries.pop();
    }

    /// Notes an acknowledgement.
    pub fn acknowledge(&self, sent: Sent, offset: Option<i64>) {
        let mut books = self.lock();
        books.set(sent, Fate::Acknowledged(offset));
        books.acknowledged.push(sent);
    }

    /// Notes that the client gave up.
    pub fn give_up(&self, sent: Sent, why: String) {
        let mut books = self.lock();
        books.set(sent, Fate::GivenUp);
        books.given_up.push((sent, why));
    }

    /// The record that was sent, if it was.
    pub fn entry(&self, sent: Sent) -> Option<Entry> {
        let books = self.lock();
        books
            .entries
            .get(&(sent.lane, sent.place))?
            .get(sent.sequence as usize)
            .copied()
    }

    /// The records that were acknowledged since the last call.
    pub fn take_acknowledged(&self) -> Vec<Sent> {
        std::mem::take(&mut self.lock().acknowledged)
    }

    /// The records that the client gave up since the last call, with its reasons.
    pub fn take_given_up(&self) -> Vec<(Sent, String)> {
        std::mem::take(&mut self.lock().given_up)
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn set(&mut self, sent: Sent, fate: Fate) {
        let entries = self
            .entries
            .get_mut(&(sent.lane, sent.place))
            .expect("it was entered");
        let entry = &mut entries[sent.sequence as usize];
        assert_eq!(entry.fate, Fate::Unknown, "{sent:?} was answered twice");
        entry.fate = fate;
    }
}

/// Checksum of a record's key and value.
pub fn digest(key: Option<&[u8]>, value: Option<&[u8]>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in [key, value] {
        hasher.update(&part.map_or(-1, |part| part.len() as i64).to_le_bytes());
        hasher.update(part.unwrap_or_default());
    }
    hasher.finalize()
}
