//! okaywal: a write-ahead log that keeps nothing beyond its checkpoints.

use std::io;
use std::path::Path;

use okaywal::{Configuration, Entry, EntryId, LogManager, SegmentReader, WriteAheadLog};

use crate::peer::Peer;

/// Size of its files, and when it begins the next. Far more than its defaults of 1 MiB and 768 KiB, with which
/// the largest commits would not fit into a file.
const FILE_SIZE_BYTES: u32 = 64 * 1024 * 1024;
const CHECKPOINT_AFTER_BYTES: u64 = 48 * 1024 * 1024;

/// An open log.
pub struct Okaywal(WriteAheadLog);

/// Moves nothing anywhere: whatever a checkpoint would cost its user is not counted.
#[derive(Debug)]
struct Forgets;

impl LogManager for Forgets {
    fn recover(&mut self, _entry: &mut Entry<'_>) -> io::Result<()> {
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _last: EntryId,
        _entries: &mut SegmentReader,
        _log: &WriteAheadLog,
    ) -> io::Result<()> {
        Ok(())
    }
}

impl Okaywal {
    /// A new log in `folder`.
    pub fn open(folder: &Path) -> anyhow::Result<Okaywal> {
        let log = Configuration::default_for(folder.join("okaywal"))
            .preallocate_bytes(FILE_SIZE_BYTES)
            .checkpoint_after_bytes(CHECKPOINT_AFTER_BYTES)
            .open(Forgets)?;
        Ok(Okaywal(log))
    }
}

impl Peer for Okaywal {
    fn commit(&self, _thread: usize, records: &[Vec<u8>]) -> anyhow::Result<()> {
        let mut entry = self.0.begin_entry()?;
        for record in records {
            entry.write_chunk(record)?;
        }
        entry.commit()?;
        Ok(())
    }

    fn close(self: Box<Self>) -> anyhow::Result<()> {
        self.0.shutdown()?;
        Ok(())
    }
}
