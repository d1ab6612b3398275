//! What follows from an event without a command: offers to those who wait, and stock signals.
//!
//! Both are events of their own, right behind their cause. They are derived from the state alone, so that a shard that
//! stopped between a cause and what follows goes on where it was.

use uuid::Uuid;

use super::decide::offer;
use super::names::NameIndex;
use super::stock::Level;
use super::{Event, Outcome, State};

impl State {
    /// The next event that follows from those before it, to be logged and applied before the next command is decided;
    /// ask until there is none. `now_ms` counts as for a command.
    pub fn follow_up(&mut self, now_ms: i64) -> Option<Event> {
        let at_ms = now_ms.max(self.now_ms);
        while let Some(article) = self.pending.last().copied() {
            let event = self.offer(article, at_ms).or_else(|| self.signal(article, at_ms));
            if let Some(event) = event {
                return Some(event);
            }
            self.pending.pop();
            self.articles.article_mut(article).is_pending = false;
        }
        None
    }

    /// The offer to whoever waited longest for an article. One whose turn cannot be served yet blocks those behind:
    /// who wants much would never get it if everybody who wants little went first.
    fn offer(&self, article: NameIndex, at_ms: i64) -> Option<Event> {
        let waiter = self.waitlists.first(article)?;
        let outcome = offer(self, article, waiter, at_ms)?;
        Some(unasked(outcome, Some(waiter.reservation), at_ms))
    }

    /// The signal of an article whose units crossed a threshold, once for each crossing.
    fn signal(&self, index: NameIndex, at_ms: i64) -> Option<Event> {
        let article = self.articles.article(index);
        let low_stock = article.low_stock?;
        let sellable = self.articles.sellable(index);
        let sku = || self.articles.sku(index).to_owned();
        let outcome = match (article.level, Level::of(sellable, low_stock)) {
            (Level::Plenty | Level::Low, Level::Out) => Outcome::OutOfStock { sku: sku() },
            (Level::Out, Level::Plenty | Level::Low) => Outcome::BackInStock { sku: sku(), sellable },
            (Level::Plenty, Level::Low) => Outcome::LowStock { sku: sku(), sellable },
            _ => return None,
        };
        Some(unasked(outcome, None, at_ms))
    }
}

/// An event that answers no command.
fn unasked(outcome: Outcome, reservation: Option<Uuid>, at_ms: i64) -> Event {
    Event {
        outcome,
        command: Uuid::nil(),
        reservation,
        command_offset: None,
        at_ms,
    }
}
