//! What a seed decides once for its whole run: sizes, and which faults come.

use crate::log::LogOptions;

use super::dice::Dice;

/// Which faults a run meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    /// Nothing but clean closes, kills and power cuts between operations.
    Calm,
    /// Kills and power cuts in the middle of operations, and of recoveries.
    Crashes,
    /// Operations that fail once, and full disks; and crashes.
    Errors,
    /// Content that changes without a word: bit rot, misplaced writes, lost flushes; and crashes.
    Damage,
}

/// The sizes and the weather of one run.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) options: LogOptions,
    pub(super) weather: Weather,
    pub(super) steps: u64,
    pub(super) partitions_max: u64,
    /// Sizes of record values in bytes, small, medium and large, with their weights.
    pub(super) value_sizes: [(u64, u64); 3],
    pub(super) flush_weight: u64,
    /// Whether durable writes end one at a time and late.
    pub(super) is_slow: bool,
}

/// How large the batches of a run are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    /// Everything goes through the journal.
    Small,
    /// The same with a journal that has room for what is appended while the disk is full.
    Roomy,
    /// Large writes begin at two blocks.
    Extents,
    /// Large writes begin where they do by default: one such run costs as much as a dozen others.
    Real,
}

const KIB: u64 = 1024;

impl Shape {
    pub(super) fn of(dice: &Dice) -> Shape {
        let weather = dice.weighted(&[
            (Weather::Calm, 10),
            (Weather::Crashes, 35),
            (Weather::Errors, 25),
            (Weather::Damage, 30),
        ]);
        let (scale, options, value_sizes) = sizes(dice);
        let steps = match scale {
            Scale::Small => 8 + dice.below(32),
            Scale::Roomy => 30 + dice.below(40),
            Scale::Extents => 8 + dice.below(24),
            Scale::Real => 6 + dice.below(10),
        };
        Shape {
            options,
            weather,
            steps,
            partitions_max: 1 + dice.below(3),
            value_sizes,
            flush_weight: if matches!(scale, Scale::Small | Scale::Roomy) {
                7
            } else {
                14
            },
            is_slow: dice.chance(15),
        }
    }
}

/// Options, and sizes of values.
fn sizes(dice: &Dice) -> (Scale, LogOptions, [(u64, u64); 3]) {
    let scale = dice.weighted(&[
        (Scale::Small, 57),
        (Scale::Roomy, 5),
        (Scale::Extents, 36),
        (Scale::Real, 2),
    ]);
    let (batch, journal, segment, extent, value_sizes) = match scale {
        Scale::Small => (
            6,
            [12, 16, 24, 48],
            [4, 8, 16, 32],
            128,
            [(40, 50), (600, 40), (5_000, 10)],
        ),
        Scale::Roomy => (
            6,
            [96, 112, 128, 160],
            [16, 32, 64, 64],
            128,
            [(40, 20), (600, 20), (5_000, 60)],
        ),
        Scale::Extents => (
            24,
            [32, 48, 64, 128],
            [64, 96, 192, 512],
            8,
            [(40, 40), (5_000, 20), (20 * KIB, 40)],
        ),
        Scale::Real => (
            320,
            [384, 512, 512, 1024],
            [1024, 1024, 2048, 4096],
            128,
            [(100, 40), (20 * KIB, 20), (300 * KIB, 40)],
        ),
    };
    let options = LogOptions {
        batch_size_max_bytes: (batch * KIB) as usize,
        journal_file_size_bytes: journal[dice.index(4)] * KIB,
        segment_size_max_bytes: segment[dice.index(4)] * KIB,
        extent_size_min_bytes: (extent * KIB) as usize,
        ..LogOptions::default()
    };
    (scale, options, value_sizes)
}
