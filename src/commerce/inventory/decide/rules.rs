//! The rules of selling: policies, sale windows, locations, kits.

use super::{THROTTLED, article, check, check_location, check_place, check_quantity, check_sku};
use crate::commerce::inventory::limits::KIT_PARTS_MAX;
use crate::commerce::inventory::stock::Cell;
use crate::commerce::inventory::{Change, InvalidReason, KitPart, Outcome, Point, State};

/// What a policy command changes.
pub(super) struct PolicyChange {
    pub(super) limit_per_customer: Change<u32>,
    pub(super) low_stock: Change<u32>,
    pub(super) safety: Option<u32>,
    pub(super) backorder_cap: Option<u32>,
}

pub(super) fn set_policy(
    state: &State,
    sku: String,
    location: String,
    change: &PolicyChange,
) -> Result<Outcome, Outcome> {
    check_place(state, &sku, &location)?;
    let article = state.articles.find(&sku);
    let cell = article.and_then(|article| state.articles.find_cell(article, &location));
    let cell = cell.map(|cell| state.articles.cell(cell));
    let article = article.map(|article| state.articles.article(article));
    let safety = change.safety.unwrap_or(cell.map_or(0, |cell| cell.safety));
    let backorder_cap = change
        .backorder_cap
        .unwrap_or(cell.map_or(0, |cell| cell.backorder_cap));
    let (on_hand, promised) = cell.map_or((0, 0), |cell| (cell.on_hand, cell.reserved + cell.allocated));
    let needed = promised + u64::from(safety);
    if needed > on_hand.saturating_add(backorder_cap.into()) {
        return Err(Outcome::Insufficient {
            sku,
            location,
            available: cell.map_or(0, Cell::sellable),
        });
    }
    Ok(Outcome::PolicySet {
        sku,
        limit_per_customer: change
            .limit_per_customer
            .apply(article.and_then(|article| article.limit_per_customer)),
        low_stock: change
            .low_stock
            .apply(article.and_then(|article| article.low_stock)),
        location,
        safety,
        backorder_cap,
    })
}

pub(super) fn open_sale(
    state: &State,
    sku: String,
    opens_at_ms: i64,
    closes_at_ms: Option<i64>,
) -> Result<Outcome, Outcome> {
    check_sku(&sku)?;
    article(state, &sku)?;
    check(
        closes_at_ms.is_none_or(|closes_at_ms| opens_at_ms < closes_at_ms),
        InvalidReason::EmptyWindow,
    )?;
    Ok(Outcome::SaleOpened {
        sku,
        opens_at_ms,
        closes_at_ms,
    })
}

pub(super) fn close_sale(state: &State, sku: String) -> Result<Outcome, Outcome> {
    check_sku(&sku)?;
    article(state, &sku)?;
    Ok(Outcome::SaleClosed { sku })
}

pub(super) fn set_location(state: &State, location: String, point: Point) -> Result<Outcome, Outcome> {
    check_location(&location)?;
    check(point.is_valid(), InvalidReason::Coordinates)?;
    let locations = &state.articles.locations;
    if locations.find(&location).is_none() && locations.len() >= state.limits.locations {
        return Err(THROTTLED);
    }
    Ok(Outcome::LocationSet { location, point })
}

pub(super) fn define_kit(state: &State, sku: String, parts: Vec<KitPart>) -> Result<Outcome, Outcome> {
    check_sku(&sku)?;
    check(
        (1..=KIT_PARTS_MAX).contains(&parts.len()),
        InvalidReason::KitParts,
    )?;
    for (index, part) in parts.iter().enumerate() {
        check_quantity(part.quantity)?;
        check_sku(&part.sku)?;
        let is_twice = parts[..index].iter().any(|before| before.sku == part.sku);
        check(!is_twice, InvalidReason::KitParts)?;
        check(part.sku != sku, InvalidReason::NestedKit)?;
        let article = article(state, &part.sku)?;
        let is_kit = state.articles.article(article).kit.is_some();
        check(!is_kit, InvalidReason::NestedKit)?;
    }
    let (articles, limits) = (&state.articles, &state.limits);
    let is_kit = match articles.find(&sku) {
        None if articles.len() < limits.articles && articles.cell_count() < limits.cells => false,
        None => return Err(THROTTLED),
        Some(index) => {
            let article = articles.article(index);
            check(article.part_of == 0, InvalidReason::NestedKit)?;
            let has_units = articles
                .cells_of(index)
                .any(|cell| articles.cell(cell).has_history());
            check(!has_units && article.waiting == 0, InvalidReason::KitWithUnits)?;
            article.kit.is_some()
        }
    };
    if !is_kit && articles.kit_count() >= limits.kits {
        return Err(THROTTLED);
    }
    Ok(Outcome::KitDefined { sku, parts })
}
