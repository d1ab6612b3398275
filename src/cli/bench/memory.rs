//! How fast this machine copies memory.

use std::hint::black_box;
use std::time::Instant;

/// Size of the memory that is copied from, and of that which is copied to: larger than the processor's caches.
const AREA_SIZE_BYTES: usize = 256 * 1024 * 1024;

/// Copied in one call. 1 MiB, as large as a read of the log.
const PART_SIZE_BYTES: usize = 1024 * 1024;

/// Copies at least `total_bytes` from memory to memory, out of the caches, and returns MB/s.
pub fn copy_megabytes_per_second(total_bytes: u64) -> f64 {
    // Not zero: pages of zeros that nobody has written may all be the same one.
    let from = vec![1_u8; AREA_SIZE_BYTES];
    let mut to = vec![2_u8; AREA_SIZE_BYTES];
    let rounds = total_bytes.div_ceil(AREA_SIZE_BYTES as u64).max(1);
    let start = Instant::now();
    for _ in 0..rounds {
        let parts = to.chunks_mut(PART_SIZE_BYTES).zip(from.chunks(PART_SIZE_BYTES));
        for (to, from) in parts {
            to.copy_from_slice(black_box(from));
        }
        black_box(&mut to);
    }
    (rounds * AREA_SIZE_BYTES as u64) as f64 / 1e6 / start.elapsed().as_secs_f64()
}
