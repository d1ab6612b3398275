//! No log at all: what the device takes at most from one thread that waits for each write.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Mutex;

use anyhow::anyhow;
use doorbuster::log::io::aligned::BufferPool;
use doorbuster::log::io::{BLOCK_SIZE_BYTES, DurableWriter, Environment, FileSlot, OpenMode};

use crate::peer::Peer;
use crate::workload::Workload;

/// Size of the file that is overwritten again and again.
const FILE_SIZE_BYTES: u64 = 64 * 1024 * 1024;

/// A file of blocks that were written before.
pub struct Device {
    writer: Box<dyn DurableWriter>,
    slot: FileSlot,
    data: bytes::Bytes,
    position: Mutex<u64>,
}

impl Device {
    /// A new file in `folder`.
    pub fn open(folder: &Path, workload: Workload) -> anyhow::Result<Device> {
        let disk = Environment::machine(false).disk;
        let path = folder.join("device");
        let file = disk.open(&path, OpenMode::CreateNew)?;
        let zeros = vec![0; 1024 * 1024];
        for position in (0..FILE_SIZE_BYTES).step_by(zeros.len()) {
            file.write_at(&[IoSlice::new(&zeros)], position)?;
        }
        file.sync()?;
        let writer = disk.durable_writer(1)?;
        let slot = writer.attach(&path)?;
        let size_bytes = workload.records_per_commit * workload.record_size_bytes;
        let size_bytes = size_bytes.next_multiple_of(BLOCK_SIZE_BYTES);
        let mut data = BufferPool::new(0).take(size_bytes);
        data.extend_from_slice(&vec![7; size_bytes]);
        Ok(Device {
            writer,
            slot,
            data: data.freeze(),
            position: Mutex::new(0),
        })
    }
}

impl Peer for Device {
    fn commit(&self, _thread: usize, _records: &[Vec<u8>]) -> anyhow::Result<()> {
        let mut position = self
            .position
            .lock()
            .map_err(|_| anyhow!("another thread panicked"))?;
        if *position + self.data.len() as u64 > FILE_SIZE_BYTES {
            *position = 0;
        }
        self.writer.submit(self.slot, *position, self.data.clone(), 0)?;
        let mut completions = Vec::with_capacity(1);
        self.writer.wait(&mut completions)?;
        for completion in completions {
            completion.result?;
        }
        *position += self.data.len() as u64;
        Ok(())
    }

    fn close(self: Box<Self>) -> anyhow::Result<()> {
        Ok(())
    }
}
