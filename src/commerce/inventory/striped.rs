//! A hash map in 64 stripes: it grows one stripe at a time, so that no decision waits for a whole rehash.

use std::hash::Hash;

use hashbrown::HashMap;

/// Number of stripes. 64: at 8 million entries one stripe's growth moves 131,072 of them, about 2 ms.
const STRIPE_COUNT: usize = 64;

/// A key that tells its stripe; any even spread will do.
pub(super) trait Stripe: Hash + Eq {
    /// A number whose low bits choose the stripe.
    fn stripe(&self) -> u32;
}

/// A map whose growth is spread over time.
#[derive(Debug)]
pub(super) struct Striped<K, V> {
    stripes: Box<[HashMap<K, V>]>,
    len: usize,
}

impl<K: Stripe, V> Striped<K, V> {
    pub(super) fn new() -> Self {
        Striped {
            stripes: (0..STRIPE_COUNT).map(|_| HashMap::new()).collect(),
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.stripes[Self::index(key)].get(key)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.stripes[Self::index(key)].get_mut(key)
    }

    /// Sets the value of `key` and returns the one that was there.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let before = self.stripes[Self::index(&key)].insert(key, value);
        self.len += usize::from(before.is_none());
        before
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let before = self.stripes[Self::index(key)].remove(key);
        self.len -= usize::from(before.is_some());
        before
    }

    /// All entries, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.stripes.iter().flat_map(HashMap::iter)
    }

    fn index(key: &K) -> usize {
        key.stripe() as usize % STRIPE_COUNT
    }
}
