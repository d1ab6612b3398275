//! Fetch: whole batches from where the consumer is, now or as soon as there are enough.

use std::sync::Arc;
use std::time::Duration;

use kafka_wire::FetchRequest;
use kafka_wire::fetch_request::{FetchPartition, FetchTopic};

use super::super::delayed_fetch::{FetchBounds, PartitionFetch, PartitionRead, fetch, partition_of};
use super::super::node::{Context, Node, check_leader_epoch};
use super::super::protocol::{ErrorCode, FetchAnswer, FetchedPartition, FetchedTopic};
use crate::log::{Topic, TopicId};

/// First version that names topics by id.
const TOPIC_ID_VERSION: i16 = 13;

/// Epoch of a full fetch that would like to begin a session, whatever session it had before.
const SESSION_INITIAL: i32 = 0;

/// Epoch of a full fetch without a session, which ends the one that it names.
const SESSION_FINAL: i32 = -1;

/// Longest wait that a client may ask for; longer ones only hold resources.
const WAIT_MAX: Duration = Duration::from_mins(5);

/// A partition of the request: to be read, or already refused.
type Resolved = Result<PartitionFetch, ErrorCode>;

pub(super) async fn answer(node: &Node, context: &Context, request: FetchRequest) -> FetchAnswer {
    let read_committed = request.isolation_level == 1;
    if !matches!(request.session_epoch, SESSION_INITIAL | SESSION_FINAL) {
        // Sessions are never given out, so this one is from another broker or time. The client then
        // falls back to full fetches.
        let error = ErrorCode::FETCH_SESSION_ID_NOT_FOUND;
        return FetchAnswer {
            error,
            read_committed,
            topics: Vec::new(),
        };
    }
    let by_id = context.version() >= TOPIC_ID_VERSION;
    let mut fetches = Vec::new();
    let mut has_refusal = false;
    let mut resolved_topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let found = find_topic(node, by_id, &topic);
        let mut resolved = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            match resolve(&found, partition) {
                Ok(fetch) => {
                    fetches.push(fetch);
                    resolved.push((partition.partition, None));
                }
                Err(error) => {
                    has_refusal = true;
                    resolved.push((partition.partition, Some(error)));
                }
            }
        }
        resolved_topics.push((topic, resolved));
    }

    let bounds = bounds(
        node,
        request.min_bytes,
        request.max_bytes,
        request.max_wait_ms,
        has_refusal,
    );
    let fetches = Arc::from(fetches);
    let mut reads = fetch(&fetches, bounds, &node.shutdown).await.into_iter();
    let to_answer = |(topic, resolved): (FetchTopic, Vec<(i32, Option<ErrorCode>)>)| FetchedTopic {
        name: topic.topic,
        id: topic.topic_id,
        partitions: resolved
            .into_iter()
            .map(|(index, refusal)| match refusal {
                Some(error) => FetchedPartition::failed(index, error),
                None => fetched_partition(index, reads.next().unwrap_or_default()),
            })
            .collect(),
    };
    let topics = resolved_topics.into_iter().map(to_answer).collect();
    FetchAnswer {
        error: ErrorCode::NONE,
        read_committed,
        topics,
    }
}

fn bounds(node: &Node, min_bytes: i32, max_bytes: i32, max_wait_ms: i32, has_refusal: bool) -> FetchBounds {
    let max_bytes = usize::try_from(max_bytes)
        .unwrap_or(0)
        .min(node.config.fetch_size_max_bytes);
    let max_wait = Duration::from_millis(u64::try_from(max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
    FetchBounds {
        // Waiting for more than may be returned would never end early.
        min_bytes: usize::try_from(min_bytes).unwrap_or(0).min(max_bytes),
        max_bytes,
        // An error is told at once.
        max_wait: if has_refusal { Duration::ZERO } else { max_wait },
    }
}

fn find_topic(node: &Node, by_id: bool, topic: &FetchTopic) -> Result<Arc<Topic>, ErrorCode> {
    if by_id {
        let id = TopicId(topic.topic_id.to_bytes());
        node.topics.by_id(id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
    } else {
        node.topics
            .by_name(&topic.topic)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }
}

fn resolve(topic: &Result<Arc<Topic>, ErrorCode>, asked: &FetchPartition) -> Resolved {
    let topic = topic.as_ref().map_err(|error| *error)?;
    let partition = partition_of(topic, asked.partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    check_leader_epoch(asked.current_leader_epoch)?;
    Ok(PartitionFetch {
        partition: partition.clone(),
        from: asked.fetch_offset,
        max_bytes: usize::try_from(asked.partition_max_bytes).unwrap_or(0),
    })
}

fn fetched_partition(index: i32, read: PartitionRead) -> FetchedPartition {
    if !read.error.is_none() {
        return FetchedPartition::failed(index, read.error);
    }
    FetchedPartition {
        index,
        error: read.error,
        high_watermark: read.high_watermark.0 as i64,
        log_start: read.log_start.0 as i64,
        records: read.records,
    }
}
