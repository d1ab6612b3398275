//! What a recount comes to.

use std::collections::BTreeMap;

use serde::Serialize;

/// The units of one article, recounted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ArticleCount {
    /// Units that came in.
    pub received: u64,
    /// Units that were ever held.
    pub reserved: u64,
    /// Units of holds that were committed.
    pub committed: u64,
    /// Units of holds that were released.
    pub released: u64,
    /// Units of holds that ended by themselves.
    pub expired: u64,
    /// Units of holds that are live at the end.
    pub held: u64,
    /// Units that came back from customers.
    pub returned: u64,
    /// Units that left the building.
    pub shipped: u64,
    /// Units that were sold and then not.
    pub cancelled: u64,
    /// Units that corrections added, less those that they took.
    pub adjusted: i64,
    /// Units in the building at the end.
    pub on_hand: u64,
    /// The most units, at any place of the log, by which units held, sold and kept for safety at a location were more
    /// than those on hand and the backorder cap; summed up over locations.
    pub oversold: u64,
}

/// What the records of a shard add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuditReport {
    /// Every article.
    pub articles: BTreeMap<String, ArticleCount>,
    /// Command records seen.
    pub commands: u64,
    /// Events seen.
    pub events: u64,
    /// Sum of all articles' oversold units.
    pub oversold: u64,
    /// Commands without an outcome.
    pub lost: u64,
    /// Outcomes that took the stock of one reservation again, answered one command again, or let one command id
    /// take effect again.
    pub duplicated: u64,
    /// Outcomes that answer no command of the log, another one than they name, or grant something else than it
    /// asked for; ends of holds that are not live or not over; refusals for want of stock that was there; units that
    /// moved without being there; offers out of turn, and signals of what is not so.
    pub unmatched: u64,
    /// Events whose time or command offset is before that of an event before them.
    pub out_of_order: u64,
    /// Holds that are live at the end though their time was over more than a second before.
    pub overdue: u64,
    /// Units that customers hold or bought beyond the limit that was in force when they got them.
    pub over_limit: u64,
}

impl AuditReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        let faults = self.oversold + self.lost + self.duplicated + self.unmatched;
        faults + self.out_of_order + self.overdue + self.over_limit == 0
    }

    /// Adds the report of another shard.
    pub fn add(&mut self, other: &AuditReport) {
        for (sku, count) in &other.articles {
            let sum = self.articles.entry(sku.clone()).or_default();
            sum.received += count.received;
            sum.reserved += count.reserved;
            sum.committed += count.committed;
            sum.released += count.released;
            sum.expired += count.expired;
            sum.held += count.held;
            sum.returned += count.returned;
            sum.shipped += count.shipped;
            sum.cancelled += count.cancelled;
            sum.adjusted += count.adjusted;
            sum.on_hand += count.on_hand;
            sum.oversold += count.oversold;
        }
        self.commands += other.commands;
        self.events += other.events;
        self.oversold += other.oversold;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.unmatched += other.unmatched;
        self.out_of_order += other.out_of_order;
        self.overdue += other.overdue;
        self.over_limit += other.over_limit;
    }
}
