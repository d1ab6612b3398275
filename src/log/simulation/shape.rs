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
    /// Sizes of record values in bytes: small, medium, large.
    pub(super) value_sizes: [u64; 3],
    /// Whether durable writes end one at a time and late.
    pub(super) is_slow: bool,
}

/// One run in so many appends batches that are large for the real log, which cost as much as a dozen others.
const LARGE_SHARE: u64 = 48;

impl Shape {
    pub(super) fn of(dice: &Dice) -> Shape {
        let weather = dice.weighted(&[
            (Weather::Calm, 10),
            (Weather::Crashes, 35),
            (Weather::Errors, 25),
            (Weather::Damage, 30),
        ]);
        let is_large = dice.below(LARGE_SHARE) == 0;
        let kib = 1024;
        let (options, value_sizes) = if is_large {
            let options = LogOptions {
                batch_size_max_bytes: 320 * kib,
                journal_file_size_bytes: 512 * kib as u64,
                segment_size_max_bytes: (512 + dice.below(512)) * kib as u64,
                ..LogOptions::default()
            };
            (options, [100, 20 * kib as u64, 300 * kib as u64])
        } else {
            let options = LogOptions {
                batch_size_max_bytes: 6 * kib,
                journal_file_size_bytes: [12, 16, 24, 48][dice.index(4)] * kib as u64,
                segment_size_max_bytes: [4, 8, 16, 32][dice.index(4)] * kib as u64,
                ..LogOptions::default()
            };
            (options, [40, 600, 5_000])
        };
        Shape {
            options,
            weather,
            steps: if is_large {
                6 + dice.below(10)
            } else {
                8 + dice.below(32)
            },
            partitions_max: 1 + dice.below(3),
            value_sizes,
            is_slow: dice.chance(15),
        }
    }
}
