//! The newest offset of each key, in bounded memory.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, Hasher};

use crate::log::Offset;

/// A key, as 128 bits of two hashes that whoever chooses keys cannot foresee.
type KeyDigest = [u64; 2];

/// Keys in a map at most. 3.5 million, seven eighths of 2^22: about 105 MB, what Kafka's cleaner takes by default.
pub const KEYS_MAX: usize = 3_670_016;

/// The newest offsets of the keys of one range of a partition.
#[derive(Debug)]
pub struct OffsetMap {
    newest: HashMap<KeyDigest, Offset, BuildHasherDefault<DigestHasher>>,
    salts: [u64; 2],
    keys_max: usize,
}

/// There was no room for another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapFull;

impl OffsetMap {
    /// An empty map of at most `keys_max` keys; `salts` are random numbers that no producer knows.
    pub fn new(keys_max: usize, salts: [u64; 2]) -> OffsetMap {
        OffsetMap {
            newest: HashMap::default(),
            salts,
            keys_max,
        }
    }

    /// Notes that the record at `offset` has `key`; offsets rise from call to call.
    pub fn note(&mut self, key: &[u8], offset: Offset) -> Result<(), MapFull> {
        let digest = self.digest(key);
        if self.newest.len() < self.keys_max {
            self.newest.insert(digest, offset);
            return Ok(());
        }
        let known = self.newest.get_mut(&digest).ok_or(MapFull)?;
        *known = offset;
        Ok(())
    }

    /// The newest record with `key`, if one was noted.
    pub fn newest(&self, key: &[u8]) -> Option<Offset> {
        self.newest.get(&self.digest(key)).copied()
    }

    /// Number of keys.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.newest.len()
    }

    fn digest(&self, key: &[u8]) -> KeyDigest {
        self.salts.map(|salt| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(salt);
            hasher.write(key);
            hasher.finish()
        })
    }
}

/// Takes a digest for its own hash.
#[derive(Debug, Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 ^= number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_keeps_the_newest_offset_of_each_key() {
        let mut map = OffsetMap::new(2, [1, 2]);
        map.note(b"a", Offset(0)).unwrap();
        map.note(b"b", Offset(1)).unwrap();
        map.note(b"a", Offset(2)).unwrap();
        assert_eq!(map.note(b"c", Offset(3)), Err(MapFull));
        map.note(b"b", Offset(4)).unwrap();
        let found = [b"a", b"b", b"c"].map(|key| map.newest(key));
        assert_eq!(found, [Some(Offset(2)), Some(Offset(4)), None]);
        assert_eq!(map.len(), 2);
    }
}
