//! The broker as a whole, as requests see it: configuration, log, topics, producers and groups.

use std::net::SocketAddr;
use std::sync::Arc;

use kafka_wire_core::StrBytes;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::config::BrokerConfig;
use super::error::StateError;
use super::groups::GroupCoordinator;
use super::net::Arriving;
use super::producers::ProducerIds;
use super::protocol::RequestHeader;
use super::state::BrokerState;
use super::topics::Topics;
use crate::log::Log;

/// The id of the only broker of the cluster.
pub(super) const NODE_ID: i32 = 1;

/// The epoch of the leader of every partition: there is one leader for ever.
pub(super) const LEADER_EPOCH: i32 = 0;

/// Most look-ups of a time at once. Each reads a batch and may decompress it to 100 MiB, so four bound their
/// memory and leave room for others on the threads for blocking work.
const TIME_LOOKUPS_MAX: usize = 4;

/// Everything that requests share.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) config: BrokerConfig,
    pub(super) topics: Topics,
    pub(super) state: BrokerState,
    pub(super) producer_ids: ProducerIds,
    pub(super) groups: Arc<GroupCoordinator>,
    /// Bytes of requests that are read but not answered.
    pub(super) request_bytes: Arc<Semaphore>,
    /// Bytes of large requests that are arriving.
    pub(super) arriving: Arc<Arriving>,
    /// Look-ups of a time that may begin.
    pub(super) time_lookups: Arc<Semaphore>,
    /// Ends long polls.
    pub(super) shutdown: CancellationToken,
}

/// Who sent a request, and how.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) header: RequestHeader,
    /// The broker's end of the connection.
    pub(super) local: SocketAddr,
    /// The client's end of the connection.
    pub(super) peer: SocketAddr,
}

impl Node {
    /// Loads the broker's state. Blocks.
    pub(super) fn open(log: Log, config: BrokerConfig) -> Result<Node, StateError> {
        let state = BrokerState::open(&log, super::wall_clock_ms())?;
        let groups = GroupCoordinator::open(log.clone(), &config)?;
        let request_bytes = config.requests_size_max_bytes.clamp(1, Semaphore::MAX_PERMITS);
        Ok(Node {
            producer_ids: ProducerIds::new(state.next_producer_id),
            topics: Topics::new(log, config.partitions_max),
            state,
            groups: Arc::new(groups),
            request_bytes: Arc::new(Semaphore::new(request_bytes)),
            arriving: Arc::new(Arriving::new(config.requests_size_max_bytes)),
            time_lookups: Arc::new(Semaphore::new(TIME_LOOKUPS_MAX)),
            shutdown: CancellationToken::new(),
            config,
        })
    }

    /// Host and port at which the client of `context` reaches this broker.
    pub(super) fn advertised(&self, context: &Context) -> (StrBytes, i32) {
        if let Some((host, port)) = &self.config.advertised {
            (StrBytes::from(host.as_str()), i32::from(*port))
        } else {
            let host = context.local.ip().to_canonical().to_string();
            (StrBytes::from(host), i32::from(context.local.port()))
        }
    }

    /// Whether another part of this process depends on the topic, so that clients may not take from it.
    pub(super) fn is_in_use(&self, topic: &str) -> bool {
        let config = &self.config;
        let mut in_use = config.read_only_topics.iter().chain(&config.kept_topics);
        in_use.any(|name| name == topic)
    }

    /// The cluster's id on the wire.
    pub(super) fn cluster_id(&self) -> StrBytes {
        StrBytes::from(self.state.cluster_id.as_str())
    }
}

impl Context {
    /// The version of the request.
    pub(super) fn version(&self) -> i16 {
        self.header.version
    }

    /// How the client calls itself; empty if it does not.
    pub(super) fn client_id(&self) -> &str {
        self.header.client_id.as_deref().unwrap_or_default()
    }

    /// The client's address as Kafka writes it.
    pub(super) fn client_host(&self) -> String {
        format!("/{}", self.peer.ip().to_canonical())
    }
}

/// Checks the leader epoch that a client believes in; -1 means that it does not care.
pub(super) fn check_leader_epoch(epoch: i32) -> Result<(), super::protocol::ErrorCode> {
    if epoch > LEADER_EPOCH {
        return Err(super::protocol::ErrorCode::UNKNOWN_LEADER_EPOCH);
    }
    Ok(())
}
