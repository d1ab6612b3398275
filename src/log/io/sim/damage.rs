//! Damage that no operation tells of: content at rest that changes, and writes and reads that go elsewhere.

use std::io;
use std::path::{Path, PathBuf};

use super::SECTOR_SIZE_BYTES;
use super::disk::SimulatedDisk;
use super::fault::{Damage, FaultKind};
use super::folder::EntryChange;
use super::machine::{Machine, NodeId};
use super::random::Choices;

impl SimulatedDisk {
    /// Damages a file that `seed` chooses among those that `may_touch` allows; returns the files that are not
    /// what they were, or none if nothing could be damaged.
    ///
    /// Where content is damaged, bytes that were written are preferred to zeros.
    pub fn damage(&self, damage: Damage, seed: u64, may_touch: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
        let mut machine = self.machine();
        let mut choices = Choices::new(seed);
        let mut files = machine.files();
        files.retain(|(path, node)| may_touch(path) && machine.file(*node).is_ok_and(|file| file.len() > 0));
        if files.is_empty() {
            return Vec::new();
        }
        let (path, node) = files.swap_remove(choices.below(files.len()));
        machine.damage(damage, &path, node, &files, &mut choices)
    }

    /// Replaces a file by the content that another disk has at `source`, as a wrong restore does; false if
    /// there is no such file.
    pub fn replace_file(&self, path: &Path, donor: &SimulatedDisk, source: &Path) -> bool {
        let content = {
            let donor = donor.machine();
            let Ok(file) = donor.resolve(source).and_then(|node| donor.file(node)) else {
                return false;
            };
            file.durable().clone()
        };
        let mut machine = self.machine();
        let Ok(file) = machine.resolve(path).and_then(|node| machine.file_mut(node)) else {
            return false;
        };
        file.corrupt(|current| *current = content.clone());
        machine.fired.add(FaultKind::ForeignFile);
        true
    }

    /// The paths of all files, in order.
    pub fn files(&self) -> Vec<PathBuf> {
        let files = self.machine().files();
        files.into_iter().map(|(path, _)| path).collect()
    }
}

impl Machine {
    fn damage(
        &mut self,
        damage: Damage,
        path: &Path,
        node: NodeId,
        others: &[(PathBuf, NodeId)],
        choices: &mut Choices,
    ) -> Vec<PathBuf> {
        let damaged = match damage {
            Damage::BitFlip => self.flip_bit(node, choices),
            Damage::UnreadableSector => self.spoil_sector(node, choices),
            Damage::MisplacedSector => self.misplace_sector(node, others, choices),
            Damage::TruncatedFile => self.cut_file(node, choices),
            Damage::RemovedFile => self.remove_name(path),
            Damage::SwappedFiles => {
                let Some((other_path, other)) = others.get(choices.below(others.len().max(1))) else {
                    return Vec::new();
                };
                let swapped = self.swap(node, *other);
                return if swapped.is_ok_and(|swapped| swapped) {
                    vec![path.to_owned(), other_path.clone()]
                } else {
                    Vec::new()
                };
            }
        };
        if damaged.is_ok_and(|damaged| damaged) {
            vec![path.to_owned()]
        } else {
            Vec::new()
        }
    }

    fn flip_bit(&mut self, node: NodeId, choices: &mut Choices) -> io::Result<bool> {
        let Some(position) = self.written_position(node, choices)? else {
            return Ok(false);
        };
        let bit = choices.below(8);
        self.file_mut(node)?.corrupt(|content| {
            let mut byte = [0];
            content.read(position, &mut byte);
            content.write(position, &[byte[0] ^ (1 << bit)]);
        });
        self.fired.add(FaultKind::BitFlip);
        Ok(true)
    }

    fn spoil_sector(&mut self, node: NodeId, choices: &mut Choices) -> io::Result<bool> {
        let Some(position) = self.written_position(node, choices)? else {
            return Ok(false);
        };
        self.file_mut(node)?.spoil(position / SECTOR_SIZE_BYTES as u64);
        Ok(true)
    }

    fn misplace_sector(
        &mut self,
        node: NodeId,
        others: &[(PathBuf, NodeId)],
        choices: &mut Choices,
    ) -> io::Result<bool> {
        let Some(position) = self.written_position(node, choices)? else {
            return Ok(false);
        };
        let source = match others.get(choices.below(others.len() + 1)) {
            Some((_, other)) => *other,
            None => node,
        };
        let Some(source_position) = self.written_position(source, choices)? else {
            return Ok(false);
        };
        let sector = |position: u64| position / SECTOR_SIZE_BYTES as u64 * SECTOR_SIZE_BYTES as u64;
        let mut bytes = [0; SECTOR_SIZE_BYTES];
        self.file(source)?
            .durable()
            .read(sector(source_position), &mut bytes);
        let length = self.file(node)?.len();
        let end = (length - sector(position)).min(SECTOR_SIZE_BYTES as u64) as usize;
        self.file_mut(node)?
            .corrupt(|content| content.write(sector(position), &bytes[..end]));
        self.fired.add(FaultKind::MisplacedWrite);
        Ok(true)
    }

    fn cut_file(&mut self, node: NodeId, choices: &mut Choices) -> io::Result<bool> {
        let length = choices.below(self.file(node)?.len() as usize) as u64;
        self.file_mut(node)?.corrupt(|content| content.set_len(length));
        self.fired.add(FaultKind::DamagedFile);
        Ok(true)
    }

    fn remove_name(&mut self, path: &Path) -> io::Result<bool> {
        let (parent, name) = self.resolve_parent(path)?;
        let folder = self.folder_mut(parent)?;
        folder.change(EntryChange::Unlink(name.to_owned()));
        folder.sync();
        self.fired.add(FaultKind::DamagedFile);
        Ok(true)
    }

    fn swap(&mut self, one: NodeId, other: NodeId) -> io::Result<bool> {
        let (first, second) = (
            self.file(one)?.durable().clone(),
            self.file(other)?.durable().clone(),
        );
        if first == second {
            return Ok(false);
        }
        self.file_mut(one)?.corrupt(|content| *content = second.clone());
        self.file_mut(other)?.corrupt(|content| *content = first.clone());
        self.fired.add(FaultKind::DamagedFile);
        Ok(true)
    }

    /// A position of a file whose byte was written, most often one that is not zero.
    fn written_position(&self, node: NodeId, choices: &mut Choices) -> io::Result<Option<u64>> {
        /// Bytes that are tried for one that is not zero.
        const TRIES: usize = 24;
        let file = self.file(node)?;
        let stored = file.durable().stored_positions();
        if stored.is_empty() {
            return Ok(None);
        }
        let start = stored[choices.below(stored.len())];
        let size_bytes = file.len().saturating_sub(start).min(4096) as usize;
        if size_bytes == 0 {
            return Ok(None);
        }
        let mut byte = [0];
        let mut position = start;
        for _ in 0..TRIES {
            // Near the beginning there is more: headers, and small batches in blocks of their own.
            let reach = if choices.below(2) == 0 {
                size_bytes
            } else {
                size_bytes.min(256)
            };
            position = start + choices.below(reach) as u64;
            file.durable().read(position, &mut byte);
            if byte[0] != 0 {
                break;
            }
        }
        Ok(Some(position))
    }

    /// Lets the durable content of a buffered write be elsewhere once it is synced.
    pub(super) fn misplace(&mut self, node: NodeId, position: u64, size_bytes: u64) {
        let mut data = vec![0; size_bytes as usize];
        let Ok(file) = self.file_mut(node) else { return };
        file.read(position, &mut data);
        file.forget_range(position, size_bytes);
        self.write_elsewhere(node, position, &data);
    }

    /// Writes `data`, or its first block, durably to a place where something else is.
    pub(super) fn write_elsewhere(&mut self, node: NodeId, position: u64, data: &[u8]) {
        self.fired.add(FaultKind::MisplacedWrite);
        let Some((other, elsewhere)) = self.other_place(node, position, data.len()) else {
            return;
        };
        if let Ok(file) = self.file_mut(other) {
            let room = file.durable().len().saturating_sub(elsewhere) as usize;
            file.corrupt_durable(elsewhere, &data[..data.len().min(room)]);
        }
    }

    /// Fills `buffer` from another place.
    pub(super) fn misread(&mut self, node: NodeId, position: u64, buffer: &mut [u8]) {
        let Some((other, elsewhere)) = self.other_place(node, position, buffer.len()) else {
            return;
        };
        if let Ok(file) = self.file(other) {
            file.read(elsewhere, buffer);
            self.fired.add(FaultKind::MisplacedRead);
        }
    }

    /// A place that is as far from its block's beginning as `position`, in any file with content.
    fn other_place(&mut self, node: NodeId, position: u64, size_bytes: usize) -> Option<(NodeId, u64)> {
        const BLOCK: u64 = 4096;
        let mut places = Vec::new();
        for (_, other) in self.files() {
            let Ok(file) = self.file(other) else { continue };
            let within = file.durable().len();
            for start in file.durable().stored_positions() {
                let place = start + position % BLOCK;
                if (other, place) != (node, position) && place + (size_bytes as u64).min(BLOCK) <= within {
                    places.push((other, place));
                }
            }
        }
        (!places.is_empty()).then(|| places[self.choices.below(places.len())])
    }
}
