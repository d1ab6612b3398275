//! Looking into a data folder that no log has open: what is in it, whether it is sound, and what can be saved.
//!
//! Everything here reads through a [`DataFolder`], which holds the folder's lock. [`survey`] reads all there
//! is and says what is wrong with it; [`stat`] only counts; [`dump`] shows. [`repair`] moves what is damaged
//! away, never deletes, and leaves a folder that opens; [`copy`] makes another store of what is sound.
//!
//! Nothing that these functions find is evidence for a running log: it decides for itself what it believes.

mod adopt;
pub mod copy;
mod draft;
pub mod dump;
mod error;
mod finding;
mod folder;
mod journal;
pub mod kafka;
mod partition;
pub mod repair;
mod segment;
mod stat;
mod survey;
#[cfg(test)]
mod tests;

pub use error::InspectError;
pub use finding::{Finding, Problem, Severity};
pub use folder::{Access, DataFolder};
pub use journal::JournalGroup;
pub use stat::{PartitionStat, StoreStat, stat};
pub use survey::{FreeArea, LostRange, PartitionSurvey, Survey, survey};
