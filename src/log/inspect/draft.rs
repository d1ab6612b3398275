//! A segment that a tool writes: batches as they are given, and the indexes that follow from them.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::InspectError;
use crate::log::Offset;
use crate::log::batch::{BatchHeader, absent_records, lost_records, write_base_offset};
use crate::log::io::{Disk, File, OpenMode};
use crate::log::segment::{ExpectedIndexes, FlushedPosition, SegmentPaths};

/// A segment under construction. Its files have names of their own until they are published.
#[derive(Debug)]
pub(super) struct SegmentDraft {
    disk: Arc<dyn Disk>,
    paths: SegmentPaths,
    base_offset: Offset,
    file: Arc<dyn File>,
    position: u64,
    next_offset: Offset,
    indexes: ExpectedIndexes,
}

/// Why there are offsets without records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// Damage took them.
    Lost,
    /// Compaction took them out.
    Absent,
}

/// Files that are complete and durable under the names of drafts, and their final names.
pub(super) type Drafts = Vec<(PathBuf, PathBuf)>;

impl SegmentDraft {
    /// Begins the segment at `base_offset` in the folder `dir`.
    pub(super) fn create(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        base_offset: Offset,
    ) -> Result<Self, InspectError> {
        let paths = SegmentPaths::new(dir, base_offset);
        disk.create_dir_all(dir)
            .map_err(InspectError::io("create", dir))?;
        let file = create(&**disk, &draft_of(&paths.log))?;
        Ok(SegmentDraft {
            disk: Arc::clone(disk),
            paths,
            base_offset,
            file,
            position: 0,
            next_offset: base_offset,
            indexes: ExpectedIndexes::new(base_offset),
        })
    }

    /// Appends a batch, which begins at or behind the end; `header` is its header as it should be.
    pub(super) fn push(&mut self, header: &BatchHeader, bytes: &[u8], gap: Gap) -> Result<(), InspectError> {
        self.fill(header.base_offset, gap)?;
        let mut place = [0; BATCH_PLACE_BYTES];
        place.copy_from_slice(&bytes[..BATCH_PLACE_BYTES]);
        write_base_offset(&mut place, header.base_offset, 0);
        self.write(
            &[IoSlice::new(&place), IoSlice::new(&bytes[BATCH_PLACE_BYTES..])],
            header,
        )
    }

    /// Lets the segment reach to `offset`, without records.
    pub(super) fn fill(&mut self, offset: Offset, gap: Gap) -> Result<(), InspectError> {
        let range = self.next_offset..offset;
        let batches = match gap {
            Gap::Lost => lost_records(range),
            Gap::Absent => absent_records(range),
        };
        for batch in batches {
            if let Ok(header) = BatchHeader::parse(&batch) {
                self.write(&[IoSlice::new(&batch)], &header)?;
            }
        }
        Ok(())
    }

    /// The end so far.
    pub(super) fn end(&self) -> FlushedPosition {
        FlushedPosition {
            segment: self.base_offset,
            position: self.position,
            next_offset: self.next_offset,
        }
    }

    /// Writes the indexes and makes everything durable.
    pub(super) fn finish(self, is_closed: bool) -> Result<(FlushedPosition, Drafts), InspectError> {
        let end = self.end();
        let log = draft_of(&self.paths.log);
        self.file.sync().map_err(InspectError::io("sync", &log))?;
        let mut drafts = vec![(log, self.paths.log.clone())];
        drafts.extend(write_indexes(&*self.disk, &self.paths, self.indexes, is_closed)?);
        Ok((end, drafts))
    }

    fn write(&mut self, buffers: &[IoSlice<'_>], header: &BatchHeader) -> Result<(), InspectError> {
        let written = self.file.write_at(buffers, self.position);
        written.map_err(InspectError::io("write", &draft_of(&self.paths.log)))?;
        self.indexes.observe(self.position, header);
        self.position += header.size_bytes() as u64;
        self.next_offset = header.next_offset();
        Ok(())
    }
}

/// The bytes of a batch that tell its place, outside of its checksum.
const BATCH_PLACE_BYTES: usize = 16;

/// Writes drafts of the indexes of a segment.
pub(super) fn write_indexes(
    disk: &dyn Disk,
    paths: &SegmentPaths,
    indexes: ExpectedIndexes,
    is_closed: bool,
) -> Result<Drafts, InspectError> {
    let (offsets, times) = indexes.encode(is_closed);
    let mut drafts = Vec::new();
    for (path, bytes) in [(&paths.offset_index, offsets), (&paths.time_index, times)] {
        let draft = draft_of(path);
        let file = create(disk, &draft)?;
        file.write_at(&[IoSlice::new(&bytes)], 0)
            .map_err(InspectError::io("write", &draft))?;
        file.sync().map_err(InspectError::io("sync", &draft))?;
        drafts.push((draft, path.clone()));
    }
    Ok(drafts)
}

/// Gives drafts their final names, durably. Whatever had those names must have been moved away.
pub(super) fn publish(disk: &dyn Disk, drafts: &Drafts) -> Result<(), InspectError> {
    for (draft, path) in drafts {
        disk.rename(draft, path).map_err(InspectError::io("name", path))?;
    }
    let mut folders: Vec<_> = drafts.iter().filter_map(|(_, path)| path.parent()).collect();
    folders.dedup();
    for folder in folders
        .iter()
        .flat_map(|folder| [Some(*folder), folder.parent()])
        .flatten()
    {
        disk.sync_dir(folder).map_err(InspectError::io("sync", folder))?;
    }
    Ok(())
}

fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".draft");
    PathBuf::from(name)
}

/// A new file; what an interrupted attempt left under the name of a draft is worth nothing.
fn create(disk: &dyn Disk, path: &Path) -> Result<Arc<dyn File>, InspectError> {
    if disk.open(path, OpenMode::Read).is_ok() {
        disk.remove_file(path).map_err(InspectError::io("remove", path))?;
    }
    disk.open(path, OpenMode::CreateNew)
        .map_err(InspectError::io("create", path))
}
