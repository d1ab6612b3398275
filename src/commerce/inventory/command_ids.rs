//! The ids of commands that took effect, for commands that would otherwise take effect twice.

use std::collections::VecDeque;

use uuid::Uuid;

use super::reservations::Key;
use super::striped::Striped;

/// Most ids that one event makes the window forget, so that no event pays for a quiet day.
const FORGOTTEN_PER_EVENT_MAX: usize = 4;

/// A bounded memory of command ids.
#[derive(Debug)]
pub(super) struct CommandIds {
    known: Striped<Key, ()>,
    /// Id and time, oldest first.
    order: VecDeque<(Uuid, i64)>,
}

impl CommandIds {
    pub(super) fn new() -> Self {
        CommandIds {
            known: Striped::new(),
            order: VecDeque::new(),
        }
    }

    pub(super) fn contains(&self, command: Uuid) -> bool {
        self.known.get(&command.into()).is_some()
    }

    pub(super) fn remember(&mut self, command: Uuid, at_ms: i64) {
        if self.known.insert(command.into(), ()).is_none() {
            self.order.push_back((command, at_ms));
        }
    }

    /// Forgets the oldest ids: all beyond `count_max`, and a few of those from before `oldest_ms`.
    pub(super) fn forget(&mut self, count_max: usize, oldest_ms: i64) {
        for _ in 0..FORGOTTEN_PER_EVENT_MAX {
            match self.order.front() {
                Some((command, at_ms)) if self.order.len() > count_max || *at_ms < oldest_ms => {
                    self.known.remove(&(*command).into());
                    self.order.pop_front();
                }
                _ => return,
            }
        }
    }

    /// All remembered ids with their time, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Uuid, i64)> {
        self.order.iter().copied()
    }
}
