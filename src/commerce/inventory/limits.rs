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

/// Most live holds of a shard: about 100 bytes each with a customer of its own whose name has up to 19 bytes; 1.6 GB
/// when full.
///
/// 36 bytes are the hold, 16 its id, 8 the id's place in the table of ids; 24 the customer's name, 8 its place in the
/// table of names, 8 the units that count against a limit. A longer name takes 16 bytes more and its length, a cart of
/// several lines 16 bytes and 12 for each line; the timer wheel at most 107 MB, if each tick of 72 hours has a hold.
pub const LIVE_HOLDS_MAX: usize = 1 << 24;

/// Most ended or refused reservation ids that a shard remembers: 32 bytes each, 270 MB when full.
pub const REMEMBERED_MAX: usize = 1 << 23;

/// How long an ended or refused reservation id is remembered, and a command id: 24 hours, in milliseconds. An expired
/// hold that is committed after all is remembered from its commit on.
///
/// The window is this time or [`REMEMBERED_MAX`] newer ids, whichever is shorter.
pub const REMEMBERED_MAX_MS: i64 = 24 * 60 * 60 * 1_000;

/// Most command ids of `receive`, `set_policy` and `extend` that a shard remembers, 32 bytes each.
pub const COMMANDS_REMEMBERED_MAX: usize = 1 << 20;

/// Most articles of a shard, kits included: about 300 bytes each with the cell at the default location.
pub const ARTICLES_MAX: usize = 1 << 20;

/// Most pairs of article and location, the default location included: about 130 bytes each.
pub const CELLS_MAX: usize = 1 << 22;
const _: () = assert!(ARTICLES_MAX <= CELLS_MAX);

/// Most locations of a shard, about 100 bytes each.
pub const LOCATIONS_MAX: usize = 4_096;

/// Most kits of a shard: 8 bytes for each part.
pub const KITS_MAX: usize = 1 << 16;

/// Most customers who wait for units in a shard: about 100 bytes each, and the name.
pub const WAITERS_MAX: usize = 1 << 20;

/// Most customers who wait for one article. 16,384: whoever asks for a place looks through all of them, which takes
/// some microseconds.
pub const WAITERS_PER_ARTICLE_MAX: usize = 1 << 14;
const _: () = assert!(WAITERS_PER_ARTICLE_MAX <= WAITERS_MAX);

/// Most expired holds that can still be committed: about 100 bytes each, and 12 for each line of a cart.
pub const EXPIRED_KEPT_MAX: usize = 1 << 18;

/// How long an expired hold can still be committed if its units are there: one hour, in milliseconds.
///
/// The window is this time or [`EXPIRED_KEPT_MAX`] newer expiries, whichever is shorter. A log must be read with
/// windows at least as long as it was written with: the event of such a commit relies on what is remembered.
pub const EXPIRED_KEPT_MAX_MS: i64 = 60 * 60 * 1_000;
const _: () = assert!(EXPIRED_KEPT_MAX_MS <= REMEMBERED_MAX_MS);

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
    /// See [`CELLS_MAX`].
    pub cells: usize,
    /// See [`LOCATIONS_MAX`].
    pub locations: usize,
    /// See [`KITS_MAX`].
    pub kits: usize,
    /// See [`WAITERS_MAX`].
    pub waiters: usize,
    /// See [`WAITERS_PER_ARTICLE_MAX`].
    pub waiters_per_article: usize,
    /// See [`EXPIRED_KEPT_MAX`].
    pub expired_kept: usize,
    /// See [`EXPIRED_KEPT_MAX_MS`].
    pub expired_kept_ms: i64,
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
            cells: CELLS_MAX,
            locations: LOCATIONS_MAX,
            kits: KITS_MAX,
            waiters: WAITERS_MAX,
            waiters_per_article: WAITERS_PER_ARTICLE_MAX,
            expired_kept: EXPIRED_KEPT_MAX,
            expired_kept_ms: EXPIRED_KEPT_MAX_MS,
        }
    }
}
