//! The raw device, read past the page cache.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use doorbuster::log::io::BLOCK_SIZE_BYTES;
use rustix::fs::OFlags;

/// Size of one read.
const READ_SIZE_BYTES: usize = 1024 * 1024;

/// Reads in flight, each of a thread of its own.
pub const READS_IN_FLIGHT: usize = 8;

/// The rate of reading all of `files` once, in MB/s.
pub fn megabytes_per_second(files: &[PathBuf]) -> anyhow::Result<f64> {
    let (read_bytes, took) = read(files)?;
    Ok(read_bytes as f64 / 1e6 / took.as_secs_f64())
}

/// The time of reading all of `files` once, in milliseconds.
pub fn milliseconds(files: &[PathBuf]) -> anyhow::Result<f64> {
    let (_, took) = read(files)?;
    Ok(took.as_secs_f64() * 1e3)
}

/// Reads all of `files` once with `O_DIRECT`, 1 MiB at a time, several in flight.
fn read(files: &[PathBuf]) -> anyhow::Result<(u64, Duration)> {
    let mut parts = Vec::new();
    for path in files {
        let direct = i32::try_from(OFlags::DIRECT.bits()).context("the flag for direct reads")?;
        let open = OpenOptions::new().read(true).custom_flags(direct).open(path);
        let file = open.with_context(|| format!("opening {} for direct reads", path.display()))?;
        let size_bytes = file
            .metadata()
            .with_context(|| format!("looking at {}", path.display()))?
            .len();
        let file = Arc::new(file);
        let positions = (0..size_bytes).step_by(READ_SIZE_BYTES);
        parts.extend(positions.map(|position| (Arc::clone(&file), position)));
    }
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    let read_bytes: u64 = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READS_IN_FLIGHT)
            .map(|_| scope.spawn(|| read_parts(&parts, &next)))
            .collect();
        let ends = readers.into_iter().map(|reader| {
            reader
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        ends.collect::<Vec<io::Result<u64>>>()
            .into_iter()
            .sum::<io::Result<u64>>()
    })
    .context("direct reads")?;
    Ok((read_bytes, start.elapsed()))
}

/// Reads parts that no other thread has taken until none is left; the number of bytes.
fn read_parts(parts: &[(Arc<File>, u64)], next: &AtomicUsize) -> io::Result<u64> {
    let mut memory = vec![0; READ_SIZE_BYTES + BLOCK_SIZE_BYTES];
    let aligned = memory.as_ptr().align_offset(BLOCK_SIZE_BYTES);
    let buffer = &mut memory[aligned..aligned + READ_SIZE_BYTES];
    let mut read_bytes = 0;
    while let Some((file, position)) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
        // A part is only shorter than the buffer at the end of its file.
        read_bytes += file.read_at(buffer, *position)? as u64;
    }
    Ok(read_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_every_file_is_read_once() {
        let folder = tempfile::tempdir_in(".").unwrap();
        let sizes = [0, 1, READ_SIZE_BYTES, 3 * READ_SIZE_BYTES + 4097];
        let mut parts = Vec::new();
        for (number, size_bytes) in sizes.into_iter().enumerate() {
            let path = folder.path().join(number.to_string());
            std::fs::write(&path, vec![1; size_bytes]).unwrap();
            let file = Arc::new(File::open(&path).unwrap());
            let positions = (0..size_bytes as u64).step_by(READ_SIZE_BYTES);
            parts.extend(positions.map(|position| (Arc::clone(&file), position)));
        }
        let total_bytes = read_parts(&parts, &AtomicUsize::new(0)).unwrap();
        assert_eq!(total_bytes, sizes.iter().sum::<usize>() as u64);
    }
}
