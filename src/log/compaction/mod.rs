//! Compaction: a topic keeps the newest record of every key, and every record keeps its offset.
//!
//! A pass reads the part of a partition that was not compacted yet and notes the newest offset of each key
//! ([`OffsetMap`]); then it reads all closed segments and leaves out what is older ([`Filter`]). Offsets whose
//! records are gone stay as batches without records ([`Gap`]).

mod codec;
mod filter;
mod gaps;
mod offset_map;
mod pass;
mod plan;

use filter::{Filter, Kept, note_keys};
use gaps::Gap;
use offset_map::{KEYS_MAX, OffsetMap};
pub use pass::{Compacted, CompactionError, compact};
use plan::{Plan, groups, plan};
