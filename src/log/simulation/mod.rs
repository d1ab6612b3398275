//! The simulator: whole lives of a log on the simulated disk, from seeds, judged by a model in memory.
//!
//! A seed decides everything: how large the log is, what is appended, read, flushed and deleted, when the process
//! is killed and when the power fails, and what the disk does wrong ([`crate::log::io::sim`]). After every step and
//! every recovery the log is compared with a naive model:
//!
//! - acknowledged <= recovered <= submitted in every partition, without a gap, byte for byte;
//! - what was served or shown before a crash is there after it, and no offset ever has two contents;
//! - after silent damage the log says that something is wrong or gives the right bytes, and never a shorter
//!   history: only the end of the journal that nothing else speaks of may be missing, and that is counted;
//! - a log that met an error acknowledges nothing more; one that refuses to open has written nothing; one that
//!   opens twice holds the same.
//!
//! The same seed gives the same bytes. [`simulate`] runs many seeds; [`replay`] runs one and tells its steps.
//!
//! # Adding an operation
//!
//! A step is a variant of `Step` (`step.rs`) with its weight, and a method of `Run` that does it to the log and to
//! the model. What a crash may do to it belongs into `Model` and `check.rs`.

mod check;
mod copies;
mod damage;
mod dice;
mod many;
mod model;
#[cfg(feature = "planted-bugs")]
mod planted;
mod recovery;
mod report;
mod run;
mod shape;
mod step;

pub use many::{Settings, simulate};
#[cfg(feature = "planted-bugs")]
pub use planted::{Hunt, hunt_all};
pub use report::{Failure, Report};
pub use run::replay;

use std::fmt;

/// What the log did that it must never do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    what: String,
}

impl Violation {
    fn new(what: String) -> Violation {
        Violation { what }
    }

    fn at(self, place: &str) -> Violation {
        Violation::new(format!("{place} {}", self.what))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}
