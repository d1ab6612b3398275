//! `ListOffsets`: the first and last offsets of partitions, and the offset of a point in time.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use kafka_wire::list_offsets_request::ListOffsetsPartition;
use kafka_wire::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_wire::{ListOffsetsRequest, ListOffsetsResponse};
use kafka_wire_core::StrBytes;
use kafka_wire_records::{RecordBatch, RecordDecodeLimits, TimestampType};

use super::super::delayed_fetch::partition_of;
use super::super::node::{Context, LEADER_EPOCH, Node, check_leader_epoch};
use super::super::protocol::ErrorCode;
use crate::log::batch::BatchHeader;
use crate::log::{Offset, Partition, ReadError, Timestamp, Topic};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// A record's place and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    offset: i64,
    timestamp: i64,
}

/// The answer where there is no such record.
const NOWHERE: Found = Found {
    offset: -1,
    timestamp: -1,
};

pub(super) async fn answer(
    node: &Node,
    context: &Context,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let mut response = ListOffsetsResponse::default();
    let repeated = repeated(&request);
    for asked in request.topics {
        let topic = node.topics.by_name(&asked.name);
        let mut listed = ListOffsetsTopicResponse::default();
        for partition in &asked.partitions {
            let is_repeated = repeated.contains(&(asked.name.clone(), partition.partition_index));
            listed.partitions.push(if is_repeated {
                refused(partition, ErrorCode::INVALID_REQUEST)
            } else {
                one(node, topic.as_ref(), context, partition).await
            });
        }
        listed.name = asked.name;
        response.topics.push(listed);
    }
    response
}

/// The partitions that the request names more than once. Kafka refuses them: looking up a time reads and
/// decompresses a batch, so a few bytes that repeat must not buy that work again and again.
fn repeated(request: &ListOffsetsRequest) -> HashSet<(StrBytes, i32)> {
    let mut known = HashSet::new();
    let mut repeated = HashSet::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let key = (topic.name.clone(), partition.partition_index);
            if !known.insert(key.clone()) {
                repeated.insert(key);
            }
        }
    }
    repeated
}

fn refused(asked: &ListOffsetsPartition, error: ErrorCode) -> ListOffsetsPartitionResponse {
    let mut response = ListOffsetsPartitionResponse::default();
    response.partition_index = asked.partition_index;
    response.error_code = error.0;
    response.offset = NOWHERE.offset;
    response.timestamp = NOWHERE.timestamp;
    response
}

async fn one(
    node: &Node,
    topic: Option<&Arc<Topic>>,
    context: &Context,
    asked: &ListOffsetsPartition,
) -> ListOffsetsPartitionResponse {
    let mut response = ListOffsetsPartitionResponse::default();
    response.partition_index = asked.partition_index;
    let partition = topic.and_then(|topic| partition_of(topic, asked.partition_index));
    let partition = partition
        .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        .and_then(|partition| check_leader_epoch(asked.current_leader_epoch).map(|()| partition))
        .and_then(|partition| check_version(context.version(), asked.timestamp).map(|()| partition));
    let found = match partition {
        Ok(partition) => find(node, partition, asked.timestamp).await,
        Err(error) => Err(error),
    };
    match found {
        Ok(found) => {
            response.offset = found.offset;
            response.timestamp = found.timestamp;
            if context.version() >= 4 && found.offset >= 0 {
                response.leader_epoch = LEADER_EPOCH;
            }
        }
        Err(error) => return refused(asked, error),
    }
    response
}

/// Special timestamps exist from a version on.
fn check_version(version: i16, timestamp: i64) -> Result<(), ErrorCode> {
    let since = match timestamp {
        EARLIEST_PENDING_UPLOAD => 11,
        LATEST_TIERED => 9,
        EARLIEST_LOCAL => 8,
        MAX_TIMESTAMP => 7,
        ..EARLIEST_PENDING_UPLOAD => return Err(ErrorCode::UNSUPPORTED_VERSION),
        _ => 0,
    };
    if version < since {
        Err(ErrorCode::UNSUPPORTED_VERSION)
    } else {
        Ok(())
    }
}

async fn find(node: &Node, partition: &Partition, timestamp: i64) -> Result<Found, ErrorCode> {
    match timestamp {
        LATEST => Ok(Found {
            offset: partition.high_watermark().0 as i64,
            timestamp: -1,
        }),
        EARLIEST | EARLIEST_LOCAL => Ok(Found {
            offset: partition.log_start().0 as i64,
            timestamp: -1,
        }),
        // Nothing is tiered.
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok(NOWHERE),
        _ => {
            // The runtime's own threads must not wait for the disk or decompress.
            let permit = Arc::clone(&node.time_lookups).acquire_owned().await;
            let partition = partition.clone();
            let lookup = move || {
                let _permit = permit;
                look_up(&partition, timestamp)
            };
            let found = tokio::task::spawn_blocking(lookup).await;
            found.unwrap_or(Err(ErrorCode::KAFKA_STORAGE_ERROR))
        }
    }
}

/// Looks a time up in the log. Blocks.
fn look_up(partition: &Partition, timestamp: i64) -> Result<Found, ErrorCode> {
    if timestamp == MAX_TIMESTAMP {
        let batch = partition.batch_with_max_timestamp();
        let batch = batch.map_err(|error| code_of(partition, &error))?;
        return batch.map_or(Ok(NOWHERE), |batch| largest_in(batch, partition));
    }
    let mut above = partition.log_start();
    loop {
        let batch = partition.batch_at_time_above(Timestamp(timestamp), above);
        let Some(batch) = batch.map_err(|error| code_of(partition, &error))? else {
            return Ok(NOWHERE);
        };
        let next_offset = next_offset_of(&batch)?;
        // The record that makes the batch new enough may be one that was deleted.
        let mut records = live_records(batch, partition)?.into_iter();
        if let Some(found) = records.find(|record| record.timestamp >= timestamp) {
            return Ok(found);
        }
        above = next_offset;
    }
}

fn next_offset_of(batch: &Bytes) -> Result<Offset, ErrorCode> {
    let header = BatchHeader::parse(batch).map_err(|_| ErrorCode::CORRUPT_MESSAGE)?;
    Ok(header.next_offset())
}

/// The record of the batch with the largest timestamp, the earliest of several.
fn largest_in(batch: Bytes, partition: &Partition) -> Result<Found, ErrorCode> {
    let mut largest = NOWHERE;
    for record in live_records(batch, partition)? {
        if record.timestamp > largest.timestamp {
            largest = record;
        }
    }
    Ok(largest)
}

/// The records of the batch that were not deleted.
fn live_records(batch: Bytes, partition: &Partition) -> Result<Vec<Found>, ErrorCode> {
    let log_start = partition.log_start().0 as i64;
    let mut records = records_of(batch, partition)?;
    records.retain(|record| record.offset >= log_start);
    Ok(records)
}

/// Place and time of each record; the batch may be compressed.
fn records_of(mut batch: Bytes, partition: &Partition) -> Result<Vec<Found>, ErrorCode> {
    let batch = RecordBatch::decode(&mut batch, RecordDecodeLimits::default()).map_err(|error| {
        // The log checked the batch's frame; what is inside came from the producer.
        tracing::warn!(partition = %partition.id(), %error, "a stored batch has malformed records");
        ErrorCode::CORRUPT_MESSAGE
    })?;
    let stamped_by_log = batch.timestamp_type == TimestampType::LogAppendTime;
    let found = batch.records.iter().map(|record| Found {
        offset: batch.base_offset.saturating_add(i64::from(record.offset_delta)),
        timestamp: if stamped_by_log {
            batch.max_timestamp
        } else {
            batch.base_timestamp.saturating_add(record.timestamp_delta)
        },
    });
    Ok(found.collect())
}

fn code_of(partition: &Partition, error: &ReadError) -> ErrorCode {
    match error {
        ReadError::Deleted => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ReadError::OutOfRange { .. } => ErrorCode::OFFSET_OUT_OF_RANGE,
        ReadError::Segment(_) => {
            tracing::error!(partition = %partition.id(), %error, "a time could not be looked up");
            ErrorCode::KAFKA_STORAGE_ERROR
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_timestamps_exist_from_a_version_on() {
        assert_eq!(check_version(1, LATEST), Ok(()));
        assert_eq!(check_version(1, 0), Ok(()));
        assert_eq!(check_version(7, MAX_TIMESTAMP), Ok(()));
        for (version, timestamp) in [(6, -3), (7, -4), (8, -5), (10, -6), (11, -7), (11, i64::MIN)] {
            assert_eq!(
                check_version(version, timestamp),
                Err(ErrorCode::UNSUPPORTED_VERSION)
            );
        }
    }
}
