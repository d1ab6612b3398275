//! Produce: batches go to the log in the order in which they were read; the answer leaves when all of them
//! are on stable storage.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_wire::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_wire::{ProduceRequest, ProduceResponse};
use kafka_wire_core::{StrBytes, Uuid};

use super::super::batch_check::{self, BatchRefusal};
use super::super::delayed_fetch::partition_of;
use super::super::internal_topic;
use super::super::node::{Context, Node};
use super::super::protocol::ErrorCode;
use super::super::wall_clock_ms;
use super::{Outcome, outcome_of};
use crate::log::{Append, AppendError, Offset, Partition, Topic, TopicId};

/// First version that names topics by id.
const TOPIC_ID_VERSION: i16 = 13;

/// How long a batch waits before it is offered again to a log that has too much to write. About two writes
/// of the journal.
const OVERLOAD_PAUSE: Duration = Duration::from_millis(1);

/// A Produce request in progress.
pub(super) struct Produce {
    context: Context,
    acks: i16,
    topics: Vec<TopicInProgress>,
    /// The first partition that was not offered to the log: (topic, partition) by position in the request.
    next: (usize, usize),
}

struct TopicInProgress {
    name: StrBytes,
    id: Uuid,
    topic: Result<Arc<Topic>, ErrorCode>,
    partitions: Vec<PartitionInProgress>,
}

struct PartitionInProgress {
    index: i32,
    step: Step,
}

enum Step {
    /// The batch was not offered to the log.
    Waiting(Option<Bytes>),
    /// The batch is on its way to stable storage.
    Appended(Append, Partition),
    /// The batch was refused.
    Refused(ErrorCode, Option<String>),
    /// The batch is on stable storage.
    Durable { base_offset: Offset, log_start: Offset },
}

impl Produce {
    pub(super) fn new(node: &Node, context: Context, request: ProduceRequest) -> Produce {
        let by_id = context.version() >= TOPIC_ID_VERSION;
        let refusal = request_refusal(&request);
        let find = |data: kafka_wire::produce_request::TopicProduceData| {
            let topic = match refusal {
                Some(error) => Err(error),
                None => find_topic(node, by_id, &data.name, data.topic_id),
            };
            let partitions = data.partition_data.into_iter();
            let waiting = partitions.map(|partition| PartitionInProgress {
                index: partition.index,
                step: Step::Waiting(partition.records),
            });
            TopicInProgress {
                name: data.name,
                id: data.topic_id,
                topic,
                partitions: waiting.collect(),
            }
        };
        let topics = request.topic_data.into_iter().map(find).collect();
        Produce {
            context,
            acks: request.acks,
            topics,
            next: (0, 0),
        }
    }

    /// Offers batches to the log, in order; `false` if the log has too much to do for the rest.
    pub(super) fn try_append(&mut self) -> bool {
        while let Some(topic) = self.topics.get_mut(self.next.0) {
            while let Some(partition) = topic.partitions.get_mut(self.next.1) {
                if !partition.offer(&topic.topic) {
                    return false;
                }
                self.next.1 += 1;
            }
            self.next = (self.next.0 + 1, 0);
        }
        true
    }

    /// Offers what is left, waits for all, and answers.
    pub(super) async fn finish(mut self) -> Outcome {
        while !self.try_append() {
            tokio::time::sleep(OVERLOAD_PAUSE).await;
        }
        if self.acks == 0 {
            return self.unacknowledged();
        }
        for topic in &mut self.topics {
            for partition in &mut topic.partitions {
                partition.wait().await;
            }
        }
        let mut response = ProduceResponse::default();
        let by_id = self.context.version() >= TOPIC_ID_VERSION;
        response.responses = self
            .topics
            .into_iter()
            .map(|topic| topic.response(by_id))
            .collect();
        outcome_of(&self.context, &response)
    }

    /// Without acknowledgements the only way to tell of an error is to close the connection, as Kafka does.
    fn unacknowledged(self) -> Outcome {
        let partitions = self.topics.iter().flat_map(|topic| &topic.partitions);
        let refused = partitions.filter_map(|partition| match &partition.step {
            Step::Refused(error, _) => Some((partition.index, *error)),
            _ => None,
        });
        match refused.into_iter().next() {
            None => Outcome::Silent,
            Some((partition, error)) => {
                let client = self.context.peer;
                tracing::info!(%client, partition, %error, "unacknowledged batch refused, closing");
                Outcome::Close
            }
        }
    }
}

impl PartitionInProgress {
    /// Offers the batch to the log; `false` if it must wait.
    fn offer(&mut self, topic: &Result<Arc<Topic>, ErrorCode>) -> bool {
        let Step::Waiting(records) = &self.step else {
            return true;
        };
        let topic = match topic {
            Ok(topic) => topic,
            Err(error) => {
                self.step = Step::Refused(*error, None);
                return true;
            }
        };
        let Some(partition) = partition_of(topic, self.index) else {
            self.step = Step::Refused(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None);
            return true;
        };
        let batch = records.clone().unwrap_or_default();
        self.step = match batch_check::check(&batch, topic, wall_clock_ms()) {
            Err(BatchRefusal { error, reason }) => Step::Refused(error, Some(reason.to_owned())),
            Ok(()) => match partition.append(batch) {
                Ok(append) => Step::Appended(append, partition.clone()),
                Err(AppendError::Overloaded { .. }) => return false,
                Err(error) => {
                    tracing::debug!(topic = topic.name, partition = self.index, %error, "batch refused");
                    Step::Refused(code_of(&error), Some(error.to_string()))
                }
            },
        };
        true
    }

    /// Waits until the batch is durable.
    async fn wait(&mut self) {
        let Step::Appended(append, partition) = &mut self.step else {
            return;
        };
        self.step = match append.await {
            Ok(base_offset) => Step::Durable {
                base_offset,
                log_start: partition.log_start(),
            },
            Err(failed) => Step::Refused(ErrorCode::KAFKA_STORAGE_ERROR, Some(failed.to_string())),
        };
    }

    fn response(self) -> PartitionProduceResponse {
        let mut response = PartitionProduceResponse::default();
        response.index = self.index;
        response.base_offset = -1;
        response.log_append_time_ms = -1;
        response.log_start_offset = -1;
        match self.step {
            Step::Durable {
                base_offset,
                log_start,
            } => {
                response.base_offset = base_offset.0 as i64;
                response.log_start_offset = log_start.0 as i64;
            }
            Step::Refused(error, reason) => {
                response.error_code = error.0;
                response.error_message = reason.map(StrBytes::from);
            }
            // `finish` answers only after every partition was offered and waited for.
            Step::Waiting(_) | Step::Appended(..) => response.error_code = ErrorCode::KAFKA_STORAGE_ERROR.0,
        }
        response
    }
}

impl TopicInProgress {
    fn response(self, by_id: bool) -> TopicProduceResponse {
        let mut response = TopicProduceResponse::default();
        if by_id {
            response.topic_id = self.id;
        } else {
            response.name = self.name;
        }
        response.partition_responses = self
            .partitions
            .into_iter()
            .map(PartitionInProgress::response)
            .collect();
        response
    }
}

/// The error that every partition of the request gets, if any.
fn request_refusal(request: &ProduceRequest) -> Option<ErrorCode> {
    if !(-1..=1).contains(&request.acks) {
        return Some(ErrorCode::INVALID_REQUIRED_ACKS);
    }
    // Transactions are not served, so no client has a transactional id that is valid here.
    request
        .transactional_id
        .is_some()
        .then_some(ErrorCode::INVALID_REQUEST)
}

fn find_topic(node: &Node, by_id: bool, name: &str, id: Uuid) -> Result<Arc<Topic>, ErrorCode> {
    let topic = if by_id {
        node.topics
            .by_id(TopicId(id.to_bytes()))
            .ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?
    } else {
        node.topics
            .by_name(name)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?
    };
    if internal_topic::is_internal(&topic.name) {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    if node.config.read_only_topics.contains(&topic.name) {
        return Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    }
    Ok(topic)
}

fn code_of(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Corrupt(_) => ErrorCode::CORRUPT_MESSAGE,
        AppendError::TooLarge { .. } => ErrorCode::MESSAGE_TOO_LARGE,
        AppendError::OutOfOrderSequence { .. } => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        AppendError::ProducerFenced { .. } => ErrorCode::INVALID_PRODUCER_EPOCH,
        AppendError::Deleted => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        AppendError::UnexpectedEnd { .. }
        | AppendError::Overloaded { .. }
        | AppendError::StorageFull
        | AppendError::Failed(_) => ErrorCode::KAFKA_STORAGE_ERROR,
    }
}
