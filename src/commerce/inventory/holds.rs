//! The live holds of a shard, and the timer wheel of the ticks at which they end.
//!
//! A hold takes 36 bytes in a slab. Those that end at the same tick form a doubly linked list through the slab, so
//! that a committed or released hold leaves its tick at once and the wheel never keeps dead entries.

use super::chunked::Slab;
use super::limits::TICK_MS;
use super::names::NameIndex;
use super::stock::CellIndex;
use super::wheel::{TICK_MAX, TimerWheel};

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
pub(super) enum HoldLines<Many = Box<[HoldLine]>> {
    One([HoldLine; 1]),
    Many(Many),
}

impl<Many: AsRef<[HoldLine]>> HoldLines<Many> {
    pub(super) fn as_slice(&self) -> &[HoldLine] {
        match self {
            HoldLines::One(line) => line,
            HoldLines::Many(lines) => lines.as_ref(),
        }
    }
}

/// Units taken out of sale for a limited time.
///
/// The slab keeps the end as a tick and the life in 32 bits: an end that is no tick is moved to the next one, and a
/// hold that lasts longer than 49 days, which no command can ask for, counts as begun 49 days before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hold<Many = Box<[HoldLine]>> {
    pub(super) customer: NameIndex,
    pub(super) ttl_ms: u32,
    pub(super) created_at_ms: i64,
    /// A multiple of the tick.
    pub(super) expires_at_ms: i64,
    pub(super) lines: HoldLines<Many>,
}

/// A hold as it is looked at, without a copy of its lines.
pub(super) type HoldView<'a> = Hold<&'a [HoldLine]>;

/// A hold as it is kept.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    next: HoldIndex,
    previous: HoldIndex,
    customer: NameIndex,
    ttl_ms: u32,
    /// From its creation to its end.
    life_ms: u32,
    /// Cell of the only line, or place of the cart.
    line: u32,
    /// Quantity of the only line.
    quantity: u32,
    /// The tick at which it ends; 48 bits.
    tick_low: u32,
    tick_high: u16,
    kind: Kind,
}

const _: () = assert!(size_of::<Node>() == 36);
const _: () = assert!(TICK_MAX < 1 << 48);

/// What a place in the slab holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Free,
    /// One line.
    One,
    /// One line whose units are in the customer's total.
    OneCounted,
    /// The lines of a cart.
    Many,
}

impl Node {
    fn tick(&self) -> u64 {
        u64::from(self.tick_low) | (u64::from(self.tick_high) << 32)
    }

    fn set_end(&mut self, created_at_ms: i64, expires_at_ms: i64) {
        let tick = tick_at_or_after(expires_at_ms);
        (self.tick_low, self.tick_high) = (tick as u32, (tick >> 32) as u16);
        let life_ms = self.expires_at_ms().saturating_sub(created_at_ms);
        self.life_ms = life_ms.clamp(0, i64::from(u32::MAX)) as u32;
    }

    fn expires_at_ms(&self) -> i64 {
        self.tick() as i64 * TICK_MS
    }

    fn created_at_ms(&self) -> i64 {
        self.expires_at_ms() - i64::from(self.life_ms)
    }

    fn hold<Many>(&self, lines: HoldLines<Many>) -> Hold<Many> {
        Hold {
            customer: self.customer,
            ttl_ms: self.ttl_ms,
            created_at_ms: self.created_at_ms(),
            expires_at_ms: self.expires_at_ms(),
            lines,
        }
    }

    fn only_line<Many>(&self) -> HoldLines<Many> {
        HoldLines::One([HoldLine {
            cell: self.line,
            quantity: self.quantity,
            counted: self.kind == Kind::OneCounted,
        }])
    }
}

/// All live holds.
#[derive(Debug)]
pub(super) struct Holds {
    nodes: Slab<Node>,
    len: usize,
    /// Carts of several lines.
    carts: Slab<Box<[HoldLine]>>,
    /// First hold of each tick at which holds end.
    wheel: TimerWheel,
}

impl Holds {
    pub(super) fn new() -> Self {
        Holds {
            nodes: Slab::default(),
            len: 0,
            carts: Slab::default(),
            wheel: TimerWheel::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The hold at `index`.
    ///
    /// # Panics
    /// When `index` is not the index of a live hold, which only a fault of the engine can cause.
    pub(super) fn get(&self, index: HoldIndex) -> HoldView<'_> {
        self.view(&self.nodes[index])
            .unwrap_or_else(|| unreachable!("hold {index} is not live"))
    }

    pub(super) fn insert(&mut self, hold: Hold) -> HoldIndex {
        let (kind, line, quantity) = match hold.lines {
            HoldLines::One([line]) if line.counted => (Kind::OneCounted, line.cell, line.quantity),
            HoldLines::One([line]) => (Kind::One, line.cell, line.quantity),
            HoldLines::Many(lines) => (Kind::Many, self.carts.insert(lines), 0),
        };
        let mut node = Node {
            customer: hold.customer,
            ttl_ms: hold.ttl_ms,
            line,
            quantity,
            kind,
            ..Node::default()
        };
        node.set_end(hold.created_at_ms, hold.expires_at_ms);
        let index = self.nodes.insert(node);
        self.len += 1;
        self.link(index);
        index
    }

    pub(super) fn remove(&mut self, index: HoldIndex) -> Hold {
        self.unlink(index);
        let node = self.nodes.take(index);
        self.len -= 1;
        match node.kind {
            Kind::Free => unreachable!("hold {index} is not live"),
            Kind::One | Kind::OneCounted => node.hold(node.only_line()),
            Kind::Many => node.hold(HoldLines::Many(self.carts.take(node.line))),
        }
    }

    /// Moves the end of a hold.
    pub(super) fn move_expiry(&mut self, index: HoldIndex, expires_at_ms: i64) {
        self.unlink(index);
        let node = &mut self.nodes[index];
        node.set_end(node.created_at_ms(), expires_at_ms);
        self.link(index);
    }

    /// The first instant at which a hold ends.
    pub(super) fn next_expiry_ms(&self) -> Option<i64> {
        let (tick, _) = self.wheel.first_from(0)?;
        Some(tick as i64 * TICK_MS)
    }

    /// The holds whose time is over at `now_ms`, earliest first.
    pub(super) fn due(&self, now_ms: i64) -> impl Iterator<Item = HoldIndex> {
        let last = u64::try_from(now_ms.div_euclid(TICK_MS)).ok();
        let next = move |from| {
            self.wheel
                .first_from(from)
                .filter(|(tick, _)| Some(*tick) <= last)
        };
        let ticks = std::iter::successors(next(0), move |(tick, _)| next(tick + 1));
        ticks.flat_map(|(_, first)| {
            std::iter::successors(Some(first), |index| {
                let next = self.nodes[*index].next;
                (next != NONE).then_some(next)
            })
        })
    }

    /// The live holds among the next `places` places of the slab, from `from` on.
    pub(super) fn page(
        &self,
        from: HoldIndex,
        places: usize,
    ) -> impl Iterator<Item = (HoldIndex, HoldView<'_>)> {
        let end = (from as usize).saturating_add(places).min(self.places());
        (from..end as u32).filter_map(|index| Some((index, self.view(&self.nodes[index])?)))
    }

    /// Number of places of the slab.
    pub(super) fn places(&self) -> usize {
        self.nodes.places()
    }

    /// All live holds, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (HoldIndex, HoldView<'_>)> {
        (0..)
            .zip(self.nodes.iter())
            .filter_map(|(index, node)| Some((index, self.view(node)?)))
    }

    /// A copy that stays as it is, for [`Holds::iter`] alone: it has no wheel.
    pub(super) fn frozen(&mut self) -> Self {
        Holds {
            nodes: self.nodes.frozen(),
            len: self.len,
            carts: self.carts.frozen(),
            wheel: TimerWheel::new(),
        }
    }

    fn view(&self, node: &Node) -> Option<HoldView<'_>> {
        Some(match node.kind {
            Kind::Free => return None,
            Kind::One | Kind::OneCounted => node.hold(node.only_line()),
            Kind::Many => node.hold(HoldLines::Many(&self.carts[node.line])),
        })
    }

    fn link(&mut self, index: HoldIndex) {
        let tick = self.nodes[index].tick();
        let next = self.wheel.insert(tick, index).unwrap_or(NONE);
        if next != NONE {
            self.nodes[next].previous = index;
        }
        let node = &mut self.nodes[index];
        node.next = next;
        node.previous = NONE;
    }

    fn unlink(&mut self, index: HoldIndex) {
        let node = self.nodes[index];
        if node.next != NONE {
            self.nodes[node.next].previous = node.previous;
        }
        if node.previous != NONE {
            self.nodes[node.previous].next = node.next;
        } else if node.next != NONE {
            self.wheel.insert(node.tick(), node.next);
        } else {
            self.wheel.remove(node.tick());
        }
    }
}

/// The first tick at or after an instant; instants out of the wheel's range count as its ends.
fn tick_at_or_after(instant_ms: i64) -> u64 {
    let tick = instant_ms.saturating_add(TICK_MS - 1).div_euclid(TICK_MS);
    u64::try_from(tick).unwrap_or(0).min(TICK_MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn hold(customer: NameIndex, created_at_ms: i64, expires_at_ms: i64) -> Hold {
        let line = HoldLine {
            cell: customer % 5,
            quantity: customer + 1,
            counted: customer.is_multiple_of(2),
        };
        Hold {
            customer,
            ttl_ms: customer * 3,
            created_at_ms,
            expires_at_ms,
            lines: match customer % 3 {
                0 => HoldLines::Many(vec![line; customer as usize % 4].into()),
                _ => HoldLines::One([line]),
            },
        }
    }

    fn due(holds: &Holds, now_ms: i64) -> Vec<HoldIndex> {
        let mut due: Vec<HoldIndex> = holds.due(now_ms).collect();
        due.sort_unstable();
        due
    }

    #[test]
    fn a_hold_is_due_at_its_instant_and_not_before() {
        let mut holds = Holds::new();
        assert_eq!(
            (due(&holds, i64::MAX), holds.next_expiry_ms()),
            (Vec::new(), None)
        );
        let first = holds.insert(hold(1, 0, 20));
        let second = holds.insert(hold(2, 0, 20));
        let third = holds.insert(hold(3, 0, 20));
        let fourth = holds.insert(hold(4, 0, 10));
        assert!(due(&holds, 9).is_empty());
        assert_eq!(due(&holds, 19), vec![fourth]);
        assert_eq!(due(&holds, 20), vec![first, second, third, fourth]);
        holds.remove(second);
        assert_eq!(due(&holds, 20), vec![first, third, fourth]);
        holds.remove(third);
        assert_eq!(due(&holds, 20), vec![first, fourth]);
        holds.move_expiry(first, 30);
        assert_eq!(
            (due(&holds, 29), due(&holds, 30)),
            (vec![fourth], vec![first, fourth])
        );
        assert_eq!(holds.remove(first).expires_at_ms, 30);
        assert_eq!((holds.len(), holds.next_expiry_ms()), (1, Some(10)));
    }

    #[test]
    fn instants_that_no_command_asks_for_are_kept_as_near_as_they_can_be() {
        let mut holds = Holds::new();
        let day_ms = 24 * 60 * 60 * 1_000;
        for (created_at_ms, expires_at_ms, kept) in [
            (0, 11, (0, 20)),
            (-5, -1, (-5, 0)),
            (50, 20, (20, 20)),
            (0, 50 * day_ms, (50 * day_ms - i64::from(u32::MAX), 50 * day_ms)),
            (i64::MIN, i64::MIN, (-i64::from(u32::MAX), 0)),
        ] {
            let index = holds.insert(hold(1, created_at_ms, expires_at_ms));
            let found = holds.remove(index);
            assert_eq!((found.created_at_ms, found.expires_at_ms), kept);
        }
        let index = holds.insert(hold(1, 0, i64::MAX));
        let last_ms = TICK_MAX as i64 * TICK_MS;
        assert_eq!(holds.get(index).expires_at_ms, last_ms);
        assert_eq!(
            (due(&holds, last_ms - 1), due(&holds, i64::MAX)),
            (vec![], vec![index])
        );
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert { created_at_ms: i64, ttl_ticks: i64 },
        Remove(usize),
        Move(usize, i64),
        Due(i64),
        Freeze,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let ttl_ticks = || prop_oneof![4 => 0..30_i64, 1 => 0..30_000_000_i64];
        let step = prop_oneof![
            6 => (0..1_000_i64, ttl_ticks())
                .prop_map(|(created_at_ms, ttl_ticks)| Step::Insert { created_at_ms, ttl_ticks }),
            3 => any::<usize>().prop_map(Step::Remove),
            2 => (any::<usize>(), ttl_ticks()).prop_map(|(at, ticks)| Step::Move(at, ticks)),
            2 => prop_oneof![0..1_500_i64, Just(i64::MAX)].prop_map(Step::Due),
            1 => Just(Step::Freeze),
        ];
        prop::collection::vec(step, 1..80)
    }

    proptest! {
        #[test]
        fn holds_are_a_map_with_an_order_of_ends(steps in steps()) {
            let (mut holds, mut model) = (Holds::new(), BTreeMap::<HoldIndex, Hold>::new());
            let (mut next, mut frozen) = (0, Vec::new());
            for step in steps {
                let nth = |at: usize| model.keys().nth(at % model.len().max(1)).copied();
                match step {
                    Step::Insert { created_at_ms, ttl_ticks } => {
                        let expires_at_ms = (created_at_ms / 10 + 1 + ttl_ticks) * 10;
                        let hold = hold(next, created_at_ms, expires_at_ms);
                        prop_assert!(model.insert(holds.insert(hold.clone()), hold).is_none());
                        next += 1;
                    }
                    Step::Remove(at) => if let Some(index) = nth(at) {
                        prop_assert_eq!(holds.remove(index), model.remove(&index).unwrap());
                    },
                    Step::Move(at, ticks) => if let Some(index) = nth(at) {
                        let hold = model.get_mut(&index).unwrap();
                        hold.expires_at_ms = (hold.created_at_ms / 10 + 1 + ticks) * 10;
                        holds.move_expiry(index, hold.expires_at_ms);
                    },
                    Step::Due(now_ms) => {
                        let ends: Vec<i64> = holds.due(now_ms).map(|index| model[&index].expires_at_ms).collect();
                        prop_assert!(ends.is_sorted());
                        let over = model.iter().filter(|(_, hold)| hold.expires_at_ms <= now_ms);
                        prop_assert_eq!(due(&holds, now_ms), over.map(|(index, _)| *index).collect::<Vec<_>>());
                    }
                    Step::Freeze => frozen.push((holds.frozen(), model.clone())),
                }
                prop_assert_eq!(holds.len(), model.len());
                prop_assert_eq!(holds.next_expiry_ms(), model.values().map(|hold| hold.expires_at_ms).min());
            }
            frozen.push((holds, model));
            for (holds, model) in frozen {
                let found = holds.iter().map(|(index, view)| (index, owned(&view)));
                prop_assert_eq!(found.collect::<BTreeMap<_, _>>(), model);
            }
        }
    }

    fn owned(view: &HoldView<'_>) -> Hold {
        let lines = match &view.lines {
            HoldLines::One(line) => HoldLines::One(*line),
            HoldLines::Many(lines) => HoldLines::Many((*lines).into()),
        };
        Hold {
            customer: view.customer,
            ttl_ms: view.ttl_ms,
            created_at_ms: view.created_at_ms,
            expires_at_ms: view.expires_at_ms,
            lines,
        }
    }
}
