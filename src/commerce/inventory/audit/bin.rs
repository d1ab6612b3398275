//! The recount of units: every article at every location, added up from events alone.

use std::collections::{BTreeMap, HashMap};

use super::super::{KitPart, Line};

/// The units of one article at one location.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bin {
    pub(super) on_hand: u64,
    pub(super) held: u64,
    pub(super) allocated: u64,
    pub(super) safety: u64,
    pub(super) backorder_cap: u64,
    /// Changes of the units on hand.
    pub(super) version: u64,
    pub(super) oversold: u64,
}

impl Bin {
    /// Units that can be sold; the first number is zero if the second, units that are sold too much, is not.
    fn balance(&self) -> (u64, u64) {
        let (had, bound) = (
            self.on_hand.saturating_add(self.backorder_cap),
            self.held + self.allocated + self.safety,
        );
        (had.saturating_sub(bound), bound.saturating_sub(had))
    }
}

/// All bins, by article and location, and what the articles are.
#[derive(Debug, Default)]
pub(super) struct Bins {
    bins: BTreeMap<String, BTreeMap<String, Bin>>,
    pub(super) kits: HashMap<String, Vec<KitPart>>,
}

impl Bins {
    /// Changes a bin, which may be new, and notes whether too much is sold from it.
    pub(super) fn change<T>(&mut self, sku: &str, location: &str, change: impl FnOnce(&mut Bin) -> T) -> T {
        if !self.bins.contains_key(sku) {
            self.bins.insert(sku.to_owned(), BTreeMap::new());
        }
        let places = self.bins.entry(sku.to_owned()).or_default();
        let bin = places.entry(location.to_owned()).or_default();
        let result = change(bin);
        bin.oversold = bin.oversold.max(bin.balance().1);
        result
    }

    pub(super) fn is_known(&self, sku: &str) -> bool {
        self.bins.contains_key(sku) || self.kits.contains_key(sku)
    }

    /// Units of an article that can be sold, at all locations together.
    pub(super) fn sellable(&self, sku: &str) -> u64 {
        self.of(sku).map(|bin| bin.balance().0).sum()
    }

    pub(super) fn of(&self, sku: &str) -> impl Iterator<Item = &Bin> {
        self.bins.get(sku).into_iter().flat_map(BTreeMap::values)
    }

    /// Whether an article is nowhere but at the default location, and neither a kit nor part of one: then a cart
    /// sees exactly the units that there are.
    pub(super) fn is_simple(&self, sku: &str) -> bool {
        let is_part = |parts: &Vec<KitPart>| parts.iter().any(|part| part.sku == sku);
        let places = self.bins.get(sku).map_or(0, |places| {
            places.keys().filter(|location| !location.is_empty()).count()
        });
        places == 0 && !self.kits.contains_key(sku) && !self.kits.values().any(is_part)
    }

    pub(super) fn skus(&self) -> impl Iterator<Item = &String> {
        self.bins.keys()
    }

    /// The units that lines need of each article, and of each location if `placed`: those of the parts, for kits.
    pub(super) fn needs<'a>(
        &'a self,
        lines: impl Iterator<Item = &'a Line>,
        placed: bool,
    ) -> BTreeMap<(&'a str, &'a str), u64> {
        let mut needs = BTreeMap::new();
        for line in lines {
            let location = if placed { &*line.location } else { "" };
            let mut need = |sku: &'a str, quantity: u64| {
                *needs.entry((sku, location)).or_default() += quantity;
            };
            match self.kits.get(&line.sku) {
                None => need(&line.sku, line.quantity.into()),
                Some(parts) => {
                    for part in parts {
                        need(&part.sku, u64::from(part.quantity) * u64::from(line.quantity));
                    }
                }
            }
        }
        needs
    }
}
