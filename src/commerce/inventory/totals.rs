//! What each customer holds and bought of each article, over the life of the sale.

use super::names::{NameIndex, Names};
use super::striped::{Stripe, Striped};

/// One customer and one article.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Pair {
    customer: NameIndex,
    article: NameIndex,
}

impl Stripe for Pair {
    fn stripe(&self) -> u32 {
        self.customer ^ self.article
    }
}

/// The customers, and their units.
#[derive(Debug)]
pub(super) struct Totals {
    customers: Names,
    units: Striped<Pair, u64>,
}

impl Totals {
    pub(super) fn new() -> Self {
        Totals {
            customers: Names::new(),
            units: Striped::new(),
        }
    }

    /// Number of pairs of customer and article with units.
    pub(super) fn len(&self) -> usize {
        self.units.len()
    }

    /// The units that a customer holds or bought.
    pub(super) fn units(&self, customer: &str, article: NameIndex) -> u64 {
        let Some(customer) = self.customers.find(customer) else {
            return 0;
        };
        self.units.get(&Pair { customer, article }).copied().unwrap_or(0)
    }

    /// Whether a customer is counted for an article.
    pub(super) fn has(&self, customer: NameIndex, article: NameIndex) -> bool {
        self.units.get(&Pair { customer, article }).is_some()
    }

    pub(super) fn customer(&self, index: NameIndex) -> &str {
        self.customers.name(index)
    }

    pub(super) fn add_customer(&mut self, name: &str) -> NameIndex {
        self.customers.add_user(name)
    }

    pub(super) fn drop_customer(&mut self, index: NameIndex) {
        self.customers.drop_user(index);
    }

    /// Counts units for a customer. A sum that was cut off at the largest limit would be too small after some of
    /// its units came back; this one stays below the units received, which are counted in 64 bits too.
    pub(super) fn add(&mut self, customer: NameIndex, article: NameIndex, quantity: u64) {
        let pair = Pair { customer, article };
        if let Some(units) = self.units.get_mut(&pair) {
            *units = units.saturating_add(quantity);
        } else {
            self.units.insert(pair, quantity);
            self.customers.add_user_of(customer);
        }
    }

    /// Takes units that came back off a customer's total.
    pub(super) fn subtract(&mut self, customer: NameIndex, article: NameIndex, quantity: u32) {
        let pair = Pair { customer, article };
        let Some(units) = self.units.get_mut(&pair) else {
            return;
        };
        *units = units.saturating_sub(u64::from(quantity));
        if *units == 0 {
            self.units.remove(&pair);
            self.customers.drop_user(customer);
        }
    }

    /// Takes units that came back off the total of a customer, who may be known no longer.
    pub(super) fn subtract_named(&mut self, customer: &str, article: NameIndex, quantity: u32) {
        if let Some(customer) = self.customers.find(customer) {
            self.subtract(customer, article, quantity);
        }
    }

    /// All totals as (customer, article, units), in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, NameIndex, u64)> {
        self.units
            .iter()
            .map(|(pair, units)| (self.customers.name(pair.customer), pair.article, *units))
    }
}
