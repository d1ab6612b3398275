//! Names of articles and customers, each kept once and known by a small number.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

use super::chunked::Slab;
use super::striped::Striped;

/// The number of a name in its [`Names`]; a number is used again after its name was released.
pub(super) type NameIndex = u32;

/// Longest name that is kept in its entry. 19 bytes: a word, a number, or an id of a payment provider. A longer one
/// takes 16 bytes more and what the allocator needs for it.
const SHORT_MAX_BYTES: usize = 19;

/// In place of a short name's length.
const LONG: u8 = u8::MAX;

/// Names with a count of their users.
#[derive(Debug)]
pub(super) struct Names {
    /// The numbers of the names, by hash.
    numbers: Striped<NameIndex>,
    entries: Slab<Entry>,
    /// Names that are too long for an entry.
    long: Slab<Box<str>>,
    hasher: DefaultHashBuilder,
}

/// A name and how many use it; free without a user.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    users: u32,
    /// The name, or the place of a long one.
    bytes: [u8; SHORT_MAX_BYTES],
    /// Length of the name, or [`LONG`].
    size_bytes: u8,
}

const _: () = assert!(size_of::<Entry>() == 24);

impl Names {
    pub(super) fn new() -> Self {
        Names {
            numbers: Striped::new(),
            entries: Slab::default(),
            long: Slab::default(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    /// Makes room for `count` names in all.
    pub(super) fn reserve(&mut self, count: usize) {
        let (entries, long, hasher) = (&self.entries, &self.long, &self.hasher);
        self.numbers
            .reserve(count, |index| hasher.hash_one(bytes_of(&entries[*index], long)));
    }

    /// The number of `name`, if it has a user.
    pub(super) fn find(&self, name: &str) -> Option<NameIndex> {
        self.find_hashed(self.hash(name), name)
    }

    /// Adds a user of `name` and returns its number.
    pub(super) fn add_user(&mut self, name: &str) -> NameIndex {
        let hash = self.hash(name);
        if let Some(index) = self.find_hashed(hash, name) {
            self.entries[index].users += 1;
            return index;
        }
        let mut entry = Entry {
            users: 1,
            ..Entry::default()
        };
        if let Some(short) = entry.bytes.get_mut(..name.len()) {
            short.copy_from_slice(name.as_bytes());
            entry.size_bytes = name.len() as u8;
        } else {
            let place = self.long.insert(name.into());
            entry.bytes[..size_of_val(&place)].copy_from_slice(&place.to_ne_bytes());
            entry.size_bytes = LONG;
        }
        let index = self.entries.insert(entry);
        let (entries, long, hasher) = (&self.entries, &self.long, &self.hasher);
        self.numbers.insert(hash, index, |index| {
            hasher.hash_one(bytes_of(&entries[*index], long))
        });
        index
    }

    /// Adds a user of the name with this number.
    pub(super) fn add_user_of(&mut self, index: NameIndex) {
        self.entries[index].users += 1;
    }

    /// Takes a user away; a name without users is forgotten.
    pub(super) fn drop_user(&mut self, index: NameIndex) {
        let entry = &mut self.entries[index];
        entry.users -= 1;
        if entry.users > 0 {
            return;
        }
        let hash = self.hasher.hash_one(self.bytes(index));
        self.numbers.remove(hash, |other| *other == index);
        let entry = self.entries.take(index);
        if entry.size_bytes == LONG {
            self.long.take(long_place(&entry));
        }
    }

    pub(super) fn name(&self, index: NameIndex) -> &str {
        // Only whole texts are put in.
        std::str::from_utf8(self.bytes(index)).unwrap_or_default()
    }

    /// Number of numbers that were ever in use at once: all are smaller.
    pub(super) fn places(&self) -> usize {
        self.entries.places()
    }

    /// Whether a number has a name.
    pub(super) fn is_used(&self, index: NameIndex) -> bool {
        self.entries[index].users > 0
    }

    /// A copy that stays as it is, for [`Names::name`] alone: it finds no names.
    pub(super) fn frozen(&mut self) -> Self {
        Names {
            numbers: Striped::new(),
            entries: self.entries.frozen(),
            long: self.long.frozen(),
            hasher: self.hasher.clone(),
        }
    }

    fn find_hashed(&self, hash: u64, name: &str) -> Option<NameIndex> {
        let is = |index: &NameIndex| self.bytes(*index) == name.as_bytes();
        self.numbers.find(hash, is).copied()
    }

    fn bytes(&self, index: NameIndex) -> &[u8] {
        bytes_of(&self.entries[index], &self.long)
    }

    fn hash(&self, name: &str) -> u64 {
        self.hasher.hash_one(name.as_bytes())
    }
}

fn bytes_of<'a>(entry: &'a Entry, long: &'a Slab<Box<str>>) -> &'a [u8] {
    match entry.size_bytes {
        LONG => long[long_place(entry)].as_bytes(),
        size_bytes => &entry.bytes[..usize::from(size_bytes)],
    }
}

fn long_place(entry: &Entry) -> u32 {
    let [a, b, c, d, ..] = entry.bytes;
    u32::from_ne_bytes([a, b, c, d])
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
    fn names_of_every_length_are_kept_whole() {
        let mut names = Names::new();
        let all: Vec<String> = (0..=300)
            .map(|length| "é".repeat(length / 2) + &"x".repeat(length % 2))
            .collect();
        for round in 0..2 {
            let numbers: Vec<NameIndex> = all.iter().map(|name| names.add_user(name)).collect();
            for (name, number) in all.iter().zip(&numbers) {
                assert_eq!(
                    (names.find(name), names.name(*number)),
                    (Some(*number), &**name),
                    "{round}"
                );
            }
            for number in numbers {
                names.drop_user(number);
            }
            assert!(all.iter().all(|name| names.find(name).is_none()));
        }
        assert_eq!(names.places(), all.len());
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
