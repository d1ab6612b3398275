//! What each customer holds and bought of each article, over the life of the sale.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

use super::chunked::{Chunked, Slab};
use super::names::{NameIndex, Names};
use super::striped::Striped;

/// "No article" in the first pair of a customer.
const NONE: NameIndex = NameIndex::MAX;

/// The units of one article of a customer, who mostly has no other.
#[derive(Clone, Copy, Debug)]
struct First {
    article: NameIndex,
    units: u32,
}

const VACANT: First = First {
    article: NONE,
    units: 0,
};

/// The units of one customer and one article.
#[derive(Clone, Copy, Debug)]
struct Pair {
    customer: NameIndex,
    article: NameIndex,
    units: u64,
}

impl Default for Pair {
    fn default() -> Self {
        Pair {
            customer: 0,
            article: NONE,
            units: 0,
        }
    }
}

/// The customers, and their units.
#[derive(Debug)]
pub(super) struct Totals {
    customers: Names,
    /// One pair of each customer, by number.
    firsts: Chunked<First>,
    /// All other pairs, and those whose units need 64 bits.
    others: Slab<Pair>,
    /// Their places, by hash.
    places: Striped<u32>,
    /// Number of all pairs.
    len: usize,
    hasher: DefaultHashBuilder,
}

impl Totals {
    pub(super) fn new() -> Self {
        Totals {
            customers: Names::new(),
            firsts: Chunked::default(),
            others: Slab::default(),
            places: Striped::new(),
            len: 0,
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Makes room for `count` customers in all.
    pub(super) fn reserve_customers(&mut self, count: usize) {
        self.customers.reserve(count);
    }

    /// Number of pairs of customer and article with units.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The units that a customer holds or bought.
    pub(super) fn units(&self, customer: &str, article: NameIndex) -> u64 {
        let customer = self.find(customer);
        customer.map_or(0, |customer| self.units_of(customer, article))
    }

    /// The number of a customer who is known.
    pub(super) fn find(&self, customer: &str) -> Option<NameIndex> {
        self.customers.find(customer)
    }

    /// Whether a customer is counted for an article.
    pub(super) fn has(&self, customer: NameIndex, article: NameIndex) -> bool {
        self.firsts[customer].article == article || self.place(customer, article).is_some()
    }

    pub(super) fn customer(&self, index: NameIndex) -> &str {
        self.customers.name(index)
    }

    pub(super) fn add_customer(&mut self, name: &str) -> NameIndex {
        let customer = self.customers.add_user(name);
        if customer as usize == self.firsts.len() {
            self.firsts.push(VACANT);
        }
        customer
    }

    /// Counts another user of a customer's number.
    pub(super) fn add_user_of(&mut self, index: NameIndex) {
        self.customers.add_user_of(index);
    }

    pub(super) fn drop_customer(&mut self, index: NameIndex) {
        self.customers.drop_user(index);
    }

    /// Counts units for a customer. A sum that was cut off at the largest limit would be too small after some of
    /// its units came back; this one stays below the units received, which are counted in 64 bits too.
    pub(super) fn add(&mut self, customer: NameIndex, article: NameIndex, quantity: u64) {
        let first = self.firsts[customer];
        let place = if first.article == article {
            None
        } else {
            self.place(customer, article)
        };
        if let Some(place) = place {
            let pair = &mut self.others[place];
            pair.units = pair.units.saturating_add(quantity);
            return;
        }
        let is_new = first.article != article;
        if is_new {
            self.customers.add_user_of(customer);
            self.len += 1;
        }
        let units = if is_new { 0 } else { u64::from(first.units) }.saturating_add(quantity);
        if is_new && first.article != NONE {
            self.insert_other(customer, article, units);
        } else if let Ok(units) = u32::try_from(units) {
            self.firsts[customer] = First { article, units };
        } else {
            self.firsts[customer] = VACANT;
            self.insert_other(customer, article, units);
        }
    }

    /// Takes units that came back off a customer's total.
    pub(super) fn subtract(&mut self, customer: NameIndex, article: NameIndex, quantity: u32) {
        let first = self.firsts[customer];
        let is_gone = if first.article == article {
            let units = first.units.saturating_sub(quantity);
            let left = if units == 0 {
                VACANT
            } else {
                First { article, units }
            };
            self.firsts[customer] = left;
            units == 0
        } else if let Some(place) = self.place(customer, article) {
            let units = &mut self.others[place].units;
            *units = units.saturating_sub(u64::from(quantity));
            let is_gone = *units == 0;
            if is_gone {
                let hash = self.hash(customer, article);
                self.places.remove(hash, |other| *other == place);
                self.others.take(place);
            }
            is_gone
        } else {
            return;
        };
        if is_gone {
            self.len -= 1;
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
    pub(super) fn pairs(&self) -> impl Iterator<Item = (NameIndex, NameIndex, u64)> {
        let firsts = (0..).zip(self.firsts.iter());
        let firsts = firsts.filter(|(_, first)| first.article != NONE);
        let others = self.others.iter().filter(|pair| pair.article != NONE);
        firsts
            .map(|(customer, first)| (customer, first.article, u64::from(first.units)))
            .chain(others.map(|pair| (pair.customer, pair.article, pair.units)))
    }

    /// Number of customers' numbers that were ever in use at once: all are smaller.
    pub(super) fn customer_places(&self) -> usize {
        self.customers.places()
    }

    /// The numbers of all customers, in order.
    pub(super) fn customers(&self) -> impl Iterator<Item = NameIndex> {
        (0..self.customers.places() as NameIndex).filter(|index| self.customers.is_used(*index))
    }

    /// A copy that stays as it is, for the iterators and [`Totals::customer`] alone: it finds nothing by name.
    pub(super) fn frozen(&mut self) -> Self {
        Totals {
            customers: self.customers.frozen(),
            firsts: self.firsts.frozen(),
            others: self.others.frozen(),
            places: Striped::new(),
            len: self.len,
            hasher: self.hasher.clone(),
        }
    }

    fn units_of(&self, customer: NameIndex, article: NameIndex) -> u64 {
        let first = self.firsts[customer];
        if first.article == article {
            return first.units.into();
        }
        let place = self.place(customer, article);
        place.map_or(0, |place| self.others[place].units)
    }

    /// The place of a pair that is not the customer's first.
    fn place(&self, customer: NameIndex, article: NameIndex) -> Option<u32> {
        if self.places.len() == 0 {
            return None;
        }
        let is = |place: &u32| {
            let pair = &self.others[*place];
            (pair.customer, pair.article) == (customer, article)
        };
        self.places.find(self.hash(customer, article), is).copied()
    }

    fn insert_other(&mut self, customer: NameIndex, article: NameIndex, units: u64) {
        let place = self.others.insert(Pair {
            customer,
            article,
            units,
        });
        let hash = self.hash(customer, article);
        let (others, hasher) = (&self.others, &self.hasher);
        self.places.insert(hash, place, |place| {
            let pair = &others[*place];
            hash_of(hasher, pair.customer, pair.article)
        });
    }

    fn hash(&self, customer: NameIndex, article: NameIndex) -> u64 {
        hash_of(&self.hasher, customer, article)
    }
}

fn hash_of(hasher: &DefaultHashBuilder, customer: NameIndex, article: NameIndex) -> u64 {
    hasher.hash_one((u64::from(customer) << 32) | u64::from(article))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn totals_are_a_map_of_sums(
            steps in prop::collection::vec((any::<bool>(), 0..3_usize, 0..4_u32, prop_oneof![1..4_u32, Just(u32::MAX)]), 1..80),
            cut in 0..80_usize,
        ) {
            let (mut totals, mut model, mut frozen) = (Totals::new(), BTreeMap::new(), None);
            for (number, (is_add, customer, article, quantity)) in steps.into_iter().enumerate() {
                if number == cut {
                    frozen = Some((totals.frozen(), model.clone()));
                }
                let name = ["ann", "bob", "a customer with a name that is too long"][customer];
                // As for a hold: its customer is known while units are counted.
                let customer = totals.add_customer(name);
                prop_assert_eq!(totals.has(customer, article), model.contains_key(&(name, article)));
                let units: &mut u64 = model.entry((name, article)).or_default();
                if is_add {
                    totals.add(customer, article, quantity.into());
                    *units += u64::from(quantity);
                } else {
                    totals.subtract(customer, article, quantity);
                    *units = units.saturating_sub(quantity.into());
                }
                model.retain(|_, units| *units > 0);
                totals.drop_customer(customer);
                prop_assert_eq!(totals.units(name, article), model.get(&(name, article)).copied().unwrap_or(0));
                let names: std::collections::BTreeSet<&str> = model.keys().map(|(name, _)| *name).collect();
                let found = totals.customers().map(|customer| totals.customer(customer));
                prop_assert_eq!(found.collect::<std::collections::BTreeSet<_>>(), names);
            }
            for (totals, model) in frozen.into_iter().chain([(totals, model)]) {
                let found = totals.pairs().map(|(customer, article, units)| ((totals.customer(customer), article), units));
                prop_assert_eq!(found.collect::<BTreeMap<_, _>>(), model.clone());
                prop_assert_eq!(totals.len(), model.len());
            }
        }
    }
}
