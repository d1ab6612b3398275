//! The whole state of a simulated disk: the tree of nodes, writes in flight, faults to come, and power.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::io;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use super::Fault;
use super::file::{FileNode, Survival, whole_blocks};
use super::folder::{EntryChange, FolderNode};
use super::random::Choices;

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

    /// Like [`Machine::begin`] for an operation that is done or not done, never in part.
    pub(super) fn begin_whole(&mut self) -> io::Result<()> {
        match self.begin()? {
            None => Ok(()),
            Some(Fault::WriteError) => Err(write_error()),
            Some(Fault::Enospc) => Err(storage_full()),
            Some(Fault::TornWrite | Fault::PowerCut) => {
                self.powered = false;
                Err(power_cut())
            }
        }
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
            return Err(storage_full());
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

    /// Ends a direct write as it should end.
    pub(super) fn arrive(&mut self, write: &WriteInFlight) -> io::Result<()> {
        let file = self.file_mut(write.node)?;
        let Some(settles) = &write.settles else {
            file.write(write.position, &[io::IoSlice::new(&write.data)]);
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
        self.copy_folder(ROOT, ROOT, &mut image, survival);
        image
    }

    fn copy_folder(&self, from: NodeId, to: NodeId, image: &mut Machine, survival: &mut Survival<'_>) {
        let Node::Folder(folder) = &self.nodes[from] else {
            return;
        };
        let mut entries = folder.after_power_cut(survival);
        for node in entries.values_mut() {
            let source = *node;
            *node = image.nodes.len();
            match &self.nodes[source] {
                Node::Folder(_) => {
                    image.nodes.push(Node::Folder(FolderNode::default()));
                    self.copy_folder(source, *node, image, survival);
                }
                Node::File(file) => {
                    let mut file = file.after_power_cut(survival);
                    for write in self.in_flight.iter().filter(|write| write.node == source) {
                        let percent = survival.percent();
                        file.write_durable(write.position, &write.data, || survival.chance(percent));
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
        for write in &self.in_flight {
            if let Node::File(file) = &mut image.nodes[write.node] {
                file.write(write.position, &[io::IoSlice::new(&write.data)]);
            }
        }
        image
    }

    /// A hash of every durable name and byte.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hash = std::hash::DefaultHasher::new();
        self.hash_folder(ROOT, &mut hash);
        hash.finish()
    }

    fn hash_folder(&self, node: NodeId, hash: &mut impl Hasher) {
        let Node::Folder(folder) = &self.nodes[node] else {
            return;
        };
        for (name, child) in folder.durable_entries() {
            hash.write_usize(name.len());
            hash.write(name.as_bytes());
            match &self.nodes[*child] {
                Node::Folder(_) => self.hash_folder(*child, hash),
                Node::File(file) => file.durable().hash_into(hash),
            }
        }
        hash.write_u8(0xff);
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
