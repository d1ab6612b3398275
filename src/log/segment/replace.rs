//! Puts a rewritten segment in the place of those that it was made of, so that a crash at any point leaves either.
//!
//! ```text
//! <base>.{log,index,timeindex,seal}.cleaned   being written; garbage after a crash
//! <base>.{index,timeindex,seal}.swap          on their way
//! <base>.log.swap                             with its name durable, the replacement is decided
//! ```
//!
//! From then on it is carried out, now or at the next start: the replaced segments behind the first are removed, the
//! small files get their names, and the log last, which ends it. Every step may be repeated.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::paths::{SegmentPaths, base_offset_of};
use super::place::SegmentPlace;
use super::rewrite::Rewrite;
use super::seal::Seal;
use super::segments::{ClosedSegment, SealState};
use super::{FileOperation, SegmentError, Segments};
use crate::log::Offset;

/// Of files that are being written.
pub(super) const CLEANED_SUFFIX: &str = ".cleaned";
/// Of files that are on their way to their place.
const SWAP_SUFFIX: &str = ".swap";

/// `path` with `suffix` behind.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

impl Segments {
    /// Replaces segments by `rewrite`, whose files are durable. No closed segment is opened meanwhile, so that
    /// nobody meets half of it; those that are open go on to be read.
    pub(super) fn replace(&self, rewrite: &Rewrite<'_>) -> Result<(), SegmentError> {
        let _maintenance = self.maintain();
        let _closed_to_openers = self.lock_replacing();
        let place = &self.place;
        for path in [
            &rewrite.paths.offset_index,
            &rewrite.paths.time_index,
            &rewrite.paths.seal,
        ] {
            rename(
                place,
                &with_suffix(path, CLEANED_SUFFIX),
                &with_suffix(path, SWAP_SUFFIX),
            )?;
        }
        sync_dir(place)?;
        let log = &rewrite.paths.log;
        rename(
            place,
            &with_suffix(log, CLEANED_SUFFIX),
            &with_suffix(log, SWAP_SUFFIX),
        )?;
        sync_dir(place)?;
        carry_out(place, &rewrite.paths, &rewrite.replaced[1..])?;
        self.put_in_list(rewrite);
        Ok(())
    }

    fn put_in_list(&self, rewrite: &Rewrite<'_>) {
        let (first, last) = (rewrite.replaced[0], rewrite.replaced[rewrite.replaced.len() - 1]);
        let (size_bytes, max_timestamp) = rewrite.written();
        {
            let mut layout = self.layout_mut();
            let from = layout
                .closed
                .partition_point(|segment| segment.base_offset < first);
            let until = layout
                .closed
                .partition_point(|segment| segment.base_offset <= last);
            let last_append = layout.closed[from..until]
                .iter()
                .filter_map(|segment| segment.last_append)
                .max();
            // Retention may have given up some of them meanwhile, or all.
            if from < until {
                self.retired.cancel(&rewrite.paths);
                let replacement = ClosedSegment {
                    base_offset: first,
                    size_bytes: Some(size_bytes),
                    max_timestamp: Some(max_timestamp),
                    last_append,
                    seal: SealState::Sealed,
                };
                layout.closed.splice(from..until, [replacement]);
            }
            layout.version += 1;
        }
        self.forget_open(&rewrite.replaced);
    }
}

/// Completes what a crash interrupted in the folder, and removes what was not decided. True if anything changed.
pub(super) fn recover(place: &SegmentPlace, names: &[String]) -> Result<bool, SegmentError> {
    let is_draft = |name: &&String| name.ends_with(SWAP_SUFFIX) || name.ends_with(CLEANED_SUFFIX);
    let drafts: Vec<&String> = names.iter().filter(is_draft).collect();
    if drafts.is_empty() {
        return Ok(false);
    }
    let bases: BTreeSet<Offset> = names.iter().filter_map(|name| base_offset_of(name)).collect();
    let swaps = drafts.iter().filter_map(|name| name.strip_suffix(SWAP_SUFFIX));
    for first in swaps.filter_map(base_offset_of) {
        let paths = SegmentPaths::new(&place.dir, first);
        let next_offset = next_offset_of(place, &paths, first)?;
        let behind: Vec<Offset> = bases
            .iter()
            .copied()
            .filter(|base| first < *base && *base < next_offset)
            .collect();
        carry_out(place, &paths, &behind)?;
        tracing::info!(path = %paths.log.display(), "a replacement of segments was completed");
    }
    for name in drafts {
        remove(place, &place.dir.join(name))?;
    }
    Ok(true)
}

/// Where the replaced range ends, by the seal, which may have its name already.
fn next_offset_of(place: &SegmentPlace, paths: &SegmentPaths, first: Offset) -> Result<Offset, SegmentError> {
    let identity = place.identity(first);
    for path in [with_suffix(&paths.seal, SWAP_SUFFIX), paths.seal.clone()] {
        if let Some(seal) = Seal::read(&*place.disk, &path, identity)? {
            return Ok(seal.content.next_offset);
        }
    }
    let source = io::ErrorKind::NotFound.into();
    Err(SegmentError::io(FileOperation::Open, &paths.seal)(source))
}

/// The steps behind the decision.
fn carry_out(place: &SegmentPlace, paths: &SegmentPaths, behind: &[Offset]) -> Result<(), SegmentError> {
    for base_offset in behind {
        for path in SegmentPaths::new(&place.dir, *base_offset).all() {
            remove(place, path)?;
        }
    }
    for path in [&paths.offset_index, &paths.time_index, &paths.seal] {
        match place.disk.rename(&with_suffix(path, SWAP_SUFFIX), path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed.map_err(SegmentError::io(FileOperation::Rename, path))?,
        }
    }
    // The log's old name is what says that this is not done: all of it is durable before.
    sync_dir(place)?;
    rename(place, &with_suffix(&paths.log, SWAP_SUFFIX), &paths.log)?;
    sync_dir(place)
}

fn rename(place: &SegmentPlace, from: &Path, to: &Path) -> Result<(), SegmentError> {
    place
        .disk
        .rename(from, to)
        .map_err(SegmentError::io(FileOperation::Rename, to))
}

fn remove(place: &SegmentPlace, path: &Path) -> Result<(), SegmentError> {
    match place.disk.remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(SegmentError::io(FileOperation::Remove, path)),
    }
}

fn sync_dir(place: &SegmentPlace) -> Result<(), SegmentError> {
    place
        .disk
        .sync_dir(&place.dir)
        .map_err(SegmentError::io(FileOperation::Sync, &place.dir))
}
