//! The waiting lists: who wants units of an article that are not there, in the order of asking.

use std::collections::VecDeque;

use hashbrown::HashMap;
use uuid::Uuid;

use super::names::NameIndex;

/// One customer's place in a waiting list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) reservation: Uuid,
    pub(super) customer: NameIndex,
    pub(super) quantity: u32,
    pub(super) offer_ttl_ms: u32,
}

/// The waiting lists of a shard.
///
/// A place is found by looking through its list: lists are short (see `WAITERS_PER_ARTICLE_MAX`), and few people ask.
#[derive(Clone, Debug, Default)]
pub(super) struct Waitlists {
    lists: HashMap<NameIndex, VecDeque<Waiter>>,
    /// The article that each reservation waits for.
    articles: HashMap<Uuid, NameIndex>,
}

impl Waitlists {
    /// Number of customers who wait, in all lists.
    pub(super) fn len(&self) -> usize {
        self.articles.len()
    }

    /// The article that a reservation waits for.
    pub(super) fn article(&self, reservation: Uuid) -> Option<NameIndex> {
        if self.articles.is_empty() {
            return None;
        }
        self.articles.get(&reservation).copied()
    }

    /// The place of a reservation in its list, from 0.
    pub(super) fn find(&self, reservation: Uuid) -> Option<(usize, &Waiter)> {
        let list = self.lists.get(&self.article(reservation)?)?;
        list.iter()
            .enumerate()
            .find(|(_, waiter)| waiter.reservation == reservation)
    }

    /// Who waited longest for an article.
    pub(super) fn first(&self, article: NameIndex) -> Option<&Waiter> {
        self.lists.get(&article)?.front()
    }

    pub(super) fn join(&mut self, article: NameIndex, waiter: Waiter) {
        self.articles.insert(waiter.reservation, article);
        self.lists.entry(article).or_default().push_back(waiter);
    }

    /// Takes a reservation out of its list; returns the article and the place that it had.
    pub(super) fn leave(&mut self, reservation: Uuid) -> Option<(NameIndex, Waiter)> {
        let (index, _) = self.find(reservation)?;
        let article = self.articles.remove(&reservation)?;
        let list = self.lists.get_mut(&article)?;
        let waiter = list.remove(index)?;
        if list.is_empty() {
            self.lists.remove(&article);
        }
        Some((article, waiter))
    }

    /// Everybody who waits, by article in no order, and within each in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (NameIndex, usize, &Waiter)> {
        self.lists.iter().flat_map(|(article, list)| {
            let places = list.iter().enumerate();
            places.map(move |(index, waiter)| (*article, index, waiter))
        })
    }
}
