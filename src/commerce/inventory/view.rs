//! What the state tells: the units of an article, where a reservation stands, pages of live holds.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::names::NameIndex;
use super::reservations::Status;
use super::{FailureReason, KitPart, Line, Point, State};

/// The units of one article, at all locations together and at each.
///
/// A field that is not there when it is read back has its default: daemons of other versions know fewer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StockView {
    /// Units in the building.
    pub on_hand: u64,
    /// Units in live holds.
    pub reserved: u64,
    /// Units that are sold and not shipped.
    pub allocated: u64,
    /// Units that can be held by the next shopper, unless somebody waits for them. Of a kit: how many kits the parts
    /// make, at each location and in all.
    pub sellable: u64,
    /// Units that are on their way.
    pub incoming: u64,
    /// Units that ever came in.
    pub received: u64,
    /// Most units for one customer.
    pub limit_per_customer: Option<u32>,
    /// Sellable units at which the article runs low; none without stock signals.
    pub low_stock: Option<u32>,
    /// When the article's sale begins, in milliseconds since the Unix epoch.
    pub opens_at_ms: Option<i64>,
    /// When it ends, in milliseconds since the Unix epoch.
    pub closes_at_ms: Option<i64>,
    /// Customers in the waiting list.
    pub waiting: u32,
    /// Every location that the article was ever at, the default location first.
    pub locations: Vec<LocationStock>,
    /// The parts, if the article is a kit.
    pub parts: Vec<KitPart>,
}

/// The units of one article at one location.
///
/// `received + returned + adjusted + transferred = on_hand + shipped`, always.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LocationStock {
    /// The location; empty for the default one.
    pub location: String,
    /// Units in the building.
    pub on_hand: u64,
    /// Units in live holds.
    pub reserved: u64,
    /// Units that are sold and not shipped.
    pub allocated: u64,
    /// Units that can be held by the next shopper: on hand, less those reserved, allocated and kept for safety, and the
    /// backorder cap more.
    pub sellable: u64,
    /// Units that are never sold.
    pub safety: u32,
    /// Units that may be sold beyond those on hand.
    pub backorder_cap: u32,
    /// Units that are on their way.
    pub incoming: u64,
    /// Units that ever came in.
    pub received: u64,
    /// Units that ever came back from customers.
    pub returned: u64,
    /// Units that ever left the building.
    pub shipped: u64,
    /// Units that corrections added, less those that they took.
    pub adjusted: i64,
    /// Units that came from other locations, less those that went there.
    pub transferred: i64,
    /// Grows with every change of the units on hand.
    pub version: u64,
}

/// Where one reservation stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ReservationView {
    /// Units are held.
    Held {
        /// Who holds them.
        customer: String,
        /// What is held, one line for each article and location.
        lines: Vec<Line>,
        /// When the hold ends by itself, in milliseconds since the Unix epoch.
        expires_at_ms: i64,
    },
    /// The customer waits for units.
    Waiting {
        /// Who waits.
        customer: String,
        /// The article.
        sku: String,
        /// How many units.
        quantity: u32,
        /// The place in the queue, from 1.
        position: u64,
    },
    /// The units are sold.
    Committed,
    /// The hold was given back.
    Released,
    /// The hold ended by itself.
    Expired,
    /// The reservation was refused.
    Refused {
        /// Why.
        reason: FailureReason,
    },
}

/// A part of the live holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldsPage {
    /// Reservations and what they hold.
    pub holds: Vec<(Uuid, ReservationView)>,
    /// Where the next page begins; none at the end. A hold that begins or ends between two pages may or may not be
    /// seen, one that lives all the time is seen once.
    pub next: Option<u32>,
}

/// Most holds of one page. 1,000: some hundred microseconds, for which decisions wait.
const PAGE_MAX: usize = 1_000;

/// Most places of the slab that one page looks at, whatever is in them.
const PAGE_PLACES_MAX: usize = 16 * PAGE_MAX;

impl State {
    /// The units of an article.
    pub fn stock(&self, sku: &str) -> Option<StockView> {
        let index = self.articles.find(sku)?;
        let article = self.articles.article(index);
        let mut view = StockView {
            limit_per_customer: article.limit_per_customer,
            low_stock: article.low_stock,
            opens_at_ms: article.window.map(|window| window.opens_at_ms),
            closes_at_ms: article.window.and_then(|window| window.closes_at_ms),
            waiting: article.waiting,
            ..StockView::default()
        };
        if let Some(parts) = &article.kit {
            view.parts = parts
                .iter()
                .map(|part| KitPart {
                    sku: self.articles.sku(part.article).to_owned(),
                    quantity: part.quantity,
                })
                .collect();
            self.view_kit(parts, &mut view);
            return Some(view);
        }
        for cell in self.articles.cells_of(index) {
            let cell = self.articles.cell(cell);
            view.on_hand = view.on_hand.saturating_add(cell.on_hand);
            view.reserved += cell.reserved;
            view.allocated += cell.allocated;
            view.sellable = view.sellable.saturating_add(cell.sellable());
            view.incoming = view.incoming.saturating_add(cell.incoming);
            view.received = view.received.saturating_add(cell.received);
            view.locations.push(LocationStock {
                location: self.articles.locations.name(cell.location).to_owned(),
                on_hand: cell.on_hand,
                reserved: cell.reserved,
                allocated: cell.allocated,
                sellable: cell.sellable(),
                safety: cell.safety,
                backorder_cap: cell.backorder_cap,
                incoming: cell.incoming,
                received: cell.received,
                returned: cell.returned,
                shipped: cell.shipped,
                adjusted: cell.adjusted,
                transferred: cell.transferred,
                version: cell.version,
            });
        }
        Some(view)
    }

    /// How many kits there are at each location of the first part.
    fn view_kit(&self, parts: &[super::stock::Part], view: &mut StockView) {
        let Some(first) = parts.first() else {
            return;
        };
        for cell in self.articles.cells_of(first.article) {
            let location = self.articles.cell(cell).location;
            let sellable = self.kits_at(parts, location);
            view.sellable = view.sellable.saturating_add(sellable);
            view.locations.push(LocationStock {
                location: self.articles.locations.name(location).to_owned(),
                sellable,
                ..LocationStock::default()
            });
        }
    }

    /// How many kits of these parts there are at a location.
    fn kits_at(&self, parts: &[super::stock::Part], location: NameIndex) -> u64 {
        let of_part = |part: &super::stock::Part| {
            let cell = self.articles.cell_at(part.article, location);
            let sellable = cell.map_or(0, |cell| self.articles.cell(cell).sellable());
            sellable / u64::from(part.quantity.max(1))
        };
        parts.iter().map(of_part).min().unwrap_or(0)
    }

    /// Where a location is, if somebody said so.
    pub fn location(&self, name: &str) -> Option<Point> {
        let locations = &self.articles.locations;
        locations.point(locations.find(name)?)
    }

    /// Where a reservation stands; `None` if it never was, or is forgotten.
    pub fn reservation(&self, reservation: Uuid) -> Option<ReservationView> {
        if let Some((index, waiter)) = self.waitlists.find(reservation) {
            let article = self.waitlists.article(reservation)?;
            return Some(ReservationView::Waiting {
                customer: self.totals.customer(waiter.customer).to_owned(),
                sku: self.articles.sku(article).to_owned(),
                quantity: waiter.quantity,
                position: index as u64 + 1,
            });
        }
        Some(match self.reservations.get(reservation)? {
            Status::Held(index) => self.held_view(&self.holds.get(index)),
            Status::Committed => ReservationView::Committed,
            Status::Released => ReservationView::Released,
            Status::Expired => ReservationView::Expired,
            Status::Refused(reason) => ReservationView::Refused { reason },
        })
    }

    /// At most `count_max` live holds, and never more than 1,000, from `from` on, which is 0 or where the page before
    /// said; a page may have fewer though it is not the last.
    pub fn live_page(&self, from: u32, count_max: usize) -> HoldsPage {
        let behind = (from as usize).saturating_add(PAGE_PLACES_MAX);
        let mut page = HoldsPage {
            holds: Vec::new(),
            next: (behind < self.holds.places()).then_some(behind as u32),
        };
        for (index, hold) in self.holds.page(from, PAGE_PLACES_MAX) {
            if page.holds.len() == count_max.clamp(1, PAGE_MAX) {
                page.next = Some(index);
                break;
            }
            page.holds
                .push((self.reservations.held_id(index), self.held_view(&hold)));
        }
        page
    }

    fn held_view(&self, hold: &super::holds::HoldView<'_>) -> ReservationView {
        ReservationView::Held {
            customer: self.totals.customer(hold.customer).to_owned(),
            lines: hold.lines.as_slice().iter().map(|line| self.line(line)).collect(),
            expires_at_ms: hold.expires_at_ms,
        }
    }

    /// A line of a hold by its names.
    pub(super) fn line(&self, line: &super::holds::HoldLine) -> Line {
        let cell = self.articles.cell(line.cell);
        let location = self.articles.locations.name(cell.location);
        Line::new(self.articles.sku(cell.article), line.quantity).at(location)
    }
}
