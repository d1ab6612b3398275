//! Producer ids: given out from durable blocks, never twice, whatever happens in between.

use std::ops::Range;

use tokio::sync::Mutex;

use super::error::StateError;
use super::state::BrokerState;

/// Producer ids reserved by one durable write. A crash loses at most this many of 2^63.
const BLOCK_SIZE: i64 = 1000;

/// The allocator of producer ids.
#[derive(Debug)]
pub(super) struct ProducerIds {
    /// Ids that are reserved and not given out.
    reserved: Mutex<Range<i64>>,
}

impl ProducerIds {
    /// An allocator that never gives out an id below `next`.
    pub(super) fn new(next: i64) -> ProducerIds {
        ProducerIds {
            reserved: Mutex::new(next..next),
        }
    }

    /// A producer id that no producer has or had.
    pub(super) async fn allocate(&self, state: &BrokerState, now_ms: i64) -> Result<i64, StateError> {
        let mut reserved = self.reserved.lock().await;
        if reserved.is_empty() {
            let block = reserved.end..reserved.end + BLOCK_SIZE;
            state.reserve_producer_ids(block.end, now_ms)?.await?;
            *reserved = block;
        }
        let id = reserved.start;
        reserved.start += 1;
        Ok(id)
    }
}
