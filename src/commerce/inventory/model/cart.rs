//! The naive engine's carts: units are taken one at a time.

use super::{
    BTreeMap, Cart, CartStatus, EXISTS, HashMap, HashSet, Model, Place, Uuid, invalid, level, up_to_tick,
};
use crate::commerce::inventory::*;

/// What a shopper wants.
pub(super) struct Request<'a> {
    pub(super) customer: &'a str,
    pub(super) lines: &'a [Line],
    pub(super) ttl_ms: u32,
    pub(super) policy: CartPolicy,
    pub(super) split: Option<&'a Split>,
}

/// The units that a cart gets, and the lines that failed.
type Found = (Vec<(Place, u32)>, Vec<LineFailure>);

/// Units taken so far, in the order of taking.
#[derive(Clone, Default)]
struct Basket {
    units: Vec<(Place, u64)>,
}

impl Basket {
    fn at(&self, place: &Place) -> u64 {
        let found = self.units.iter().find(|(other, _)| other == place);
        found.map_or(0, |(_, units)| *units)
    }

    fn of(&self, sku: &str) -> u64 {
        let of = self.units.iter().filter(|((other, _), _)| other == sku);
        of.map(|(_, units)| units).sum()
    }

    fn add(&mut self, place: Place) {
        match self.units.iter_mut().find(|(other, _)| *other == place) {
            Some((_, units)) => *units += 1,
            None => self.units.push((place, 1)),
        }
    }
}

impl Model {
    pub(super) fn reserve(&mut self, reservation: Uuid, request: &Request<'_>, now_ms: i64) -> Outcome {
        let mut asked = BTreeMap::new();
        for line in request.lines {
            let place = (line.sku.clone(), line.location.clone());
            *asked.entry(place).or_insert(0) += u64::from(line.quantity);
        }
        if let Some(cart) = self.carts.get(&reservation) {
            let differs = |field| Outcome::ExistsDifferent { field };
            return match self.not_live(reservation) {
                Some(refusal) => refusal,
                None if cart.customer != request.customer => differs(Field::Customer),
                None if cart.policy != request.policy => differs(Field::Policy),
                None if cart.split.as_ref() != request.split => differs(Field::Split),
                None if cart.asked != asked || request.lines.len() > LINES_MAX => differs(Field::Lines),
                None if cart.ttl_ms != request.ttl_ms => differs(Field::TtlMs),
                None => Outcome::Exists {
                    expires_at_ms: Some(cart.expires_at_ms),
                },
            };
        }
        let found = self.find_units(request, &asked, now_ms);
        let (status, held) = match &found {
            Ok((held, _)) => (CartStatus::Held, held.clone()),
            Err(refusal) => (CartStatus::Refused(failure(refusal)), Vec::new()),
        };
        let expires_at_ms = up_to_tick(now_ms + i64::from(request.ttl_ms));
        self.carts.insert(
            reservation,
            Cart {
                customer: request.customer.to_owned(),
                asked,
                policy: request.policy,
                split: request.split.cloned(),
                held: held.clone(),
                ttl_ms: request.ttl_ms,
                created_at_ms: now_ms,
                expires_at_ms,
                expired_at_ms: 0,
                status,
            },
        );
        let (held, failed) = match found {
            Ok(found) => found,
            Err(refusal) => return refusal,
        };
        self.buy(request.customer, &held);
        let has_kit = request.lines.iter().any(|line| self.is_kit(&line.sku));
        let is_plain = request.policy == CartPolicy::All && request.split.is_none() && !has_kit;
        let cart = crate::commerce::inventory::Cart {
            policy: request.policy,
            split: request.split.cloned(),
            lines: request.lines.to_vec(),
            failed,
        };
        Outcome::Reserved {
            customer: request.customer.to_owned(),
            lines: lines(&held),
            ttl_ms: request.ttl_ms,
            expires_at_ms,
            cart: (!is_plain).then(|| Box::new(cart)),
        }
    }

    /// The units that a cart gets and the lines that failed, or why it gets none.
    fn find_units(
        &self,
        request: &Request<'_>,
        asked: &BTreeMap<Place, u64>,
        now_ms: i64,
    ) -> Result<Found, Outcome> {
        let fault = |is_fault: bool, reason| if is_fault { Err(invalid(reason)) } else { Ok(()) };
        fault(request.customer.is_empty(), InvalidReason::CustomerLength)?;
        fault(request.lines.is_empty(), InvalidReason::EmptyCart)?;
        fault(request.lines.len() > LINES_MAX, InvalidReason::TooManyLines)?;
        let has_zero = request.lines.iter().any(|line| line.quantity == 0);
        fault(has_zero, InvalidReason::ZeroQuantity)?;
        if let Some(Split::Fixed { locations }) = request.split {
            let distinct: std::collections::HashSet<_> = locations.iter().collect();
            let is_fault = locations.is_empty() || distinct.len() < locations.len();
            fault(is_fault, InvalidReason::SplitLocations)?;
        }
        fault(request.ttl_ms == 0, InvalidReason::TtlTooShort)?;
        fault(request.ttl_ms > HOLD_TTL_MAX_MS, InvalidReason::TtlTooLong)?;
        let is_too_much = asked.values().any(|sum| *sum > u64::from(u32::MAX));
        fault(is_too_much, InvalidReason::QuantityOverflow)?;

        let (mut basket, mut failed, mut seen) = (Basket::default(), Vec::new(), Vec::new());
        for (index, line) in request.lines.iter().enumerate() {
            let place = (line.sku.clone(), line.location.clone());
            if seen.contains(&place) {
                continue;
            }
            let wanted = asked[&place];
            seen.push(place);
            let mut with_line = basket.clone();
            match self.take_line(request, line, wanted, &mut with_line, now_ms) {
                None => basket = with_line,
                Some(refusal) => {
                    if request.policy == CartPolicy::All {
                        return Err(whole_cart(refusal, &line.sku));
                    }
                    if request.policy == CartPolicy::Partial {
                        basket = with_line;
                    }
                    let index = index as u32;
                    failed.push(LineFailure { index, refusal });
                }
            }
        }
        if basket.units.is_empty() {
            return Err(Outcome::LineFailed { failed });
        }
        let held = basket
            .units
            .into_iter()
            .map(|(place, units)| (place, units as u32));
        Ok((held.collect(), failed))
    }

    /// Puts as many units of a line into the basket as there are and the customer may have.
    fn take_line(
        &self,
        request: &Request<'_>,
        line: &Line,
        wanted: u64,
        basket: &mut Basket,
        now_ms: i64,
    ) -> Option<LineRefusal> {
        let Some(rules) = self.rules.get(&line.sku) else {
            return Some(LineRefusal::UnknownSku);
        };
        if let Some(refusal) = self.window(&line.sku, now_ms) {
            return Some(refusal);
        }
        let single = vec![KitPart {
            sku: line.sku.clone(),
            quantity: 1,
        }];
        let parts = rules.kit.as_ref().unwrap_or(&single);
        let order = self.order(request, parts, &line.location, basket);
        let mut there = 0;
        let mut allowed = 0;
        // All there are, as if there were no limit; then as many as the customer may have.
        let mut all = basket.clone();
        while self.take_one(parts, &order, &mut all) {
            there += 1;
        }
        let is_allowed = |basket: &Basket, sets: u64| {
            parts.iter().all(|part| {
                let needed = basket.of(&part.sku) + sets * u64::from(part.quantity);
                self.remaining(request.customer, &part.sku)
                    .is_none_or(|left| needed <= left)
            })
        };
        let is_limited = parts
            .iter()
            .any(|part| self.remaining(request.customer, &part.sku).is_some());
        while is_limited && is_allowed(basket, allowed + 1) {
            allowed += 1;
        }
        let may_have = if is_limited { allowed } else { u64::MAX };
        for _ in 0..wanted.min(there).min(may_have) {
            assert!(self.take_one(parts, &order, basket));
        }
        let limit = LineRefusal::CustomerLimit {
            remaining: allowed as u32,
        };
        if wanted > there && (request.policy != CartPolicy::Partial || may_have >= there) {
            Some(LineRefusal::SoldOut { available: there })
        } else if wanted > may_have {
            Some(limit)
        } else {
            None
        }
    }

    /// Takes one set of the parts from the first location that has it.
    fn take_one(&self, parts: &[KitPart], order: &[String], basket: &mut Basket) -> bool {
        let place = |part: &KitPart, location: &String| (part.sku.clone(), location.clone());
        let has = |basket: &Basket, location: &String| {
            parts.iter().all(|part| {
                let place = place(part, location);
                let left = self.sellable(&place) - basket.at(&place) as i64;
                self.rules[&part.sku].queue.is_empty() && left >= i64::from(part.quantity)
            })
        };
        let Some(location) = order.iter().find(|location| has(basket, location)) else {
            return false;
        };
        for part in parts {
            (0..part.quantity).for_each(|_| basket.add(place(part, location)));
        }
        true
    }

    /// The locations of a line, in the order in which they are emptied.
    fn order(
        &self,
        request: &Request<'_>,
        parts: &[KitPart],
        location: &str,
        basket: &Basket,
    ) -> Vec<String> {
        let split = match request.split {
            Some(split) if location.is_empty() => split,
            _ => return vec![location.to_owned()],
        };
        if let Split::Fixed { locations } = split {
            return locations.clone();
        }
        let known = self.locations.iter().map(|(name, _)| name.clone());
        let mut order: Vec<String> = known
            .filter(|name| self.bins.contains_key(&(parts[0].sku.clone(), name.clone())))
            .collect();
        if let Split::Nearest { near } = split {
            order.sort_by_key(|name| {
                let point = self.locations.iter().find(|(other, _)| other == name).unwrap().1;
                // The points of these tests lie on one meridian.
                let distance =
                    |point: Point| (i64::from(point.latitude.0) - i64::from(near.latitude.0)).abs();
                point.map_or(i64::MAX, distance)
            });
        } else {
            order.sort_by_key(|name| {
                let (mut basket, mut count) = (basket.clone(), 0);
                while self.take_one(parts, std::slice::from_ref(name), &mut basket) {
                    count += 1;
                }
                std::cmp::Reverse(count)
            });
        }
        order
    }

    pub(super) fn extend(&mut self, id: Uuid, reservation: Uuid, ttl_ms: u32, now_ms: i64) -> Outcome {
        if let Some(refusal) = self.not_live(reservation) {
            return refusal;
        }
        let cart = self.carts.get_mut(&reservation).unwrap();
        if self.done.contains(&id) {
            return Outcome::Exists {
                expires_at_ms: Some(cart.expires_at_ms),
            };
        }
        if ttl_ms == 0 {
            return invalid(InvalidReason::TtlTooShort);
        }
        if ttl_ms > HOLD_TTL_MAX_MS {
            return invalid(InvalidReason::TtlTooLong);
        }
        self.done.insert(id);
        let wanted = up_to_tick(now_ms + i64::from(ttl_ms));
        let latest = up_to_tick(cart.created_at_ms + HOLD_TOTAL_MAX_MS);
        cart.expires_at_ms = cart.expires_at_ms.max(wanted.min(latest));
        Outcome::Extended {
            expires_at_ms: cart.expires_at_ms,
        }
    }

    pub(super) fn commit(&mut self, reservation: Uuid, part: &[Line], now_ms: i64) -> Outcome {
        let refusal = self.not_live(reservation);
        let is_late = refusal == Some(Outcome::Expired);
        if let Some(refusal) = refusal
            && !is_late
        {
            return refusal;
        }
        let cart = self.carts[&reservation].clone();
        if is_late && now_ms > cart.expired_at_ms + EXPIRED_KEPT_MAX_MS {
            return Outcome::Expired;
        }
        let is_waited_for = |((sku, _), _): &(Place, u32)| !self.rules[sku].queue.is_empty();
        if is_late && cart.held.iter().any(is_waited_for) {
            return Outcome::Expired;
        }
        let mut left: HashMap<Place, u32> = cart.held.iter().cloned().collect();
        if part.is_empty() {
            left.clear();
        }
        for line in part {
            if line.quantity == 0 {
                return invalid(InvalidReason::ZeroQuantity);
            }
            let left = left.get_mut(&(line.sku.clone(), line.location.clone()));
            match left {
                Some(left) if *left >= line.quantity => *left -= line.quantity,
                _ => return invalid(InvalidReason::NotInHold),
            }
        }
        let rest = |place: &Place| left.get(place).copied().unwrap_or(0);
        let split = |(place, quantity): &(Place, u32)| (place.clone(), quantity - rest(place));
        let sold: Vec<(Place, u32)> = cart
            .held
            .iter()
            .map(split)
            .filter(|(_, sold)| *sold > 0)
            .collect();
        let back: Vec<(Place, u32)> = left.into_iter().filter(|(_, left)| *left > 0).collect();
        if is_late {
            let of = |sku: &str| {
                let of = sold.iter().filter(|((other, _), _)| other == sku);
                of.map(|(_, sold)| u64::from(*sold)).sum::<u64>()
            };
            let is_gone = |(place, sold): &(Place, u32)| {
                let allowed = self.remaining(&cart.customer, &place.0);
                self.sellable(place) < i64::from(*sold) || allowed.is_some_and(|left| left < of(&place.0))
            };
            if sold.iter().any(is_gone) {
                return Outcome::Expired;
            }
            self.buy(&cart.customer, &sold);
        } else {
            self.give_back(&cart.customer, &back);
        }
        for (place, sold) in &sold {
            self.bins.get_mut(place).unwrap().allocated += i64::from(*sold);
        }
        self.carts.get_mut(&reservation).unwrap().status = CartStatus::Committed;
        if back.is_empty() {
            Outcome::Committed
        } else {
            Outcome::CommittedPart { lines: lines(&sold) }
        }
    }

    pub(super) fn join(
        &mut self,
        reservation: Uuid,
        customer: &str,
        sku: &str,
        quantity: u32,
        ttl_ms: u32,
        now_ms: i64,
    ) -> Outcome {
        if let Some(cart) = self.carts.get(&reservation) {
            let is_waiting = cart.status == CartStatus::Waiting;
            if !is_waiting && cart.status != CartStatus::Held {
                return self.not_live(reservation).unwrap();
            }
            let same_sku = if is_waiting {
                cart.asked.keys().all(|(other, _)| other == sku)
            } else {
                cart.held.iter().all(|((other, _), _)| other == sku)
            };
            let units: u64 = if is_waiting {
                cart.asked.values().sum()
            } else {
                cart.held.iter().map(|(_, quantity)| u64::from(*quantity)).sum()
            };
            let differs = |field| Outcome::ExistsDifferent { field };
            return if cart.customer != customer {
                differs(Field::Customer)
            } else if !same_sku || units != u64::from(quantity) {
                differs(Field::Lines)
            } else if cart.ttl_ms != ttl_ms {
                differs(Field::TtlMs)
            } else if is_waiting {
                EXISTS
            } else {
                Outcome::Exists {
                    expires_at_ms: Some(cart.expires_at_ms),
                }
            };
        }
        let refusal = if customer.is_empty() {
            Some(invalid(InvalidReason::CustomerLength))
        } else if quantity == 0 {
            Some(invalid(InvalidReason::ZeroQuantity))
        } else if ttl_ms == 0 {
            Some(invalid(InvalidReason::TtlTooShort))
        } else if ttl_ms > HOLD_TTL_MAX_MS {
            Some(invalid(InvalidReason::TtlTooLong))
        } else if !self.rules.contains_key(sku) {
            Some(Outcome::UnknownSku { sku: sku.to_owned() })
        } else if self.is_kit(sku) {
            Some(invalid(InvalidReason::IsKit))
        } else if let Some(refusal) = self.window(sku, now_ms) {
            Some(whole_cart(refusal, sku))
        } else {
            self.over_limit(customer, sku, quantity)
        };
        let status = match &refusal {
            None => CartStatus::Waiting,
            Some(refusal) => CartStatus::Refused(failure(refusal)),
        };
        let cart = Cart {
            customer: customer.to_owned(),
            asked: BTreeMap::from([((sku.to_owned(), String::new()), u64::from(quantity))]),
            policy: CartPolicy::All,
            split: None,
            held: Vec::new(),
            ttl_ms,
            created_at_ms: now_ms,
            expires_at_ms: 0,
            expired_at_ms: 0,
            status,
        };
        self.carts.insert(reservation, cart);
        if let Some(refusal) = refusal {
            return refusal;
        }
        let queue = &mut self.rules.get_mut(sku).unwrap().queue;
        queue.push_back(reservation);
        Outcome::Waiting {
            customer: customer.to_owned(),
            sku: sku.to_owned(),
            quantity,
            offer_ttl_ms: ttl_ms,
            position: queue.len() as u64,
        }
    }

    fn over_limit(&self, customer: &str, sku: &str, quantity: u32) -> Option<Outcome> {
        let remaining = self.remaining(customer, sku)?;
        (u64::from(quantity) > remaining).then(|| Outcome::CustomerLimit {
            sku: sku.to_owned(),
            remaining: remaining as u32,
        })
    }

    /// Offers what is free to those who wait, and then tells what is low, gone or back.
    pub(super) fn settle(&mut self, touched: &HashSet<String>, now_ms: i64) {
        for sku in touched {
            let sellable = self.sellable_of(sku);
            let rules = self.rules.get_mut(sku).unwrap();
            if rules.level == "low"
                && rules
                    .low_stock
                    .is_some_and(|low_stock| sellable > i64::from(low_stock))
            {
                rules.level = "plenty";
            }
            while self.serve_next(sku, now_ms) {}
            self.signal(sku);
        }
    }

    fn serve_next(&mut self, sku: &str, now_ms: i64) -> bool {
        let Some(reservation) = self.rules[sku].queue.front().copied() else {
            return false;
        };
        let cart = self.carts[&reservation].clone();
        let quantity: u64 = cart.asked.values().sum();
        let closed = self.window(sku, now_ms);
        let refusal = match closed {
            Some(refusal @ LineRefusal::Closed { .. }) => Some(whole_cart(refusal, sku)),
            _ if self.sellable_of(sku) < quantity as i64 => return false,
            _ => self.over_limit(&cart.customer, sku, quantity as u32),
        };
        self.rules.get_mut(sku).unwrap().queue.pop_front();
        if let Some(refusal) = refusal {
            self.carts.get_mut(&reservation).unwrap().status = CartStatus::Refused(failure(&refusal));
            self.follow_ups.push((refusal, Some(reservation)));
            return true;
        }
        let mut places: Vec<Place> = self
            .places
            .iter()
            .filter(|place| place.0 == sku)
            .cloned()
            .collect();
        places.sort_by_key(|place| std::cmp::Reverse(self.sellable(place)));
        let (mut held, mut left) = (Vec::new(), quantity as i64);
        for place in places {
            let taken = self.sellable(&place).min(left);
            left -= taken;
            if taken > 0 {
                held.push((place, taken as u32));
            }
        }
        self.buy(&cart.customer, &held);
        let expires_at_ms = up_to_tick(now_ms + i64::from(cart.ttl_ms));
        self.follow_ups.push((
            Outcome::Offered {
                customer: cart.customer.clone(),
                lines: lines(&held),
                ttl_ms: cart.ttl_ms,
                expires_at_ms,
            },
            Some(reservation),
        ));
        let asked = held
            .iter()
            .map(|(place, units)| (place.clone(), u64::from(*units)));
        let offered = Cart {
            asked: asked.collect(),
            held,
            created_at_ms: now_ms,
            expires_at_ms,
            status: CartStatus::Held,
            ..cart
        };
        self.carts.insert(reservation, offered);
        true
    }

    fn signal(&mut self, sku: &str) {
        let sellable = self.sellable_of(sku);
        let rules = self.rules.get_mut(sku).unwrap();
        let Some(low_stock) = rules.low_stock else {
            return;
        };
        let (before, now) = (rules.level, level(sellable, low_stock));
        rules.level = now;
        let sku = sku.to_owned();
        let signal = match (before, now) {
            ("plenty" | "low", "out") => Outcome::OutOfStock { sku },
            ("out", "plenty" | "low") => Outcome::BackInStock {
                sku,
                sellable: sellable as u64,
            },
            ("plenty", "low") => Outcome::LowStock {
                sku,
                sellable: sellable as u64,
            },
            _ => return,
        };
        self.follow_ups.push((signal, None));
    }
}

fn lines(held: &[(Place, u32)]) -> Vec<Line> {
    held.iter()
        .map(|((sku, location), quantity)| Line::new(sku, *quantity).at(location))
        .collect()
}

fn whole_cart(refusal: LineRefusal, sku: &str) -> Outcome {
    let sku = sku.to_owned();
    match refusal {
        LineRefusal::UnknownSku => Outcome::UnknownSku { sku },
        LineRefusal::NotOpen { opens_at_ms } => Outcome::NotOpen { sku, opens_at_ms },
        LineRefusal::Closed { closed_at_ms } => Outcome::Closed { sku, closed_at_ms },
        LineRefusal::SoldOut { available } => Outcome::SoldOut { sku, available },
        LineRefusal::CustomerLimit { remaining } => Outcome::CustomerLimit { sku, remaining },
    }
}

fn failure(refusal: &Outcome) -> FailureReason {
    match refusal {
        Outcome::SoldOut { .. } => FailureReason::SoldOut,
        Outcome::CustomerLimit { .. } => FailureReason::CustomerLimit,
        Outcome::UnknownSku { .. } => FailureReason::UnknownSku,
        Outcome::NotOpen { .. } => FailureReason::NotOpen,
        Outcome::Closed { .. } => FailureReason::Closed,
        Outcome::LineFailed { .. } => FailureReason::LineFailed,
        _ => FailureReason::Invalid,
    }
}
