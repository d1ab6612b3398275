//! Names of articles and customers, each kept once and known by a small number.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Number of stripes of the table; see `striped` for why.
const STRIPE_BITS: u32 = 6;

/// The number of a name in its [`Names`]; a number is used again after its name was released.
pub(super) type NameIndex = u32;

/// Names with a count of their users.
#[derive(Debug)]
pub(super) struct Names {
    stripes: Box<[HashTable<Slot>]>,
    entries: Vec<Entry>,
    free: Vec<NameIndex>,
    hasher: DefaultHashBuilder,
}

/// The hash stands beside the number so that growth never touches the names.
#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    index: NameIndex,
}

#[derive(Debug)]
struct Entry {
    name: Box<str>,
    users: u32,
}

impl Names {
    pub(super) fn new() -> Self {
        Names {
            stripes: (0..1 << STRIPE_BITS).map(|_| HashTable::new()).collect(),
            entries: Vec::new(),
            free: Vec::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// The number of `name`, if it has a user.
    pub(super) fn find(&self, name: &str) -> Option<NameIndex> {
        let hash = self.hash(name);
        self.stripes[stripe(hash)]
            .find(spread(hash), |slot| {
                slot.hash == hash && self.is(slot.index, name)
            })
            .map(|slot| slot.index)
    }

    /// Adds a user of `name` and returns its number.
    pub(super) fn add_user(&mut self, name: &str) -> NameIndex {
        if let Some(index) = self.find(name) {
            self.entries[index as usize].users += 1;
            return index;
        }
        let hash = self.hash(name);
        let entry = Entry {
            name: name.into(),
            users: 1,
        };
        let index = if let Some(index) = self.free.pop() {
            self.entries[index as usize] = entry;
            index
        } else {
            self.entries.push(entry);
            self.entries.len() as NameIndex - 1
        };
        self.stripes[stripe(hash)]
            .insert_unique(spread(hash), Slot { hash, index }, |slot| spread(slot.hash));
        index
    }

    /// Adds a user of the name with this number.
    pub(super) fn add_user_of(&mut self, index: NameIndex) {
        self.entries[index as usize].users += 1;
    }

    /// Takes a user away; a name without users is forgotten.
    pub(super) fn drop_user(&mut self, index: NameIndex) {
        let entry = &mut self.entries[index as usize];
        entry.users -= 1;
        if entry.users > 0 {
            return;
        }
        let name = std::mem::take(&mut entry.name);
        let hash = self.hash(&name);
        if let Ok(found) = self.stripes[stripe(hash)].find_entry(spread(hash), |slot| slot.index == index) {
            found.remove();
        }
        self.free.push(index);
    }

    pub(super) fn name(&self, index: NameIndex) -> &str {
        &self.entries[index as usize].name
    }

    fn is(&self, index: NameIndex, name: &str) -> bool {
        *self.entries[index as usize].name == *name
    }

    fn hash(&self, name: &str) -> u32 {
        let hash = self.hasher.hash_one(name);
        (hash ^ (hash >> 32)) as u32
    }
}

/// The stripe comes from the top bits and the place inside it from all of them: the two are independent.
fn stripe(hash: u32) -> usize {
    (hash >> (32 - STRIPE_BITS)) as usize
}

/// The table wants 64 bits with entropy at both ends; the multiplier is 2⁶⁴ divided by the golden ratio.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_lives_as_long_as_its_users() {
        let mut names = Names::new();
        let ann = names.add_user("ann");
        let bob = names.add_user("bob");
        assert_ne!(ann, bob);
        assert_eq!(names.add_user("ann"), ann);
        names.add_user_of(ann);
        for _ in 0..2 {
            names.drop_user(ann);
            assert_eq!(names.find("ann"), Some(ann));
        }
        names.drop_user(ann);
        assert_eq!(names.find("ann"), None);
        assert_eq!(names.find(""), None);
        assert_eq!(names.add_user("eve"), ann, "the number is used again");
        assert_eq!((names.name(ann), names.name(bob)), ("eve", "bob"));
    }

    #[test]
    fn finds_each_of_many_after_growth() {
        let mut names = Names::new();
        for n in 0..10_000u32 {
            assert_eq!(names.add_user(&n.to_string()), n);
        }
        for n in 0..10_000u32 {
            assert_eq!(names.find(&n.to_string()), Some(n));
        }
    }
}
