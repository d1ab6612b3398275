//! Durable writes by `io_uring`: `O_DIRECT` and data-sync, several in flight.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use io_uring::{IoUring, opcode, types};

use super::super::{BLOCK_SIZE_BYTES, Completion, DurableWriter, FileSlot, WritePath};
use super::plain::{DurableFile, occupy};

/// `IORING_ENTER_GETEVENTS` of `io_uring_enter(2)`: wait for completions.
const ENTER_GETEVENTS: u32 = 1;

/// One ring. Submitting and reaping are each done by one thread at a time, under their own lock.
pub struct UringWriter {
    ring: IoUring,
    submission: Mutex<Submission>,
    reaping: Mutex<()>,
}

#[derive(Default)]
struct Submission {
    files: Vec<Option<Arc<DurableFile>>>,
    /// Writes in flight by token: they own the memory and the descriptor until the kernel is done.
    in_flight: HashMap<u64, InFlight>,
}

struct InFlight {
    file: Arc<DurableFile>,
    position: u64,
    data: Bytes,
    is_synced: bool,
}

impl std::fmt::Debug for UringWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UringWriter").finish_non_exhaustive()
    }
}

impl UringWriter {
    /// A ring with room for `depth` writes.
    ///
    /// # Errors
    /// Whatever `io_uring_setup(2)` answers where the kernel has none or a filter forbids it.
    pub fn new(depth: usize) -> io::Result<UringWriter> {
        let entries = u32::try_from(depth.next_power_of_two()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let ring = IoUring::builder().dontfork().build(entries)?;
        Ok(UringWriter {
            ring,
            submission: Mutex::default(),
            reaping: Mutex::new(()),
        })
    }

    /// Queues one write and tells the kernel; `write` must be kept in `in_flight` until its completion.
    fn start(&self, _exclusive: &mut Submission, write: &InFlight, token: u64) -> io::Result<()> {
        let len = u32::try_from(write.data.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let flags = write.file.flags(write.is_synced).bits();
        let entry = opcode::Write::new(types::Fd(write.file.file.as_raw_fd()), write.data.as_ptr(), len)
            .offset(write.position)
            .rw_flags(flags.cast_signed())
            .build()
            .user_data(token);
        // SAFETY: the caller holds the submission lock (`_exclusive` proves it), so this is the only
        // handle to the queue; the entry's buffer and descriptor are owned by `in_flight` until the
        // kernel has posted the completion.
        unsafe { self.ring.submission_shared().push(&entry) }.map_err(|_| {
            io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "more writes in flight than the ring has room for",
            )
        })?;
        loop {
            match self.ring.submit() {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Blocks until the completion queue is not empty.
    fn wait_for_one(&self) -> io::Result<()> {
        loop {
            // SAFETY: no argument structure is passed; the call touches only the ring.
            let entered = unsafe { self.ring.submitter().enter::<()>(0, 1, ENTER_GETEVENTS, None) };
            match entered {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn begin(
        &self,
        slot: FileSlot,
        position: u64,
        data: Bytes,
        token: u64,
        is_synced: bool,
    ) -> io::Result<()> {
        debug_assert!(
            data.len().is_multiple_of(BLOCK_SIZE_BYTES) && position.is_multiple_of(BLOCK_SIZE_BYTES as u64)
        );
        let mut submission = self.submission.lock().unwrap_or_else(PoisonError::into_inner);
        let file = submission.files[slot.0 as usize]
            .clone()
            .ok_or(io::ErrorKind::NotFound)?;
        let write = InFlight {
            file,
            position,
            data,
            is_synced,
        };
        self.start_and_keep(&mut submission, write, token)
    }

    /// Starts `write` and keeps it until its completion.
    fn start_and_keep(&self, submission: &mut Submission, write: InFlight, token: u64) -> io::Result<()> {
        match self.start(submission, &write, token) {
            Ok(()) => {
                submission.in_flight.insert(token, write);
                Ok(())
            }
            Err(error) => {
                // The entry may be in the queue, and the kernel may take it with a later call: its memory and
                // its descriptor are never freed.
                std::mem::forget(write);
                Err(error)
            }
        }
    }

    fn start_again(
        &self,
        submission: &mut Submission,
        write: InFlight,
        token: u64,
        completions: &mut Vec<Completion>,
    ) {
        if let Err(error) = self.start_and_keep(submission, write, token) {
            completions.push(Completion {
                token,
                result: Err(error),
            });
        }
    }

    /// Ends the write of `token`, or issues the rest of it after a short write.
    fn finish(&self, token: u64, result: i32, completions: &mut Vec<Completion>) {
        let mut submission = self.submission.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut write) = submission.in_flight.remove(&token) else {
            return;
        };
        let outcome = match usize::try_from(result) {
            // The write did not run, or not to its end: a thread that exits takes the writes with it that it
            // submitted and that wait for a kernel worker (ECANCELED). The data is still here.
            Err(_) if is_interrupted(-result) => {
                self.start_again(&mut submission, write, token, completions);
                return;
            }
            Err(_) => Err(io::Error::from_raw_os_error(-result)),
            Ok(written) if written == write.data.len() => Ok(()),
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(written) if written.is_multiple_of(BLOCK_SIZE_BYTES) => {
                write.data = write.data.slice(written..);
                write.position += written as u64;
                self.start_again(&mut submission, write, token, completions);
                return;
            }
            Ok(written) => Err(io::Error::other(format!(
                "short write of {written} bytes ends inside a block"
            ))),
        };
        completions.push(Completion {
            token,
            result: outcome,
        });
    }
}

/// Whether a write with this error is to be issued again, as one by plain system calls would be.
fn is_interrupted(error: i32) -> bool {
    use rustix::io::Errno;
    [Errno::INTR, Errno::AGAIN, Errno::CANCELED].contains(&Errno::from_raw_os_error(error))
}

impl DurableWriter for UringWriter {
    fn path(&self) -> WritePath {
        WritePath::IoUring
    }

    fn attach(&self, path: &Path) -> io::Result<FileSlot> {
        let file = DurableFile::open(path)?;
        let mut submission = self.submission.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(occupy(&mut submission.files, Arc::new(file)))
    }

    fn detach(&self, slot: FileSlot) {
        self.submission
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .files[slot.0 as usize] = None;
    }

    fn submit(&self, slot: FileSlot, position: u64, data: Bytes, token: u64) -> io::Result<()> {
        self.begin(slot, position, data, token, true)
    }

    fn submit_unsynced(&self, slot: FileSlot, position: u64, data: Bytes, token: u64) -> io::Result<()> {
        self.begin(slot, position, data, token, false)
    }

    fn wait(&self, completions: &mut Vec<Completion>) -> io::Result<()> {
        let _reaping = self.reaping.lock().unwrap_or_else(PoisonError::into_inner);
        while completions.is_empty() {
            self.wait_for_one()?;
            loop {
                // SAFETY: the reaping lock is held, so this is the only handle to the completion queue.
                let entry = unsafe { self.ring.completion_shared() }.next();
                let Some(entry) = entry else { break };
                self.finish(entry.user_data(), entry.result(), completions);
            }
        }
        Ok(())
    }
}

impl Drop for UringWriter {
    /// Waits for what is in flight: the kernel may still read from the buffers that `in_flight` owns.
    fn drop(&mut self) {
        let mut ended = Vec::new();
        while !self
            .submission
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .in_flight
            .is_empty()
        {
            ended.clear();
            if self.wait(&mut ended).is_err() {
                // The ring cannot tell when the kernel is done: leak the buffers rather than free them.
                let submission = self.submission.get_mut().unwrap_or_else(PoisonError::into_inner);
                std::mem::forget(std::mem::take(&mut submission.in_flight));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::log::io::aligned::BufferPool;

    #[test]
    fn a_write_that_the_kernel_gave_back_is_issued_again() {
        use rustix::io::Errno;
        let folder = tempfile::tempdir_in(".").unwrap();
        let path = folder.path().join("journal");
        fs::write(&path, vec![0; 8192]).unwrap();
        let Ok(writer) = UringWriter::new(4) else { return };
        let slot = writer.attach(&path).unwrap();
        let pool = BufferPool::new(0);
        for (token, error) in [Errno::CANCELED, Errno::INTR, Errno::AGAIN]
            .into_iter()
            .enumerate()
        {
            let mut data = pool.take(8192);
            data.extend_from_slice(&[token as u8 + 1; 8192]);
            let (token, data) = (token as u64, data.freeze());
            let mut submission = writer.submission.lock().unwrap();
            let file = submission.files[slot.0 as usize].clone().unwrap();
            let position = 0;
            let write = InFlight {
                file,
                position,
                data,
                is_synced: true,
            };
            submission.in_flight.insert(token, write);
            drop(submission);
            let mut ended = Vec::new();
            writer.finish(token, -error.raw_os_error(), &mut ended);
            assert!(ended.is_empty(), "{error}: {ended:?}");
            writer.wait(&mut ended).unwrap();
            assert_eq!(ended.len(), 1);
            ended.pop().unwrap().result.unwrap();
            assert_eq!(fs::read(&path).unwrap(), vec![token as u8 + 1; 8192], "{error}");
        }
    }
}
