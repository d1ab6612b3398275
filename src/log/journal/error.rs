//! Why a journal cannot be read or written.

use std::io;
use std::path::PathBuf;

use super::frame::Lsn;
use crate::log::StoreId;

/// A journal that cannot be trusted, or not be reached.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A frame that was durable is damaged or missing. The log halts rather than shorten its history.
    #[error(
        "journal {path} is damaged at position {position}: group {lsn} was acknowledged and is not readable; \
         restore the file from a copy, nothing was changed"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the group should begin.
        position: u64,
        /// The group that is missing.
        lsn: Lsn,
    },
    /// A whole file of the journal is missing.
    #[error(
        "journal folder {path} has no file with group {lsn}, which the checkpoint needs; \
         restore the missing file, nothing was changed"
    )]
    Missing {
        /// The journal folder.
        path: PathBuf,
        /// The first group that is needed.
        lsn: Lsn,
    },
    /// A file belongs to another data folder.
    #[error("journal {path} belongs to store {found:?}, this folder is {expected:?}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The store that the file names.
        found: StoreId,
        /// The store of this folder.
        expected: StoreId,
    },
    /// A system call failed.
    #[error("could not {what} {path}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl JournalError {
    /// Whether space, or the user's quota of it, ran out.
    pub fn is_storage_full(&self) -> bool {
        matches!(self, JournalError::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}
