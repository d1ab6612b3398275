//! Reading the journal at start: which groups are there, and whether one that was acknowledged is not.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::JournalError;
use super::extent::Extent;
use super::frame::{Content, FileHeader, FrameEntry, FrameHeader, HEADER_SIZE_BYTES, Lsn, entries};
use super::window::Window;
use crate::log::io::{BLOCK_SIZE_BYTES, Disk, OpenMode};
use crate::log::planted::{self, Bug};
use crate::log::{Offset, PartitionId, StoreId};

/// What the journal holds behind the checkpoint.
#[derive(Debug, Default)]
pub struct Replay {
    /// The entries of all groups behind the checkpoint, in order.
    pub entries: Vec<FrameEntry>,
    /// The last intact group.
    pub last_lsn: Lsn,
    /// Its CRC.
    pub last_crc: u32,
    /// The newest incarnation that any file names.
    pub incarnation: u64,
    /// The newest file sequence.
    pub sequence: u32,
    /// Files that hold groups behind the checkpoint, oldest first, with their last LSN.
    pub needed: Vec<(PathBuf, Lsn)>,
    /// Files that may be written over.
    pub free: Vec<PathBuf>,
}

/// Whether an extent's blocks stand in its segment, as far as a reader can tell.
pub type IsIntact<'a> = dyn Fn(PartitionId, Offset, &Extent) -> Result<bool, JournalError> + 'a;

/// A frame behind the checkpoint, and what stands before it.
struct Frame {
    lsn: Lsn,
    position: u64,
    previous_crc: u32,
    entries: Vec<FrameEntry>,
}

struct Candidate {
    path: PathBuf,
    header: FileHeader,
}

/// Reads the journal in `folder` behind `checkpoint_lsn`, or all of it if there is no checkpoint. Writes
/// nothing.
///
/// The frames of a file follow one another by LSN, position and CRC chain; file n+1 is begun only when all
/// of file n is durable and names its last frame's CRC. So a break before the newest file's last frame is
/// damage. In the newest file a break is the torn end of what was never acknowledged, unless a later
/// frame of the same run says that the missing group was durable.
///
/// An extent is durable when its frame and its blocks are. Where a later frame says so it is believed;
/// `is_intact` is asked about the last groups only, which may have been in flight.
pub fn replay(
    disk: &dyn Disk,
    folder: &Path,
    store: StoreId,
    checkpoint_lsn: Option<Lsn>,
    is_intact: &IsIntact<'_>,
) -> Result<Replay, JournalError> {
    let (mut files, mut free) = read_headers(disk, folder, store)?;
    if !planted::is(Bug::OrderFilesByName) {
        files.sort_by_key(|file| file.header.sequence);
    }
    check_doubles(&files)?;
    let Some(newest) = files.last() else {
        return match checkpoint_lsn {
            Some(lsn) if lsn > 0 => Err(JournalError::Missing {
                path: folder.to_path_buf(),
                lsn,
            }),
            _ => Ok(Replay {
                free,
                ..Replay::default()
            }),
        };
    };
    let mut replay = Replay {
        incarnation: newest.header.incarnation,
        sequence: newest.header.sequence,
        ..Replay::default()
    };
    let checkpoint_lsn = checkpoint_lsn.unwrap_or_else(|| oldest_lsn(&files));
    let start = files
        .iter()
        .rposition(|file| file.header.first_lsn <= checkpoint_lsn + 1);
    let Some(start) = start else {
        return Err(JournalError::Missing {
            path: folder.to_path_buf(),
            lsn: checkpoint_lsn + 1,
        });
    };
    let needed = files.split_off(start);
    free.extend(files.into_iter().map(|file| file.path));
    replay.free = free;
    read_files(disk, &needed, checkpoint_lsn, is_intact, &mut replay)?;
    Ok(replay)
}

/// Refuses two files that one run began with the same number: a header was written to another's place. Headers of
/// two runs may have one, where the first was on its way when its process was killed.
fn check_doubles(files: &[Candidate]) -> Result<(), JournalError> {
    let identity = |file: &Candidate| (file.header.sequence, file.header.incarnation);
    let double = files
        .windows(2)
        .find(|pair| identity(&pair[0]) == identity(&pair[1]));
    double.map_or(Ok(()), |pair| {
        Err(JournalError::Damaged {
            path: pair[1].path.clone(),
            position: 0,
            lsn: pair[1].header.first_lsn,
        })
    })
}

/// The LSN before the oldest file from which the sequences run without a gap to the newest.
fn oldest_lsn(files: &[Candidate]) -> Lsn {
    let mut oldest = files.len() - 1;
    while oldest > 0 && files[oldest - 1].header.sequence + 1 == files[oldest].header.sequence {
        oldest -= 1;
    }
    files[oldest].header.first_lsn - 1
}

fn read_headers(
    disk: &dyn Disk,
    folder: &Path,
    store: StoreId,
) -> Result<(Vec<Candidate>, Vec<PathBuf>), JournalError> {
    let (mut used, mut unused, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
    let names = disk.list(folder).map_err(|source| JournalError::Io {
        what: "list",
        path: folder.to_path_buf(),
        source,
    })?;
    for name in names.iter().filter(|name| name.ends_with(".journal")) {
        let path = folder.join(name);
        let bytes = read_file(disk, &path, HEADER_SIZE_BYTES)?;
        match FileHeader::decode(&bytes) {
            Some(header) if header.store != store && !planted::is(Bug::IgnoreStoreId) => {
                return Err(JournalError::Foreign {
                    path,
                    found: header.store,
                    expected: store,
                });
            }
            Some(header) => used.push(Candidate { path, header }),
            None if bytes.iter().all(|byte| *byte == 0) => unused.push(path),
            None => unreadable.push(path),
        }
    }
    let newest = used.iter().map(|file| file.header.sequence).max().unwrap_or(0);
    for path in unreadable {
        // A header that was being written when the power went is followed by no frame of its file. One
        // that is followed by such a frame was durable once.
        if let Some((lsn, position)) = frame_of_later_file(disk, &path, store, newest)? {
            return Err(JournalError::Damaged { path, position, lsn });
        }
        unused.push(path);
    }
    Ok((used, unused))
}

fn frame_of_later_file(
    disk: &dyn Disk,
    path: &Path,
    store: StoreId,
    newest: u32,
) -> Result<Option<(Lsn, u64)>, JournalError> {
    let bytes = read_file(disk, path, usize::MAX)?;
    let found = (BLOCK_SIZE_BYTES..bytes.len())
        .step_by(BLOCK_SIZE_BYTES)
        .find_map(|position| {
            let (frame, _) = FrameHeader::decode(&bytes[position..])?;
            (frame.store == store && frame.file_sequence > newest).then_some((frame.lsn, position as u64))
        });
    Ok(found)
}

fn read_files(
    disk: &dyn Disk,
    files: &[Candidate],
    checkpoint_lsn: Lsn,
    is_intact: &IsIntact<'_>,
    replay: &mut Replay,
) -> Result<(), JournalError> {
    let Some(first) = files.first() else { return Ok(()) };
    let mut last_lsn = first.header.first_lsn - 1;
    let mut last_crc = first.header.previous_crc;
    for (index, file) in files.iter().enumerate() {
        let chained = file.header.first_lsn == last_lsn + 1
            && (file.header.previous_crc == last_crc || planted::is(Bug::IgnoreChecksumChain))
            && file.header.sequence == first.header.sequence + index as u32;
        if !chained && planted::is(Bug::StepOverMissingFile) {
            (last_lsn, last_crc) = (file.header.first_lsn - 1, file.header.previous_crc);
        } else if !chained {
            // The file before ended early, or a file between the two is missing.
            let path = files[index - 1].path.clone();
            return Err(JournalError::Damaged {
                path,
                position: 0,
                lsn: last_lsn + 1,
            });
        }
        let read_error = |source| JournalError::Io {
            what: "read",
            path: file.path.clone(),
            source,
        };
        let mut window = Window::open(disk, &file.path).map_err(read_error)?;
        let mut frames = Vec::new();
        let mut position = BLOCK_SIZE_BYTES as u64;
        // A write that was in flight when its process was killed may land late, behind the end that the
        // next run saw: the next file's first LSN is where this one ends.
        let end_lsn = files
            .get(index + 1)
            .map_or(Lsn::MAX, |next| next.header.first_lsn - 1);
        let mut durable_upto = file.header.first_lsn - 1;
        while last_lsn < end_lsn
            && let Some((frame, crc, payload)) = window.frame(position).map_err(read_error)?
            && (follows(&frame, position, &file.header, last_lsn, last_crc)
                || planted::is(Bug::TrustStaleFrames))
        {
            durable_upto = durable_upto.max(frame.durable_upto);
            if frame.lsn > checkpoint_lsn {
                let payload = Bytes::copy_from_slice(payload);
                let entries = entries(payload, frame.entry_count).ok_or_else(|| JournalError::Damaged {
                    path: file.path.clone(),
                    position,
                    lsn: frame.lsn,
                })?;
                let skipped = usize::from(planted::is(Bug::SkipFirstBatchOfGroup));
                frames.push(Frame {
                    lsn: frame.lsn,
                    position,
                    previous_crc: last_crc,
                    entries: entries.into_iter().skip(skipped).collect(),
                });
            }
            (last_lsn, last_crc) = (frame.lsn, crc);
            position += frame.size_bytes() as u64;
        }
        if index + 1 == files.len() {
            if let Some(torn) = first_torn(&frames, durable_upto, is_intact)? {
                let frame = &frames[torn];
                (last_lsn, last_crc, position) = (frame.lsn - 1, frame.previous_crc, frame.position);
                frames.truncate(torn);
            }
            check_end(&mut window, position, file, last_lsn + 1)?;
        }
        let entries = frames.into_iter().flat_map(|frame| frame.entries);
        replay.entries.extend(entries);
        replay.needed.push((file.path.clone(), last_lsn));
    }
    if last_lsn < checkpoint_lsn {
        let path = files[files.len() - 1].path.clone();
        return Err(JournalError::Damaged {
            path,
            position: 0,
            lsn: last_lsn + 1,
        });
    }
    (replay.last_lsn, replay.last_crc) = (last_lsn, last_crc);
    Ok(())
}

/// The first frame that was never durable because an extent of it is not there.
fn first_torn(
    frames: &[Frame],
    durable_upto: Lsn,
    is_intact: &IsIntact<'_>,
) -> Result<Option<usize>, JournalError> {
    let unsure = frames.partition_point(|frame| frame.lsn <= durable_upto);
    for (index, frame) in frames.iter().enumerate().skip(unsure) {
        for entry in &frame.entries {
            if let Content::Extent(extent) = &entry.content
                && !is_intact(entry.partition, entry.offset, extent)?
            {
                return Ok(Some(index));
            }
        }
    }
    Ok(None)
}

/// Whether the frame at `position` is the one that must stand there.
fn follows(frame: &FrameHeader, position: u64, file: &FileHeader, last_lsn: Lsn, last_crc: u32) -> bool {
    belongs_at(frame, position, file)
        && frame.lsn == last_lsn + 1
        && (frame.previous_crc == last_crc || planted::is(Bug::IgnoreChecksumChain))
}

fn belongs_at(frame: &FrameHeader, position: u64, file: &FileHeader) -> bool {
    frame.store == file.store
        && frame.incarnation == file.incarnation
        && frame.file_sequence == file.sequence
        && u64::from(frame.block) == position / BLOCK_SIZE_BYTES as u64
}

/// Refuses an end that a later frame of the same run contradicts.
fn check_end(window: &mut Window, end: u64, file: &Candidate, missing: Lsn) -> Result<(), JournalError> {
    if planted::is(Bug::SkipWatermarkCheck) {
        return Ok(());
    }
    for position in (end..window.file_size_bytes()).step_by(BLOCK_SIZE_BYTES) {
        let found = window.frame(position).map_err(|source| JournalError::Io {
            what: "read",
            path: file.path.clone(),
            source,
        })?;
        let Some((frame, ..)) = found else { continue };
        if belongs_at(&frame, position, &file.header) && frame.durable_upto >= missing {
            return Err(JournalError::Damaged {
                path: file.path.clone(),
                position: end,
                lsn: missing,
            });
        }
    }
    Ok(())
}

fn read_file(disk: &dyn Disk, path: &Path, size_max_bytes: usize) -> Result<Bytes, JournalError> {
    let read = || {
        let file = disk.open(path, OpenMode::Read)?;
        let size = usize::try_from(file.len()?)
            .unwrap_or(usize::MAX)
            .min(size_max_bytes);
        let mut bytes = vec![0; size];
        file.read_at(&mut bytes, 0)?;
        Ok(Bytes::from(bytes))
    };
    read().map_err(|source| JournalError::Io {
        what: "read",
        path: path.to_path_buf(),
        source,
    })
}
