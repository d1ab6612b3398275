//! The logs that take part, and what is asked of each.

use std::fmt;
use std::path::Path;

use clap::ValueEnum;

use crate::workload::Workload;
use crate::{device, doorbuster_log, okay, raft};

/// An open log.
pub trait Peer: Sync {
    /// Appends `records` in one commit of thread `thread`; they are on stable storage when this returns.
    fn commit(&self, thread: usize, records: &[Vec<u8>]) -> anyhow::Result<()>;
    /// Finishes what is left to do and closes the log.
    fn close(self: Box<Self>) -> anyhow::Result<()>;
}

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PeerName {
    /// doorbuster's log, one partition
    Doorbuster,
    /// No log: the records' bytes, rounded up to 4 KiB, overwritten with O_DIRECT and data-sync by one thread
    Device,
    /// raft-engine, TiKV's log: one region for each thread, recycled files, no compression
    RaftEngine,
    /// okaywal, BonsaiDB's write-ahead log
    Okaywal,
    /// RocksDB with a sync for each write, as its write-ahead log
    #[cfg(feature = "rocksdb")]
    Rocksdb,
    /// Chronicle Queue with `sync()` before a commit counts
    ChronicleQueue,
}

impl PeerName {
    /// Everybody this program was built with.
    pub fn built_in() -> Vec<PeerName> {
        PeerName::value_variants().to_vec()
    }

    /// Whether it can do that workload.
    pub fn can_do(self, workload: Workload) -> bool {
        self != PeerName::Device || workload.threads == 1
    }

    /// Opens it in `folder`, which is empty; `None` for one that runs in a process of its own.
    pub fn open(self, folder: &Path, workload: Workload) -> anyhow::Result<Option<Box<dyn Peer>>> {
        Ok(Some(match self {
            PeerName::Doorbuster => Box::new(doorbuster_log::Doorbuster::open(folder)?),
            PeerName::Device => Box::new(device::Device::open(folder, workload)?),
            PeerName::RaftEngine => Box::new(raft::RaftEngine::open(folder, workload)?),
            PeerName::Okaywal => Box::new(okay::Okaywal::open(folder)?),
            #[cfg(feature = "rocksdb")]
            PeerName::Rocksdb => Box::new(crate::rocks::Rocksdb::open(folder)?),
            PeerName::ChronicleQueue => return Ok(None),
        }))
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("hidden", |value| value.get_name()))
    }
}
