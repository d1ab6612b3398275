//! How a log is opened.

use std::time::Duration;

use super::io::BLOCK_SIZE_BYTES;
use super::journal::file_size_min_bytes;
use super::segment::OPEN_SEGMENTS_MAX;

/// Largest record batch by default. 4 MiB: several fit into one journal file, and one write stays near 2 ms.
pub const BATCH_SIZE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Size of a journal file by default. 32 MiB: zeroing one takes about 30 ms, and at full rate a file lasts
/// long enough that beginning the next (two small writes) costs less than one percent.
pub const JOURNAL_FILE_SIZE_BYTES: u64 = 32 * 1024 * 1024;

/// Largest segment by default, as in Kafka (`log.segment.bytes`).
pub const SEGMENT_SIZE_MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// How long an acknowledged append to a partition of [`super::Durability::Os`] may be lost to a power cut.
pub const OS_SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Smallest large write by default.
pub const EXTENT_SIZE_MIN_BYTES: usize = 128 * 1024;

/// Smallest large write that can be asked for. Two blocks: wherever they begin, a whole one is among them.
pub const EXTENT_SIZE_LIMIT_BYTES: usize = 2 * BLOCK_SIZE_BYTES;

/// Unflushed bytes at which the flusher begins by default. 64 MiB, two journal files: the syncs of a flush are
/// then a few percent of its time even over several partitions.
pub const FLUSH_SIZE_BYTES: usize = 64 * 1024 * 1024;

/// Flushed bytes that stay in memory by default, for consumers near the end. 64 MiB, as much as one flush: who
/// is behind by less reads no device.
pub const TAIL_RETAINED_MAX_BYTES: usize = 64 * 1024 * 1024;

/// How long a batch stays unflushed by default when little is written.
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(2);

/// How often retention and compaction look at every partition by default, as in Kafka
/// (`log.retention.check.interval.ms`).
pub const CLEANER_INTERVAL: Duration = Duration::from_mins(5);

const _: () = assert!(file_size_min_bytes(BATCH_SIZE_MAX_BYTES) < JOURNAL_FILE_SIZE_BYTES);
const _: () = assert!((BATCH_SIZE_MAX_BYTES as u64) < SEGMENT_SIZE_MAX_BYTES);

/// The share of the disk that one journal file takes at most: a sixteenth, so that all eight take half of a
/// small disk. From 512 MiB on it makes no difference.
const JOURNAL_FILE_DISK_SHARE: u64 = 16;

/// How a log is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Never use `io_uring`, even where it is available.
    pub plain_writes: bool,
    /// Largest record batch that is taken.
    pub batch_size_max_bytes: usize,
    /// Size of each journal file; rounded up to what the largest batch needs.
    pub journal_file_size_bytes: u64,
    /// Size at which a partition begins its next segment.
    pub segment_size_max_bytes: u64,
    /// Most segments whose files are open at a time; fewer where the process may have few descriptors.
    pub open_segments_max: usize,
    /// Smallest share of a group that one partition writes straight to its segment instead of through the
    /// journal; at least [`EXTENT_SIZE_LIMIT_BYTES`].
    pub extent_size_min_bytes: usize,
    /// Unflushed bytes at which the flusher begins.
    pub flush_size_bytes: usize,
    /// Longest time that a batch stays unflushed.
    pub flush_interval: Duration,
    /// How often retention and compaction look at every partition.
    pub cleaner_interval: Duration,
    /// Flushed bytes that stay in memory while anything is appended.
    pub tail_retained_max_bytes: usize,
    /// Opens a log that ends before what is known to have been durable: acknowledged records are lost then.
    pub accept_lost_writes: bool,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            plain_writes: false,
            batch_size_max_bytes: BATCH_SIZE_MAX_BYTES,
            journal_file_size_bytes: JOURNAL_FILE_SIZE_BYTES,
            segment_size_max_bytes: SEGMENT_SIZE_MAX_BYTES,
            open_segments_max: OPEN_SEGMENTS_MAX,
            extent_size_min_bytes: EXTENT_SIZE_MIN_BYTES,
            flush_size_bytes: FLUSH_SIZE_BYTES,
            flush_interval: FLUSH_INTERVAL,
            cleaner_interval: CLEANER_INTERVAL,
            tail_retained_max_bytes: TAIL_RETAINED_MAX_BYTES,
            accept_lost_writes: false,
        }
    }
}

impl LogOptions {
    /// These options on a disk of that size: on a small one the journal is smaller, and flushed sooner.
    pub(super) fn fitted_to(self, disk_size_bytes: u64) -> LogOptions {
        let block = BLOCK_SIZE_BYTES as u64;
        let share = disk_size_bytes / JOURNAL_FILE_DISK_SHARE / block * block;
        let size_bytes = share.min(self.journal_file_size_bytes);
        let size_bytes = size_bytes.max(file_size_min_bytes(self.batch_size_max_bytes));
        let journal_file_size_bytes = size_bytes.next_multiple_of(block);
        let files_bytes = usize::try_from(2 * journal_file_size_bytes).unwrap_or(usize::MAX);
        LogOptions {
            journal_file_size_bytes,
            extent_size_min_bytes: self.extent_size_min_bytes.max(EXTENT_SIZE_LIMIT_BYTES),
            flush_size_bytes: self.flush_size_bytes.min(files_bytes),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_gets_a_small_journal() {
        let options = LogOptions::default();
        let sizes = |disk_size_bytes| {
            let fitted = options.clone().fitted_to(disk_size_bytes);
            (fitted.journal_file_size_bytes, fitted.flush_size_bytes)
        };
        let unchanged = (JOURNAL_FILE_SIZE_BYTES, FLUSH_SIZE_BYTES);
        assert_eq!(sizes(u64::MAX), unchanged);
        assert_eq!(sizes(512 * 1024 * 1024), unchanged);
        assert_eq!(sizes(160_000_001), (9_998_336, 19_996_672));
        let least = file_size_min_bytes(BATCH_SIZE_MAX_BYTES);
        assert_eq!(sizes(0), (least, 2 * least as usize));
    }
}
