//! What was asked for by the carts that are not held exactly as they were sent: enough to know a repeat.

use hashbrown::HashMap;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::encoding::put_split;
use super::wire::{put_text, put_varint};
use super::{CartPolicy, Line, Split};

/// A cart in three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) policy: CartPolicy,
    /// Digest of the way to spread it.
    pub(super) split: u64,
    /// Digest of the lines, in whatever order they are.
    pub(super) lines: u64,
}

/// The carts of live holds, by reservation.
pub(super) type AskedCarts = HashMap<Uuid, Asked>;

impl Asked {
    pub(super) fn of(policy: CartPolicy, split: Option<&Split>, lines: &[Line]) -> Self {
        let mut bytes = Vec::new();
        put_split(&mut bytes, split);
        let split = digest(&bytes);
        let mut lines: Vec<(&str, &str, u64)> = lines
            .iter()
            .map(|line| (&*line.sku, &*line.location, u64::from(line.quantity)))
            .collect();
        lines.sort_unstable();
        lines.dedup_by(|line, before| {
            let is_same = (line.0, line.1) == (before.0, before.1);
            before.2 += if is_same { line.2 } else { 0 };
            is_same
        });
        bytes.clear();
        for (sku, location, quantity) in lines {
            put_text(&mut bytes, sku);
            put_text(&mut bytes, location);
            put_varint(&mut bytes, quantity);
        }
        Asked {
            policy,
            split,
            lines: digest(&bytes),
        }
    }
}

/// The first bytes of SHA-256: the same on every machine, and not to be met by accident.
fn digest(bytes: &[u8]) -> u64 {
    let hash = Sha256::digest(bytes);
    hash.iter()
        .take(8)
        .fold(0, |digest, byte| (digest << 8) | u64::from(*byte))
}
