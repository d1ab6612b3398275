//! The soak's own book: what every event must say, by the plan and the events before it.
//!
//! It holds a few bytes for each command and reservation, and shares no code with the engine.

use doorbuster::commerce::inventory::{Event, Outcome, State};

use crate::plan::{ARTICLES, Action, Plan, article, command_of, reservation_of, sku};

/// Faults that are told in words; the others are only counted.
const TOLD_MAX: usize = 20;

/// What was found; all zero is what is promised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Units held and sold beyond those received, at any moment.
    pub oversold: u64,
    /// Commands that are durable and have no outcome.
    pub lost: u64,
    /// Units taken, sold, given back or received a second time.
    pub double: u64,
    /// Outcomes that are not what follows from the plan and the events before.
    pub wrong: u64,
    /// Articles of which the engine's state says something else than the events.
    pub unreconciled: u64,
    /// Some of them, in words.
    pub told: Vec<String>,
}

impl Faults {
    fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.told.len() < TOLD_MAX {
            self.told.push(what());
        }
    }
}

/// Units of one article.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Units {
    received: u64,
    held: u64,
    sold: u64,
}

impl Units {
    fn sellable(self) -> u64 {
        self.received.saturating_sub(self.held + self.sold)
    }
}

/// Where a reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Unknown,
    Held,
    Committed,
    Released,
    Expired,
    Refused,
}

#[derive(Clone, Copy, Debug)]
struct Reservation {
    stand: Stand,
    expires_at_ms: i64,
}

/// The book of one generation.
#[derive(Debug)]
pub struct Ledger {
    plan: Plan,
    articles: Vec<Units>,
    reservations: Vec<Reservation>,
    /// Outcomes of each command; more than one after a resend.
    outcomes: Vec<u8>,
    at_ms: i64,
    faults: Faults,
}

impl Ledger {
    /// An empty book for `commands` commands.
    pub fn new(plan: Plan, commands: u64) -> Ledger {
        let unknown = Reservation {
            stand: Stand::Unknown,
            expires_at_ms: 0,
        };
        Ledger {
            plan,
            articles: vec![Units::default(); ARTICLES as usize],
            reservations: vec![unknown; commands as usize + 1],
            outcomes: vec![0; commands as usize],
            at_ms: i64::MIN,
            faults: Faults::default(),
        }
    }

    /// Takes the next event of the log.
    pub fn event(&mut self, event: &Event) {
        if event.at_ms < self.at_ms {
            self.wrong(event, "is before the event before it");
        }
        self.at_ms = self.at_ms.max(event.at_ms);
        if event.outcome == Outcome::ReservationExpired {
            return self.expire(event);
        }
        // Stock signals answer nobody and change nothing.
        if event.command.is_nil() && event.command_offset.is_none() {
            return;
        }
        let number = command_of(event.command).filter(|number| (*number as usize) < self.outcomes.len());
        let Some(number) = number else {
            return self.wrong(event, "answers nobody");
        };
        let count = &mut self.outcomes[number as usize];
        *count = count.saturating_add(1);
        let is_repeat = *count > 1;
        match self.plan.action(number) {
            Action::Receive { article, units } => self.receive(event, article, units, is_repeat),
            Action::Reserve { reservation } => self.reserve(event, reservation),
            Action::Extend { reservation } => self.extend(event, reservation, is_repeat),
            Action::Commit { reservation } => self.commit(event, reservation),
            Action::Release { reservation } => self.release(event, reservation),
        }
    }

    fn receive(&mut self, event: &Event, wanted: u32, units: u32, is_repeat: bool) {
        match &event.outcome {
            Outcome::Received { sku, quantity, .. } => {
                if is_repeat {
                    self.faults.double += u64::from(*quantity);
                    self.faults.tell(|| format!("received twice: {event:?}"));
                }
                if article(sku) != Some(wanted) || *quantity != units {
                    self.wrong(event, "receives something else");
                }
                self.articles[wanted as usize].received += u64::from(*quantity);
            }
            Outcome::Exists { .. } if is_repeat => {}
            _ => self.wrong(event, "answers a delivery"),
        }
    }

    fn reserve(&mut self, event: &Event, reservation: u64) {
        let expected = match self.stand_at(reservation, event.at_ms) {
            Stand::Unknown => return self.reserve_first(event, reservation),
            Stand::Held => matches!(event.outcome, Outcome::Exists { .. }),
            Stand::Committed => event.outcome == Outcome::AlreadyCommitted,
            Stand::Released => event.outcome == Outcome::AlreadyReleased,
            Stand::Expired => event.outcome == Outcome::Expired,
            Stand::Refused => matches!(event.outcome, Outcome::AlreadyFailed { .. }),
        };
        if let Outcome::Reserved { lines, .. } = &event.outcome {
            self.faults.double += lines.iter().map(|line| u64::from(line.quantity)).sum::<u64>();
            self.faults.tell(|| format!("reserved twice: {event:?}"));
        } else if !expected {
            self.wrong(event, "repeats a reservation");
        }
    }

    fn reserve_first(&mut self, event: &Event, reservation: u64) {
        let cart = self.plan.cart(reservation);
        let lines = &cart.lines[..cart.count];
        let short = lines
            .iter()
            .find(|(article, units)| self.articles[*article as usize].sellable() < u64::from(*units));
        match &event.outcome {
            Outcome::Reserved {
                lines: granted,
                expires_at_ms,
                ..
            } => {
                let granted: Vec<_> = granted
                    .iter()
                    .map(|line| (article(&line.sku), line.quantity))
                    .collect();
                let wanted: Vec<_> = lines
                    .iter()
                    .map(|(article, units)| (Some(*article), *units))
                    .collect();
                let earliest_ms = event.at_ms + i64::from(cart.ttl_ms);
                if granted != wanted || !(earliest_ms..earliest_ms + 10).contains(expires_at_ms) {
                    self.wrong(event, "grants something else than was asked for");
                }
                self.set(reservation, Stand::Held, *expires_at_ms);
                self.each_line(reservation, |units, quantity| units.held += quantity);
                let lines = &cart.lines[..cart.count];
                for (article, _) in lines {
                    let units = self.articles[*article as usize];
                    let over = (units.held + units.sold).saturating_sub(units.received);
                    if over > 0 {
                        self.faults.oversold += over;
                        self.faults.tell(|| format!("oversold by {over}: {event:?}"));
                    }
                }
            }
            Outcome::SoldOut { sku, available } => {
                let found = short.map(|(article, _)| (*article, self.articles[*article as usize].sellable()));
                if found != article(sku).map(|article| (article, *available)) {
                    self.wrong(
                        event,
                        "refuses for want of stock that is there, or counts it wrong",
                    );
                }
                self.set(reservation, Stand::Refused, 0);
            }
            _ => self.wrong(event, "answers a reservation"),
        }
    }

    fn extend(&mut self, event: &Event, reservation: u64, is_repeat: bool) {
        match (&event.outcome, self.stand_at(reservation, event.at_ms)) {
            (Outcome::Extended { expires_at_ms }, Stand::Held) if !is_repeat => {
                if *expires_at_ms < event.at_ms {
                    self.wrong(event, "extends into the past");
                }
                self.set(reservation, Stand::Held, *expires_at_ms);
            }
            (Outcome::Exists { .. }, Stand::Held) if is_repeat => {}
            (_, stand) if refuses(event, stand) => {}
            _ => self.wrong(event, "answers an extension"),
        }
    }

    fn commit(&mut self, event: &Event, reservation: u64) {
        match (&event.outcome, self.stand_at(reservation, event.at_ms)) {
            (Outcome::Committed, Stand::Held) => {
                self.each_line(reservation, |units, quantity| {
                    units.held -= quantity;
                    units.sold += quantity;
                });
                self.set(reservation, Stand::Committed, 0);
            }
            // An expired hold may be sold if its units are still there; whether an engine does is its own affair.
            (Outcome::Committed, Stand::Expired) => {
                if self.reservations[reservation as usize].stand == Stand::Held {
                    self.each_line(reservation, |units, quantity| units.held -= quantity);
                }
                self.each_line(reservation, |units, quantity| units.sold += quantity);
                let over = self
                    .articles
                    .iter()
                    .filter(|units| units.held + units.sold > units.received);
                self.faults.oversold += over.count() as u64;
                self.set(reservation, Stand::Committed, 0);
            }
            (Outcome::Committed, Stand::Committed) => self.double(event, reservation),
            (_, stand) if refuses(event, stand) => {}
            _ => self.wrong(event, "answers a commit"),
        }
    }

    fn release(&mut self, event: &Event, reservation: u64) {
        match (&event.outcome, self.stand_at(reservation, event.at_ms)) {
            (Outcome::Released, Stand::Held) => {
                self.each_line(reservation, |units, quantity| units.held -= quantity);
                self.set(reservation, Stand::Released, 0);
            }
            (Outcome::Released, Stand::Released) => self.double(event, reservation),
            (_, stand) if refuses(event, stand) => {}
            _ => self.wrong(event, "answers a release"),
        }
    }

    fn expire(&mut self, event: &Event) {
        let reservation = event.reservation.and_then(reservation_of);
        let reservation = reservation.filter(|number| (*number as usize) < self.reservations.len());
        let Some(reservation) = reservation else {
            return self.wrong(event, "ends a hold that nobody asked for");
        };
        let known = self.reservations[reservation as usize];
        match known.stand {
            Stand::Held if known.expires_at_ms <= event.at_ms => {
                self.each_line(reservation, |units, quantity| units.held -= quantity);
                self.set(reservation, Stand::Expired, 0);
            }
            Stand::Expired => self.double(event, reservation),
            _ => self.wrong(event, "ends a hold that is not live or not over"),
        }
    }

    /// Where the reservation stands: a hold whose time is over has ended, though no event says so yet.
    fn stand_at(&self, reservation: u64, at_ms: i64) -> Stand {
        let known = self.reservations[reservation as usize];
        match known.stand {
            Stand::Held if known.expires_at_ms <= at_ms => Stand::Expired,
            stand => stand,
        }
    }

    fn set(&mut self, reservation: u64, stand: Stand, expires_at_ms: i64) {
        self.reservations[reservation as usize] = Reservation { stand, expires_at_ms };
    }

    fn each_line(&mut self, reservation: u64, change: impl Fn(&mut Units, u64)) {
        let cart = self.plan.cart(reservation);
        for (article, quantity) in &cart.lines[..cart.count] {
            change(&mut self.articles[*article as usize], u64::from(*quantity));
        }
    }

    fn double(&mut self, event: &Event, reservation: u64) {
        let cart = self.plan.cart(reservation);
        self.faults.double += cart.lines[..cart.count]
            .iter()
            .map(|(_, units)| u64::from(*units))
            .sum::<u64>();
        self.faults.tell(|| format!("a second time: {event:?}"));
    }

    fn wrong(&mut self, event: &Event, what: &str) {
        self.faults.wrong += 1;
        self.faults.tell(|| format!("{what}: {event:?}"));
    }

    /// Closes the book: every command must have its outcome, and `state` must be what the events add up to.
    pub fn close(mut self, state: &State) -> Faults {
        let lost = self
            .outcomes
            .iter()
            .map(|count| u64::from(*count == 0))
            .sum::<u64>();
        self.faults.lost += lost;
        if lost > 0 {
            self.faults.tell(|| format!("{lost} commands have no outcome"));
        }
        for (number, units) in (0..).zip(&self.articles) {
            let found = state.stock(&sku(number)).map(|view| Units {
                received: view.received,
                held: view.reserved,
                sold: view.allocated,
            });
            if found != Some(*units) {
                self.faults.unreconciled += 1;
                let told = format!("{}: the events say {units:?}, the state {found:?}", sku(number));
                self.faults.tell(|| told);
            }
        }
        self.faults
    }
}

/// Whether a command on a hold that is not live is refused as it should be.
fn refuses(event: &Event, stand: Stand) -> bool {
    match stand {
        Stand::Held => false,
        Stand::Unknown => event.outcome == Outcome::UnknownReservation,
        Stand::Committed => event.outcome == Outcome::AlreadyCommitted,
        Stand::Released => event.outcome == Outcome::AlreadyReleased,
        Stand::Expired => event.outcome == Outcome::Expired,
        Stand::Refused => matches!(event.outcome, Outcome::AlreadyFailed { .. }),
    }
}
