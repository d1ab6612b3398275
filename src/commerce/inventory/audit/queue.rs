//! The recount of waiting lists: who is next, in the order of the log.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

/// Who waits for an article, and for how many units.
#[derive(Debug, Default)]
pub(super) struct Queues {
    queues: HashMap<String, VecDeque<(Uuid, u64)>>,
    articles: HashMap<Uuid, String>,
}

impl Queues {
    pub(super) fn is_waiting(&self, reservation: Uuid) -> bool {
        self.articles.contains_key(&reservation)
    }

    pub(super) fn len(&self, sku: &str) -> usize {
        self.queues.get(sku).map_or(0, VecDeque::len)
    }

    /// Adds somebody at the end; tells the place, from 1, unless the reservation waits already.
    pub(super) fn join(&mut self, reservation: Uuid, sku: &str, quantity: u32) -> Option<u64> {
        if self.articles.insert(reservation, sku.to_owned()).is_some() {
            return None;
        }
        let queue = self.queues.entry(sku.to_owned()).or_default();
        queue.push_back((reservation, quantity.into()));
        Some(queue.len() as u64)
    }

    /// Takes somebody out; tells the article, the units and whether it was the turn.
    pub(super) fn leave(&mut self, reservation: Uuid) -> Option<(String, u64, bool)> {
        let sku = self.articles.remove(&reservation)?;
        let queue = self.queues.get_mut(&sku)?;
        let place = queue.iter().position(|(waiting, _)| *waiting == reservation)?;
        let (_, quantity) = queue.remove(place)?;
        Some((sku, quantity, place == 0))
    }
}
