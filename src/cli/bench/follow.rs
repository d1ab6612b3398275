//! A reader of one partition: from its start to its end, or along with its end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use doorbuster::log::{Offset, Partition, batch};

/// Most bytes of one read. 1 MiB: what Kafka's consumers take from a partition by default.
const READ_SIZE_BYTES: usize = 1024 * 1024;

/// How long a follower sleeps before it looks whether the appends have ended.
const LOOK_AROUND: Duration = Duration::from_millis(10);

/// Whether the reader checks what it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// The header of each batch: size, and offsets without a gap.
    Headers,
    /// The CRC-32C of each batch as well.
    Checksums,
}

/// Reads from `from` to the high watermark of this moment; the bytes read.
pub fn read_to_end(partition: &Partition, from: Offset, checks: Checks) -> anyhow::Result<u64> {
    let end = partition.high_watermark();
    let (mut next, mut read_bytes) = (from, 0);
    while next < end {
        let size_bytes = read_once(partition, &mut next, checks)?;
        ensure!(
            size_bytes > 0,
            "nothing to read at offset {next}, before the end {end}"
        );
        read_bytes += size_bytes;
    }
    Ok(read_bytes)
}

/// What a follower came to.
#[derive(Clone, Copy, Debug)]
pub struct Followed {
    /// Bytes that it read.
    pub read_bytes: u64,
    /// When it had read the last of them.
    pub reached: Instant,
}

/// Reads what is appended behind `from` until `ended` is set and the end is reached.
pub fn follow(
    partition: &Partition,
    from: Offset,
    checks: Checks,
    ended: &AtomicBool,
) -> anyhow::Result<Followed> {
    let mut next = from;
    let mut followed = Followed {
        read_bytes: 0,
        reached: Instant::now(),
    };
    loop {
        // Before the look at the watermark: what was appended when it was set is seen.
        let is_last = ended.load(Ordering::Acquire);
        if partition.wait_above(next, LOOK_AROUND) {
            followed.read_bytes += read_once(partition, &mut next, checks)?;
            followed.reached = Instant::now();
        } else if is_last {
            return Ok(followed);
        }
    }
}

fn read_once(partition: &Partition, next: &mut Offset, checks: Checks) -> anyhow::Result<u64> {
    let mut read_bytes = 0;
    for slice in partition.read(*next, READ_SIZE_BYTES)? {
        for found in batch::batches(&slice) {
            let (header, bytes) = found?;
            ensure!(
                header.base_offset == *next,
                "offset {} follows, {next} was expected",
                header.base_offset
            );
            if checks == Checks::Checksums {
                batch::verify(&bytes)?;
            }
            *next = header.next_offset();
            read_bytes += bytes.len() as u64;
        }
    }
    Ok(read_bytes)
}
