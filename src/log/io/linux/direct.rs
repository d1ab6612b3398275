//! Large writes past the page cache.
//!
//! Copying into the page cache and having the kernel write it back costs more CPU than everything else an
//! append does: two thirds of all cycles of a log under full load went into it. The whole blocks of a large write
//! are gathered into an aligned buffer and written with `O_DIRECT`; the parts of a block at both ends go
//! through the page cache, which the kernel keeps coherent with direct writes of other pages.

use std::fs;
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::OFlags;

use super::super::BLOCK_SIZE_BYTES;
use super::super::aligned::{AlignedBuffer, BufferPool};
use super::disk::write_buffered;

/// Smallest write that goes past the page cache: below, a consumer likely reads it back soon.
pub const DIRECT_SIZE_MIN_BYTES: usize = 256 * 1024;

/// Size of one direct write. 4 MiB: the kernel keeps several device requests of it in flight.
pub const STAGING_SIZE_BYTES: usize = 4 * 1024 * 1024;

/// The direct descriptor of one file, opened at the first need; none where the filesystem has no `O_DIRECT`.
#[derive(Debug)]
pub struct DirectFile {
    path: PathBuf,
    staging: Arc<BufferPool>,
    file: OnceLock<Option<fs::File>>,
}

impl DirectFile {
    /// The direct side of the file at `path`.
    pub fn new(path: &Path, staging: Arc<BufferPool>) -> DirectFile {
        DirectFile {
            path: path.to_path_buf(),
            staging,
            file: OnceLock::new(),
        }
    }

    /// Writes all of `buffers` from `position`, whole blocks past the page cache.
    pub fn write_at(&self, buffered: &fs::File, buffers: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let Some(direct) = self.descriptor(buffered) else {
            return write_buffered(buffered, buffers, position);
        };
        let mut buffers = buffers.to_vec();
        let mut rest = buffers.as_mut_slice();
        IoSlice::advance_slices(&mut rest, 0);
        let mut position = position;
        let mut left: usize = rest.iter().map(|buffer| buffer.len()).sum();
        let to_block = (position.next_multiple_of(BLOCK_SIZE_BYTES as u64) - position) as usize;
        while left >= BLOCK_SIZE_BYTES {
            let is_aligned = position.is_multiple_of(BLOCK_SIZE_BYTES as u64);
            let whole_blocks = (left - left % BLOCK_SIZE_BYTES).min(STAGING_SIZE_BYTES);
            let (file, size) = if is_aligned {
                (direct, whole_blocks)
            } else {
                (buffered, to_block)
            };
            let staged = take_front(&mut rest, size, &self.staging);
            file.write_all_at(&staged.freeze(), position)?;
            position += size as u64;
            left -= size;
        }
        write_buffered(buffered, rest, position)
    }

    fn descriptor(&self, buffered: &fs::File) -> Option<&fs::File> {
        let open = || {
            let flags = OFlags::DIRECT.bits().cast_signed();
            let direct = fs::OpenOptions::new()
                .write(true)
                .custom_flags(flags)
                .open(&self.path)
                .ok()?;
            // The path may have been renamed since: only the same file will do.
            let same = same_file(&direct, buffered).unwrap_or(false);
            same.then_some(direct)
        };
        self.file.get_or_init(open).as_ref()
    }
}

fn same_file(one: &fs::File, other: &fs::File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok(one.dev() == other.dev() && one.ino() == other.ino())
}

/// Moves the next `size` bytes of `rest` into an aligned buffer.
#[expect(clippy::mut_mut, reason = "the shape that `IoSlice::advance_slices` takes")]
fn take_front(rest: &mut &mut [IoSlice<'_>], size: usize, pool: &Arc<BufferPool>) -> AlignedBuffer {
    let mut staged = pool.take(size);
    let mut left = size;
    for buffer in rest.iter() {
        let part = buffer.len().min(left);
        staged.extend_from_slice(&buffer[..part]);
        left -= part;
        if left == 0 {
            break;
        }
    }
    IoSlice::advance_slices(rest, size - left);
    staged
}
