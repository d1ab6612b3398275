//! raft-engine: the log of TiKV, with a region for each thread.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::anyhow;
use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use crate::peer::Peer;
use crate::workload::Workload;

/// Bytes at the front of an entry that are its index.
const INDEX_SIZE_BYTES: usize = size_of::<u64>();

/// Entries of bytes; the first eight are the entry's index.
#[derive(Clone)]
struct Entries;

impl MessageExt for Entries {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        let index = entry.value.first_chunk::<INDEX_SIZE_BYTES>();
        index.map_or(0, |index| u64::from_le_bytes(*index))
    }
}

/// An open engine.
pub struct RaftEngine {
    engine: Engine,
    /// By thread: the index that its region's next entry gets.
    next: Vec<AtomicU64>,
}

impl RaftEngine {
    /// A new engine in `folder`.
    pub fn open(folder: &Path, workload: Workload) -> anyhow::Result<RaftEngine> {
        let config = Config {
            dir: folder.join("raft").to_string_lossy().into_owned(),
            // Off: the records do not compress.
            batch_compression_threshold: ReadableSize(0),
            ..Config::default()
        };
        Ok(RaftEngine {
            engine: Engine::open(config)?,
            next: (0..workload.threads).map(|_| AtomicU64::new(1)).collect(),
        })
    }
}

impl Peer for RaftEngine {
    fn commit(&self, thread: usize, records: &[Vec<u8>]) -> anyhow::Result<()> {
        let next = self
            .next
            .get(thread)
            .ok_or_else(|| anyhow!("no region for thread {thread}"))?;
        // Only this thread counts this region's entries.
        let first = next.fetch_add(records.len() as u64, Ordering::Relaxed);
        let entries: Vec<BytesValue> = (first..)
            .zip(records)
            .map(|(index, record)| {
                let mut entry = BytesValue::new();
                entry.value.extend_from_slice(&index.to_le_bytes());
                entry.value.extend_from_slice(&record[INDEX_SIZE_BYTES..]);
                entry
            })
            .collect();
        let mut batch = LogBatch::with_capacity(1);
        batch.add_entries::<Entries>(thread as u64 + 1, &entries)?;
        self.engine.write(&mut batch, true)?;
        Ok(())
    }

    fn close(self: Box<Self>) -> anyhow::Result<()> {
        Ok(())
    }
}
