//! The limits of one shard: every table is bounded, and at its bound new work is refused as throttled.

/// Resolution of expiry. 10 ms: a hold ends at most one tick after its time, and ending is cheap.
pub const TICK_MS: i64 = 10;

/// Longest time that one `reserve` or `extend` may ask for. 24 hours, in milliseconds: off-site payments.
pub const HOLD_TTL_MAX_MS: u32 = 24 * 60 * 60 * 1_000;

/// Longest life of a hold, however often it is extended. 72 hours, in milliseconds: a bank transfer.
pub const HOLD_TOTAL_MAX_MS: i64 = 72 * 60 * 60 * 1_000;
const _: () = assert!(HOLD_TTL_MAX_MS as i64 <= HOLD_TOTAL_MAX_MS);

/// Most lines of one cart; keeps the decision on a cart, and its event, small.
pub const LINES_MAX: usize = 64;

/// Most locations that a fixed split names.
pub const SPLIT_LOCATIONS_MAX: usize = 16;

/// Most parts of one kit.
pub const KIT_PARTS_MAX: usize = 16;

/// Longest name of a location, in bytes; shorter than others, for every line of an event may carry one.
pub const LOCATION_MAX_BYTES: usize = 64;

/// Longest reason of an adjustment, in bytes.
pub const REASON_MAX_BYTES: usize = 256;

/// Longest name of an article or a customer, in bytes.
pub const NAME_MAX_BYTES: usize = 256;

/// Most live holds of a shard: about 130 bytes each, 550 MB when full.
pub const LIVE_HOLDS_MAX: usize = 1 << 22;

/// Most ended or refused reservation ids that a shard remembers: about 60 bytes each, 500 MB when full.
pub const REMEMBERED_MAX: usize = 1 << 23;

/// How long an ended or refused reservation id is remembered, and a command id: 24 hours, in milliseconds.
///
/// The window is this time or [`REMEMBERED_MAX`] newer ids, whichever is shorter.
pub const REMEMBERED_MAX_MS: i64 = 24 * 60 * 60 * 1_000;

/// Most command ids of `receive`, `set_policy` and `extend` that a shard remembers, about 60 bytes each.
pub const COMMANDS_REMEMBERED_MAX: usize = 1 << 20;

/// Most articles of a shard, about 120 bytes each.
pub const ARTICLES_MAX: usize = 1 << 20;

/// Most pairs of customer and article with units held or bought: about 100 bytes each with the name.
///
/// Articles without a limit per customer may fill half of it; beyond that their buyers are not counted.
pub const CUSTOMER_TOTALS_MAX: usize = 1 << 24;

/// What a throttled caller should wait, in milliseconds: ten ticks, enough for holds to end.
pub const THROTTLE_RETRY_MS: u32 = 100;

/// The bounds of one shard's tables.
///
/// They are part of the fold: two shards with different bounds may remember different ids. A log that was written
/// under other bounds is still read: its events stand, whatever these bounds would have made of the commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// See [`LIVE_HOLDS_MAX`].
    pub live_holds: usize,
    /// See [`REMEMBERED_MAX`].
    pub remembered: usize,
    /// See [`REMEMBERED_MAX_MS`].
    pub remembered_ms: i64,
    /// See [`COMMANDS_REMEMBERED_MAX`].
    pub commands_remembered: usize,
    /// See [`ARTICLES_MAX`].
    pub articles: usize,
    /// See [`CUSTOMER_TOTALS_MAX`].
    pub customer_totals: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            live_holds: LIVE_HOLDS_MAX,
            remembered: REMEMBERED_MAX,
            remembered_ms: REMEMBERED_MAX_MS,
            commands_remembered: COMMANDS_REMEMBERED_MAX,
            articles: ARTICLES_MAX,
            customer_totals: CUSTOMER_TOTALS_MAX,
        }
    }
}
