//! Carts: which units of which cells a request takes, or why it takes none.

use uuid::Uuid;

use super::{
    THROTTLED, check, check_location, check_quantity, check_sku, check_ttl, expiry, invalid, is_name,
    position,
};
use crate::commerce::inventory::asked::Asked;
use crate::commerce::inventory::limits::{LINES_MAX, LOCATION_MAX_BYTES, SPLIT_LOCATIONS_MAX};
use crate::commerce::inventory::location::Locations;
use crate::commerce::inventory::names::NameIndex;
use crate::commerce::inventory::reservations::Status;
use crate::commerce::inventory::stock::{Article, CellIndex, Part};
use crate::commerce::inventory::waitlist::Waiter;
use crate::commerce::inventory::{
    Cart, CartPolicy, Field, InvalidReason, Line, LineFailure, LineRefusal, Outcome, State,
};
use crate::commerce::inventory::{Point, Split};

/// What a shopper wants.
#[derive(Default)]
pub(super) struct Request {
    pub(super) customer: String,
    pub(super) lines: Vec<Line>,
    pub(super) ttl_ms: u32,
    pub(super) policy: CartPolicy,
    pub(super) split: Option<Box<Split>>,
}

pub(super) fn reserve(
    state: &State,
    reservation: Uuid,
    request: Request,
    at_ms: i64,
) -> Result<Outcome, Outcome> {
    if let Some(status) = state.reservations.get(reservation) {
        return Err(again(state, reservation, status, &request, at_ms));
    }
    if let Some(position) = position(state, reservation) {
        return Err(Outcome::StillWaiting { position });
    }
    check_request(&request)?;
    if state.holds.len() >= state.limits.live_holds {
        return Err(THROTTLED);
    }
    if let (CartPolicy::All, None, [line]) = (request.policy, &request.split, &request.lines[..])
        && let Some(index) = state.articles.find(&line.sku)
        && let article = state.articles.article(index)
        && article.kit.is_none()
    {
        return reserve_line(state, index, article, request, at_ms);
    }
    Planner::new(state, &request, at_ms)
        .plan()?
        .outcome(request, at_ms)
}

/// The frequent case: one line, from one location.
fn reserve_line(
    state: &State,
    index: NameIndex,
    article: &Article,
    request: Request,
    at_ms: i64,
) -> Result<Outcome, Outcome> {
    let line = &request.lines[0];
    let cell = state.articles.find_cell(index, &line.location);
    let sellable = match cell {
        Some(cell) if article.waiting == 0 => state.articles.cell(cell).sellable(),
        _ => 0,
    };
    let refusal = match check_window(article, at_ms) {
        Err(refusal) => Some(refusal),
        Ok(()) if u64::from(line.quantity) > sellable => Some(LineRefusal::SoldOut { available: sellable }),
        Ok(()) => remaining(state, &request.customer, index)
            .filter(|remaining| line.quantity > *remaining)
            .map(|remaining| LineRefusal::CustomerLimit { remaining }),
    };
    if let Some(refusal) = refusal {
        return Err(refusal.outcome(&line.sku));
    }
    if !can_count(state, &request.customer, index, article) {
        return Err(THROTTLED);
    }
    Ok(Outcome::Reserved {
        customer: request.customer,
        lines: request.lines,
        ttl_ms: request.ttl_ms,
        expires_at_ms: expiry(at_ms, request.ttl_ms),
        cart: None,
    })
}

/// The answer to a reservation id that is known.
pub(super) fn again(
    state: &State,
    reservation: Uuid,
    status: Status,
    request: &Request,
    at_ms: i64,
) -> Outcome {
    let index = match status {
        Status::Held(index) => index,
        Status::Committed => return Outcome::AlreadyCommitted,
        Status::Released => return Outcome::AlreadyReleased,
        Status::Expired => return Outcome::Expired,
        Status::Refused(reason) => return Outcome::AlreadyFailed { reason },
    };
    let hold = state.holds.get(index);
    if hold.expires_at_ms <= at_ms {
        return Outcome::Expired;
    }
    let field = if state.totals.customer(hold.customer) != request.customer {
        Some(Field::Customer)
    } else if let Some(asked) = state.asked.get(&reservation) {
        let wanted = Asked::of(request.policy, request.split.as_deref(), &request.lines);
        if asked.policy != wanted.policy {
            Some(Field::Policy)
        } else if asked.split != wanted.split {
            Some(Field::Split)
        } else {
            (asked.lines != wanted.lines || request.lines.len() > LINES_MAX).then_some(Field::Lines)
        }
    } else if !request.policy.is_all() {
        Some(Field::Policy)
    } else if request.split.is_some() {
        Some(Field::Split)
    } else {
        let known = hold.lines.as_slice();
        let is_held = |line: &Line| {
            let article = state.articles.find(&line.sku);
            let cell = article.and_then(|article| state.articles.find_cell(article, &line.location));
            known
                .iter()
                .any(|held| Some(held.cell) == cell && held.quantity == line.quantity)
        };
        let is_same = request.lines.len() <= LINES_MAX
            && merge(&request.lines).is_some_and(|lines| {
                lines.len() == known.len() && lines.iter().all(|(_, line)| is_held(line))
            });
        (!is_same).then_some(Field::Lines)
    };
    match field {
        Some(field) => Outcome::ExistsDifferent { field },
        None if hold.ttl_ms != request.ttl_ms => Outcome::ExistsDifferent { field: Field::TtlMs },
        None => Outcome::Exists {
            expires_at_ms: Some(hold.expires_at_ms),
        },
    }
}

/// Checks what makes a request senseless, whatever the stock.
fn check_request(request: &Request) -> Result<(), Outcome> {
    check(is_name(&request.customer), InvalidReason::CustomerLength)?;
    check(!request.lines.is_empty(), InvalidReason::EmptyCart)?;
    check(request.lines.len() <= LINES_MAX, InvalidReason::TooManyLines)?;
    for line in &request.lines {
        check_quantity(line.quantity)?;
        check_sku(&line.sku)?;
        check_location(&line.location)?;
    }
    if let Some(Split::Fixed { locations }) = request.split.as_deref() {
        let is_fine = |(index, location): (usize, &String)| {
            location.len() <= LOCATION_MAX_BYTES && !locations[..index].contains(location)
        };
        check(
            (1..=SPLIT_LOCATIONS_MAX).contains(&locations.len()) && locations.iter().enumerate().all(is_fine),
            InvalidReason::SplitLocations,
        )?;
    }
    if let Some(Split::Nearest { near }) = request.split.as_deref() {
        check(near.is_valid(), InvalidReason::Coordinates)?;
    }
    check_ttl(request.ttl_ms)
}

/// One line for each article and location, in order of first appearance and with the place of that; `None` if a sum
/// overflows.
fn merge(lines: &[Line]) -> Option<Vec<(usize, Line)>> {
    let mut merged: Vec<(usize, Line)> = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        let is_same =
            |(_, other): &&mut (usize, Line)| (&other.sku, &other.location) == (&line.sku, &line.location);
        if let Some((_, same)) = merged.iter_mut().find(is_same) {
            same.quantity = same.quantity.checked_add(line.quantity)?;
        } else {
            merged.push((index, line.clone()));
        }
    }
    Some(merged)
}

/// Whether an article can be reserved at an instant.
pub(super) fn check_window(article: &Article, at_ms: i64) -> Result<(), LineRefusal> {
    let Some(window) = article.window else {
        return Ok(());
    };
    match window.closes_at_ms {
        Some(closed_at_ms) if closed_at_ms <= at_ms => Err(LineRefusal::Closed { closed_at_ms }),
        _ if at_ms < window.opens_at_ms => Err(LineRefusal::NotOpen {
            opens_at_ms: window.opens_at_ms,
        }),
        _ => Ok(()),
    }
}

/// How many more units of an article a customer may have; `None` without a limit.
pub(super) fn remaining(state: &State, customer: &str, article: NameIndex) -> Option<u32> {
    let limit = state.articles.article(article).limit_per_customer?;
    let units = state.totals.units(customer, article);
    Some(limit.saturating_sub(u32::try_from(units).unwrap_or(u32::MAX)))
}

/// Whether the units of an article with a limit can be counted for a customer: every line of the cart may need an
/// entry, so that many must be free.
fn can_count(state: &State, customer: &str, index: NameIndex, article: &Article) -> bool {
    article.limit_per_customer.is_none() || state.can_count_cart() || state.totals.units(customer, index) > 0
}

/// What a cart takes.
#[derive(Default)]
struct Plan {
    /// Cells and units, each cell once.
    taken: Vec<(CellIndex, u64)>,
    lines: Vec<Line>,
    failed: Vec<LineFailure>,
    has_kit: bool,
}

impl Plan {
    fn outcome(self, request: Request, at_ms: i64) -> Result<Outcome, Outcome> {
        let Request {
            customer,
            lines: asked,
            ttl_ms,
            policy,
            split,
        } = request;
        if self.lines.is_empty() {
            return Err(Outcome::LineFailed { failed: self.failed });
        }
        let is_plain = policy.is_all() && split.is_none() && !self.has_kit;
        let cart = Cart {
            policy,
            split: split.map(|split| *split),
            lines: asked,
            failed: self.failed,
        };
        Ok(Outcome::Reserved {
            customer,
            lines: self.lines,
            ttl_ms,
            expires_at_ms: expiry(at_ms, ttl_ms),
            cart: (!is_plain).then(|| Box::new(cart)),
        })
    }
}

/// Makes a [`Plan`], line by line: what one line takes is not there for the next.
struct Planner<'a> {
    state: &'a State,
    customer: &'a str,
    lines: &'a [Line],
    policy: CartPolicy,
    split: Option<&'a Split>,
    at_ms: i64,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn new(state: &'a State, request: &'a Request, at_ms: i64) -> Self {
        Planner {
            state,
            customer: &request.customer,
            lines: &request.lines,
            policy: request.policy,
            split: request.split.as_deref(),
            at_ms,
            plan: Plan::default(),
        }
    }

    fn plan(mut self) -> Result<Plan, Outcome> {
        for (index, line) in merge(self.lines).ok_or(invalid(InvalidReason::QuantityOverflow))? {
            let (granted, refusal) = self.take_line(&line)?;
            let Some(refusal) = refusal else {
                continue;
            };
            if self.policy.is_all() {
                return Err(refusal.outcome(&line.sku));
            }
            debug_assert!(granted < line.quantity, "a line with a fault is not whole");
            self.plan.failed.push(LineFailure {
                index: index as u32,
                refusal,
            });
        }
        check(self.plan.taken.len() <= LINES_MAX, InvalidReason::TooManyLines)?;
        for (cell, quantity) in &self.plan.taken {
            let quantity = u32::try_from(*quantity).map_err(|_| invalid(InvalidReason::QuantityOverflow))?;
            self.plan
                .lines
                .push(self.state.line(&crate::commerce::inventory::holds::HoldLine {
                    cell: *cell,
                    quantity,
                    counted: false,
                }));
        }
        Ok(self.plan)
    }

    /// Takes as much of a line as the policy allows; tells how many units, and why not all.
    fn take_line(&mut self, line: &Line) -> Result<(u32, Option<LineRefusal>), Outcome> {
        let articles = &self.state.articles;
        let Some(index) = articles.find(&line.sku) else {
            return Ok((0, Some(LineRefusal::UnknownSku)));
        };
        let article = articles.article(index);
        if let Err(refusal) = check_window(article, self.at_ms) {
            return Ok((0, Some(refusal)));
        }
        let single = [Part {
            article: index,
            quantity: 1,
        }];
        let parts = article.kit.as_deref().unwrap_or(&single);
        self.plan.has_kit |= article.kit.is_some();
        let places = self.places(parts, &line.location);
        let there = places.iter().map(|(_, sets)| *sets).fold(0, u64::saturating_add);
        let allowed = self.allowed(parts)?;
        let wanted = u64::from(line.quantity);
        let refusal = if wanted > there {
            Some(LineRefusal::SoldOut { available: there })
        } else {
            allowed
                .filter(|allowed| line.quantity > *allowed)
                .map(|remaining| LineRefusal::CustomerLimit { remaining })
        };
        let granted = match (refusal, self.policy) {
            (None, _) => wanted,
            (Some(_), CartPolicy::Partial) => there.min(allowed.map_or(u64::MAX, u64::from)).min(wanted),
            (Some(_), _) => 0,
        };
        // A limit that is tighter than the stock is what the customer must hear of.
        let refusal = match (refusal, allowed) {
            (Some(LineRefusal::SoldOut { available }), Some(remaining))
                if self.policy == CartPolicy::Partial && u64::from(remaining) < available =>
            {
                Some(LineRefusal::CustomerLimit { remaining })
            }
            (refusal, _) => refusal,
        };
        let mut left = granted;
        for (location, sets) in places {
            let sets = sets.min(left);
            left -= sets;
            for part in parts {
                self.take(part.article, location, sets * u64::from(part.quantity));
            }
        }
        Ok((granted as u32, refusal))
    }

    fn take(&mut self, article: NameIndex, location: NameIndex, quantity: u64) {
        if quantity == 0 {
            return;
        }
        let Some(cell) = self.state.articles.cell_at(article, location) else {
            return;
        };
        match self.plan.taken.iter_mut().find(|(other, _)| *other == cell) {
            Some((_, taken)) => *taken += quantity,
            None => self.plan.taken.push((cell, quantity)),
        }
    }

    /// How many more sets of these parts the customer may have, as far as limits go.
    fn allowed(&self, parts: &[Part]) -> Result<Option<u32>, Outcome> {
        let mut allowed = None;
        for part in parts {
            let article = self.state.articles.article(part.article);
            let Some(remaining) = remaining(self.state, self.customer, part.article) else {
                continue;
            };
            if !can_count(self.state, self.customer, part.article, article) {
                return Err(THROTTLED);
            }
            let same = self
                .plan
                .taken
                .iter()
                .filter(|(cell, _)| self.state.articles.cell(*cell).article == part.article);
            let taken: u64 = same.map(|(_, quantity)| quantity).sum();
            let left = u64::from(remaining).saturating_sub(taken) / u64::from(part.quantity.max(1));
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            allowed = Some(allowed.map_or(left, |allowed: u32| allowed.min(left)));
        }
        Ok(allowed)
    }

    /// The locations that a line may be taken from, in order, and how many sets of the parts are at each.
    fn places(&self, parts: &[Part], location: &str) -> Vec<(NameIndex, u64)> {
        let locations = &self.state.articles.locations;
        let with_sets = |location: NameIndex| (location, self.sets_at(parts, location));
        let split = match self.split {
            Some(split) if location.is_empty() => split,
            _ => return locations.find(location).map(with_sets).into_iter().collect(),
        };
        if let Split::Fixed { locations: names } = split {
            let known = names.iter().filter_map(|name| locations.find(name));
            return known.map(with_sets).collect();
        }
        let cells = parts
            .first()
            .map(|part| self.state.articles.cells_of(part.article));
        let mut places: Vec<(NameIndex, u64)> = cells
            .into_iter()
            .flatten()
            .map(|cell| with_sets(self.state.articles.cell(cell).location))
            .collect();
        places.sort_by_key(|(location, _)| *location);
        match split {
            Split::Nearest { near } => {
                places.sort_by(|(a, _), (b, _)| {
                    distance(locations, *a, *near).total_cmp(&distance(locations, *b, *near))
                });
            }
            Split::MostStock => places.sort_by_key(|(_, sets)| std::cmp::Reverse(*sets)),
            Split::Fixed { .. } => {}
        }
        places
    }

    /// How many sets of these parts are left at a location.
    fn sets_at(&self, parts: &[Part], location: NameIndex) -> u64 {
        let articles = &self.state.articles;
        let of_part = |part: &Part| {
            let cell = articles.cell_at(part.article, location)?;
            if articles.article(part.article).waiting > 0 {
                return None;
            }
            let taken = self.plan.taken.iter().find(|(other, _)| *other == cell);
            let left = articles.cell(cell).sellable() - taken.map_or(0, |(_, taken)| *taken);
            Some(left / u64::from(part.quantity.max(1)))
        };
        parts
            .iter()
            .map(|part| of_part(part).unwrap_or(0))
            .min()
            .unwrap_or(0)
    }
}

/// How far a location is; far away if nobody said where it is.
fn distance(locations: &Locations, location: NameIndex, near: Point) -> f64 {
    locations
        .point(location)
        .map_or(f64::INFINITY, |point| near.haversine(point))
}

/// What follows for the customer who waited longest for an article: the units, the end of the wait because of the
/// rules, or nothing yet.
pub(in crate::commerce::inventory) fn offer(
    state: &State,
    index: NameIndex,
    waiter: &Waiter,
    at_ms: i64,
) -> Option<Outcome> {
    let articles = &state.articles;
    let article = articles.article(index);
    let (sku, customer) = (articles.sku(index), state.totals.customer(waiter.customer));
    if let Err(refusal @ LineRefusal::Closed { .. }) = check_window(article, at_ms) {
        return Some(refusal.outcome(sku));
    }
    if articles.sellable(index) < u64::from(waiter.quantity) || state.holds.len() >= state.limits.live_holds {
        return None;
    }
    if let Some(remaining) = remaining(state, customer, index).filter(|left| waiter.quantity > *left) {
        let sku = sku.to_owned();
        return Some(Outcome::CustomerLimit { sku, remaining });
    }
    if !can_count(state, customer, index, article) {
        return None;
    }
    let mut cells: Vec<CellIndex> = articles.cells_of(index).collect();
    cells.sort_by_key(|cell| std::cmp::Reverse(articles.cell(*cell).sellable()));
    let (mut lines, mut left) = (Vec::new(), u64::from(waiter.quantity));
    for cell in cells {
        let cell = articles.cell(cell);
        let quantity = cell.sellable().min(left);
        if quantity > 0 {
            let location = articles.locations.name(cell.location);
            lines.push(Line::new(sku, quantity as u32).at(location));
        }
        left -= quantity;
    }
    // Units that are spread over more locations than an event has lines wait for a transfer.
    (lines.len() <= LINES_MAX).then(|| Outcome::Offered {
        customer: customer.to_owned(),
        lines,
        ttl_ms: waiter.offer_ttl_ms,
        expires_at_ms: expiry(at_ms, waiter.offer_ttl_ms),
    })
}
