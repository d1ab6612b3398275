//! The state of one shard: exactly the fold of its events, and nothing else.

use uuid::Uuid;

use super::asked::{Asked, AskedCarts};
use super::command_ids::CommandIds;
use super::expired::{ExpiredHold, ExpiredHolds};
use super::holds::{Hold, HoldIndex, HoldLine, HoldLines, Holds};
use super::limits::{CUSTOMER_TOTALS_MAX, LINES_MAX};
use super::names::NameIndex;
use super::reservations::{Reservations, Status};
use super::stock::{Articles, Level};
use super::totals::Totals;
use super::waitlist::Waitlists;
use super::{Cart, Event, FailureReason, Limits, Line, Misfit, Outcome};

/// Stock, holds, totals and remembered ids after a number of events.
///
/// `decide` reads it, [`State::apply`] moves it on; nothing else changes it.
#[derive(Debug)]
pub struct State {
    pub(super) limits: Limits,
    /// Time of the newest event.
    pub(super) now_ms: i64,
    /// Offset behind the newest command that came from the commands partition and was decided.
    pub(super) next_command_offset: u64,
    pub(super) articles: Articles,
    pub(super) totals: Totals,
    pub(super) reservations: Reservations,
    pub(super) holds: Holds,
    pub(super) commands: CommandIds,
    pub(super) asked: AskedCarts,
    pub(super) expired: ExpiredHolds,
    pub(super) waitlists: Waitlists,
    /// Articles whose units changed and that somebody waits for, or wants signals of. What follows from that is not
    /// in the log yet; an article stands here at most once.
    pub(super) pending: Vec<NameIndex>,
}

/// What an event says of a hold that begins.
struct Begin<'a> {
    customer: &'a str,
    lines: &'a [Line],
    ttl_ms: u32,
    expires_at_ms: i64,
}

impl Default for State {
    fn default() -> Self {
        State::new(Limits::default())
    }
}

impl State {
    /// The state before the first event.
    pub fn new(limits: Limits) -> Self {
        State {
            limits,
            now_ms: 0,
            next_command_offset: 0,
            articles: Articles::new(),
            totals: Totals::new(),
            reservations: Reservations::new(),
            holds: Holds::new(),
            commands: CommandIds::new(),
            asked: AskedCarts::new(),
            expired: ExpiredHolds::default(),
            waitlists: Waitlists::default(),
            pending: Vec::new(),
        }
    }

    /// The time of the newest event, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// The offset of the first command of the commands partition that was not decided yet.
    pub fn next_command_offset(&self) -> u64 {
        self.next_command_offset
    }

    /// The number of live holds.
    pub fn live_holds(&self) -> usize {
        self.holds.len()
    }

    /// When the first live hold ends by itself.
    pub fn next_expiry_ms(&self) -> Option<i64> {
        self.holds.next_expiry_ms()
    }

    /// The expiries that are due at `now_ms`, as events to log and apply, at most `count_max`.
    pub fn due(&self, now_ms: i64, count_max: usize) -> Vec<Event> {
        let at_ms = now_ms.max(self.now_ms);
        let due = self.holds.due(at_ms).take(count_max);
        due.map(|index| Event {
            outcome: Outcome::ReservationExpired,
            command: Uuid::nil(),
            reservation: Some(self.reservations.held_id(index)),
            command_offset: None,
            at_ms,
        })
        .collect()
    }

    /// Moves the state on by one event.
    ///
    /// # Errors
    /// An event that cannot follow leaves the state undefined: drop it.
    pub fn apply(&mut self, event: &Event) -> Result<(), Misfit> {
        self.now_ms = self.now_ms.max(event.at_ms);
        if let Some(offset) = event.command_offset {
            self.next_command_offset = self.next_command_offset.max(offset.saturating_add(1));
        }
        self.apply_outcome(event)?;
        let oldest_ms = self.now_ms.saturating_sub(self.limits.remembered_ms);
        self.reservations.forget(self.limits.remembered, oldest_ms);
        self.commands.forget(self.limits.commands_remembered, oldest_ms);
        self.forget_expired();
        Ok(())
    }

    fn apply_outcome(&mut self, event: &Event) -> Result<(), Misfit> {
        match &event.outcome {
            Outcome::Reserved {
                customer,
                lines,
                ttl_ms,
                expires_at_ms,
                cart,
            } => self.reserve(
                event,
                &Begin {
                    customer,
                    lines,
                    ttl_ms: *ttl_ms,
                    expires_at_ms: *expires_at_ms,
                },
                cart.as_deref(),
            )?,
            Outcome::Offered {
                customer,
                lines,
                ttl_ms,
                expires_at_ms,
            } => {
                self.leave_waitlist(event)?;
                let begin = Begin {
                    customer,
                    lines,
                    ttl_ms: *ttl_ms,
                    expires_at_ms: *expires_at_ms,
                };
                self.reserve(event, &begin, None)?;
            }
            Outcome::Extended { expires_at_ms } => {
                let index = self.held(event)?;
                self.holds.move_expiry(index, *expires_at_ms);
                self.commands.remember(event.command, self.now_ms);
            }
            Outcome::Committed => self.commit(event, None)?,
            Outcome::CommittedPart { lines } => self.commit(event, Some(lines))?,
            Outcome::Released => self.end(event, Status::Released, None)?,
            Outcome::ReservationExpired => self.end(event, Status::Expired, None)?,
            Outcome::LeftWaitlist => {
                let reservation = self.leave_waitlist(event)?;
                self.reservations
                    .set_ended(reservation, Status::Released, self.now_ms);
            }
            Outcome::Waiting {
                customer,
                sku,
                quantity,
                offer_ttl_ms,
                ..
            } => self.join_waitlist(event, customer, sku, *quantity, *offer_ttl_ms)?,
            Outcome::SoldOut { .. } => self.refuse(event, FailureReason::SoldOut)?,
            Outcome::CustomerLimit { .. } => self.refuse(event, FailureReason::CustomerLimit)?,
            Outcome::UnknownSku { .. } => self.refuse(event, FailureReason::UnknownSku)?,
            Outcome::NotOpen { .. } => self.refuse(event, FailureReason::NotOpen)?,
            Outcome::Closed { .. } => self.refuse(event, FailureReason::Closed)?,
            Outcome::LineFailed { .. } => self.refuse(event, FailureReason::LineFailed)?,
            Outcome::Invalid { .. } => self.refuse(event, FailureReason::Invalid)?,
            Outcome::LowStock { sku, .. } => self.set_level(sku, Level::Low),
            Outcome::OutOfStock { sku } => self.set_level(sku, Level::Out),
            Outcome::BackInStock { sku, sellable } => {
                let article = self.articles.find(sku);
                let low_stock = article.and_then(|article| self.articles.article(article).low_stock);
                self.set_level(sku, Level::of(*sellable, low_stock.unwrap_or(0)));
            }
            Outcome::Exists { .. }
            | Outcome::ExistsDifferent { .. }
            | Outcome::AlreadyFailed { .. }
            | Outcome::AlreadyCommitted
            | Outcome::AlreadyReleased
            | Outcome::Expired
            | Outcome::UnknownReservation
            | Outcome::Conflict { .. }
            | Outcome::Insufficient { .. }
            | Outcome::StillWaiting { .. }
            | Outcome::NotWaiting
            | Outcome::Throttled { .. } => {}
            _ => self.apply_stock(event)?,
        }
        Ok(())
    }

    /// Whether another pair of customer and article can be counted for an article with or without a limit.
    pub(super) fn can_count(&self, limited: bool) -> bool {
        let count_max = self.limits.customer_totals.min(CUSTOMER_TOTALS_MAX);
        self.totals.len() < if limited { count_max } else { count_max / 2 }
    }

    /// Whether every line of a cart with limited articles can be counted.
    pub(super) fn can_count_cart(&self) -> bool {
        let count_max = self.limits.customer_totals.min(CUSTOMER_TOTALS_MAX);
        self.totals.len() + LINES_MAX <= count_max
    }

    fn reserve(&mut self, event: &Event, begin: &Begin<'_>, cart: Option<&Cart>) -> Result<(), Misfit> {
        let reservation = reservation(event)?;
        match self.reservations.get(reservation) {
            None => {}
            Some(Status::Held(_)) => return Err(Misfit::Known { reservation }),
            // The writer's bounds made it forget the id sooner than these do; the log is right.
            Some(_) => self.reservations.forget_ended(reservation),
        }
        let customer = self.totals.add_customer(begin.customer);
        let lines = match begin.lines {
            [line] => HoldLines::One([self.take(reservation, customer, line)?]),
            lines => {
                let taken = lines.iter().map(|line| self.take(reservation, customer, line));
                HoldLines::Many(taken.collect::<Result<_, _>>()?)
            }
        };
        let index = self.holds.insert(Hold {
            customer,
            ttl_ms: begin.ttl_ms,
            created_at_ms: event.at_ms,
            expires_at_ms: begin.expires_at_ms,
            lines,
        });
        self.reservations.set_held(reservation, index);
        if let Some(cart) = cart {
            let asked = Asked::of(cart.policy, cart.split.as_ref(), &cart.lines);
            self.asked.insert(reservation, asked);
        }
        Ok(())
    }

    /// Takes the units of one line out of sale.
    fn take(&mut self, reservation: Uuid, customer: NameIndex, line: &Line) -> Result<HoldLine, Misfit> {
        let article = self.articles.find(&line.sku);
        let cell = article.and_then(|article| self.articles.find_cell(article, &line.location));
        let (Some(article), Some(index)) = (article, cell) else {
            return Err(Misfit::UnknownArticle {
                reservation,
                sku: line.sku.clone(),
            });
        };
        let cell = self.articles.cell_mut(index);
        let sellable = cell.sellable();
        if u64::from(line.quantity) > sellable {
            let (sku, quantity) = (line.sku.clone(), line.quantity);
            return Err(Misfit::Oversold {
                reservation,
                sku,
                quantity,
                sellable,
            });
        }
        cell.reserved += u64::from(line.quantity);
        self.touch(article);
        Ok(HoldLine {
            cell: index,
            quantity: line.quantity,
            counted: self.count(customer, article, line.quantity),
        })
    }

    /// Counts units for a customer, if there is room to count them.
    fn count(&mut self, customer: NameIndex, article: NameIndex, quantity: u32) -> bool {
        let limited = self.articles.article(article).limit_per_customer.is_some();
        let counted = self.can_count(limited) || self.totals.has(customer, article);
        if counted {
            self.totals.add(customer, article, u64::from(quantity));
        }
        counted
    }

    /// Sells a hold, or the part of it that is named.
    fn commit(&mut self, event: &Event, part: Option<&[Line]>) -> Result<(), Misfit> {
        let reservation = reservation(event)?;
        if !matches!(self.reservations.get(reservation), Some(Status::Expired)) {
            return self.end(event, Status::Committed, part);
        }
        // Its time was over, but the units are still there: they are taken again.
        let kept = self.expired.take(reservation);
        let ExpiredHold { customer, lines, .. } = kept.ok_or(Misfit::NotHeld { reservation })?;
        for line in &*lines {
            let quantity = self.quantity_in(part, line);
            let cell = self.articles.cell_mut(line.cell);
            let (article, sellable) = (cell.article, cell.sellable());
            if u64::from(quantity) > sellable {
                let sku = self.articles.sku(article).to_owned();
                return Err(Misfit::Oversold {
                    reservation,
                    sku,
                    quantity,
                    sellable,
                });
            }
            cell.allocated += u64::from(quantity);
            if quantity > 0 {
                self.count(customer, article, quantity);
            }
            self.touch(article);
        }
        self.totals.drop_customer(customer);
        self.reservations
            .set_ended(reservation, Status::Committed, self.now_ms);
        Ok(())
    }

    fn end(&mut self, event: &Event, status: Status, part: Option<&[Line]>) -> Result<(), Misfit> {
        let index = self.held(event)?;
        let reservation = self.reservations.held_id(index);
        let hold = self.holds.remove(index);
        for line in hold.lines.as_slice() {
            let sold = match status {
                Status::Committed => self.quantity_in(part, line),
                _ => 0,
            };
            let cell = self.articles.cell_mut(line.cell);
            cell.reserved -= u64::from(line.quantity);
            cell.allocated += u64::from(sold);
            let article = cell.article;
            if line.counted && sold < line.quantity {
                self.totals.subtract(hold.customer, article, line.quantity - sold);
            }
            self.touch(article);
        }
        if !self.asked.is_empty() {
            self.asked.remove(&reservation);
        }
        self.reservations.set_ended(reservation, status, self.now_ms);
        if status == Status::Expired {
            self.keep_expired(reservation, hold);
        } else {
            self.totals.drop_customer(hold.customer);
        }
        Ok(())
    }

    /// How many units of a hold's line are in a part of the hold; all of them if no part is named.
    fn quantity_in(&self, part: Option<&[Line]>, line: &HoldLine) -> u32 {
        let Some(part) = part else {
            return line.quantity;
        };
        let cell = self.articles.cell(line.cell);
        let (sku, location) = (
            self.articles.sku(cell.article),
            self.articles.locations.name(cell.location),
        );
        let same = part
            .iter()
            .filter(|line| line.sku == sku && line.location == location);
        let sum = same.map(|line| u64::from(line.quantity)).sum::<u64>();
        u32::try_from(sum).unwrap_or(u32::MAX).min(line.quantity)
    }

    fn keep_expired(&mut self, reservation: Uuid, hold: Hold) {
        let lines = match hold.lines {
            HoldLines::One(line) => Box::new(line),
            HoldLines::Many(lines) => lines,
        };
        let kept = ExpiredHold {
            customer: hold.customer,
            lines,
            at_ms: self.now_ms,
        };
        self.expired.keep(reservation, kept);
    }

    fn forget_expired(&mut self) {
        let oldest_ms = self.now_ms.saturating_sub(self.limits.expired_kept_ms);
        for _ in 0..FORGOTTEN_PER_EVENT_MAX {
            match self.expired.forget_one(self.limits.expired_kept, oldest_ms) {
                Some(hold) => self.totals.drop_customer(hold.customer),
                None => return,
            }
        }
    }

    /// Remembers a refused reservation, which may have been waiting; a refusal about another known reservation
    /// concerns another command.
    fn refuse(&mut self, event: &Event, reason: FailureReason) -> Result<(), Misfit> {
        let Some(reservation) = event.reservation else {
            return Ok(());
        };
        if self.waitlists.article(reservation).is_some() {
            self.leave_waitlist(event)?;
        }
        if self.reservations.get(reservation).is_none() {
            self.reservations
                .set_ended(reservation, Status::Refused(reason), self.now_ms);
        }
        Ok(())
    }

    fn held(&self, event: &Event) -> Result<HoldIndex, Misfit> {
        let reservation = reservation(event)?;
        match self.reservations.get(reservation) {
            Some(Status::Held(index)) => Ok(index),
            _ => Err(Misfit::NotHeld { reservation }),
        }
    }

    /// Marks an article whose units changed, if something may follow from that.
    pub(super) fn touch(&mut self, index: NameIndex) {
        let article = self.articles.article(index);
        if article.low_stock.is_none() && article.waiting == 0 {
            return;
        }
        let is_above = |low_stock| self.articles.sellable(index) > u64::from(low_stock);
        let is_plenty = article.level == Level::Low && article.low_stock.is_some_and(is_above);
        let article = self.articles.article_mut(index);
        if is_plenty {
            article.level = Level::Plenty;
        }
        if !article.is_pending {
            article.is_pending = true;
            self.pending.push(index);
        }
    }

    fn set_level(&mut self, sku: &str, level: Level) {
        if let Some(article) = self.articles.find(sku) {
            self.articles.article_mut(article).level = level;
        }
    }
}

/// Most expired holds that one event makes the shard forget, so that no event pays for a quiet hour.
const FORGOTTEN_PER_EVENT_MAX: usize = 4;

/// The reservation that an event must name.
pub(super) fn reservation(event: &Event) -> Result<Uuid, Misfit> {
    event.reservation.ok_or(Misfit::NoReservation {
        command: event.command,
    })
}
