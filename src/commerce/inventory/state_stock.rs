//! The fold of events about stock, rules and waiting lists.

use uuid::Uuid;

use super::state::reservation;
use super::stock::{Cell, Level, Part, Window};
use super::waitlist::Waiter;
use super::{Event, KitPart, Misfit, Outcome, State};

impl State {
    /// Applies an event about stock or rules; its command takes effect once.
    pub(super) fn apply_stock(&mut self, event: &Event) -> Result<(), Misfit> {
        match &event.outcome {
            Outcome::Received {
                sku,
                quantity,
                location,
            } => self.move_units(event, sku, location, |cell| {
                let quantity = u64::from(*quantity);
                cell.received = cell.received.checked_add(quantity)?;
                cell.incoming = cell.incoming.saturating_sub(quantity);
                cell.on_hand = cell.on_hand.checked_add(quantity)?;
                Some(())
            })?,
            Outcome::Announced {
                sku,
                quantity,
                location,
            } => {
                let cell = self.articles.cell_or_create(sku, location);
                let incoming = &mut self.articles.cell_mut(cell).incoming;
                *incoming = incoming.saturating_add(u64::from(*quantity));
            }
            Outcome::Adjusted {
                sku, location, delta, ..
            } => self.move_units(event, sku, location, |cell| {
                cell.adjusted = cell.adjusted.checked_add(*delta)?;
                cell.on_hand = cell.on_hand.checked_add_signed(*delta)?;
                Some(())
            })?,
            Outcome::Transferred {
                sku,
                from,
                to,
                quantity,
            } => {
                self.move_units(event, sku, from, |cell| {
                    cell.transferred = cell.transferred.checked_sub(i64::from(*quantity))?;
                    cell.on_hand = cell.on_hand.checked_sub(u64::from(*quantity))?;
                    Some(())
                })?;
                self.move_units(event, sku, to, |cell| {
                    cell.transferred = cell.transferred.checked_add(i64::from(*quantity))?;
                    cell.on_hand = cell.on_hand.checked_add(u64::from(*quantity))?;
                    Some(())
                })?;
            }
            Outcome::Returned {
                sku,
                quantity,
                location,
            } => self.move_units(event, sku, location, |cell| {
                cell.returned = cell.returned.checked_add(u64::from(*quantity))?;
                cell.on_hand = cell.on_hand.checked_add(u64::from(*quantity))?;
                Some(())
            })?,
            Outcome::Shipped {
                sku,
                quantity,
                location,
                ..
            } => self.move_units(event, sku, location, |cell| {
                cell.allocated = cell.allocated.checked_sub(u64::from(*quantity))?;
                cell.on_hand = cell.on_hand.checked_sub(u64::from(*quantity))?;
                cell.shipped = cell.shipped.checked_add(u64::from(*quantity))?;
                Some(())
            })?,
            Outcome::AllocationCancelled {
                sku,
                quantity,
                location,
                customer,
                ..
            } => {
                let misfit = || movement(event, sku);
                let article = self.articles.find(sku).ok_or_else(misfit)?;
                let cell = self.articles.find_cell(article, location).ok_or_else(misfit)?;
                let cell = self.articles.cell_mut(cell);
                cell.allocated = cell
                    .allocated
                    .checked_sub((*quantity).into())
                    .ok_or_else(misfit)?;
                if let Some(customer) = customer {
                    self.totals.subtract_named(customer, article, *quantity);
                }
                self.touch(article);
            }
            _ => self.apply_rule(event)?,
        }
        self.commands.remember(event.command, self.now_ms);
        Ok(())
    }

    fn apply_rule(&mut self, event: &Event) -> Result<(), Misfit> {
        match &event.outcome {
            Outcome::PolicySet {
                sku,
                limit_per_customer,
                low_stock,
                location,
                safety,
                backorder_cap,
            } => {
                let index = self.articles.cell_or_create(sku, location);
                let cell = self.articles.cell_mut(index);
                (cell.safety, cell.backorder_cap) = (*safety, *backorder_cap);
                if !cell.is_sound() {
                    return Err(movement(event, sku));
                }
                let index = cell.article;
                let sellable = self.articles.sellable(index);
                let article = self.articles.article_mut(index);
                article.limit_per_customer = *limit_per_customer;
                // Signals begin with what there is; a change of the threshold is no change of the stock.
                if article.low_stock != *low_stock {
                    article.low_stock = *low_stock;
                    article.level =
                        low_stock.map_or(Level::Plenty, |low_stock| Level::of(sellable, low_stock));
                }
                self.touch(index);
            }
            Outcome::SaleOpened {
                sku,
                opens_at_ms,
                closes_at_ms,
            } => {
                let window = Window {
                    opens_at_ms: *opens_at_ms,
                    closes_at_ms: *closes_at_ms,
                };
                let article = self.articles.find_or_create(sku);
                self.articles.article_mut(article).window = Some(window);
                self.touch(article);
            }
            Outcome::SaleClosed { sku } => {
                let article = self.articles.find_or_create(sku);
                let window = &mut self.articles.article_mut(article).window;
                let before = window.unwrap_or(Window {
                    opens_at_ms: event.at_ms,
                    closes_at_ms: None,
                });
                let closes_at_ms = before.closes_at_ms.unwrap_or(i64::MAX).min(event.at_ms);
                *window = Some(Window {
                    closes_at_ms: Some(closes_at_ms),
                    ..before
                });
                self.touch(article);
            }
            Outcome::LocationSet { location, point } => {
                let location = self.articles.locations.find_or_create(location);
                self.articles.locations.set_point(location, Some(*point));
            }
            Outcome::KitDefined { sku, parts } => {
                let part = |part: &KitPart| {
                    let article = self.articles.find(&part.sku);
                    article.map(|article| Part {
                        article,
                        quantity: part.quantity,
                    })
                };
                let parts: Option<Box<[Part]>> = parts.iter().map(part).collect();
                let parts = parts.ok_or_else(|| movement(event, sku))?;
                let kit = self.articles.find_or_create(sku);
                self.articles.set_kit(kit, parts);
            }
            _ => {}
        }
        Ok(())
    }

    /// Moves units on hand at a location, which may be new.
    fn move_units(
        &mut self,
        event: &Event,
        sku: &str,
        location: &str,
        change: impl FnOnce(&mut Cell) -> Option<()>,
    ) -> Result<(), Misfit> {
        let index = self.articles.cell_or_create(sku, location);
        let cell = self.articles.cell_mut(index);
        if change(cell).is_none() || !cell.is_sound() {
            return Err(movement(event, sku));
        }
        cell.version += 1;
        let article = cell.article;
        self.touch(article);
        Ok(())
    }

    pub(super) fn join_waitlist(
        &mut self,
        event: &Event,
        customer: &str,
        sku: &str,
        quantity: u32,
        offer_ttl_ms: u32,
    ) -> Result<(), Misfit> {
        let reservation = reservation(event)?;
        let article = self.articles.find(sku).ok_or_else(|| movement(event, sku))?;
        if self.waitlists.article(reservation).is_some() {
            return Err(Misfit::Waiting { reservation });
        }
        if self.reservations.get(reservation).is_some() {
            self.reservations.forget_ended(reservation);
        }
        let waiter = Waiter {
            reservation,
            customer: self.totals.add_customer(customer),
            quantity,
            offer_ttl_ms,
        };
        self.waitlists.join(article, waiter);
        self.articles.article_mut(article).waiting += 1;
        self.touch(article);
        Ok(())
    }

    /// Takes the reservation of an event out of its waiting list.
    pub(super) fn leave_waitlist(&mut self, event: &Event) -> Result<Uuid, Misfit> {
        let reservation = reservation(event)?;
        let left = self.waitlists.leave(reservation);
        let (article, waiter) = left.ok_or(Misfit::Waiting { reservation })?;
        // Whoever was behind may be next.
        self.touch(article);
        self.articles.article_mut(article).waiting -= 1;
        self.totals.drop_customer(waiter.customer);
        Ok(reservation)
    }
}

fn movement(event: &Event, sku: &str) -> Misfit {
    Misfit::Movement {
        command: event.command,
        sku: sku.to_owned(),
    }
}
