//! The recount: what the records of one shard say about every unit, by code that shares nothing with the engine.
//!
//! An engine that checks itself repeats its own mistakes. This fold knows only the records: it adds up units as
//! they come in, are held, sold and given back, remembers which commands were answered, and reports whatever
//! cannot be. It never refuses an event, however wrong.

mod bin;
mod deal;
mod queue;
mod report;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::{Cart, CartPolicy, Command, Event, Line, Outcome};
use bin::{Bin, Bins};
use deal::{Answered, Asked, units};
use queue::Queues;
pub use report::{ArticleCount, AuditReport};

/// How long after its time a hold may stay live, in milliseconds: a hundred ticks, for mass expiries in parts.
const OVERDUE_AFTER_MS: i64 = 1_000;

/// One hold that is live, or that expired and may be sold all the same.
#[derive(Clone, Debug)]
struct Taken {
    customer: String,
    lines: Vec<Line>,
    expires_at_ms: i64,
}

/// When an article is on sale, and what was last signalled of it.
#[derive(Debug, Default)]
struct Rules {
    limit_per_customer: Option<u32>,
    opens_at_ms: Option<i64>,
    closes_at_ms: Option<i64>,
    is_out: bool,
}

/// A recount in progress.
///
/// Feed it every command record and every event of one shard, each in the order of the log; which of the two
/// comes first does not matter.
#[derive(Debug, Default)]
pub struct Audit {
    report: AuditReport,
    /// The command at each offset; none if the record is no command.
    asked: HashMap<u64, Option<Asked>>,
    /// The outcome of the command at each offset.
    answered: HashMap<u64, Answered>,
    live: HashMap<Uuid, Vec<Taken>>,
    /// Holds that ended by themselves.
    expired: HashMap<Uuid, Taken>,
    /// Reservations that ever took stock.
    took: HashSet<Uuid>,
    /// Ids of commands that took effect by themselves, not through a reservation.
    effective: HashSet<Uuid>,
    rules: HashMap<String, Rules>,
    bins: Bins,
    queues: Queues,
    /// Units that each customer holds or bought of each article.
    bought: HashMap<(String, String), u64>,
    newest_ms: i64,
    newest_command_offset: Option<u64>,
}

impl Audit {
    /// A recount of nothing yet.
    pub fn new() -> Self {
        Audit::default()
    }

    /// Takes the record at `offset` of the commands partition; `None` if it is no command.
    pub fn command(&mut self, offset: u64, command: Option<&Command>) {
        self.report.commands += 1;
        self.asked.insert(offset, command.map(Asked::of));
    }

    /// Takes the next event.
    pub fn event(&mut self, event: &Event) {
        self.report.events += 1;
        self.order(event);
        if let Some(offset) = event.command_offset {
            let sellable = match &event.outcome {
                Outcome::SoldOut { sku, .. } if self.bins.is_simple(sku) => Some(self.visible(sku)),
                _ => None,
            };
            let answered = Answered::of(event, self.lines_of(event), sellable);
            self.report.duplicated += u64::from(self.answered.insert(offset, answered).is_some());
        }
        match &event.outcome {
            Outcome::Reserved {
                customer,
                lines,
                expires_at_ms,
                cart,
                ..
            } => {
                self.check_cart(event, lines, cart.as_deref());
                self.take(event, customer, lines, *expires_at_ms);
            }
            Outcome::Offered {
                customer,
                lines,
                expires_at_ms,
                ..
            } => {
                self.check_turn(event, lines);
                self.take(event, customer, lines, *expires_at_ms);
            }
            Outcome::Extended { expires_at_ms } => {
                self.take_effect(event);
                match self.live_mut(event.reservation) {
                    Some(taken) if event.at_ms < taken.expires_at_ms => taken.expires_at_ms = *expires_at_ms,
                    _ => self.report.unmatched += 1,
                }
            }
            Outcome::Committed | Outcome::CommittedPart { .. } => self.commit(event),
            Outcome::Released => self.end(event, |count, units| count.released += units),
            Outcome::ReservationExpired => self.end(event, |count, units| count.expired += units),
            Outcome::Waiting {
                sku,
                quantity,
                position,
                ..
            } => {
                let place = event
                    .reservation
                    .and_then(|reservation| self.queues.join(reservation, sku, *quantity));
                self.fault_unless(place == Some(*position));
                self.check_window(event, sku);
            }
            Outcome::LeftWaitlist => {
                let left = event
                    .reservation
                    .and_then(|reservation| self.queues.leave(reservation));
                self.fault_unless(left.is_some());
            }
            Outcome::SoldOut { sku, available } => {
                let is_kit = self.bins.kits.contains_key(sku);
                self.fault_unless(is_kit || *available <= self.visible(sku));
            }
            Outcome::UnknownSku { sku } => self.fault_unless(!self.bins.is_known(sku)),
            Outcome::LowStock { sku, sellable } | Outcome::BackInStock { sku, sellable } => {
                self.signal(sku, *sellable, false);
            }
            Outcome::OutOfStock { sku } => self.signal(sku, 0, true),
            _ => self.movement(event),
        }
        // A refusal that nobody asked for ends a wait.
        if event.command.is_nil()
            && let Some(reservation) = event.reservation
            && self.queues.is_waiting(reservation)
        {
            self.queues.leave(reservation);
        }
    }

    /// The recount of everything that was fed.
    #[must_use]
    pub fn report(mut self) -> AuditReport {
        let deadline_ms = self.newest_ms.saturating_sub(OVERDUE_AFTER_MS);
        let live = self.live.values().flatten();
        self.report.overdue = live.filter(|taken| taken.expires_at_ms < deadline_ms).count() as u64;
        for (offset, asked) in &self.asked {
            match (asked, self.answered.get(offset)) {
                (Some(_), None) => self.report.lost += 1,
                (Some(asked), Some(answered)) if !asked.is_answered_by(answered) => {
                    self.report.unmatched += 1;
                }
                _ => {}
            }
        }
        let unasked = self
            .answered
            .keys()
            .filter(|offset| !self.asked.contains_key(offset));
        self.report.unmatched += unasked.count() as u64;
        for sku in self.bins.skus() {
            let count = self.report.articles.entry(sku.clone()).or_default();
            count.oversold = self.bins.of(sku).map(|bin| bin.oversold).sum();
            count.on_hand = self.bins.of(sku).map(|bin| bin.on_hand).sum();
        }
        self.report.oversold = self.report.articles.values().map(|count| count.oversold).sum();
        self.report
    }

    fn order(&mut self, event: &Event) {
        let offset_falls =
            event.command_offset.is_some() && event.command_offset < self.newest_command_offset;
        if event.at_ms < self.newest_ms || offset_falls {
            self.report.out_of_order += 1;
        }
        self.newest_ms = self.newest_ms.max(event.at_ms);
        self.newest_command_offset = self.newest_command_offset.max(event.command_offset);
    }

    fn fault_unless(&mut self, is_right: bool) {
        self.report.unmatched += u64::from(!is_right);
    }

    /// Units that a cart may see: none where somebody waits for them.
    fn visible(&self, sku: &str) -> u64 {
        match self.queues.len(sku) {
            0 => self.bins.sellable(sku),
            _ => 0,
        }
    }

    fn take_effect(&mut self, event: &Event) {
        if !self.effective.insert(event.command) {
            self.report.duplicated += 1;
        }
    }

    /// The lines that an event's reservation holds, or held until it expired.
    fn lines_of(&self, event: &Event) -> &[Line] {
        let Some(reservation) = event.reservation else {
            return &[];
        };
        let live = self.live.get(&reservation).and_then(|taken| taken.last());
        let taken = live.or_else(|| self.expired.get(&reservation));
        taken.map_or(&[], |taken| &taken.lines)
    }

    /// Checks that what is held is what the cart asked for, as far as its policy and the failed lines let it differ.
    fn check_cart(&mut self, event: &Event, held: &[Line], cart: Option<&Cart>) {
        let plain = Cart {
            policy: CartPolicy::All,
            split: None,
            lines: held.to_vec(),
            failed: Vec::new(),
        };
        let cart = cart.unwrap_or(&plain);
        let placed = cart.split.is_none();
        let failed = |line: &Line| {
            cart.failed.iter().any(|failure| {
                let failed = cart.lines.get(failure.index as usize);
                failed.is_some_and(|failed| (&failed.sku, &failed.location) == (&line.sku, &line.location))
            })
        };
        for line in cart.lines.iter().filter(|line| !failed(line)) {
            self.check_window(event, &line.sku);
        }
        let got = self.bins.needs(held.iter(), placed);
        let most = self.bins.needs(cart.lines.iter(), placed);
        let least = self
            .bins
            .needs(cart.lines.iter().filter(|line| !failed(line)), placed);
        let fits = match cart.policy {
            CartPolicy::All => cart.failed.is_empty() && got == most,
            CartPolicy::PerLine => got == least,
            CartPolicy::Partial => {
                let at_least =
                    |(need, units): (&(&str, &str), &u64)| got.get(need).is_some_and(|got| got >= units);
                let at_most =
                    |(need, units): (&(&str, &str), &u64)| most.get(need).is_some_and(|most| units <= most);
                least.iter().all(at_least) && got.iter().all(at_most)
            }
        };
        // Nobody takes units that others wait for.
        let jumps = held.iter().any(|line| self.queues.len(&line.sku) > 0);
        self.fault_unless(fits && !jumps);
    }

    fn check_window(&mut self, event: &Event, sku: &str) {
        let rules = self.rules.get(sku);
        let is_early = rules
            .and_then(|rules| rules.opens_at_ms)
            .is_some_and(|opens| event.at_ms < opens);
        let is_late = rules
            .and_then(|rules| rules.closes_at_ms)
            .is_some_and(|closes| closes <= event.at_ms);
        self.fault_unless(!is_early && !is_late);
    }

    /// Checks that an offer goes to whoever is next, and is what was waited for.
    fn check_turn(&mut self, event: &Event, lines: &[Line]) {
        let left = event
            .reservation
            .and_then(|reservation| self.queues.leave(reservation));
        let fits = left.is_some_and(|(sku, quantity, is_first)| {
            let offered: u64 = lines.iter().map(|line| u64::from(line.quantity)).sum();
            is_first && offered == quantity && lines.iter().all(|line| line.sku == sku)
        });
        self.fault_unless(fits && event.command.is_nil());
    }

    fn take(&mut self, event: &Event, customer: &str, lines: &[Line], expires_at_ms: i64) {
        let Some(reservation) = event.reservation else {
            self.report.unmatched += 1;
            return;
        };
        if !self.took.insert(reservation) {
            self.report.duplicated += 1;
        }
        for line in lines {
            let quantity = u64::from(line.quantity);
            let count = self.article(&line.sku);
            count.reserved += quantity;
            count.held += quantity;
            self.bins
                .change(&line.sku, &line.location, |bin| bin.held += quantity);
        }
        self.buy(customer, lines);
        let taken = Taken {
            customer: customer.to_owned(),
            lines: lines.to_vec(),
            expires_at_ms,
        };
        self.live.entry(reservation).or_default().push(taken);
    }

    /// Counts units for a customer.
    fn buy(&mut self, customer: &str, lines: &[Line]) {
        for line in lines {
            let quantity = u64::from(line.quantity);
            let bought = self
                .bought
                .entry((customer.to_owned(), line.sku.clone()))
                .or_default();
            *bought += quantity;
            if let Some(limit) = self
                .rules
                .get(&line.sku)
                .and_then(|rules| rules.limit_per_customer)
            {
                // What was there before a limit was set is no fault of this reservation.
                self.report.over_limit += bought.saturating_sub(u64::from(limit)).min(quantity);
            }
        }
    }

    fn give_back(&mut self, customer: &str, sku: &str, quantity: u64) {
        if let Some(bought) = self.bought.get_mut(&(customer.to_owned(), sku.to_owned())) {
            *bought = bought.saturating_sub(quantity);
        }
    }

    fn end(&mut self, event: &Event, add: impl Fn(&mut ArticleCount, u64)) {
        let Some(taken) = self.untake(event) else {
            self.report.unmatched += 1;
            return;
        };
        let is_over = taken.expires_at_ms <= event.at_ms;
        self.fault_unless(is_over == (event.outcome == Outcome::ReservationExpired));
        for line in &taken.lines {
            let quantity = u64::from(line.quantity);
            self.give_back(&taken.customer, &line.sku, quantity);
            add(self.article(&line.sku), quantity);
        }
        if let (Outcome::ReservationExpired, Some(reservation)) = (&event.outcome, event.reservation) {
            self.expired.insert(reservation, taken);
        }
    }

    /// Takes a live hold's units off the held ones of the bins.
    fn untake(&mut self, event: &Event) -> Option<Taken> {
        let reservation = event.reservation?;
        let live = self.live.get_mut(&reservation)?;
        let taken = live.pop();
        if live.is_empty() {
            self.live.remove(&reservation);
        }
        let taken = taken?;
        for line in &taken.lines {
            let quantity = u64::from(line.quantity);
            let count = self.article(&line.sku);
            count.held = count.held.saturating_sub(quantity);
            self.bins.change(&line.sku, &line.location, |bin| {
                bin.held = bin.held.saturating_sub(quantity);
            });
        }
        Some(taken)
    }

    /// A hold is sold, whole or in part, in time or afterwards.
    fn commit(&mut self, event: &Event) {
        let live = self.untake(event);
        let is_late = live.is_none();
        let expired = || self.expired.remove(&event.reservation?);
        let Some(taken) = live.or_else(expired) else {
            self.report.unmatched += 1;
            return;
        };
        let sold: &[Line] = match &event.outcome {
            Outcome::CommittedPart { lines } => lines,
            _ => &taken.lines,
        };
        let (sold, held) = (units(sold), units(&taken.lines));
        let mut bought = Vec::new();
        for ((sku, location), had) in held {
            let quantity = sold.get(&(sku, location)).copied().unwrap_or(0);
            self.fault_unless(quantity <= had);
            let count = self.article(sku);
            count.committed += quantity;
            if !is_late {
                count.released += had - quantity.min(had);
                self.give_back(&taken.customer, sku, had - quantity.min(had));
            }
            self.bins.change(sku, location, |bin| bin.allocated += quantity);
            bought.push(Line::new(sku, quantity as u32));
        }
        self.fault_unless(sold.keys().all(|place| units(&taken.lines).contains_key(place)));
        if is_late {
            self.buy(&taken.customer, &bought);
        }
    }

    /// Units that move without a hold, and the rules of moving them.
    fn movement(&mut self, event: &Event) {
        match &event.outcome {
            Outcome::Received {
                sku,
                quantity,
                location,
            } => {
                self.take_effect(event);
                self.article(sku).received += u64::from(*quantity);
                self.arrive(sku, location, *quantity);
            }
            Outcome::Returned {
                sku,
                quantity,
                location,
            } => {
                self.take_effect(event);
                self.article(sku).returned += u64::from(*quantity);
                self.arrive(sku, location, *quantity);
            }
            Outcome::Announced { sku, location, .. } => {
                self.take_effect(event);
                self.bins.change(sku, location, |_| ());
            }
            Outcome::Adjusted {
                sku,
                location,
                delta,
                on_hand,
                version,
                ..
            } => {
                self.take_effect(event);
                self.article(sku).adjusted += delta;
                let found = self.bins.change(sku, location, |bin| {
                    bin.on_hand = bin.on_hand.saturating_add_signed(*delta);
                    bin.version += 1;
                    (bin.on_hand, bin.version)
                });
                self.fault_unless(found == (*on_hand, *version));
            }
            Outcome::Transferred {
                sku,
                from,
                to,
                quantity,
            } => {
                self.take_effect(event);
                self.leave(sku, from, *quantity);
                self.arrive(sku, to, *quantity);
            }
            Outcome::Shipped {
                sku,
                quantity,
                location,
                ..
            } => {
                self.take_effect(event);
                self.article(sku).shipped += u64::from(*quantity);
                self.deallocate(sku, location, *quantity);
                self.leave(sku, location, *quantity);
            }
            Outcome::AllocationCancelled {
                sku,
                quantity,
                location,
                customer,
                ..
            } => {
                self.take_effect(event);
                self.article(sku).cancelled += u64::from(*quantity);
                self.deallocate(sku, location, *quantity);
                if let Some(customer) = customer {
                    self.give_back(customer, sku, (*quantity).into());
                }
            }
            _ => self.rule(event),
        }
    }

    fn rule(&mut self, event: &Event) {
        match &event.outcome {
            Outcome::PolicySet {
                sku,
                limit_per_customer,
                location,
                safety,
                backorder_cap,
                ..
            } => {
                self.rules(sku).limit_per_customer = *limit_per_customer;
                self.rules(sku).is_out = false;
                self.bins.change(sku, location, |bin: &mut Bin| {
                    bin.safety = u64::from(*safety);
                    bin.backorder_cap = u64::from(*backorder_cap);
                });
            }
            Outcome::SaleOpened {
                sku,
                opens_at_ms,
                closes_at_ms,
            } => {
                self.rules(sku).opens_at_ms = Some(*opens_at_ms);
                self.rules(sku).closes_at_ms = *closes_at_ms;
            }
            Outcome::SaleClosed { sku } => {
                let closes_at_ms = &mut self.rules(sku).closes_at_ms;
                *closes_at_ms = Some(closes_at_ms.unwrap_or(i64::MAX).min(event.at_ms));
            }
            Outcome::KitDefined { sku, parts } => {
                self.bins.kits.insert(sku.clone(), parts.clone());
            }
            Outcome::LocationSet { .. } => {}
            _ => return,
        }
        self.take_effect(event);
    }

    fn arrive(&mut self, sku: &str, location: &str, quantity: u32) {
        self.bins.change(sku, location, |bin| {
            bin.on_hand += u64::from(quantity);
            bin.version += 1;
        });
    }

    fn leave(&mut self, sku: &str, location: &str, quantity: u32) {
        let was_there = self.bins.change(sku, location, |bin| {
            let was_there = bin.on_hand >= u64::from(quantity);
            bin.on_hand = bin.on_hand.saturating_sub(quantity.into());
            bin.version += 1;
            was_there
        });
        self.fault_unless(was_there);
    }

    fn deallocate(&mut self, sku: &str, location: &str, quantity: u32) {
        let was_sold = self.bins.change(sku, location, |bin| {
            let was_sold = bin.allocated >= u64::from(quantity);
            bin.allocated = bin.allocated.saturating_sub(quantity.into());
            was_sold
        });
        self.fault_unless(was_sold);
    }

    /// A stock signal must be true, and not told twice.
    fn signal(&mut self, sku: &str, sellable: u64, is_out: bool) {
        let is_true = self.bins.sellable(sku) == sellable;
        let is_news = !is_out || !std::mem::replace(&mut self.rules(sku).is_out, is_out);
        self.rules(sku).is_out = is_out;
        self.fault_unless(is_true && is_news);
    }

    fn live_mut(&mut self, reservation: Option<Uuid>) -> Option<&mut Taken> {
        self.live.get_mut(&reservation?)?.last_mut()
    }

    fn rules(&mut self, sku: &str) -> &mut Rules {
        if !self.rules.contains_key(sku) {
            self.rules.insert(sku.to_owned(), Rules::default());
        }
        self.rules.entry(sku.to_owned()).or_default()
    }

    fn article(&mut self, sku: &str) -> &mut ArticleCount {
        if !self.report.articles.contains_key(sku) {
            self.report
                .articles
                .insert(sku.to_owned(), ArticleCount::default());
        }
        self.report.articles.entry(sku.to_owned()).or_default()
    }
}
