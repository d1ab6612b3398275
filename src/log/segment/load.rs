//! Loads the indexes of a segment, believing them only as far as batch headers agree.

use std::io;
use std::path::Path;

use super::file::SegmentFile;
use super::headers::Headers;
use super::indexes::Indexes;
use super::open::find;
use super::paths::SegmentPaths;
use super::seal::SealContent;
use super::sealing::place_of;
use super::{FileOperation, SegmentError};
use crate::log::Offset;
use crate::log::io::{Disk, OpenMode};
use crate::log::planted::{self, Bug};

/// The indexes of a segment, complete up to its end or to the first damage.
pub(super) struct Loaded {
    pub(super) indexes: Indexes,
    /// Offset behind the last batch that was reached.
    pub(super) next_offset: Offset,
    /// How many entries of each index are in its file.
    pub(super) stored_counts: (usize, usize),
    /// What stopped the walk before the end.
    pub(super) damage: Option<SegmentError>,
}

/// Reads the index files, checks their last entries, and walks the headers behind them up to `end`.
///
/// The walk is short when the index files are whole: one interval. Without them it is the whole segment. Where
/// a seal vouches for the index files there is none.
pub(super) fn load(
    disk: &dyn Disk,
    paths: &SegmentPaths,
    file: &SegmentFile,
    base_offset: Offset,
    end: u64,
    index_interval_bytes: u32,
) -> Result<Loaded, SegmentError> {
    let offsets = read_index(disk, &paths.offset_index)?;
    let times = read_index(disk, &paths.time_index)?;
    if let Some(seal) = file.seal() {
        return Ok(load_sealed(&seal.content, paths, file, &offsets, &times));
    }
    let empty = Indexes::new(base_offset, index_interval_bytes);
    let mut stored = empty.clone().decode(&offsets, &times, end);
    while let Some(anchor) = stored
        .last_offset_entry()
        .filter(|_| !planted::is(Bug::TrustOffsetIndex))
    {
        let batch = Headers::verified(file, anchor.position.into(), end).next();
        let last_offset = base_offset.plus(anchor.relative_offset.into());
        if batch.is_ok_and(|batch| batch.is_some_and(|(_, header)| header.last_offset() == last_offset)) {
            break;
        }
        stored.forget_last_offset_entry();
    }
    let indexes = if is_time_right(&stored, file, base_offset, end) {
        stored
    } else {
        empty
    };
    Ok(complete(indexes, paths, file, base_offset, end))
}

/// The indexes of a sealed segment: as stored if they are what was sealed, else made again from its batches.
fn load_sealed(
    content: &SealContent,
    paths: &SegmentPaths,
    file: &SegmentFile,
    offsets: &[u8],
    times: &[u8],
) -> Loaded {
    let base_offset = content.identity.base_offset;
    let empty = Indexes::new(base_offset, content.index_interval_bytes);
    if crc32fast::hash(offsets) == content.offset_index_crc
        && crc32fast::hash(times) == content.time_index_crc
    {
        let indexes = empty.decode_whole(offsets, times);
        return Loaded {
            stored_counts: indexes.counts(),
            indexes,
            next_offset: content.next_offset,
            damage: None,
        };
    }
    let mut loaded = complete(empty, paths, file, base_offset, content.size_bytes);
    loaded.indexes.close();
    loaded
}

/// Whether the last time entry tells what the batch that it points to tells, and no batch from there to the last
/// offset entry has a later time: of two files that were not synced, a crash can leave the newer offset index.
///
/// A time index without entries beside an offset index with some is lost, or all batches are without time.
fn is_time_right(indexes: &Indexes, file: &SegmentFile, base_offset: Offset, end: u64) -> bool {
    let (Some(offset), Some(anchor)) = (indexes.offset_of_max_timestamp(), indexes.last_offset_entry())
    else {
        return false;
    };
    let max_timestamp = indexes.max_timestamp();
    let entry_before = |bound| indexes.offset_entry_before(bound);
    let Ok(Some((position, header))) = find(file, base_offset, end, offset, entry_before) else {
        return false;
    };
    if header.max_timestamp != max_timestamp || header.last_offset() != offset {
        return false;
    }
    let mut headers = Headers::verified(file, position, end);
    loop {
        match headers.next() {
            Ok(Some((position, header))) if position <= anchor.position.into() => {
                if header.max_timestamp > max_timestamp {
                    return false;
                }
            }
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

/// Walks from the last offset entry to the end and adds what the indexes lack.
fn complete(
    mut indexes: Indexes,
    paths: &SegmentPaths,
    file: &SegmentFile,
    base_offset: Offset,
    end: u64,
) -> Loaded {
    let stored_counts = indexes.counts();
    let anchor = indexes.last_offset_entry();
    let from = anchor.map_or(0, |entry| entry.position.into());
    let mut headers = Headers::verified(file, from, end);
    let mut next_offset = base_offset;
    let damage = loop {
        match headers.next() {
            Ok(None) => break None,
            Err(error) => break Some(error),
            Ok(Some((position, header))) => {
                let is_anchor = anchor.is_some_and(|entry| u64::from(entry.position) == position);
                if is_anchor {
                    indexes.skip(header.size_bytes());
                } else if file.may_follow(header.base_offset, next_offset) {
                    indexes.observe(&place_of(position, &header));
                } else {
                    break Some(SegmentError::Damaged {
                        path: paths.log.clone(),
                        segment: base_offset,
                        position,
                        found: header.base_offset,
                        expected: next_offset,
                    });
                }
                next_offset = header.next_offset();
            }
        }
    };
    Loaded {
        indexes,
        next_offset,
        stored_counts,
        damage,
    }
}

/// The bytes of an index file; a missing one is empty. An unreadable one is as good as missing.
pub(super) fn read_index(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, SegmentError> {
    let file = match disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(SegmentError::io(FileOperation::Open, path)(error)),
    };
    let size_bytes = file.len().map_err(SegmentError::io(FileOperation::Read, path))?;
    if size_bytes > super::SEGMENT_SIZE_LIMIT_BYTES {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; size_bytes as usize];
    match file.read_at(&mut bytes, 0) {
        Ok(()) => Ok(bytes),
        Err(_) => Ok(Vec::new()),
    }
}
