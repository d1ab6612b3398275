//! The whole state of a simulated disk: the tree of nodes, writes in flight, faults to come, and power.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::io;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use super::SECTOR_SIZE_BYTES;
use super::fault::{Fault, FaultCounts, FaultKind, ReadFault};
use super::file::{FileNode, Survival, whole_blocks};
use super::folder::{EntryChange, FolderNode};
use super::random::Choices;
use crate::log::io::BLOCK_SIZE_BYTES;

/// Index of a node in [`Machine::nodes`].
pub(super) type NodeId = usize;

const ROOT: NodeId = 0;

/// A file or a folder.
#[derive(Clone, Debug)]
pub(super) enum Node {
    File(FileNode),
    Folder(FolderNode),
}

/// A durable write between its submission and its completion.
#[derive(Clone, Debug)]
pub(super) struct WriteInFlight {
    pub(super) writer: u64,
    pub(super) node: NodeId,
    pub(super) position: u64,
    pub(super) data: Bytes,
    pub(super) token: u64,
    /// Files with writes that only the device has, which the end of this one makes durable; none for a write that
    /// only the device has itself.
    pub(super) settles: Option<BTreeSet<NodeId>>,
}

/// The state behind a [`super::SimulatedDisk`].
#[derive(Debug)]
pub(super) struct Machine {
    /// Nodes are never removed: an open file outlives its name.
    pub(super) nodes: Vec<Node>,
    pub(super) in_flight: Vec<WriteInFlight>,
    pub(super) writers: u64,
    /// Files with direct writes that the device has and that are not durable.
    pub(super) unsynced: BTreeSet<NodeId>,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) choices: Choices,
    pub(super) operations: u64,
    pub(super) faults: BTreeMap<u64, Fault>,
    pub(super) reads: u64,
    pub(super) read_faults: BTreeMap<u64, ReadFault>,
    pub(super) fired: FaultCounts,
    pub(super) errors_returned: u64,
    /// Durable writes end one at a time.
    pub(super) slow: bool,
    pub(super) powered: bool,
    pub(super) capacity_bytes: u64,
    pub(super) used_bytes: u64,
}

impl Machine {
    pub(super) fn new(seed: u64) -> Machine {
        Machine {
            nodes: vec![Node::Folder(FolderNode::default())],
            in_flight: Vec::new(),
            writers: 0,
            unsynced: BTreeSet::new(),
            locks: BTreeSet::new(),
            choices: Choices::new(seed),
            operations: 0,
            faults: BTreeMap::new(),
            reads: 0,
            read_faults: BTreeMap::new(),
            fired: FaultCounts::default(),
            errors_returned: 0,
            slow: false,
            powered: true,
            capacity_bytes: u64::MAX,
            used_bytes: 0,
        }
    }

    /// Refuses everything without power.
    pub(super) fn check_power(&self) -> io::Result<()> {
        if self.powered { Ok(()) } else { Err(power_cut()) }
    }

    /// Numbers an operation and tells the fault that it meets, other than a power cut, which is an error.
    pub(super) fn begin(&mut self) -> io::Result<Option<Fault>> {
        self.check_power()?;
        let number = self.operations;
        self.operations += 1;
        let fault = self.faults.remove(&number);
        if fault == Some(Fault::PowerCut) {
            self.powered = false;
            return Err(power_cut());
        }
        Ok(fault)
    }

    /// Like [`Machine::begin`] for an operation that is done or not done, never in part; tells of a fault that
    /// the operation does not show.
    pub(super) fn begin_whole(&mut self) -> io::Result<Option<Fault>> {
        match self.begin()? {
            Some(fault @ (Fault::WriteError | Fault::Enospc)) => {
                Err(self.refuse(fault, FaultKind::WriteError))
            }
            Some(Fault::TornWrite | Fault::PowerCut) => {
                self.powered = false;
                Err(power_cut())
            }
            silent => Ok(silent),
        }
    }

    /// The error of an operation that met `fault`, counted; `kind` says what an `EIO` counts as.
    pub(super) fn refuse(&mut self, fault: Fault, kind: FaultKind) -> io::Error {
        self.errors_returned += 1;
        if fault == Fault::Enospc {
            self.fired.add(FaultKind::StorageFull);
            return storage_full();
        }
        self.fired.add(kind);
        write_error()
    }

    /// Fills `buffer` from a file, unless the sectors or a fault of this read refuse.
    pub(super) fn read(&mut self, node: NodeId, position: u64, buffer: &mut [u8]) -> io::Result<()> {
        let number = self.reads;
        self.reads += 1;
        let fault = self.read_faults.remove(&number);
        let file = self.file(node)?;
        if file.is_unreadable(position, buffer.len() as u64) {
            self.errors_returned += 1;
            self.fired.add(FaultKind::UnreadableSector);
            return Err(write_error());
        }
        file.read(position, buffer);
        match fault {
            Some(ReadFault::Error) => {
                self.errors_returned += 1;
                self.fired.add(FaultKind::ReadError);
                return Err(write_error());
            }
            Some(ReadFault::Misplaced) => self.misread(node, position, buffer),
            Some(ReadFault::BitFlip) if !buffer.is_empty() => {
                let bit = self.choices.below(buffer.len() * 8);
                buffer[bit / 8] ^= 1 << (bit % 8);
                self.fired.add(FaultKind::BitFlip);
            }
            Some(ReadFault::BitFlip) | None => {}
        }
        Ok(())
    }

    pub(super) fn resolve(&self, path: &Path) -> io::Result<NodeId> {
        let mut node = ROOT;
        for name in names(path)? {
            let folder = self.folder(node)?;
            node = *folder
                .entries()
                .get(name)
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        }
        Ok(node)
    }

    /// The folder that holds `path`, and the name in it.
    pub(super) fn resolve_parent<'p>(&self, path: &'p Path) -> io::Result<(NodeId, &'p str)> {
        let name = names(path)?
            .pop()
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let parent = self.resolve(path.parent().unwrap_or(Path::new("")))?;
        self.folder(parent)?;
        Ok((parent, name))
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut node = ROOT;
        for name in names(path)? {
            let existing = self.folder(node)?.entries().get(name).copied();
            node = match existing {
                Some(child) => child,
                None => self.link_new(node, name, Node::Folder(FolderNode::default()))?,
            };
        }
        self.folder(node).map(|_| ())
    }

    pub(super) fn link_new(&mut self, parent: NodeId, name: &str, node: Node) -> io::Result<NodeId> {
        let id = self.nodes.len();
        self.nodes.push(node);
        self.folder_mut(parent)?
            .change(EntryChange::Link(name.to_owned(), id));
        Ok(id)
    }

    /// Takes a name out of its folder, after everything below it; the space of files is free at once.
    pub(super) fn unlink(&mut self, parent: NodeId, name: &str) -> io::Result<()> {
        let node = *self
            .folder(parent)?
            .entries()
            .get(name)
            .ok_or(io::ErrorKind::NotFound)?;
        if let Node::Folder(folder) = &self.nodes[node] {
            for child in folder.entries().keys().cloned().collect::<Vec<_>>() {
                self.unlink(node, &child)?;
            }
        }
        if let Node::File(file) = &self.nodes[node] {
            self.used_bytes -= file.allocated_bytes;
        }
        self.folder_mut(parent)?
            .change(EntryChange::Unlink(name.to_owned()));
        Ok(())
    }

    pub(super) fn folder(&self, node: NodeId) -> io::Result<&FolderNode> {
        match &self.nodes[node] {
            Node::Folder(folder) => Ok(folder),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn folder_mut(&mut self, node: NodeId) -> io::Result<&mut FolderNode> {
        match &mut self.nodes[node] {
            Node::Folder(folder) => Ok(folder),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn file(&self, node: NodeId) -> io::Result<&FileNode> {
        match &self.nodes[node] {
            Node::File(file) => Ok(file),
            Node::Folder(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn file_mut(&mut self, node: NodeId) -> io::Result<&mut FileNode> {
        match &mut self.nodes[node] {
            Node::File(file) => Ok(file),
            Node::Folder(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    /// Gives a file the blocks up to `end`, or fails when the disk is full.
    pub(super) fn reserve(&mut self, node: NodeId, end: u64) -> io::Result<()> {
        let allocated_bytes = whole_blocks(end);
        let more = allocated_bytes.saturating_sub(self.file(node)?.allocated_bytes);
        if more > self.capacity_bytes.saturating_sub(self.used_bytes) {
            return Err(self.refuse(Fault::Enospc, FaultKind::StorageFull));
        }
        self.used_bytes += more;
        self.file_mut(node)?.allocated_bytes += more;
        Ok(())
    }

    /// Cuts or extends a file and gives back the blocks behind its end.
    pub(super) fn truncate(&mut self, node: NodeId, size_bytes: u64) -> io::Result<()> {
        let file = self.file_mut(node)?;
        file.set_len(size_bytes);
        let freed = file.allocated_bytes.saturating_sub(whole_blocks(size_bytes));
        file.allocated_bytes -= freed;
        self.used_bytes -= freed;
        Ok(())
    }

    /// Writes the first sectors of `data`, as a write does that fails half-way.
    pub(super) fn write_prefix(&mut self, node: NodeId, position: u64, data: &[u8]) {
        let sectors = self.choices.below(data.len() / SECTOR_SIZE_BYTES + 1);
        let written = &data[..sectors * SECTOR_SIZE_BYTES];
        let end = position + written.len() as u64;
        if !written.is_empty()
            && self.reserve(node, end).is_ok()
            && let Ok(file) = self.file_mut(node)
        {
            file.write(position, &[io::IoSlice::new(written)]);
            self.fired.add(FaultKind::ShortWrite);
        }
    }

    /// A sync of a file that fails.
    pub(super) fn fail_sync(&mut self, node: NodeId) -> io::Result<()> {
        let mut choices = self.choices.clone();
        self.file_mut(node)?.fail_sync(&mut choices);
        self.choices = choices;
        Ok(())
    }

    /// Makes the first blocks of a durable write durable and returns the rest; a write of one block is whole.
    pub(super) fn write_first_half(&mut self, write: WriteInFlight) -> WriteInFlight {
        let half = write.data.len() / BLOCK_SIZE_BYTES / 2 * BLOCK_SIZE_BYTES;
        if half == 0 || write.settles.is_none() {
            return write;
        }
        self.fired.add(FaultKind::ShortWrite);
        if let Node::File(file) = &mut self.nodes[write.node] {
            file.write_durable(write.position, &write.data[..half], || true);
        }
        WriteInFlight {
            position: write.position + half as u64,
            data: write.data.slice(half..),
            ..write
        }
    }

    /// Ends a durable write as `fault` wants it.
    pub(super) fn end_write(&mut self, write: &WriteInFlight, fault: Option<Fault>) -> io::Result<()> {
        match fault {
            None | Some(Fault::ShortWrite) => self.arrive(write),
            Some(Fault::LostFlush) => {
                self.file_mut(write.node)?
                    .forget_write(write.position, &write.data);
                self.fired.add(FaultKind::LostFlush);
                Ok(())
            }
            Some(Fault::MisplacedWrite) => {
                self.file_mut(write.node)?
                    .forget_write(write.position, &write.data);
                self.write_elsewhere(write.node, write.position, &write.data);
                Ok(())
            }
            Some(fault @ (Fault::WriteError | Fault::Enospc)) => {
                self.tear(write);
                Err(self.refuse(fault, FaultKind::WriteError))
            }
            Some(Fault::TornWrite | Fault::PowerCut) => {
                self.tear(write);
                self.powered = false;
                Err(power_cut())
            }
        }
    }

    /// Ends a direct write as it should end.
    pub(super) fn arrive(&mut self, write: &WriteInFlight) -> io::Result<()> {
        let file = self.file_mut(write.node)?;
        let Some(settles) = &write.settles else {
            file.write_past_cache(write.position, &write.data);
            self.unsynced.insert(write.node);
            return Ok(());
        };
        file.write_durable(write.position, &write.data, || true);
        for node in settles {
            // A later write to the same file may have come in between, which is settled with it.
            if self.unsynced.remove(node) {
                self.file_mut(*node)?.sync();
            }
        }
        Ok(())
    }

    /// Ends a durable write of which only some sectors arrive.
    pub(super) fn tear(&mut self, write: &WriteInFlight) {
        let mut choices = self.choices.clone();
        let mut survival = Survival::Random(&mut choices);
        let percent = survival.percent();
        if let Node::File(file) = &mut self.nodes[write.node] {
            file.write_durable(write.position, &write.data, || survival.chance(percent));
        }
        self.choices = choices;
    }

    /// The disk after a power cut: no locks, no faults to come, nothing in flight.
    pub(super) fn after_power_cut(&self, seed: u64, survival: &mut Survival<'_>) -> Machine {
        let mut image = Machine::new(seed);
        image.capacity_bytes = self.capacity_bytes;
        image.slow = self.slow;
        image.fired.add(FaultKind::PowerCut);
        self.copy_folder(ROOT, ROOT, &mut image, survival);
        image
    }

    fn copy_folder(&self, from: NodeId, to: NodeId, image: &mut Machine, survival: &mut Survival<'_>) {
        let Node::Folder(folder) = &self.nodes[from] else {
            return;
        };
        let mut entries = folder.after_power_cut(survival);
        if entries != *folder.entries() {
            image.fired.add(FaultKind::LostEntry);
        }
        for node in entries.values_mut() {
            let source = *node;
            *node = image.nodes.len();
            match &self.nodes[source] {
                Node::Folder(_) => {
                    image.nodes.push(Node::Folder(FolderNode::default()));
                    self.copy_folder(source, *node, image, survival);
                }
                Node::File(file) => {
                    let mut file = file.after_power_cut(survival, &mut image.fired);
                    for write in self.in_flight.iter().filter(|write| write.node == source) {
                        let percent = survival.percent();
                        file.write_durable(write.position, &write.data, || survival.chance(percent));
                        image.fired.add(FaultKind::TornWrite);
                    }
                    image.used_bytes += file.allocated_bytes;
                    image.nodes.push(Node::File(file));
                }
            }
        }
        image.nodes[to] = Node::Folder(FolderNode::with(entries));
    }

    /// The disk after the process was killed: what was written is there, and still volatile.
    pub(super) fn after_kill(&self, seed: u64) -> Machine {
        let mut image = Machine::new(seed);
        image.nodes.clone_from(&self.nodes);
        image.capacity_bytes = self.capacity_bytes;
        image.used_bytes = self.used_bytes;
        image.slow = self.slow;
        image.fired.add(FaultKind::Kill);
        for write in &self.in_flight {
            if let Node::File(file) = &mut image.nodes[write.node] {
                file.write_past_cache(write.position, &write.data);
            }
        }
        image
    }

    /// A hash of every name and byte, of those that are durable or of those that programs see.
    pub(super) fn fingerprint(&self, visible: bool) -> u64 {
        let mut hash = std::hash::DefaultHasher::new();
        self.hash_folder(ROOT, visible, &mut hash);
        hash.finish()
    }

    fn hash_folder(&self, node: NodeId, visible: bool, hash: &mut impl Hasher) {
        let Node::Folder(folder) = &self.nodes[node] else {
            return;
        };
        let entries = if visible {
            folder.entries()
        } else {
            folder.durable_entries()
        };
        for (name, child) in entries {
            hash.write_usize(name.len());
            hash.write(name.as_bytes());
            match &self.nodes[*child] {
                Node::Folder(_) => self.hash_folder(*child, visible, hash),
                Node::File(file) if visible => file.visible().hash_into(hash),
                Node::File(file) => file.durable().hash_into(hash),
            }
        }
        hash.write_u8(0xff);
    }

    /// All files that have a name, with their paths, in order.
    pub(super) fn files(&self) -> Vec<(PathBuf, NodeId)> {
        let mut found = Vec::new();
        let mut folders = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, node)) = folders.pop() {
            let Node::Folder(folder) = &self.nodes[node] else {
                continue;
            };
            for (name, child) in folder.entries() {
                let path = path.join(name);
                match &self.nodes[*child] {
                    Node::Folder(_) => folders.push((path, *child)),
                    Node::File(_) => found.push((path, *child)),
                }
            }
        }
        found
    }
}

pub(super) fn power_cut() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "simulated power cut")
}

pub(super) fn write_error() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())
}

pub(super) fn storage_full() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error())
}

/// The names along a path from the root; the current folder is the root.
fn names(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_str().ok_or(io::ErrorKind::InvalidInput)?),
            Component::ParentDir | Component::Prefix(_) => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    Ok(names)
}
