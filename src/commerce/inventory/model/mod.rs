//! A naive engine, slow and obviously right, and the tests that hold the real one against it.
//!
//! It keeps every cart for ever, recomputes everything from the carts at every question, and takes units one at a time.

mod cart;
mod cases;
mod generate;
mod properties;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use uuid::Uuid;

use super::*;

type Place = (String, String);

/// Units of one article at one location; those in holds are in the carts.
#[derive(Clone, Debug, Default)]
struct Bin {
    on_hand: i64,
    allocated: i64,
    safety: i64,
    backorder_cap: i64,
    incoming: i64,
    received: i64,
    returned: i64,
    shipped: i64,
    adjusted: i64,
    transferred: i64,
    version: u64,
}

#[derive(Clone, Debug, Default)]
struct Rules {
    limit_per_customer: Option<u32>,
    low_stock: Option<u32>,
    /// "out", "low" or "plenty", as told.
    level: &'static str,
    window: Option<(i64, Option<i64>)>,
    kit: Option<Vec<KitPart>>,
    queue: VecDeque<Uuid>,
}

/// What the model knows of a reservation.
#[derive(Clone, Debug)]
struct Cart {
    customer: String,
    /// What was asked for, in any order.
    asked: BTreeMap<Place, u64>,
    policy: CartPolicy,
    split: Option<Split>,
    /// What is held, in order.
    held: Vec<(Place, u32)>,
    ttl_ms: u32,
    created_at_ms: i64,
    expires_at_ms: i64,
    expired_at_ms: i64,
    status: CartStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CartStatus {
    Waiting,
    Held,
    Committed,
    Released,
    Expired,
    Refused(FailureReason),
}

#[derive(Clone, Debug, Default)]
struct Model {
    bins: BTreeMap<Place, Bin>,
    rules: BTreeMap<String, Rules>,
    /// In order of creation; the first is the default location.
    locations: Vec<(String, Option<Point>)>,
    /// Places of each article in order of creation.
    places: Vec<Place>,
    carts: HashMap<Uuid, Cart>,
    bought: HashMap<(String, String), u64>,
    done: HashSet<Uuid>,
    /// What followed from the last command, not asked for by anybody.
    follow_ups: Vec<(Outcome, Option<Uuid>)>,
}

const EXISTS: Outcome = Outcome::Exists { expires_at_ms: None };

fn invalid(reason: InvalidReason) -> Outcome {
    Outcome::Invalid { reason }
}

impl Model {
    fn held(&self, place: &Place) -> i64 {
        let held = self.carts.values().filter(|cart| cart.status == CartStatus::Held);
        let lines = held.flat_map(|cart| &cart.held);
        lines
            .filter(|(other, _)| other == place)
            .map(|(_, quantity)| i64::from(*quantity))
            .sum()
    }

    fn sellable(&self, place: &Place) -> i64 {
        self.bins.get(place).map_or(0, |bin| {
            bin.on_hand - self.held(place) - bin.allocated - bin.safety + bin.backorder_cap
        })
    }

    fn sellable_of(&self, sku: &str) -> i64 {
        let places = self.places.iter().filter(|place| place.0 == sku);
        places.map(|place| self.sellable(place)).sum()
    }

    /// Makes room for an article at a location.
    fn create(&mut self, sku: &str, location: &str) -> &mut Bin {
        if self.locations.is_empty() {
            self.locations.push((String::new(), None));
        }
        for location in ["", location] {
            let place = (sku.to_owned(), location.to_owned());
            if !self.bins.contains_key(&place) {
                self.bins.insert(place.clone(), Bin::default());
                self.places.push(place);
            }
        }
        self.locate(location);
        self.rules.entry(sku.to_owned()).or_insert_with(|| Rules {
            level: "plenty",
            ..Rules::default()
        });
        self.bins.get_mut(&(sku.to_owned(), location.to_owned())).unwrap()
    }

    fn locate(&mut self, location: &str) -> &mut Option<Point> {
        if self.locations.is_empty() {
            self.locations.push((String::new(), None));
        }
        let place = self.locations.iter().position(|(name, _)| name == location);
        let place = place.unwrap_or_else(|| {
            self.locations.push((location.to_owned(), None));
            self.locations.len() - 1
        });
        &mut self.locations[place].1
    }

    fn is_kit(&self, sku: &str) -> bool {
        self.rules.get(sku).is_some_and(|rules| rules.kit.is_some())
    }

    /// The holds that are over.
    fn due(&self, now_ms: i64) -> HashSet<Uuid> {
        let is_due =
            |(_, cart): &(&Uuid, &Cart)| cart.status == CartStatus::Held && cart.expires_at_ms <= now_ms;
        self.carts.iter().filter(is_due).map(|(id, _)| *id).collect()
    }

    fn expire(&mut self, reservation: Uuid, now_ms: i64) {
        let cart = self.carts.get_mut(&reservation).unwrap();
        cart.status = CartStatus::Expired;
        cart.expired_at_ms = now_ms;
        let (customer, held) = (cart.customer.clone(), cart.held.clone());
        self.give_back(&customer, &held);
        self.follow_ups.clear();
        let touched = held.into_iter().map(|((sku, _), _)| sku).collect();
        self.settle(&touched, now_ms);
    }

    fn give_back(&mut self, customer: &str, held: &[(Place, u32)]) {
        for ((sku, _), quantity) in held {
            let bought = self.bought.entry((customer.to_owned(), sku.clone())).or_default();
            *bought = bought.saturating_sub(u64::from(*quantity));
        }
    }

    fn buy(&mut self, customer: &str, held: &[(Place, u32)]) {
        for ((sku, _), quantity) in held {
            *self.bought.entry((customer.to_owned(), sku.clone())).or_default() += u64::from(*quantity);
        }
    }

    /// How many more units a customer may have.
    fn remaining(&self, customer: &str, sku: &str) -> Option<u64> {
        let limit = self.rules.get(sku)?.limit_per_customer?;
        let bought = self.bought.get(&(customer.to_owned(), sku.to_owned()));
        Some(u64::from(limit).saturating_sub(bought.copied().unwrap_or(0)))
    }

    fn window(&self, sku: &str, now_ms: i64) -> Option<LineRefusal> {
        let (opens_at_ms, closes_at_ms) = self.rules[sku].window?;
        if let Some(closed_at_ms) = closes_at_ms
            && closed_at_ms <= now_ms
        {
            return Some(LineRefusal::Closed { closed_at_ms });
        }
        (now_ms < opens_at_ms).then_some(LineRefusal::NotOpen { opens_at_ms })
    }

    fn decide(&mut self, command: &Command, now_ms: i64) -> Outcome {
        self.follow_ups.clear();
        let before = self.fingerprints();
        let outcome = self.outcome(command, now_ms);
        let after = self.fingerprints();
        let changed = after
            .into_iter()
            .filter(|(sku, units)| before.get(sku) != Some(units));
        let mut touched: HashSet<String> = changed.map(|(sku, _)| sku).collect();
        if let Outcome::PolicySet { sku, .. }
        | Outcome::SaleOpened { sku, .. }
        | Outcome::SaleClosed { sku } = &outcome
        {
            touched.insert(sku.clone());
        }
        self.settle(&touched, now_ms);
        outcome
    }

    /// What of each article may matter to those who wait or want signals.
    fn fingerprints(&self) -> HashMap<String, String> {
        let of = |(sku, rules): (&String, &Rules)| {
            let places = self.places.iter().filter(|place| place.0 == *sku);
            let units: Vec<_> = places
                .map(|place| {
                    let bin = &self.bins[place];
                    (bin.version, bin.allocated, self.held(place))
                })
                .collect();
            (sku.clone(), format!("{units:?} {:?}", rules.queue))
        };
        self.rules.iter().map(of).collect()
    }

    fn outcome(&mut self, command: &Command, now_ms: i64) -> Outcome {
        match command {
            Command::Reserve {
                reservation,
                customer,
                lines,
                ttl_ms,
                policy,
                split,
                ..
            } => {
                let request = cart::Request {
                    customer,
                    lines,
                    ttl_ms: *ttl_ms,
                    policy: *policy,
                    split: split.as_deref(),
                };
                self.reserve(*reservation, &request, now_ms)
            }
            Command::Extend {
                id,
                reservation,
                ttl_ms,
            } => self.extend(*id, *reservation, *ttl_ms, now_ms),
            Command::Commit {
                reservation, lines, ..
            } => self.commit(*reservation, lines, now_ms),
            Command::Release { reservation, .. } => {
                if let Some(CartStatus::Waiting) = self.carts.get(reservation).map(|cart| cart.status) {
                    self.leave(*reservation);
                    return Outcome::LeftWaitlist;
                }
                if let Some(refusal) = self.not_live(*reservation) {
                    return refusal;
                }
                let cart = self.carts.get_mut(reservation).unwrap();
                cart.status = CartStatus::Released;
                let (customer, held) = (cart.customer.clone(), cart.held.clone());
                self.give_back(&customer, &held);
                Outcome::Released
            }
            Command::JoinWaitlist {
                reservation,
                customer,
                sku,
                quantity,
                offer_ttl_ms,
                ..
            } => self.join(*reservation, customer, sku, *quantity, *offer_ttl_ms, now_ms),
            Command::LeaveWaitlist { reservation, .. } => {
                match self.carts.get(reservation).map(|cart| cart.status) {
                    Some(CartStatus::Waiting) => {
                        self.leave(*reservation);
                        Outcome::LeftWaitlist
                    }
                    Some(CartStatus::Held) => Outcome::NotWaiting,
                    _ => self.not_live(*reservation).unwrap(),
                }
            }
            command => {
                if self.done.contains(&command.id()) {
                    return EXISTS;
                }
                let outcome = self.stock(command, now_ms);
                if outcome.is_granted() {
                    self.done.insert(command.id());
                }
                outcome
            }
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each command")]
    fn stock(&mut self, command: &Command, now_ms: i64) -> Outcome {
        match command {
            Command::Receive { quantity: 0, .. }
            | Command::Announce { quantity: 0, .. }
            | Command::Transfer { quantity: 0, .. }
            | Command::Ship { quantity: 0, .. } => return invalid(InvalidReason::ZeroQuantity),
            Command::Adjust(adjust) if adjust.delta == 0 => return invalid(InvalidReason::ZeroQuantity),
            Command::Adjust(adjust)
                if adjust.expected_on_hand.is_none() && adjust.expected_version.is_none() =>
            {
                return invalid(InvalidReason::NothingExpected);
            }
            Command::CancelAllocated(cancel) if cancel.quantity == 0 => {
                return invalid(InvalidReason::ZeroQuantity);
            }
            Command::CancelAllocated(cancel) if cancel.customer.as_deref() == Some("") => {
                return invalid(InvalidReason::CustomerLength);
            }
            Command::Transfer { from, to, .. } if from == to => return invalid(InvalidReason::SameLocation),
            Command::DefineKit { sku, parts, .. } => return self.define_kit(sku, parts),
            _ => {}
        }
        let creates = matches!(
            command,
            Command::Receive { .. }
                | Command::Announce { .. }
                | Command::SetPolicy { .. }
                | Command::SetLocation { .. }
        );
        if let Some(sku) = sku_of(command) {
            if !creates && !self.rules.contains_key(sku) {
                return Outcome::UnknownSku { sku: sku.to_owned() };
            }
            let is_window = matches!(command, Command::OpenSale { .. } | Command::CloseSale { .. });
            if matches!(command, Command::Return { quantity: 0, .. }) {
                return invalid(InvalidReason::ZeroQuantity);
            }
            if self.is_kit(sku) && !is_window {
                return invalid(InvalidReason::IsKit);
            }
        }
        match command {
            Command::Receive {
                sku,
                quantity,
                location,
                ..
            } => {
                let units = i64::from(*quantity);
                let bin = self.create(sku, location);
                bin.received += units;
                bin.incoming = (bin.incoming - units).max(0);
                bin.on_hand += units;
                bin.version += 1;
                Outcome::Received {
                    sku: sku.clone(),
                    quantity: *quantity,
                    location: location.clone(),
                }
            }
            Command::Announce {
                sku,
                quantity,
                location,
                ..
            } => {
                self.create(sku, location).incoming += i64::from(*quantity);
                Outcome::Announced {
                    sku: sku.clone(),
                    quantity: *quantity,
                    location: location.clone(),
                }
            }
            Command::Return {
                sku,
                quantity,
                location,
                ..
            } => {
                let bin = self.create(sku, location);
                bin.returned += i64::from(*quantity);
                bin.on_hand += i64::from(*quantity);
                bin.version += 1;
                Outcome::Returned {
                    sku: sku.clone(),
                    quantity: *quantity,
                    location: location.clone(),
                }
            }
            Command::SetPolicy { .. } => self.set_policy(command),
            Command::OpenSale {
                sku,
                opens_at_ms,
                closes_at_ms,
                ..
            } => {
                let opens_at_ms = opens_at_ms.unwrap_or(now_ms);
                if closes_at_ms.is_some_and(|closes_at_ms| closes_at_ms <= opens_at_ms) {
                    return invalid(InvalidReason::EmptyWindow);
                }
                self.rules.get_mut(sku).unwrap().window = Some((opens_at_ms, *closes_at_ms));
                Outcome::SaleOpened {
                    sku: sku.clone(),
                    opens_at_ms,
                    closes_at_ms: *closes_at_ms,
                }
            }
            Command::CloseSale { sku, .. } => {
                let window = &mut self.rules.get_mut(sku).unwrap().window;
                let (opens_at_ms, closes_at_ms) = window.unwrap_or((now_ms, None));
                let closes_at_ms = closes_at_ms.map_or(now_ms, |closes_at_ms| closes_at_ms.min(now_ms));
                *window = Some((opens_at_ms, Some(closes_at_ms)));
                Outcome::SaleClosed { sku: sku.clone() }
            }
            Command::SetLocation { location, point, .. } => {
                *self.locate(location) = Some(*point);
                Outcome::LocationSet {
                    location: location.clone(),
                    point: *point,
                }
            }
            command => self.move_units(command),
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each movement")]
    fn move_units(&mut self, command: &Command) -> Outcome {
        let at = |sku: &String, location: &String| (sku.clone(), location.clone());
        let insufficient = |place: &Place, available: i64| Outcome::Insufficient {
            sku: place.0.clone(),
            location: place.1.clone(),
            available: available as u64,
        };
        match command {
            Command::Adjust(command) => {
                let Adjust {
                    sku,
                    location,
                    delta,
                    expected_on_hand,
                    expected_version,
                    reason,
                    ..
                } = &**command;

                let place = at(sku, location);
                let bin = self.bins.get(&place).cloned().unwrap_or_default();
                let as_expected = expected_on_hand.is_none_or(|on_hand| on_hand as i64 == bin.on_hand)
                    && expected_version.is_none_or(|version| version == bin.version);
                if !as_expected {
                    return Outcome::Conflict {
                        sku: sku.clone(),
                        location: location.clone(),
                        on_hand: bin.on_hand as u64,
                        version: bin.version,
                    };
                }
                let available = self.sellable(&place).min(bin.on_hand);
                if available + delta < 0 && *delta < 0 {
                    return insufficient(&place, available);
                }
                let bin = self.create(sku, location);
                bin.on_hand += delta;
                bin.adjusted += delta;
                bin.version += 1;
                Outcome::Adjusted {
                    sku: sku.clone(),
                    location: location.clone(),
                    delta: *delta,
                    on_hand: bin.on_hand as u64,
                    version: bin.version,
                    reason: reason.clone(),
                }
            }
            Command::Transfer {
                sku,
                from,
                to,
                quantity,
                ..
            } => {
                let place = at(sku, from);
                let units = i64::from(*quantity);
                let bin = self.bins.get(&place).cloned().unwrap_or_default();
                let free = bin.on_hand - self.held(&place) - bin.allocated;
                let available = self.sellable(&place).min(free).max(0);
                if units > available {
                    return insufficient(&place, available);
                }
                for (location, units) in [(from, -units), (to, units)] {
                    let bin = self.create(sku, location);
                    bin.on_hand += units;
                    bin.transferred += units;
                    bin.version += 1;
                }
                Outcome::Transferred {
                    sku: sku.clone(),
                    from: from.clone(),
                    to: to.clone(),
                    quantity: *quantity,
                }
            }
            Command::Ship {
                sku,
                quantity,
                location,
                for_reservation,
                ..
            } => {
                let place = at(sku, location);
                let units = i64::from(*quantity);
                let bin = self.bins.get(&place).cloned().unwrap_or_default();
                let available = bin.allocated.min(bin.on_hand);
                if units > available {
                    return insufficient(&place, available);
                }
                let bin = self.bins.get_mut(&place).unwrap();
                bin.on_hand -= units;
                bin.allocated -= units;
                bin.shipped += units;
                bin.version += 1;
                Outcome::Shipped {
                    sku: sku.clone(),
                    quantity: *quantity,
                    location: location.clone(),
                    for_reservation: *for_reservation,
                }
            }
            Command::CancelAllocated(command) => {
                let CancelAllocated {
                    sku,
                    quantity,
                    location,
                    customer,
                    for_reservation,
                    ..
                } = &**command;

                let place = at(sku, location);
                let available = self.bins.get(&place).map_or(0, |bin| bin.allocated);
                if i64::from(*quantity) > available {
                    return insufficient(&place, available);
                }
                self.bins.get_mut(&place).unwrap().allocated -= i64::from(*quantity);
                if let Some(customer) = customer {
                    self.give_back(customer, &[(place, *quantity)]);
                }
                Outcome::AllocationCancelled {
                    sku: sku.clone(),
                    quantity: *quantity,
                    location: location.clone(),
                    customer: customer.clone(),
                    for_reservation: *for_reservation,
                }
            }
            other => unreachable!("{other:?}"),
        }
    }

    fn set_policy(&mut self, command: &Command) -> Outcome {
        let Command::SetPolicy {
            sku,
            limit_per_customer,
            low_stock,
            location,
            safety,
            backorder_cap,
            ..
        } = command
        else {
            unreachable!("{command:?}")
        };
        let place = (sku.clone(), location.clone());
        let bin = self.bins.get(&place).cloned().unwrap_or_default();
        let safety = safety.map_or(bin.safety, i64::from);
        let backorder_cap = backorder_cap.map_or(bin.backorder_cap, i64::from);
        if bin.on_hand - self.held(&place) - bin.allocated - safety + backorder_cap < 0 {
            return Outcome::Insufficient {
                sku: sku.clone(),
                location: location.clone(),
                available: self.sellable(&place) as u64,
            };
        }
        let bin = self.create(sku, location);
        (bin.safety, bin.backorder_cap) = (safety, backorder_cap);
        let sellable = self.sellable_of(sku);
        let rules = self.rules.get_mut(sku).unwrap();
        rules.limit_per_customer = limit_per_customer.apply(rules.limit_per_customer);
        let before = rules.low_stock;
        rules.low_stock = low_stock.apply(before);
        if rules.low_stock != before {
            rules.level = rules
                .low_stock
                .map_or("plenty", |low_stock| level(sellable, low_stock));
        }
        Outcome::PolicySet {
            sku: sku.clone(),
            limit_per_customer: rules.limit_per_customer,
            low_stock: rules.low_stock,
            location: location.clone(),
            safety: safety as u32,
            backorder_cap: backorder_cap as u32,
        }
    }

    fn define_kit(&mut self, sku: &str, parts: &[KitPart]) -> Outcome {
        if parts.is_empty() {
            return invalid(InvalidReason::KitParts);
        }
        for (index, part) in parts.iter().enumerate() {
            if part.quantity == 0 {
                return invalid(InvalidReason::ZeroQuantity);
            }
            if parts[..index].iter().any(|before| before.sku == part.sku) {
                return invalid(InvalidReason::KitParts);
            }
            if part.sku == sku {
                return invalid(InvalidReason::NestedKit);
            }
            if !self.rules.contains_key(&part.sku) {
                return Outcome::UnknownSku {
                    sku: part.sku.clone(),
                };
            }
            if self.is_kit(&part.sku) {
                return invalid(InvalidReason::NestedKit);
            }
        }
        let kits = self.rules.values().filter_map(|rules| rules.kit.as_ref());
        if kits.flatten().any(|part| part.sku == sku) {
            return invalid(InvalidReason::NestedKit);
        }
        let mut places = self.places.iter().filter(|place| place.0 == sku);
        let was_moved = places.any(|place| {
            let bin = &self.bins[place];
            bin.version > 0 || bin.incoming > 0 || bin.allocated > 0 || self.held(place) > 0
        });
        let is_waited_for = self.rules.get(sku).is_some_and(|rules| !rules.queue.is_empty());
        if was_moved || is_waited_for {
            return invalid(InvalidReason::KitWithUnits);
        }
        self.create(sku, "");
        self.rules.get_mut(sku).unwrap().kit = Some(parts.to_vec());
        Outcome::KitDefined {
            sku: sku.to_owned(),
            parts: parts.to_vec(),
        }
    }

    fn not_live(&self, reservation: Uuid) -> Option<Outcome> {
        let cart = self.carts.get(&reservation);
        Some(match cart.map(|cart| cart.status) {
            None => Outcome::UnknownReservation,
            Some(CartStatus::Held) => return None,
            Some(CartStatus::Waiting) => Outcome::StillWaiting {
                position: self.position(reservation),
            },
            Some(CartStatus::Committed) => Outcome::AlreadyCommitted,
            Some(CartStatus::Released) => Outcome::AlreadyReleased,
            Some(CartStatus::Expired) => Outcome::Expired,
            Some(CartStatus::Refused(reason)) => Outcome::AlreadyFailed { reason },
        })
    }

    fn position(&self, reservation: Uuid) -> u64 {
        let mut queues = self.rules.values().map(|rules| &rules.queue);
        let place = queues.find_map(|queue| queue.iter().position(|waiting| *waiting == reservation));
        place.unwrap() as u64 + 1
    }

    fn leave(&mut self, reservation: Uuid) {
        for rules in self.rules.values_mut() {
            rules.queue.retain(|waiting| *waiting != reservation);
        }
        self.carts.get_mut(&reservation).unwrap().status = CartStatus::Released;
    }
}

fn level(sellable: i64, low_stock: u32) -> &'static str {
    if sellable == 0 {
        "out"
    } else if sellable <= i64::from(low_stock) {
        "low"
    } else {
        "plenty"
    }
}

fn sku_of(command: &Command) -> Option<&str> {
    match command {
        Command::Receive { sku, .. }
        | Command::Announce { sku, .. }
        | Command::Transfer { sku, .. }
        | Command::Return { sku, .. }
        | Command::SetPolicy { sku, .. }
        | Command::OpenSale { sku, .. }
        | Command::CloseSale { sku, .. }
        | Command::Ship { sku, .. } => Some(sku),
        Command::Adjust(adjust) => Some(&adjust.sku),
        Command::CancelAllocated(cancel) => Some(&cancel.sku),
        _ => None,
    }
}

fn up_to_tick(instant_ms: i64) -> i64 {
    if instant_ms % 10 == 0 {
        instant_ms
    } else {
        instant_ms / 10 * 10 + 10
    }
}
