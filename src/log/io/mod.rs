//! The seam to the machine: disk, durable writes, clock and randomness.
//!
//! Two implementations of every trait exist: the real one (Linux system calls, the only `unsafe` of
//! the crate) and the simulated one (`sim`), which keeps a durable image apart from volatile writes
//! so that a power cut can be taken after any operation, from a seed.

pub mod aligned;
#[cfg(target_os = "linux")]
pub mod linux;
pub mod sim;

use std::fmt;
use std::io;
use std::io::IoSlice;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Timestamp;

/// How [`Disk::open`] treats a file that is there, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// The file must exist; reads only.
    Read,
    /// The file must exist; reads and writes.
    ReadWrite,
    /// The file must not exist; it is created empty.
    CreateNew,
}

/// The files and folders of one machine.
///
/// Folder changes (create, rename, remove) are durable only after [`Disk::sync_dir`] of the parent.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Creates a folder and its missing parents.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The names in a folder, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Opens a file for buffered positioned reads and writes.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;
    /// Renames a file or folder, replacing a file that is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with everything in it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Makes the entries of a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes everything durable that was written to the filesystem of `path`: files, lengths and folders. One call
    /// for thousands of files.
    fn sync_all(&self, path: &Path) -> io::Result<()>;
    /// Takes the exclusive lock of `path` for as long as the returned guard lives.
    ///
    /// # Errors
    /// `WouldBlock` when another process (or another handle of this one) holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;
    /// Size of the filesystem that holds `path`, in bytes; the largest number if it has no bound.
    fn size_bytes(&self, path: &Path) -> io::Result<u64> {
        let _ = path;
        Ok(u64::MAX)
    }
    /// When the file at `path` was last written, by the wall clock; none where the disk does not tell.
    fn modified(&self, path: &Path) -> io::Result<Option<Timestamp>> {
        let _ = path;
        Ok(None)
    }

    /// How many files this process may have open; the largest number if there is no bound.
    fn open_files_max(&self) -> usize {
        usize::MAX
    }
    /// Opens the way for durable overwrites, with at most `depth` in flight.
    fn durable_writer(&self, depth: usize) -> io::Result<Box<dyn DurableWriter>>;
}

/// An exclusive lock on a data folder; dropping it releases the lock.
pub trait Lock: Send + Sync + fmt::Debug {}

/// One open file: positioned, buffered, complete (a short read or write is re-issued inside).
pub trait File: Send + Sync + fmt::Debug {
    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `buffer` from `position`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before the buffer is full.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()>;
    /// Writes all of `buffers` one after the other from `position`; volatile until [`File::sync`].
    fn write_at(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<()>;
    /// Makes data and length durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;
    /// Reserves space for the first `size_bytes` bytes without changing the length.
    fn allocate(&self, size_bytes: u64) -> io::Result<()>;
    /// Reserves space for the first `size_bytes` bytes and makes the file at least that long; bytes that were
    /// never written read as zeros.
    ///
    /// # Errors
    /// `StorageFull`; `Unsupported` where the filesystem cannot reserve space.
    fn extend(&self, size_bytes: u64) -> io::Result<()>;
    /// Cuts or extends the file to `size_bytes`.
    fn truncate(&self, size_bytes: u64) -> io::Result<()>;
    /// The bytes of `range` without copying where the platform can map them.
    ///
    /// The caller promises that the bytes of `range` are never changed or cut off again.
    ///
    /// # Errors
    /// `UnexpectedEof` when the range reaches past the end; any read error of the device (a page that
    /// cannot be read is an error here, never a signal later).
    fn slice(&self, range: Range<u64>) -> io::Result<Bytes>;
}

/// Which system calls make journal writes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WritePath {
    /// `io_uring`, `O_DIRECT`, data-sync per write, several in flight.
    IoUring,
    /// `pwritev2` with `O_DIRECT` and data-sync, one at a time.
    PlainDirect,
    /// Buffered `pwrite` and `fdatasync`, for filesystems without `O_DIRECT`.
    PlainBuffered,
    /// The simulated disk.
    Simulated,
}

impl fmt::Display for WritePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WritePath::IoUring => "io_uring (O_DIRECT, data-sync)",
            WritePath::PlainDirect => "pwritev2 (O_DIRECT, data-sync)",
            WritePath::PlainBuffered => "pwrite + fdatasync (buffered)",
            WritePath::Simulated => "simulated disk",
        })
    }
}

/// Required alignment, in memory, in the file and in length, of a durable write.
pub const BLOCK_SIZE_BYTES: usize = 4096;

/// A file attached to a [`DurableWriter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileSlot(pub u32);

/// The end of one durable write.
#[derive(Debug)]
pub struct Completion {
    /// The token that the write was submitted with.
    pub token: u64,
    /// `Ok` when all bytes are on stable storage.
    pub result: io::Result<()>,
}

/// Durable overwrites of blocks that were written before, several in flight.
///
/// `submit` and `wait` may be called from different threads at the same time, each by one thread at
/// a time. Completions may arrive in any order.
pub trait DurableWriter: Send + Sync + fmt::Debug {
    /// The system calls behind this writer.
    fn path(&self) -> WritePath;
    /// Opens an existing file for durable writes.
    fn attach(&self, path: &Path) -> io::Result<FileSlot>;
    /// Closes a file; no write to it may be in flight.
    fn detach(&self, slot: FileSlot);
    /// Starts one write of `data` at `position`, all of it block-aligned.
    fn submit(&self, slot: FileSlot, position: u64, data: Bytes, token: u64) -> io::Result<()>;
    /// Starts one write like [`DurableWriter::submit`] whose end only means that the device has it: it survives
    /// the process and not a power cut, until a later `submit` that was started after its end has ended.
    ///
    /// Only for blocks that were written before. Where the way to the device leads through the page cache it
    /// is as durable as `submit`.
    fn submit_unsynced(&self, slot: FileSlot, position: u64, data: Bytes, token: u64) -> io::Result<()>;
    /// Blocks until at least one write has ended, and moves all ended ones into `completions`.
    ///
    /// Must not be called with nothing in flight.
    fn wait(&self, completions: &mut Vec<Completion>) -> io::Result<()>;
}

/// Wall-clock and monotonic time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall-clock time; may jump.
    fn now(&self) -> Timestamp;
    /// Time since some fixed point; never goes back.
    fn monotonic(&self) -> Duration;
}

/// Random numbers for identities.
pub trait Random: Send + Sync + fmt::Debug {
    /// The next 64 random bits.
    fn next_u64(&self) -> u64;
}

/// Everything outside the program that the log depends on.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Files and folders.
    pub disk: Arc<dyn Disk>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Identities.
    pub random: Arc<dyn Random>,
}

impl Environment {
    /// The machine that the program runs on, with durable writes by plain system calls if `plain_writes`.
    #[cfg(target_os = "linux")]
    pub fn machine(plain_writes: bool) -> Environment {
        Environment {
            disk: Arc::new(linux::LinuxDisk::new(plain_writes)),
            clock: Arc::new(linux::SystemClock::default()),
            random: Arc::new(linux::KernelRandom),
        }
    }
}
