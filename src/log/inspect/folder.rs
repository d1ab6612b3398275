//! A data folder that is looked into while no log has it open.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::InspectError;
use crate::log::io::{Disk, File, Lock, OpenMode};
use crate::log::recovery::{JOURNAL_FOLDER, LOCK_FILE, STORE_FILE};

/// Read at once where a file is read through. 1 MiB.
const READ_SIZE_BYTES: usize = 1024 * 1024;

/// What of an unreadable range is given up at a time: the block of a device.
const UNREADABLE_STEP_BYTES: u64 = 4096;

/// Whether a folder may be in use by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The folder's lock is held as long as the [`DataFolder`] lives.
    Locked,
    /// Nothing is written to the folder, not even its lock: for copies, and for disks that are mounted read-only.
    Unlocked,
}

/// A data folder that no log has open.
#[derive(Debug)]
pub struct DataFolder {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) path: PathBuf,
    lock: Option<Box<dyn Lock>>,
}

impl DataFolder {
    /// Opens the data folder at `path`.
    ///
    /// # Errors
    /// When there is none, or a process has it open.
    pub fn open(disk: Arc<dyn Disk>, path: &Path, access: Access) -> Result<DataFolder, InspectError> {
        let has_store = disk.open(&path.join(STORE_FILE), OpenMode::Read).is_ok();
        if !has_store && disk.list(&path.join(JOURNAL_FOLDER)).is_err() {
            return Err(InspectError::NotAStore {
                path: path.to_path_buf(),
            });
        }
        let lock_path = path.join(LOCK_FILE);
        let lock = match access {
            Access::Unlocked => None,
            Access::Locked => Some(disk.lock(&lock_path).map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => InspectError::Locked {
                    path: path.to_path_buf(),
                    holder: error.to_string(),
                },
                _ => InspectError::io("lock", &lock_path)(error),
            })?),
        };
        Ok(DataFolder {
            disk,
            path: path.to_path_buf(),
            lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn check_locked(&self) -> Result<(), InspectError> {
        match self.lock {
            Some(_) => Ok(()),
            None => Err(InspectError::NotLocked {
                path: self.path.clone(),
            }),
        }
    }

    /// `path` relative to the data folder.
    pub(super) fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.path).unwrap_or(path).to_path_buf()
    }

    /// Names in a folder, sorted; none if the folder is not there.
    pub(super) fn list(&self, folder: &Path) -> Result<Vec<String>, InspectError> {
        match self.disk.list(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            listed => listed.map_err(InspectError::io("list", folder)),
        }
    }

    /// Opens a file; none if it is not there.
    pub(super) fn open_file(&self, path: &Path) -> Result<Option<Arc<dyn File>>, InspectError> {
        open_file(&*self.disk, path)
    }

    /// All bytes of a file, and how many of them could not be read and are zeros; none if it is not there.
    pub(super) fn read(&self, path: &Path) -> Result<Option<(Vec<u8>, u64)>, InspectError> {
        let Some(file) = self.open_file(path)? else {
            return Ok(None);
        };
        let size_bytes = file.len().map_err(InspectError::io("read", path))?;
        let mut bytes = vec![0; usize::try_from(size_bytes).unwrap_or(usize::MAX)];
        let mut unreadable = 0;
        for (index, chunk) in bytes.chunks_mut(READ_SIZE_BYTES).enumerate() {
            unreadable += read_around(&*file, chunk, (index * READ_SIZE_BYTES) as u64);
        }
        Ok(Some((bytes, unreadable)))
    }
}

/// Opens a file; none if it is not there.
pub(super) fn open_file(disk: &dyn Disk, path: &Path) -> Result<Option<Arc<dyn File>>, InspectError> {
    match disk.open(path, OpenMode::Read) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(InspectError::io("open", path)(error)),
    }
}

/// Fills `buffer` from `position`; what the device does not give is zero. Tells how many bytes that are.
pub(super) fn read_around(file: &dyn File, buffer: &mut [u8], position: u64) -> u64 {
    if file.read_at(buffer, position).is_ok() {
        return 0;
    }
    let mut unreadable = 0;
    for (index, step) in buffer.chunks_mut(UNREADABLE_STEP_BYTES as usize).enumerate() {
        if file
            .read_at(step, position + index as u64 * UNREADABLE_STEP_BYTES)
            .is_err()
        {
            step.fill(0);
            unreadable += step.len() as u64;
        }
    }
    unreadable
}
