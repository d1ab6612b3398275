//! The ids of commands that took effect, for commands that would otherwise take effect twice.

use hashbrown::DefaultHashBuilder;
use uuid::Uuid;

use super::chunked::{ChunkedQueue, QueueNumber};
use super::reservations::Key;
use super::striped::Striped;

/// Most ids that one event makes the window forget, so that no event pays for a quiet day.
const FORGOTTEN_PER_EVENT_MAX: usize = 4;

/// A bounded memory of command ids.
#[derive(Debug)]
pub(super) struct CommandIds {
    /// Numbers in the queue, by hash.
    numbers: Striped<QueueNumber>,
    /// Id and time, oldest first.
    order: ChunkedQueue<(Key, i64)>,
    hasher: DefaultHashBuilder,
}

impl CommandIds {
    pub(super) fn new() -> Self {
        CommandIds {
            numbers: Striped::new(),
            order: ChunkedQueue::default(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn contains(&self, command: Uuid) -> bool {
        let key = Key::from(command);
        let is = |number: &QueueNumber| self.order[*number].0 == key;
        self.numbers.find(key.hash(&self.hasher), is).is_some()
    }

    pub(super) fn remember(&mut self, command: Uuid, at_ms: i64) {
        if self.contains(command) {
            return;
        }
        let key = Key::from(command);
        let number = self.order.push_back((key, at_ms));
        let (order, hasher) = (&self.order, &self.hasher);
        self.numbers
            .insert(key.hash(hasher), number, |number| order[*number].0.hash(hasher));
    }

    /// Forgets the oldest ids: all beyond `count_max`, and a few of those from before `oldest_ms`.
    pub(super) fn forget(&mut self, count_max: usize, oldest_ms: i64) {
        for _ in 0..FORGOTTEN_PER_EVENT_MAX {
            match self.order.front() {
                Some((number, (key, at_ms))) if self.order.len() > count_max || at_ms < oldest_ms => {
                    self.numbers
                        .remove(key.hash(&self.hasher), |other| *other == number);
                    self.order.pop_front();
                }
                _ => return,
            }
        }
    }

    /// All remembered ids with their time, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Uuid, i64)> {
        self.order.iter().map(|(key, at_ms)| (key.id(), *at_ms))
    }

    /// A copy that stays as it is, for [`CommandIds::iter`] alone: it finds no ids.
    pub(super) fn frozen(&mut self) -> Self {
        CommandIds {
            numbers: Striped::new(),
            order: self.order.frozen(),
            hasher: self.hasher.clone(),
        }
    }
}
