//! The state of one shard: exactly the fold of its events, and nothing else.

use uuid::Uuid;

use super::command_ids::CommandIds;
use super::holds::{Hold, HoldIndex, HoldLine, HoldLines, Holds};
use super::limits::{CUSTOMER_TOTALS_MAX, LINES_MAX};
use super::reservations::{Reservations, Status};
use super::stock::Articles;
use super::totals::Totals;
use super::{Event, FailureReason, Limits, Line, Outcome};

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
}

/// The units of one article.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StockView {
    /// Units that ever came in.
    pub received: u64,
    /// Units in live holds.
    pub reserved: u64,
    /// Units of committed holds.
    pub allocated: u64,
    /// Units that can be held by the next shopper.
    pub sellable: u64,
    /// Most units for one customer.
    pub limit_per_customer: Option<u32>,
}

/// Where one reservation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReservationView {
    /// Units are held.
    Held {
        /// Who holds them.
        customer: String,
        /// The cart.
        lines: Vec<Line>,
        /// When the hold ends by itself, in milliseconds since the Unix epoch.
        expires_at_ms: i64,
    },
    /// The units are sold.
    Committed,
    /// The hold was given back.
    Released,
    /// The hold ended by itself.
    Expired,
    /// The reservation was refused.
    Refused(FailureReason),
}

/// An event that cannot follow the events before it: the log is not one that this engine wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Units of an article that never came in.
    #[error("reservation {reservation} holds article {sku:?}, which does not exist")]
    UnknownArticle {
        /// The reservation.
        reservation: Uuid,
        /// The article.
        sku: String,
    },
    /// More units than there are.
    #[error("reservation {reservation} holds {quantity} of article {sku:?}, of which {sellable} can be sold")]
    Oversold {
        /// The reservation.
        reservation: Uuid,
        /// The article.
        sku: String,
        /// Units of the event.
        quantity: u32,
        /// Units that can be sold.
        sellable: u64,
    },
    /// A reservation begins that is held already.
    #[error("reservation {reservation} begins a second time")]
    Known {
        /// The reservation.
        reservation: Uuid,
    },
    /// A hold ends, or is extended, that is not live.
    #[error("reservation {reservation} is not held")]
    NotHeld {
        /// The reservation.
        reservation: Uuid,
    },
    /// The event must name a reservation, and does not.
    #[error("the event for command {command} names no reservation")]
    NoReservation {
        /// The command.
        command: Uuid,
    },
    /// More units came in than can be counted.
    #[error("article {sku:?} received more units than can be counted")]
    Uncountable {
        /// The article.
        sku: String,
    },
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
            holds: Holds::default(),
            commands: CommandIds::new(),
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

    /// The units of an article.
    pub fn stock(&self, sku: &str) -> Option<StockView> {
        let stock = self.articles.stock(self.articles.find(sku)?);
        Some(StockView {
            received: stock.received,
            reserved: stock.reserved,
            allocated: stock.allocated,
            sellable: stock.sellable(),
            limit_per_customer: stock.limit_per_customer,
        })
    }

    /// Where a reservation stands; `None` if it never was, or is forgotten.
    pub fn reservation(&self, reservation: Uuid) -> Option<ReservationView> {
        Some(match self.reservations.get(reservation)? {
            Status::Held(index) => self.held_view(index),
            Status::Committed => ReservationView::Committed,
            Status::Released => ReservationView::Released,
            Status::Expired => ReservationView::Expired,
            Status::Refused(reason) => ReservationView::Refused(reason),
        })
    }

    /// When the first live hold ends by itself.
    pub fn next_expiry_ms(&self) -> Option<i64> {
        self.holds.next_expiry_ms()
    }

    /// The expiries that are due at `now_ms`, as events to log and apply, at most `count_max`.
    pub fn due(&self, now_ms: i64, count_max: usize) -> Vec<Event> {
        let at_ms = now_ms.max(self.now_ms);
        let due = self.holds.due(at_ms).take(count_max);
        due.map(|hold| Event {
            outcome: Outcome::ReservationExpired,
            command: Uuid::nil(),
            reservation: Some(hold.reservation),
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
        match &event.outcome {
            Outcome::Received { sku, quantity, .. } => self.receive(event, sku, *quantity)?,
            Outcome::PolicySet {
                sku,
                limit_per_customer,
                ..
            } => {
                let article = self.articles.find_or_create(sku);
                self.articles.stock_mut(article).limit_per_customer = *limit_per_customer;
                self.commands.remember(event.command, self.now_ms);
            }
            Outcome::Reserved {
                customer,
                lines,
                ttl_ms,
                expires_at_ms,
                ..
            } => {
                self.reserve(event, customer, lines, *ttl_ms, *expires_at_ms)?;
            }
            Outcome::Extended { expires_at_ms } => {
                let index = self.held(event)?;
                self.holds.move_expiry(index, *expires_at_ms);
                self.commands.remember(event.command, self.now_ms);
            }
            Outcome::Committed => self.end(event, Status::Committed)?,
            Outcome::Released => self.end(event, Status::Released)?,
            Outcome::ReservationExpired => self.end(event, Status::Expired)?,
            Outcome::SoldOut { .. } => self.refuse(event, FailureReason::SoldOut),
            Outcome::CustomerLimit { .. } => self.refuse(event, FailureReason::CustomerLimit),
            Outcome::UnknownSku { .. } => self.refuse(event, FailureReason::UnknownSku),
            Outcome::Invalid { .. } => self.refuse(event, FailureReason::Invalid),
            Outcome::Exists { .. }
            | Outcome::ExistsDifferent { .. }
            | Outcome::AlreadyFailed { .. }
            | Outcome::AlreadyCommitted
            | Outcome::AlreadyReleased
            | Outcome::Expired
            | Outcome::UnknownReservation
            | Outcome::Throttled { .. } => {}
            _ => {}
        }
        let oldest_ms = self.now_ms.saturating_sub(self.limits.remembered_ms);
        self.reservations.forget(self.limits.remembered, oldest_ms);
        self.commands.forget(self.limits.commands_remembered, oldest_ms);
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

    fn receive(&mut self, event: &Event, sku: &str, quantity: u32) -> Result<(), Misfit> {
        let article = self.articles.find_or_create(sku);
        let stock = self.articles.stock_mut(article);
        stock.received = stock
            .received
            .checked_add(u64::from(quantity))
            .ok_or_else(|| Misfit::Uncountable { sku: sku.to_owned() })?;
        self.commands.remember(event.command, self.now_ms);
        Ok(())
    }

    fn reserve(
        &mut self,
        event: &Event,
        customer: &str,
        lines: &[Line],
        ttl_ms: u32,
        expires_at_ms: i64,
    ) -> Result<(), Misfit> {
        let reservation = event.reservation.ok_or(Misfit::NoReservation {
            command: event.command,
        })?;
        match self.reservations.get(reservation) {
            None => {}
            Some(Status::Held(_)) => return Err(Misfit::Known { reservation }),
            // The writer's bounds made it forget the id sooner than these do; the log is right.
            Some(_) => self.reservations.forget_ended(reservation),
        }
        let customer = self.totals.add_customer(customer);
        let lines = match lines {
            [line] => HoldLines::One([self.take(reservation, customer, line)?]),
            lines => {
                let taken = lines.iter().map(|line| self.take(reservation, customer, line));
                HoldLines::Many(taken.collect::<Result<_, _>>()?)
            }
        };
        let created_at_ms = event.at_ms;
        let index = self.holds.insert(Hold {
            reservation,
            customer,
            ttl_ms,
            created_at_ms,
            expires_at_ms,
            lines,
        });
        self.reservations.set_held(reservation, index);
        Ok(())
    }

    /// Takes the units of one line out of sale.
    fn take(&mut self, reservation: Uuid, customer: u32, line: &Line) -> Result<HoldLine, Misfit> {
        let Some(article) = self.articles.find(&line.sku) else {
            return Err(Misfit::UnknownArticle {
                reservation,
                sku: line.sku.clone(),
            });
        };
        let stock = self.articles.stock_mut(article);
        let sellable = stock.sellable();
        if u64::from(line.quantity) > sellable {
            let (sku, quantity) = (line.sku.clone(), line.quantity);
            return Err(Misfit::Oversold {
                reservation,
                sku,
                quantity,
                sellable,
            });
        }
        stock.reserved += u64::from(line.quantity);
        let limited = stock.limit_per_customer.is_some();
        let counted = self.can_count(limited) || self.totals.has(customer, article);
        if counted {
            self.totals.add(customer, article, u64::from(line.quantity));
        }
        Ok(HoldLine {
            article,
            quantity: line.quantity,
            counted,
        })
    }

    fn end(&mut self, event: &Event, status: Status) -> Result<(), Misfit> {
        let index = self.held(event)?;
        let hold = self.holds.remove(index);
        for line in hold.lines.as_slice() {
            let stock = self.articles.stock_mut(line.article);
            stock.reserved -= u64::from(line.quantity);
            if status == Status::Committed {
                stock.allocated += u64::from(line.quantity);
            } else if line.counted {
                self.totals.subtract(hold.customer, line.article, line.quantity);
            }
        }
        self.totals.drop_customer(hold.customer);
        self.reservations.set_ended(hold.reservation, status, self.now_ms);
        Ok(())
    }

    /// Remembers a refused reservation; a refusal about a known reservation concerns another command.
    fn refuse(&mut self, event: &Event, reason: FailureReason) {
        if let Some(reservation) = event.reservation
            && self.reservations.get(reservation).is_none()
        {
            self.reservations
                .set_ended(reservation, Status::Refused(reason), self.now_ms);
        }
    }

    fn held(&self, event: &Event) -> Result<HoldIndex, Misfit> {
        let reservation = event.reservation.ok_or(Misfit::NoReservation {
            command: event.command,
        })?;
        match self.reservations.get(reservation) {
            Some(Status::Held(index)) => Ok(index),
            _ => Err(Misfit::NotHeld { reservation }),
        }
    }

    fn held_view(&self, index: HoldIndex) -> ReservationView {
        let hold = self.holds.get(index);
        let lines = hold
            .lines
            .as_slice()
            .iter()
            .map(|line| Line::new(self.articles.sku(line.article).to_owned(), line.quantity));
        ReservationView::Held {
            customer: self.totals.customer(hold.customer).to_owned(),
            lines: lines.collect(),
            expires_at_ms: hold.expires_at_ms,
        }
    }
}
