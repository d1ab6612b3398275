//! The journal's files: zeroed once, then recycled for ever.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::JournalError;
use super::frame::Lsn;
use crate::log::io::{BLOCK_SIZE_BYTES, Disk, DurableWriter, FileSlot, OpenMode};

/// Most journal files at a time; when all are full, appends wait for the flusher. With 32 MiB each, a
/// recovery reads at most 256 MiB, about 0.2 s on a disk of 1.3 GB/s.
pub const FILE_COUNT_MAX: usize = 8;

const ZERO_CHUNK_BYTES: usize = 1024 * 1024;
static ZEROS: [u8; ZERO_CHUNK_BYTES] = [0; ZERO_CHUNK_BYTES];

/// A journal file that is ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its place in the durable writer.
    pub slot: FileSlot,
    /// Its length, all of it written before.
    pub size_bytes: u64,
}

/// The files that are free, and those that hold groups still needed.
#[derive(Debug)]
pub struct JournalFiles {
    disk: Arc<dyn Disk>,
    writer: Arc<dyn DurableWriter>,
    folder: PathBuf,
    file_size_bytes: u64,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    free: VecDeque<JournalFile>,
    /// Files whose last group is known, oldest first.
    full: VecDeque<(JournalFile, Lsn)>,
    /// Number of files that exist, the one being written included.
    count: usize,
    next_name: u32,
    /// Every group up to this one is durable in segments.
    flushed_lsn: Lsn,
}

impl JournalFiles {
    /// Takes over the files that recovery found: those still needed (with their last LSN) and free ones.
    pub fn new(
        disk: Arc<dyn Disk>,
        writer: Arc<dyn DurableWriter>,
        folder: &Path,
        file_size_bytes: u64,
        needed: Vec<(PathBuf, Lsn)>,
        free: Vec<PathBuf>,
    ) -> Result<JournalFiles, JournalError> {
        let mut slots = Slots::default();
        let attach = |path: PathBuf| {
            let size = disk.open(&path, OpenMode::Read).and_then(|file| file.len());
            match size.and_then(|size_bytes| Ok((size_bytes, writer.attach(&path)?))) {
                Ok((size_bytes, slot)) => Ok(JournalFile {
                    path,
                    slot,
                    // A part of a block at the end takes no frame.
                    size_bytes: size_bytes - size_bytes % BLOCK_SIZE_BYTES as u64,
                }),
                Err(source) => Err(JournalError::Io {
                    what: "open",
                    path,
                    source,
                }),
            }
        };
        for path in needed.iter().map(|(path, _)| path).chain(&free) {
            slots.next_name = slots.next_name.max(name_of(path).map_or(0, |name| name + 1));
        }
        for (path, last_lsn) in needed {
            slots.full.push_back((attach(path)?, last_lsn));
        }
        for path in free {
            slots.free.push_back(attach(path)?);
        }
        slots.count = slots.full.len() + slots.free.len();
        let folder = folder.to_path_buf();
        Ok(JournalFiles {
            disk,
            writer,
            folder,
            file_size_bytes,
            slots: Mutex::new(slots),
        })
    }

    /// A free file to write next, if there is one. A file of another configuration, smaller than this one's
    /// files, is not used again.
    pub fn take_free(&self) -> Option<JournalFile> {
        let mut slots = self.lock();
        while let Some(file) = slots.free.pop_front() {
            if file.size_bytes >= self.file_size_bytes {
                return Some(file);
            }
            self.writer.detach(file.slot);
            slots.count -= 1;
        }
        None
    }

    /// Records that `file` was written up to and with `last_lsn`.
    pub fn retire(&self, file: JournalFile, last_lsn: Lsn) {
        self.lock().full.push_back((file, last_lsn));
    }

    /// Frees the files whose groups are all at or below `lsn`; tells whether any became free.
    pub fn release_through(&self, lsn: Lsn) -> bool {
        let mut slots = self.lock();
        slots.flushed_lsn = slots.flushed_lsn.max(lsn);
        let before = slots.free.len();
        while slots.full.front().is_some_and(|(_, last_lsn)| *last_lsn <= lsn) {
            if let Some((file, _)) = slots.full.pop_front() {
                slots.free.push_back(file);
            }
        }
        slots.free.len() > before
    }

    /// Makes durable what was written to a file.
    pub fn sync(&self, path: &Path) -> Result<(), JournalError> {
        let synced = self
            .disk
            .open(path, OpenMode::ReadWrite)
            .and_then(|file| file.sync());
        synced.map_err(|source| JournalError::Io {
            what: "sync",
            path: path.to_path_buf(),
            source,
        })
    }

    /// Whether there is any file, however full.
    pub fn has_any(&self) -> bool {
        self.lock().count > 0
    }

    /// Whether no group up to `lsn` is needed any more.
    pub fn is_flushed_through(&self, lsn: Lsn) -> bool {
        self.lock().flushed_lsn >= lsn
    }

    /// Bytes of the free files.
    pub fn free_bytes(&self) -> u64 {
        let slots = self.lock();
        let usable = slots
            .free
            .iter()
            .filter(|file| file.size_bytes >= self.file_size_bytes);
        usable.map(|file| file.size_bytes).sum()
    }

    /// Whether the next rotation would find no file, and one more may be made.
    pub fn wants_spare(&self) -> bool {
        let slots = self.lock();
        let usable = slots
            .free
            .iter()
            .any(|file| file.size_bytes >= self.file_size_bytes);
        !usable && slots.count < FILE_COUNT_MAX
    }

    /// Creates one more free file: zeroed, because only blocks that were written before are overwritten
    /// without a metadata commit, and named only when its content is durable.
    pub fn add_spare(&self) -> Result<(), JournalError> {
        let name = {
            let mut slots = self.lock();
            slots.next_name += 1;
            slots.next_name - 1
        };
        let path = self.folder.join(format!("{name:04}.journal"));
        let draft = self.folder.join(format!("{name:04}.draft"));
        let error = |what: &'static str, path: &Path| {
            let path = path.to_path_buf();
            move |source| JournalError::Io { what, path, source }
        };
        if self.disk.open(&draft, OpenMode::Read).is_ok() {
            self.disk
                .remove_file(&draft)
                .map_err(error("remove the left-over", &draft))?;
        }
        if let Err(failure) = self.fill_draft(&draft) {
            // On a full disk, what was reserved for it is what others need. The first failure is the one to tell.
            let _ = self.disk.remove_file(&draft);
            return Err(failure);
        }
        self.disk.rename(&draft, &path).map_err(error("name", &path))?;
        self.disk
            .sync_dir(&self.folder)
            .map_err(error("sync", &self.folder))?;
        let slot = self.writer.attach(&path).map_err(error("open", &path))?;
        let mut slots = self.lock();
        slots.count += 1;
        slots.free.push_back(JournalFile {
            path,
            slot,
            size_bytes: self.file_size_bytes,
        });
        Ok(())
    }

    fn fill_draft(&self, draft: &Path) -> Result<(), JournalError> {
        let error = |what: &'static str| {
            let path = draft.to_path_buf();
            move |source| JournalError::Io { what, path, source }
        };
        let file = self
            .disk
            .open(draft, OpenMode::CreateNew)
            .map_err(error("create"))?;
        file.allocate(self.file_size_bytes)
            .map_err(error("reserve space for"))?;
        let mut position = 0;
        while position < self.file_size_bytes {
            let chunk = (self.file_size_bytes - position).min(ZERO_CHUNK_BYTES as u64);
            let zeros = [IoSlice::new(&ZEROS[..chunk as usize])];
            file.write_at(&zeros, position).map_err(error("fill"))?;
            position += chunk;
        }
        file.sync().map_err(error("sync"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name_of(path: &Path) -> Option<u32> {
    path.file_stem()?.to_str()?.parse().ok()
}
