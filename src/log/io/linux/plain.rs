//! Durable writes by plain system calls, one at a time, where `io_uring` is missing or forbidden.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, IoSlice};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustix::fs::OFlags;
use rustix::io::ReadWriteFlags;

use super::super::{Completion, DurableWriter, FileSlot, WritePath};

/// A queue of writes that [`DurableWriter::wait`] carries out on the thread that waits.
#[derive(Debug, Default)]
pub struct PlainWriter {
    files: Mutex<Vec<Option<Arc<DurableFile>>>>,
    queue: Mutex<VecDeque<Queued>>,
    buffered: AtomicBool,
}

#[derive(Debug)]
struct Queued {
    file: Arc<DurableFile>,
    position: u64,
    data: Bytes,
    flags: ReadWriteFlags,
    token: u64,
}

/// A file for durable writes.
#[derive(Debug)]
pub(super) struct DurableFile {
    pub(super) file: fs::File,
    /// Whether writes go past the page cache.
    is_direct: bool,
}

impl DurableFile {
    /// Opens a file for writes past the page cache where the filesystem allows it.
    pub(super) fn open(path: &Path) -> io::Result<DurableFile> {
        let open = |flags: OFlags| {
            fs::OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(flags.bits().cast_signed())
                .open(path)
        };
        match open(OFlags::DIRECT) {
            Ok(file) => Ok(DurableFile {
                file,
                is_direct: true,
            }),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(DurableFile {
                file: open(OFlags::empty())?,
                is_direct: false,
            }),
            Err(error) => Err(error),
        }
    }

    /// The flags of a write that is on stable storage when it ends, or only with the device if that is possible.
    pub(super) fn flags(&self, is_synced: bool) -> ReadWriteFlags {
        if is_synced || !self.is_direct {
            ReadWriteFlags::DSYNC
        } else {
            ReadWriteFlags::empty()
        }
    }
}

/// Puts `value` into the first free place of `places`.
pub(super) fn occupy<T>(places: &mut Vec<Option<T>>, value: T) -> FileSlot {
    let free = places.iter().position(Option::is_none).unwrap_or_else(|| {
        places.push(None);
        places.len() - 1
    });
    places[free] = Some(value);
    FileSlot(free as u32)
}

impl PlainWriter {
    fn queue(
        &self,
        slot: FileSlot,
        position: u64,
        data: Bytes,
        token: u64,
        is_synced: bool,
    ) -> io::Result<()> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let file = files[slot.0 as usize].clone().ok_or(io::ErrorKind::NotFound)?;
        let queued = Queued {
            flags: file.flags(is_synced),
            file,
            position,
            data,
            token,
        };
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(queued);
        Ok(())
    }
}

impl DurableWriter for PlainWriter {
    fn path(&self) -> WritePath {
        if self.buffered.load(Ordering::Relaxed) {
            WritePath::PlainBuffered
        } else {
            WritePath::PlainDirect
        }
    }

    fn attach(&self, path: &Path) -> io::Result<FileSlot> {
        let file = DurableFile::open(path)?;
        self.buffered.fetch_or(!file.is_direct, Ordering::Relaxed);
        Ok(occupy(
            &mut self.files.lock().unwrap_or_else(PoisonError::into_inner),
            Arc::new(file),
        ))
    }

    fn detach(&self, slot: FileSlot) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)[slot.0 as usize] = None;
    }

    fn submit(&self, slot: FileSlot, position: u64, data: Bytes, token: u64) -> io::Result<()> {
        self.queue(slot, position, data, token, true)
    }

    fn submit_unsynced(&self, slot: FileSlot, position: u64, data: Bytes, token: u64) -> io::Result<()> {
        self.queue(slot, position, data, token, false)
    }

    fn wait(&self, completions: &mut Vec<Completion>) -> io::Result<()> {
        let next = self
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        let Some(Queued {
            file,
            position,
            data,
            flags,
            token,
        }) = next
        else {
            return Ok(());
        };
        completions.push(Completion {
            token,
            result: write_all_at(&file.file, &data, position, flags),
        });
        Ok(())
    }
}

/// Writes all of `data`; a short write is continued.
fn write_all_at(
    file: &fs::File,
    mut data: &[u8],
    mut position: u64,
    flags: ReadWriteFlags,
) -> io::Result<()> {
    while !data.is_empty() {
        match rustix::io::pwritev2(file, &[IoSlice::new(data)], position, flags) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                data = &data[written..];
                position += written as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
