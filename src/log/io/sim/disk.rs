//! The simulated disk and its open files, as the log sees them.

use std::fmt;
use std::io;
use std::io::IoSlice;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::fault::{Fault, FaultCounts, FaultKind, ReadFault};
use super::file::{FileNode, Survival};
use super::folder::EntryChange;
use super::machine::{Machine, Node, NodeId, power_cut};
use super::random::Choices;
use super::writer::SimulatedWriter;
use crate::log::io::{Disk, DurableWriter, File, Lock, OpenMode};

/// A disk in memory with a durable image, volatile writes, and faults on demand; clones share it.
///
/// Operations that can change the disk are numbered from 0: creating, renaming and removing, writes,
/// truncation, allocation, syncs, submissions of durable writes, and each completion. Renames stay within
/// one folder.
#[derive(Clone)]
pub struct SimulatedDisk {
    machine: Arc<Mutex<Machine>>,
    open_files: Arc<OpenFiles>,
}

/// How many files are open, and at most were at a time.
#[derive(Debug, Default)]
struct OpenFiles {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl SimulatedDisk {
    /// An empty disk; the seed decides the order of completions.
    #[must_use]
    pub fn new(seed: u64) -> SimulatedDisk {
        SimulatedDisk::with(Machine::new(seed))
    }

    fn with(machine: Machine) -> SimulatedDisk {
        SimulatedDisk {
            machine: Arc::new(Mutex::new(machine)),
            open_files: Arc::default(),
        }
    }

    /// The disk as it is found if the power fails at this point; `seed` chooses what survives.
    #[must_use]
    pub fn crash_image(&self, seed: u64) -> SimulatedDisk {
        let mut choices = Choices::new(seed);
        SimulatedDisk::with(
            self.machine()
                .after_power_cut(seed, &mut Survival::Random(&mut choices)),
        )
    }

    /// The disk after a power cut that lost everything that was not synced.
    #[must_use]
    pub fn crash_keeping_none(&self) -> SimulatedDisk {
        SimulatedDisk::with(self.machine().after_power_cut(0, &mut Survival::None))
    }

    /// The disk after `kill -9` of the process: everything written is there, and no lock is held.
    ///
    /// What was volatile still is: a later power cut can lose it.
    #[must_use]
    pub fn crash_keeping_all(&self) -> SimulatedDisk {
        SimulatedDisk::with(self.machine().after_kill(0))
    }

    /// Lets the operation of that number meet a fault.
    pub fn fail_at(&self, operation_number: u64, fault: Fault) {
        self.machine().faults.insert(operation_number, fault);
    }

    /// Lets the read of that number meet a fault. Reads of files are numbered from 0, apart from operations.
    pub fn fail_read_at(&self, read_number: u64, fault: ReadFault) {
        self.machine().read_faults.insert(read_number, fault);
    }

    /// Takes back the faults that did not happen yet.
    pub fn clear_faults(&self) {
        let mut machine = self.machine();
        machine.faults.clear();
        machine.read_faults.clear();
    }

    /// How many reads there were, which is the number of the next one.
    pub fn reads(&self) -> u64 {
        self.machine().reads
    }

    /// Lets durable writes end one at a time and as late as possible.
    pub fn set_slow(&self, slow: bool) {
        self.machine().slow = slow;
    }

    /// The faults that happened on this disk; for an image, those of the power cut that it was taken at as well.
    pub fn faults_fired(&self) -> FaultCounts {
        self.machine().fired
    }

    /// How many operations and reads the disk refused for whatever reason: what excuses a log that stops.
    pub fn errors_returned(&self) -> u64 {
        self.machine().errors_returned
    }

    /// Whether the power is on.
    pub fn is_powered(&self) -> bool {
        self.machine().powered
    }

    /// How many operations there were, which is the number of the next one.
    pub fn operations(&self) -> u64 {
        self.machine().operations
    }

    /// Limits the disk; what exceeds it already stays.
    pub fn set_capacity(&self, capacity_bytes: u64) {
        self.machine().capacity_bytes = capacity_bytes;
    }

    /// Bytes in whole blocks that files hold, written or reserved.
    pub fn used_bytes(&self) -> u64 {
        self.machine().used_bytes
    }

    /// How many files were open at a time at most. Those of a durable writer do not count.
    pub fn open_files_most(&self) -> usize {
        self.open_files.most.load(Ordering::Acquire)
    }

    /// A hash of all that is durable: names, lengths and bytes.
    pub fn fingerprint(&self) -> u64 {
        self.machine().fingerprint(false)
    }

    /// A hash of all that programs see, durable or not.
    pub fn visible_fingerprint(&self) -> u64 {
        self.machine().fingerprint(true)
    }

    /// The disk after a power cut where `picks` tells, in a fixed order, what survives of all that is pending:
    /// sectors one by one, and of what is ordered (lengths, entries) the part before the first that does not.
    #[must_use]
    pub fn crash_picking(&self, picks: &mut dyn FnMut() -> bool) -> SimulatedDisk {
        SimulatedDisk::with(self.machine().after_power_cut(0, &mut Survival::Picked(picks)))
    }

    pub(super) fn machine(&self) -> MutexGuard<'_, Machine> {
        lock(&self.machine)
    }
}

/// The machine's state is changed in whole steps, so a panic elsewhere does not spoil it.
pub(super) fn lock(machine: &Mutex<Machine>) -> MutexGuard<'_, Machine> {
    machine.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = self.machine();
        f.debug_struct("SimulatedDisk")
            .field("operations", &machine.operations)
            .field("used_bytes", &machine.used_bytes)
            .finish_non_exhaustive()
    }
}

impl Disk for SimulatedDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut machine = self.machine();
        machine.begin_whole()?;
        machine.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let machine = self.machine();
        machine.check_power()?;
        Ok(machine
            .folder(machine.resolve(path)?)?
            .entries()
            .keys()
            .cloned()
            .collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut machine = self.machine();
        let node = if mode == OpenMode::CreateNew {
            machine.begin_whole()?;
            let (parent, name) = machine.resolve_parent(path)?;
            if machine.folder(parent)?.entries().contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            machine.link_new(parent, name, Node::File(FileNode::new()))?
        } else {
            machine.check_power()?;
            machine.resolve(path)?
        };
        machine.file(node)?;
        let is_writable = mode != OpenMode::Read;
        let now = self.open_files.now.fetch_add(1, Ordering::AcqRel) + 1;
        self.open_files.most.fetch_max(now, Ordering::AcqRel);
        Ok(Arc::new(SimulatedFile {
            machine: Arc::clone(&self.machine),
            open_files: Arc::clone(&self.open_files),
            node,
            is_writable,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut machine = self.machine();
        machine.begin_whole()?;
        let (folder, from_name) = machine.resolve_parent(from)?;
        let (to_folder, to_name) = machine.resolve_parent(to)?;
        if folder != to_folder {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        let entries = machine.folder(folder)?.entries();
        if !entries.contains_key(from_name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if from_name == to_name {
            return Ok(());
        }
        if let Some(replaced) = entries.get(to_name) {
            let replaced_bytes = machine.file(*replaced)?.allocated_bytes;
            machine.used_bytes -= replaced_bytes;
        }
        let change = EntryChange::Rename {
            from: from_name.to_owned(),
            to: to_name.to_owned(),
        };
        machine.folder_mut(folder)?.change(change);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut machine = self.machine();
        machine.begin_whole()?;
        let (parent, name) = machine.resolve_parent(path)?;
        machine.file(machine.resolve(path)?)?;
        machine.unlink(parent, name)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut machine = self.machine();
        machine.begin_whole()?;
        let (parent, name) = machine.resolve_parent(path)?;
        machine.folder(machine.resolve(path)?)?;
        machine.unlink(parent, name)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut machine = self.machine();
        let silent = machine.begin_whole()?;
        let node = machine.resolve(path)?;
        if silent == Some(Fault::LostFlush) {
            machine.fired.add(FaultKind::LostFlush);
        } else {
            machine.folder_mut(node)?.sync();
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut machine = self.machine();
        machine.check_power()?;
        if !machine.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimulatedLock {
            machine: Arc::clone(&self.machine),
            path: path.to_owned(),
        }))
    }

    fn durable_writer(&self, depth: usize) -> io::Result<Box<dyn DurableWriter>> {
        self.machine().check_power()?;
        Ok(Box::new(SimulatedWriter::new(Arc::clone(&self.machine), depth)))
    }
}

/// A held lock; it is the disk's, so an image of the disk does not have it.
struct SimulatedLock {
    machine: Arc<Mutex<Machine>>,
    path: PathBuf,
}

impl Lock for SimulatedLock {}

impl fmt::Debug for SimulatedLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedLock")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        lock(&self.machine).locks.remove(&self.path);
    }
}

/// An open file.
struct SimulatedFile {
    machine: Arc<Mutex<Machine>>,
    open_files: Arc<OpenFiles>,
    node: NodeId,
    is_writable: bool,
}

impl SimulatedFile {
    fn writable(&self) -> io::Result<MutexGuard<'_, Machine>> {
        if !self.is_writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(lock(&self.machine))
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        self.open_files.now.fetch_sub(1, Ordering::AcqRel);
    }
}

impl fmt::Debug for SimulatedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedFile")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl File for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        let machine = lock(&self.machine);
        machine.check_power()?;
        Ok(machine.file(self.node)?.len())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        let mut machine = lock(&self.machine);
        machine.check_power()?;
        let end = position
            .checked_add(buffer.len() as u64)
            .ok_or(io::ErrorKind::InvalidInput)?;
        if end > machine.file(self.node)?.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        machine.read(self.node, position, buffer)
    }

    fn write_at(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let mut machine = self.writable()?;
        let fault = machine.begin()?;
        let size_bytes: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        let end = position
            .checked_add(size_bytes as u64)
            .ok_or(io::ErrorKind::InvalidInput)?;
        if let Some(fault @ (Fault::Enospc | Fault::WriteError)) = fault {
            let data: Vec<u8> = buffers.iter().flat_map(|buffer| buffer.iter().copied()).collect();
            machine.write_prefix(self.node, position, &data);
            return Err(machine.refuse(fault, FaultKind::WriteError));
        }
        machine.reserve(self.node, end)?;
        machine.file_mut(self.node)?.write(position, buffers);
        match fault {
            Some(Fault::TornWrite) => {
                // Volatile sectors are torn by the image that is taken of the dead machine.
                machine.powered = false;
                Err(power_cut())
            }
            Some(Fault::MisplacedWrite) => {
                machine.misplace(self.node, position, size_bytes as u64);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut machine = lock(&self.machine);
        let Some(fault) = machine.begin()? else {
            machine.file_mut(self.node)?.sync();
            return Ok(());
        };
        match fault {
            Fault::ShortWrite | Fault::MisplacedWrite => {
                machine.file_mut(self.node)?.sync();
                Ok(())
            }
            Fault::LostFlush => {
                machine.file_mut(self.node)?.forget_pending();
                machine.fired.add(FaultKind::LostFlush);
                Ok(())
            }
            Fault::Enospc | Fault::WriteError => {
                machine.fail_sync(self.node)?;
                Err(machine.refuse(fault, FaultKind::SyncError))
            }
            // What was to be synced is volatile still: the image that is taken of the dead machine chooses.
            Fault::TornWrite | Fault::PowerCut => {
                machine.powered = false;
                Err(power_cut())
            }
        }
    }

    fn allocate(&self, size_bytes: u64) -> io::Result<()> {
        let mut machine = self.writable()?;
        machine.begin_whole()?;
        machine.reserve(self.node, size_bytes)
    }

    fn extend(&self, size_bytes: u64) -> io::Result<()> {
        let mut machine = self.writable()?;
        machine.begin_whole()?;
        machine.reserve(self.node, size_bytes)?;
        if machine.file(self.node)?.len() < size_bytes {
            machine.file_mut(self.node)?.set_len(size_bytes);
        }
        Ok(())
    }

    fn truncate(&self, size_bytes: u64) -> io::Result<()> {
        let mut machine = self.writable()?;
        machine.begin_whole()?;
        machine.truncate(self.node, size_bytes)
    }

    fn slice(&self, range: Range<u64>) -> io::Result<Bytes> {
        let size_bytes = range
            .end
            .checked_sub(range.start)
            .ok_or(io::ErrorKind::InvalidInput)?;
        if range.end > self.len()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; size_bytes as usize];
        self.read_at(&mut bytes, range.start)?;
        Ok(bytes.into())
    }
}
