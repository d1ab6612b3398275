//! A hierarchical timer wheel: one value for each tick, found and emptied in the order of ticks.
//!
//! Seven levels of wheels with 64 places: a place of the lowest wheels is one tick, a place of the others stands for
//! a whole wheel of the level below, which exists only while it holds something. A value goes to its exact tick at
//! once and never moves: there is no cascade, which with a million holds of one moment would stop the shard.

use super::chunked::Slab;

/// Places of a wheel, as a power of two: one word tells which are taken.
const PLACE_BITS: u32 = 6;

/// Seven levels tell 2⁴² ticks apart.
const LEVELS: u32 = 7;

/// The largest tick: with ticks of 10 ms since 1970, in the year 3363.
pub(super) const TICK_MAX: u64 = (1 << (LEVELS * PLACE_BITS)) - 1;

/// 264 bytes. A lowest wheel covers 640 ms, so that all ticks of 72 hours take 107 MB, if each has a hold.
#[derive(Clone, Debug)]
struct Wheel {
    /// A bit for each place that is taken.
    taken: u64,
    /// Values in the lowest wheels; elsewhere the wheels below.
    places: [u32; 1 << PLACE_BITS],
}

impl Default for Wheel {
    fn default() -> Self {
        Wheel {
            taken: 0,
            places: [0; 1 << PLACE_BITS],
        }
    }
}

/// The wheels of one shard.
#[derive(Debug)]
pub(super) struct TimerWheel {
    wheels: Slab<Wheel>,
    /// The wheel of the highest level, which always exists.
    top: u32,
    /// The lowest wheel that was found last, and the ticks that it covers: most holds of a moment end together.
    recent: Option<(u64, u32)>,
}

impl TimerWheel {
    pub(super) fn new() -> Self {
        let mut wheels = Slab::default();
        let top = wheels.insert(Wheel::default());
        TimerWheel {
            wheels,
            top,
            recent: None,
        }
    }

    /// Sets the value of a tick and returns the one that was there.
    pub(super) fn insert(&mut self, tick: u64, value: u32) -> Option<u32> {
        debug_assert!(tick <= TICK_MAX, "tick {tick} is too far");
        let lowest = self.lowest(tick);
        let wheel = &mut self.wheels[lowest];
        let place = place_of(tick, 0);
        let before = std::mem::replace(&mut wheel.places[place], value);
        let was_taken = wheel.taken & (1 << place) != 0;
        wheel.taken |= 1 << place;
        was_taken.then_some(before)
    }

    /// Empties a tick, and drops the wheels that hold nothing any more.
    pub(super) fn remove(&mut self, tick: u64) {
        let mut path = [self.top; LEVELS as usize];
        for level in (1..LEVELS).rev() {
            let wheel = &self.wheels[path[level as usize]];
            let place = place_of(tick, level);
            if wheel.taken & (1 << place) == 0 {
                return;
            }
            path[level as usize - 1] = wheel.places[place];
        }
        for level in 0..LEVELS {
            let index = path[level as usize];
            let wheel = &mut self.wheels[index];
            wheel.taken &= !(1 << place_of(tick, level));
            if wheel.taken != 0 || index == self.top {
                return;
            }
            self.wheels.take(index);
            if level == 0 && self.recent.is_some_and(|(_, recent)| recent == index) {
                self.recent = None;
            }
        }
    }

    /// The first tick that is not before `from` and has a value, with the value.
    pub(super) fn first_from(&self, from: u64) -> Option<(u64, u32)> {
        if from > TICK_MAX {
            return None;
        }
        self.seek(self.top, LEVELS - 1, 0, from)
    }

    /// The same in one wheel whose first tick is `start`.
    fn seek(&self, index: u32, level: u32, start: u64, from: u64) -> Option<(u64, u32)> {
        let wheel = &self.wheels[index];
        let skipped = if from <= start { 0 } else { place_of(from, level) };
        let mut taken = wheel.taken & (!0 << skipped);
        while taken != 0 {
            let place = taken.trailing_zeros() as usize;
            taken &= taken - 1;
            let (tick, value) = (
                start | ((place as u64) << (level * PLACE_BITS)),
                wheel.places[place],
            );
            if level == 0 {
                return Some((tick, value));
            }
            // Only the first place can cover ticks before `from` and so turn out empty.
            if let Some(found) = self.seek(value, level - 1, tick, from) {
                return Some(found);
            }
        }
        None
    }

    /// The lowest wheel of a tick, made if there is none.
    fn lowest(&mut self, tick: u64) -> u32 {
        let covered = tick >> PLACE_BITS;
        if let Some((ticks, index)) = self.recent
            && ticks == covered
        {
            return index;
        }
        let mut index = self.top;
        for level in (1..LEVELS).rev() {
            let place = place_of(tick, level);
            let wheel = &self.wheels[index];
            index = if wheel.taken & (1 << place) != 0 {
                wheel.places[place]
            } else {
                let below = self.wheels.insert(Wheel::default());
                let wheel = &mut self.wheels[index];
                wheel.taken |= 1 << place;
                wheel.places[place] = below;
                below
            };
        }
        self.recent = Some((covered, index));
        index
    }
}

fn place_of(tick: u64, level: u32) -> usize {
    (tick >> (level * PLACE_BITS)) as usize & ((1 << PLACE_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn ticks() -> impl Strategy<Value = u64> {
        prop_oneof![
            4 => 0..200_u64,
            2 => (0..8_u64).prop_map(|n| n * 4_096 + 63),
            2 => (0..42_u32).prop_map(|bit| 1 << bit),
            1 => 0..=TICK_MAX,
            1 => Just(TICK_MAX),
        ]
    }

    proptest! {
        #[test]
        fn the_wheel_is_an_ordered_map(steps in prop::collection::vec((0..3_u8, ticks(), 0..9_u32), 1..200)) {
            let (mut wheel, mut model) = (TimerWheel::new(), BTreeMap::new());
            for (kind, tick, value) in steps {
                match kind {
                    0 | 1 => prop_assert_eq!(wheel.insert(tick, value), model.insert(tick, value)),
                    _ => {
                        wheel.remove(tick);
                        model.remove(&tick);
                    }
                }
                let first = model.range(tick..).next().map(|(tick, value)| (*tick, *value));
                prop_assert_eq!(wheel.first_from(tick), first);
                let mut found = Vec::new();
                let mut next = wheel.first_from(0);
                while let Some((tick, value)) = next {
                    found.push((tick, value));
                    next = wheel.first_from(tick + 1);
                }
                prop_assert_eq!(found, model.iter().map(|(tick, value)| (*tick, *value)).collect::<Vec<_>>());
            }
            for tick in model.keys() {
                wheel.remove(*tick);
            }
            prop_assert_eq!(wheel.wheels.iter().filter(|wheel| wheel.taken != 0).count(), 0);
            prop_assert_eq!(wheel.first_from(0), None);
        }
    }
}
