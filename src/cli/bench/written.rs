//! What the kernel counts: bytes written to the device and read from it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use rustix::fs::{Mode, OFlags, major, minor};

/// The kernel's unit of `stat` of a block device, whatever the device's own block size.
const SECTOR_SIZE_BYTES: u64 = 512;

/// Place of "sectors written" among the numbers of a block device's `stat`, counted from 0.
/// Source: Documentation/block/stat.rst of Linux.
const SECTORS_WRITTEN_INDEX: usize = 6;

/// Counters at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the unit ends each name")]
pub struct Counters {
    /// Bytes written to the block device of the folder, by everybody, the filesystem's journal included; `None`
    /// where the folder's filesystem has no block device of its own.
    pub device_written_bytes: Option<u64>,
    /// Bytes that this process made the kernel write: direct writes, and pages of the cache made dirty.
    pub process_written_bytes: u64,
    /// Bytes that this process made the kernel read from a device.
    pub process_read_bytes: u64,
}

impl Counters {
    /// Writes out what the filesystem of `folder` still holds back, then reads the counters: what is written later
    /// is nothing that was done earlier.
    pub fn settled(folder: &Path) -> anyhow::Result<Counters> {
        settle(folder)?;
        Counters::now(folder)
    }

    /// Reads the counters.
    pub fn now(folder: &Path) -> anyhow::Result<Counters> {
        let device = device_stat_path(folder)?;
        let device_written_bytes = match fs::read_to_string(&device) {
            Ok(stat) => {
                Some(sectors_written(&stat).context("reading the device's counters")? * SECTOR_SIZE_BYTES)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("reading {}", device.display())),
        };
        let process = fs::read_to_string("/proc/self/io").context("reading /proc/self/io")?;
        Ok(Counters {
            device_written_bytes,
            process_written_bytes: process_count(&process, "write_bytes")?,
            process_read_bytes: process_count(&process, "read_bytes")?,
        })
    }

    /// What was written and read between `earlier` and these.
    pub fn since(&self, earlier: &Counters) -> Counters {
        let device = self.device_written_bytes.zip(earlier.device_written_bytes);
        Counters {
            device_written_bytes: device.map(|(now, earlier)| now.saturating_sub(earlier)),
            process_written_bytes: self.process_written_bytes - earlier.process_written_bytes,
            process_read_bytes: self.process_read_bytes - earlier.process_read_bytes,
        }
    }
}

/// Makes everything durable that the filesystem of `folder` holds back, of whoever it is.
pub fn settle(folder: &Path) -> anyhow::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(folder, flags, Mode::empty());
    let opened = opened.with_context(|| format!("opening {}", folder.display()))?;
    rustix::fs::syncfs(opened).with_context(|| format!("syncing the filesystem of {}", folder.display()))
}

fn device_stat_path(folder: &Path) -> anyhow::Result<PathBuf> {
    let device = fs::metadata(folder)
        .with_context(|| format!("looking at {}", folder.display()))?
        .dev();
    Ok(PathBuf::from(format!(
        "/sys/dev/block/{}:{}/stat",
        major(device),
        minor(device)
    )))
}

fn sectors_written(stat: &str) -> anyhow::Result<u64> {
    let number = stat.split_ascii_whitespace().nth(SECTORS_WRITTEN_INDEX);
    let number = number.ok_or_else(|| anyhow!("{stat:?} has no sectors written"))?;
    number.parse().with_context(|| format!("{number:?} is no number"))
}

fn process_count(io: &str, name: &str) -> anyhow::Result<u64> {
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.ok_or_else(|| anyhow!("/proc/self/io has no {name}"))?.trim();
    number.parse().with_context(|| format!("{number:?} is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_what_the_kernel_prints() {
        let stat =
            "   54303     6625  6753170    67417   325722    74646 163373352   227048        0    45184\n";
        assert_eq!(sectors_written(stat).unwrap(), 163_373_352);
        assert!(sectors_written("1 2 3").is_err());
        let io = "rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 5\nwrite_bytes: 6\ncancelled_write_bytes: 7\n";
        assert_eq!(process_count(io, "read_bytes").unwrap(), 5);
        assert_eq!(process_count(io, "write_bytes").unwrap(), 6);
        assert!(process_count(io, "bytes").is_err());
    }

    #[test]
    fn a_written_file_is_counted_once_it_is_settled() {
        let folder = tempfile::tempdir_in(".").unwrap();
        let before = Counters::settled(folder.path()).unwrap();
        std::fs::write(folder.path().join("file"), vec![1; 1 << 20]).unwrap();
        let written = Counters::settled(folder.path()).unwrap().since(&before);
        // A filesystem in memory has no device, and nothing is written for it.
        if let Some(device_bytes) = written.device_written_bytes {
            assert!(device_bytes >= 1 << 20, "{written:?}");
            assert!(written.process_written_bytes >= 1 << 20, "{written:?}");
        }
    }
}
