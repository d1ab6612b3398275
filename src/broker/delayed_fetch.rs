//! The long poll of a Fetch: reads partitions until there is enough, or it took long enough.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::protocol::ErrorCode;
use crate::log::batch::batches;
use crate::log::{Offset, Partition, ReadError};

/// What is asked of one partition.
#[derive(Clone, Debug)]
pub(super) struct PartitionFetch {
    pub(super) partition: Partition,
    pub(super) from: i64,
    pub(super) max_bytes: usize,
}

/// What was read of one partition.
#[derive(Clone, Debug, Default)]
pub(super) struct PartitionRead {
    pub(super) error: ErrorCode,
    pub(super) high_watermark: Offset,
    pub(super) log_start: Offset,
    pub(super) records: Vec<Bytes>,
}

/// When a long poll ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct FetchBounds {
    pub(super) min_bytes: usize,
    pub(super) max_bytes: usize,
    pub(super) max_wait: Duration,
}

impl PartitionRead {
    fn size_bytes(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }
}

/// Reads `fetches` in order; waits for new records while there is less than asked for and nothing is wrong.
pub(super) async fn fetch(
    fetches: &Arc<[PartitionFetch]>,
    bounds: FetchBounds,
    shutdown: &CancellationToken,
) -> Vec<PartitionRead> {
    let deadline = Instant::now() + bounds.max_wait;
    loop {
        let reads = read_enough(fetches, bounds).await;
        let size_bytes: usize = reads.iter().map(PartitionRead::size_bytes).sum();
        let has_error = reads.iter().any(|read| !read.error.is_none());
        if size_bytes >= bounds.min_bytes || has_error || fetches.is_empty() || bounds.max_wait.is_zero() {
            return reads;
        }
        tokio::select! {
            () = any_above(fetches, &reads) => {}
            () = tokio::time::sleep_until(deadline) => return read_enough(fetches, bounds).await,
            () = shutdown.cancelled() => return reads,
        }
    }
}

/// Reads everything, on a thread for blocking work where the disk may have to be waited for.
async fn read_enough(fetches: &Arc<[PartitionFetch]>, bounds: FetchBounds) -> Vec<PartitionRead> {
    let is_in_memory = |fetch: &PartitionFetch| {
        u64::try_from(fetch.from).is_ok_and(|from| fetch.partition.is_in_memory(Offset(from)))
    };
    if fetches.iter().all(is_in_memory) {
        return read_now(fetches, bounds);
    }
    let shared = Arc::clone(fetches);
    let read = tokio::task::spawn_blocking(move || read_now(&shared, bounds)).await;
    read.unwrap_or_else(|_| {
        let unavailable = PartitionRead {
            error: ErrorCode::KAFKA_STORAGE_ERROR,
            ..PartitionRead::default()
        };
        vec![unavailable; fetches.len()]
    })
}

fn read_now(fetches: &[PartitionFetch], bounds: FetchBounds) -> Vec<PartitionRead> {
    let mut reads = read_all(fetches, bounds.max_bytes);
    let size_bytes: usize = reads.iter().map(PartitionRead::size_bytes).sum();
    if 0 < size_bytes && size_bytes < bounds.min_bytes {
        read_on(fetches, &mut reads, size_bytes, bounds.max_bytes);
    }
    reads
}

/// Reads on where a read stopped short of the high watermark, as happens at the end of a segment: what is
/// there must not be waited for.
fn read_on(fetches: &[PartitionFetch], reads: &mut [PartitionRead], mut size_bytes: usize, max_bytes: usize) {
    for (fetch, read) in fetches.iter().zip(reads) {
        while let Some(next) = next_offset(&read.records).filter(|next| *next < read.high_watermark) {
            let left = fetch
                .max_bytes
                .saturating_sub(read.size_bytes())
                .min(max_bytes - size_bytes);
            let Ok(mut more) = fetch.partition.read(next, left) else {
                break;
            };
            let more_bytes: usize = more.iter().map(Bytes::len).sum();
            if more_bytes == 0 || more_bytes > left {
                break;
            }
            read.records.append(&mut more);
            size_bytes += more_bytes;
        }
    }
}

/// The offset behind the last record of whole batches.
fn next_offset(records: &[Bytes]) -> Option<Offset> {
    let (header, _) = batches(records.last()?).last()?.ok()?;
    Some(header.next_offset())
}

/// Resolves when the high watermark of any partition is above what was read.
async fn any_above(fetches: &[PartitionFetch], reads: &[PartitionRead]) {
    let mut registered = Registered { fetches, waker: None };
    poll_fn(|context| {
        let mut pairs = fetches.iter().zip(reads);
        if pairs.any(|(fetch, read)| fetch.partition.high_watermark() > read.high_watermark) {
            return Poll::Ready(());
        }
        registered.replace(context.waker());
        for (fetch, read) in fetches.iter().zip(reads) {
            fetch.partition.wake_above(read.high_watermark, context.waker());
        }
        Poll::Pending
    })
    .await;
}

/// The waker that partitions hold for a long poll; taken back when the poll ends.
struct Registered<'a> {
    fetches: &'a [PartitionFetch],
    waker: Option<Waker>,
}

impl Registered<'_> {
    fn replace(&mut self, waker: &Waker) {
        if self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            return;
        }
        self.take_back();
        self.waker = Some(waker.clone());
    }

    fn take_back(&mut self) {
        if let Some(waker) = self.waker.take() {
            for fetch in self.fetches {
                fetch.partition.forget_waker(&waker);
            }
        }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.take_back();
    }
}

fn read_all(fetches: &[PartitionFetch], max_bytes: usize) -> Vec<PartitionRead> {
    let mut left = max_bytes;
    let mut is_empty = true;
    let read_one = |fetch: &PartitionFetch| {
        // The first batch of the whole answer is given even if it is larger than every limit; a later
        // partition gives only what still fits.
        let limit = fetch.max_bytes.min(left);
        let mut read = read_partition(fetch, limit);
        let size_bytes = read.size_bytes();
        if size_bytes > limit && !is_empty {
            read.records.clear();
        } else if size_bytes > 0 {
            is_empty = false;
            left = left.saturating_sub(size_bytes);
        }
        read
    };
    fetches.iter().map(read_one).collect()
}

fn read_partition(fetch: &PartitionFetch, max_bytes: usize) -> PartitionRead {
    let high_watermark = fetch.partition.high_watermark();
    let log_start = fetch.partition.log_start();
    let failed = |error| PartitionRead {
        error,
        high_watermark,
        log_start,
        records: Vec::new(),
    };
    let Ok(from) = u64::try_from(fetch.from) else {
        return failed(ErrorCode::OFFSET_OUT_OF_RANGE);
    };
    match fetch.partition.read(Offset(from), max_bytes) {
        Ok(records) => PartitionRead {
            error: ErrorCode::NONE,
            high_watermark,
            log_start,
            records,
        },
        Err(ReadError::OutOfRange { .. }) => failed(ErrorCode::OFFSET_OUT_OF_RANGE),
        Err(ReadError::Deleted) => failed(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        Err(error @ ReadError::Segment(_)) => {
            let partition = fetch.partition.id();
            tracing::error!(%partition, offset = from, %error, "records could not be read");
            failed(ErrorCode::KAFKA_STORAGE_ERROR)
        }
    }
}

/// The topic's partition of that index from the wire.
pub(super) fn partition_of(topic: &Arc<crate::log::Topic>, index: i32) -> Option<&Partition> {
    topic.partitions.get(usize::try_from(index).ok()?)
}
