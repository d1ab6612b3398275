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

/// Longest name of an article or a customer, in bytes.
pub const NAME_MAX_BYTES: usize = 256;

/// Most live holds of a shard: about 100 bytes each with a customer of its own whose name has up to 19 bytes; 1.6 GB
/// when full.
///
/// 36 bytes are the hold, 16 its id, 8 the id's place in the table of ids; 24 the customer's name, 8 its place in the
/// table of names, 8 the units that count against a limit. A longer name takes 16 bytes more and its length, a cart of
/// several lines 16 bytes and 12 for each line; the timer wheel at most 107 MB, if each tick of 72 hours has a hold.
pub const LIVE_HOLDS_MAX: usize = 1 << 24;

/// Most ended or refused reservation ids that a shard remembers: 32 bytes each, 270 MB when full.
pub const REMEMBERED_MAX: usize = 1 << 23;

/// How long an ended or refused reservation id is remembered, and a command id: 24 hours, in milliseconds.
///
/// The window is this time or [`REMEMBERED_MAX`] newer ids, whichever is shorter.
pub const REMEMBERED_MAX_MS: i64 = 24 * 60 * 60 * 1_000;

/// Most command ids of `receive`, `set_policy` and `extend` that a shard remembers, 32 bytes each.
pub const COMMANDS_REMEMBERED_MAX: usize = 1 << 20;

/// Most articles of a shard, about 75 bytes each if the name has up to 19 bytes.
pub const ARTICLES_MAX: usize = 1 << 20;

/// Most pairs of customer and article with units held or bought: 40 bytes each for a new customer whose name has up to
/// 19 bytes, 24 for each further article of a customer.
///
/// Articles without a limit per customer may fill half of it; beyond that their buyers are not counted. Twice the live
/// holds, so that the customers of all of them can be counted.
pub const CUSTOMER_TOTALS_MAX: usize = 1 << 25;
const _: () = assert!(CUSTOMER_TOTALS_MAX / 2 >= LIVE_HOLDS_MAX);

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
