//! What each request means: one file per API family, structures in, structures out.
//!
//! Nothing here knows of sockets or bytes. A request is dispatched in the order in which it was read; see
//! [`dispatch`] for what may overtake what.

mod alter_configs;
mod api_versions;
mod authorized_operations;
mod create_partitions;
mod delete_records;
mod describe_cluster;
mod describe_configs;
mod describe_log_dirs;
mod fetch;
mod find_coordinator;
mod group_admin;
mod group_membership;
mod init_producer_id;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod topics_admin;

use std::pin::Pin;
use std::sync::Arc;

use kafka_wire::KafkaMessage;
use kafka_wire_core::EncodeError;

use super::node::{Context, Node};
use super::protocol::{Request, ResponseFrame, encode_fetch, encode_response};

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// This goes back to the client.
    Respond(ResponseFrame),
    /// The client expects no answer.
    Silent,
    /// The connection cannot go on.
    Close,
}

/// A request on its way to its outcome.
pub(super) type Answer = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A dispatched request.
pub(super) struct Dispatched {
    /// Resolves to the outcome; to be polled in the order of the requests.
    pub(super) answer: Answer,
    /// Whether the request's effect was decided at dispatch, so that later ones may be dispatched before
    /// its answer is there.
    pub(super) is_decided: bool,
}

/// Begins to handle a request.
///
/// A Produce hands its batches to the log right here if `may_decide` says that every earlier request of the
/// connection is decided: so the batches of pipelined requests share a journal write and stay in order.
/// Everything else happens when the answer is polled, one request after the other, as in Kafka.
pub(super) fn dispatch(node: &Arc<Node>, context: Context, request: Request, may_decide: bool) -> Dispatched {
    let node = Arc::clone(node);
    if let Request::Produce(request) = request {
        let mut produce = produce::Produce::new(&node, context, request);
        let is_decided = may_decide && produce.try_append();
        return Dispatched {
            answer: Box::pin(produce.finish()),
            is_decided,
        };
    }
    Dispatched {
        answer: Box::pin(answer(node, context, request)),
        is_decided: false,
    }
}

async fn answer(node: Arc<Node>, context: Context, request: Request) -> Outcome {
    let header = context.header.clone();
    macro_rules! respond {
        ($response:expr) => {{
            let response = $response;
            encoded(&context, encode_response(&header, &response))
        }};
    }
    match request {
        Request::Produce(request) => produce::Produce::new(&node, context, request).finish().await,
        Request::Fetch(request) => {
            let fetched = fetch::answer(&node, &context, request).await;
            encoded(&context, encode_fetch(&header, fetched))
        }
        Request::ListOffsets(request) => respond!(list_offsets::answer(&node, &context, request).await),
        Request::Metadata(request) => respond!(metadata::answer(&node, &context, request).await),
        Request::OffsetCommit(request) => respond!(offset_commit::answer(&node, &context, request).await),
        Request::OffsetFetch(request) => respond!(offset_fetch::answer(&node, &context, request)),
        Request::FindCoordinator(request) => {
            respond!(find_coordinator::answer(&node, &context, request).await)
        }
        Request::JoinGroup(request) => respond!(group_membership::join(&node, &context, request).await),
        Request::SyncGroup(request) => respond!(group_membership::sync(&node, &context, request).await),
        Request::Heartbeat(request) => respond!(group_membership::heartbeat(&node, &request)),
        Request::LeaveGroup(request) => respond!(group_membership::leave(&node, &context, request).await),
        Request::DescribeGroups(request) => respond!(group_admin::describe(&node, &context, request)),
        Request::ListGroups(request) => respond!(group_admin::list(&node, &context, &request)),
        Request::DeleteGroups(request) => respond!(group_admin::delete(&node, request).await),
        Request::OffsetDelete(request) => respond!(offset_delete::answer(&node, request).await),
        Request::ApiVersions(request) => respond!(api_versions::answer(&context, &request)),
        Request::UnknownApiVersions => respond!(api_versions::unsupported()),
        Request::CreateTopics(request) => respond!(topics_admin::create(&node, &context, request).await),
        Request::DeleteTopics(request) => respond!(topics_admin::delete(&node, &context, request).await),
        Request::InitProducerId(request) => respond!(init_producer_id::answer(&node, request).await),
        Request::OffsetForLeaderEpoch(request) => respond!(offset_for_leader_epoch::answer(&node, request)),
        Request::DeleteRecords(request) => respond!(delete_records::answer(&node, request).await),
        Request::AlterConfigs(request) => respond!(alter_configs::replace(&node, request).await),
        Request::IncrementalAlterConfigs(request) => respond!(alter_configs::change(&node, request).await),
        Request::CreatePartitions(request) => respond!(create_partitions::answer(&node, request).await),
        Request::DescribeConfigs(request) => respond!(describe_configs::answer(&node, &context, request)),
        Request::DescribeLogDirs(request) => respond!(describe_log_dirs::answer(&node, request)),
        Request::DescribeCluster(request) => respond!(describe_cluster::answer(&node, &context, &request)),
    }
}

/// A response that cannot be encoded is a defect of this broker; the client must not wait for it.
fn encoded(context: &Context, frame: Result<ResponseFrame, EncodeError>) -> Outcome {
    match frame {
        Ok(frame) => Outcome::Respond(frame),
        Err(error) => {
            let header = &context.header;
            tracing::error!(api = ?header.api, version = header.version, %error, "response was not encoded");
            Outcome::Close
        }
    }
}

/// Encodes the answer to the request of `context`.
fn outcome_of<T: KafkaMessage>(context: &Context, response: &T) -> Outcome {
    encoded(context, encode_response(&context.header, response))
}
