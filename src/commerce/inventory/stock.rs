//! The stock of the articles: what came in, what is held, what is sold.

use super::chunked::Chunked;
use super::names::{NameIndex, Names};

/// The units of one article. `sellable = received - reserved - allocated`, never below zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stock {
    /// Units that ever came in.
    pub(super) received: u64,
    /// Units in live holds.
    pub(super) reserved: u64,
    /// Units of committed holds.
    pub(super) allocated: u64,
    /// Most units for one customer.
    pub(super) limit_per_customer: Option<u32>,
}

impl Stock {
    /// Units that can be held by the next shopper.
    pub(super) fn sellable(&self) -> u64 {
        debug_assert!(
            self.reserved + self.allocated <= self.received,
            "oversold: {self:?}"
        );
        self.received.saturating_sub(self.reserved + self.allocated)
    }
}

/// The articles of a shard; an article is never removed, so its number is its place in the order of creation.
#[derive(Debug)]
pub(super) struct Articles {
    names: Names,
    stocks: Chunked<Stock>,
}

impl Articles {
    pub(super) fn new() -> Self {
        Articles {
            names: Names::new(),
            stocks: Chunked::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.stocks.len()
    }

    pub(super) fn find(&self, sku: &str) -> Option<NameIndex> {
        self.names.find(sku)
    }

    pub(super) fn find_or_create(&mut self, sku: &str) -> NameIndex {
        if let Some(index) = self.names.find(sku) {
            return index;
        }
        let index = self.names.add_user(sku);
        debug_assert_eq!(index as usize, self.stocks.len(), "articles are never removed");
        self.stocks.push(Stock::default());
        index
    }

    pub(super) fn sku(&self, index: NameIndex) -> &str {
        self.names.name(index)
    }

    pub(super) fn stock(&self, index: NameIndex) -> &Stock {
        &self.stocks[index]
    }

    pub(super) fn stock_mut(&mut self, index: NameIndex) -> &mut Stock {
        &mut self.stocks[index]
    }

    /// A copy that stays as it is, and finds no article by name.
    pub(super) fn frozen(&mut self) -> Self {
        Articles {
            names: self.names.frozen(),
            stocks: self.stocks.frozen(),
        }
    }
}
