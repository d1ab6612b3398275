//! The live holds of a shard, and the calendar of the ticks at which they end.
//!
//! Holds sit in one slab. Those that end at the same tick form a doubly linked list through the slab, so that
//! a committed or released hold leaves its tick at once and the calendar never keeps dead entries: its size is
//! the number of distinct ticks with live holds.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::names::NameIndex;
use super::stock::CellIndex;

/// The place of a hold in the slab.
pub(super) type HoldIndex = u32;

/// "No hold" in the links.
const NONE: HoldIndex = HoldIndex::MAX;

/// Units of one article at one location in a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HoldLine {
    pub(super) cell: CellIndex,
    pub(super) quantity: u32,
    /// Whether the units are in the customer's total.
    pub(super) counted: bool,
}

/// The lines of a hold: most carts have one, which then needs no allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HoldLines {
    One([HoldLine; 1]),
    Many(Box<[HoldLine]>),
}

impl HoldLines {
    pub(super) fn as_slice(&self) -> &[HoldLine] {
        match self {
            HoldLines::One(line) => line,
            HoldLines::Many(lines) => lines,
        }
    }
}

/// Units taken out of sale for a limited time.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub(super) reservation: Uuid,
    pub(super) customer: NameIndex,
    pub(super) ttl_ms: u32,
    pub(super) created_at_ms: i64,
    /// A multiple of the tick.
    pub(super) expires_at_ms: i64,
    pub(super) lines: HoldLines,
}

#[derive(Debug)]
struct Node {
    hold: Hold,
    next: HoldIndex,
    previous: HoldIndex,
}

/// All live holds.
#[derive(Debug, Default)]
pub(super) struct Holds {
    slots: Vec<Option<Node>>,
    free: Vec<HoldIndex>,
    /// First hold of each instant at which holds end.
    calendar: BTreeMap<i64, HoldIndex>,
}

impl Holds {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The hold at `index`.
    ///
    /// # Panics
    /// When `index` is not the index of a live hold, which only a fault of the engine can cause.
    pub(super) fn get(&self, index: HoldIndex) -> &Hold {
        &self.node(index).hold
    }

    pub(super) fn insert(&mut self, hold: Hold) -> HoldIndex {
        let expires_at_ms = hold.expires_at_ms;
        let node = Some(Node {
            hold,
            next: NONE,
            previous: NONE,
        });
        let index = if let Some(index) = self.free.pop() {
            self.slots[index as usize] = node;
            index
        } else {
            self.slots.push(node);
            self.slots.len() as HoldIndex - 1
        };
        self.link(index, expires_at_ms);
        index
    }

    pub(super) fn remove(&mut self, index: HoldIndex) -> Hold {
        self.unlink(index);
        let node = self.slots[index as usize].take();
        self.free.push(index);
        node.unwrap_or_else(|| unreachable!("hold {index} was just unlinked"))
            .hold
    }

    /// Moves the end of a hold.
    pub(super) fn move_expiry(&mut self, index: HoldIndex, expires_at_ms: i64) {
        self.unlink(index);
        self.node_mut(index).hold.expires_at_ms = expires_at_ms;
        self.link(index, expires_at_ms);
    }

    /// The first instant at which a hold ends.
    pub(super) fn next_expiry_ms(&self) -> Option<i64> {
        self.calendar.first_key_value().map(|(instant, _)| *instant)
    }

    /// The holds whose time is over at `now_ms`, earliest first.
    pub(super) fn due(&self, now_ms: i64) -> impl Iterator<Item = &Hold> {
        self.calendar.range(..=now_ms).flat_map(|(_, first)| {
            std::iter::successors(Some(self.node(*first)), |node| {
                (node.next != NONE).then(|| self.node(node.next))
            })
            .map(|node| &node.hold)
        })
    }

    /// The live holds among the next `places` places of the slab, from `from` on.
    pub(super) fn page(&self, from: HoldIndex, places: usize) -> impl Iterator<Item = (HoldIndex, &Hold)> {
        let slots = (0..).zip(&self.slots).skip(from as usize).take(places);
        slots.filter_map(|(index, slot)| Some((index, &slot.as_ref()?.hold)))
    }

    /// Number of places of the slab.
    pub(super) fn places(&self) -> usize {
        self.slots.len()
    }

    /// All live holds, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Hold> {
        self.slots.iter().flatten().map(|node| &node.hold)
    }

    fn link(&mut self, index: HoldIndex, expires_at_ms: i64) {
        let next = self.calendar.insert(expires_at_ms, index).unwrap_or(NONE);
        if next != NONE {
            self.node_mut(next).previous = index;
        }
        let node = self.node_mut(index);
        node.next = next;
        node.previous = NONE;
    }

    fn unlink(&mut self, index: HoldIndex) {
        let node = self.node(index);
        let (next, previous, expires_at_ms) = (node.next, node.previous, node.hold.expires_at_ms);
        if next != NONE {
            self.node_mut(next).previous = previous;
        }
        if previous != NONE {
            self.node_mut(previous).next = next;
        } else if next != NONE {
            self.calendar.insert(expires_at_ms, next);
        } else {
            self.calendar.remove(&expires_at_ms);
        }
    }

    fn node(&self, index: HoldIndex) -> &Node {
        self.slots[index as usize]
            .as_ref()
            .unwrap_or_else(|| unreachable!("hold {index} is not live"))
    }

    fn node_mut(&mut self, index: HoldIndex) -> &mut Node {
        self.slots[index as usize]
            .as_mut()
            .unwrap_or_else(|| unreachable!("hold {index} is not live"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(id: u128, expires_at_ms: i64) -> Hold {
        Hold {
            reservation: Uuid::from_u128(id),
            customer: 0,
            ttl_ms: 1,
            created_at_ms: 0,
            expires_at_ms,
            lines: HoldLines::One([HoldLine {
                cell: 0,
                quantity: 1,
                counted: false,
            }]),
        }
    }

    fn due(holds: &Holds, now_ms: i64) -> Vec<u128> {
        let mut ids: Vec<u128> = holds.due(now_ms).map(|hold| hold.reservation.as_u128()).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn a_hold_is_due_at_its_instant_and_not_before() {
        let mut holds = Holds::default();
        assert_eq!((due(&holds, i64::MAX), holds.next_expiry_ms()), (vec![], None));
        let first = holds.insert(hold(1, 20));
        let second = holds.insert(hold(2, 20));
        let third = holds.insert(hold(3, 20));
        holds.insert(hold(4, 10));
        assert_eq!(due(&holds, 9), vec![]);
        assert_eq!(due(&holds, 19), vec![4]);
        assert_eq!(due(&holds, 20), vec![1, 2, 3, 4]);
        holds.remove(second);
        assert_eq!(due(&holds, 20), vec![1, 3, 4]);
        holds.remove(third);
        assert_eq!(due(&holds, 20), vec![1, 4]);
        holds.move_expiry(first, 30);
        assert_eq!((due(&holds, 29), due(&holds, 30)), (vec![4], vec![1, 4]));
        assert_eq!(holds.remove(first).expires_at_ms, 30);
        assert_eq!((holds.len(), holds.next_expiry_ms()), (1, Some(10)));
    }
}
