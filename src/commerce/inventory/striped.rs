//! A hash table in stripes of different size: it grows one small stripe at a time, so that no decision waits for
//! the whole table, and at different times, so that no growth comes in a row.
//!
//! Stripe i of n gets a share of the hashes in proportion to 2^(i/n). From one doubling of the table to the next,
//! stripe after stripe reaches its own bound, and the filling stays near 63 % all the time.

use hashbrown::HashTable;

/// Number of stripes, a power of two. 2,048: with 16 million entries the largest holds 11,000 of them, and its
/// growth takes about a millisecond at worst, if each entry's hash must be fetched from memory.
const STRIPE_COUNT: u64 = 1 << STRIPE_BITS;
const STRIPE_BITS: u32 = 11;

/// A table of small values that are found by a hash, and told from others with the same hash by the caller.
#[derive(Debug)]
pub(super) struct Striped<T> {
    stripes: Box<[HashTable<T>]>,
    len: usize,
}

impl<T> Striped<T> {
    pub(super) fn new() -> Self {
        Striped {
            stripes: (0..STRIPE_COUNT).map(|_| HashTable::new()).collect(),
            len: 0,
        }
    }

    /// Makes room for `count` entries in all.
    pub(super) fn reserve(&mut self, count: usize, hash: impl Fn(&T) -> u64) {
        for (index, stripe) in (0..).zip(&mut self.stripes) {
            // Hashes are even in the large; a stripe's share strays from its mean by a few standard deviations.
            let mean = share_of(index) * count as f64;
            let wanted = (mean + 4.0 * mean.sqrt()) as usize;
            stripe.reserve(wanted.saturating_sub(stripe.len()), &hash);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn find(&self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&T> {
        self.stripes[stripe_of(hash)].find(hash, eq)
    }

    pub(super) fn find_mut(&mut self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&mut T> {
        self.stripes[stripe_of(hash)].find_mut(hash, eq)
    }

    /// Adds a value that is not there yet; `rehash` gives the hash of a value that is there.
    pub(super) fn insert(&mut self, hash: u64, value: T, rehash: impl Fn(&T) -> u64) {
        self.stripes[stripe_of(hash)].insert_unique(hash, value, rehash);
        self.len += 1;
    }

    pub(super) fn remove(&mut self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<T> {
        let found = self.stripes[stripe_of(hash)].find_entry(hash, eq).ok()?;
        self.len -= 1;
        Some(found.remove().0)
    }
}

/// The stripe comes from bits in the middle, for the table inside uses those at both ends.
fn stripe_of(hash: u64) -> usize {
    let even = (hash >> 24) & 0xffff;
    // log2(1 + x) for x in 0..1 is x + 0.343 x (1 - x), within a hundredth; here with 16 binary places.
    let spread = even + ((((even * (0x1_0000 - even)) >> 16) * 22_486) >> 16);
    (spread >> (16 - STRIPE_BITS)) as usize
}

/// The share of the hashes that a stripe gets: the inverse of [`stripe_of`].
fn share_of(stripe: u64) -> f64 {
    let below = |stripe: u64| (stripe as f64 / STRIPE_COUNT as f64).exp2();
    below(stripe + 1) - below(stripe)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stripes_get_their_share() {
        let mut counts = vec![0_u32; STRIPE_COUNT as usize];
        for even in 0..0x1_0000_u64 {
            counts[stripe_of(even << 24)] += 1;
        }
        for (stripe, count) in (0..).zip(&counts) {
            let share = f64::from(*count) / f64::from(0x1_0000);
            let ratio = share / share_of(stripe);
            assert!((0.85..1.15).contains(&ratio), "stripe {stripe}: {ratio}");
        }
    }

    proptest! {
        #[test]
        fn a_table_is_a_set(steps in prop::collection::vec((any::<bool>(), 0..400_u64), 1..600)) {
            // Few different hashes, so that values share them.
            let hash = |value: &u64| (value % 100).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let (mut table, mut model) = (Striped::new(), std::collections::BTreeSet::new());
            for (insert, value) in steps {
                let known = table.find(hash(&value), |other| *other == value).copied();
                prop_assert_eq!(known, model.get(&value).copied());
                if !insert {
                    prop_assert_eq!(table.remove(hash(&value), |other| *other == value), known);
                    model.remove(&value);
                } else if known.is_none() {
                    table.insert(hash(&value), value, hash);
                    model.insert(value);
                }
                prop_assert_eq!(table.len(), model.len());
            }
        }
    }
}
