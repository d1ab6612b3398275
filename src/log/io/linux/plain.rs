//! Durable writes by plain system calls, one at a time, where `io_uring` is missing or forbidden.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustix::fs::OFlags;

use super::super::{Completion, DurableWriter, FileSlot, WritePath};

/// A queue of writes that [`DurableWriter::wait`] carries out on the thread that waits.
#[derive(Debug, Default)]
pub struct PlainWriter {
    files: Mutex<Vec<Option<Arc<fs::File>>>>,
    queue: Mutex<VecDeque<Queued>>,
    buffered: AtomicBool,
}

#[derive(Debug)]
struct Queued {
    file: Arc<fs::File>,
    position: u64,
    data: Bytes,
    token: u64,
}

/// Opens a file so that every write to it is durable when it returns, past the page cache where the
/// filesystem allows it; tells whether it does.
pub(super) fn open_durable(path: &Path) -> io::Result<(fs::File, bool)> {
    let open = |flags: OFlags| {
        fs::OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)
    };
    match open(OFlags::DIRECT | OFlags::DSYNC) {
        Ok(file) => Ok((file, true)),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok((open(OFlags::DSYNC)?, false)),
        Err(error) => Err(error),
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

impl DurableWriter for PlainWriter {
    fn path(&self) -> WritePath {
        if self.buffered.load(Ordering::Relaxed) {
            WritePath::PlainBuffered
        } else {
            WritePath::PlainDirect
        }
    }

    fn attach(&self, path: &Path) -> io::Result<FileSlot> {
        let (file, direct) = open_durable(path)?;
        self.buffered.fetch_or(!direct, Ordering::Relaxed);
        Ok(occupy(
            &mut self.files.lock().unwrap_or_else(PoisonError::into_inner),
            Arc::new(file),
        ))
    }

    fn detach(&self, slot: FileSlot) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)[slot.0 as usize] = None;
    }

    fn submit(&self, slot: FileSlot, position: u64, data: Bytes, token: u64) -> io::Result<()> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let file = files[slot.0 as usize].clone().ok_or(io::ErrorKind::NotFound)?;
        let queued = Queued {
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
            token,
        }) = next
        else {
            return Ok(());
        };
        completions.push(Completion {
            token,
            result: file.write_all_at(&data, position),
        });
        Ok(())
    }
}
