//! How a broker is set up: addresses, limits and defaults.

use std::time::Duration;

/// Configuration of a [`super::Broker`]; every limit is on by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Address to listen on, `host:port`; port 0 takes a free one.
    pub listen: String,
    /// Host and port that clients are told to connect to; without it, the address that they connected to.
    pub advertised: Option<(String, u16)>,
    /// Whether asking for the metadata of an unknown topic creates it.
    pub auto_create_topics: bool,
    /// Topics that another part of this process writes: clients may read them, neither write nor delete them.
    pub read_only_topics: Vec<String>,
    /// Topics that another part of this process reads: clients may read and write them, and not delete them.
    pub kept_topics: Vec<String>,
    /// Number of partitions of a topic whose creator did not say.
    pub default_partitions: u32,
    /// Most partitions of all topics together that clients can bring about; each holds memory and files, and
    /// is looked at when the broker starts.
    pub partitions_max: usize,
    /// Number of partitions of `__consumer_offsets` when it is created.
    pub offsets_topic_partitions: u32,
    /// How long a new consumer group waits for more members before its first assignment.
    pub group_initial_rebalance_delay: Duration,
    /// Shortest session timeout that a group member may ask for.
    pub group_session_timeout_min: Duration,
    /// Longest session timeout that a group member may ask for.
    pub group_session_timeout_max: Duration,
    /// Most members of one group.
    pub group_members_max: usize,
    /// Most consumer groups that are held at once; every group holds memory until it is deleted.
    pub groups_max: usize,
    /// Largest request frame, as Kafka's `socket.request.max.bytes`.
    pub frame_size_max_bytes: usize,
    /// Most connections at once; further ones are closed at once.
    pub connections_max: usize,
    /// Most requests of one connection that are read but not answered.
    pub requests_per_connection_max: usize,
    /// Most bytes of requests, of all connections together, that are read but not answered.
    pub requests_size_max_bytes: usize,
    /// Largest sum of records in one Fetch response, whatever the client asks for, unless one batch is larger.
    pub fetch_size_max_bytes: usize,
    /// How long a client may take to send a frame that it began, plus a second per 64 KiB.
    pub frame_timeout: Duration,
    /// How long a client without requests in progress may be silent, as Kafka's `connections.max.idle.ms`.
    pub idle_timeout: Duration,
    /// How long a client may take to accept more bytes of a response.
    pub write_timeout: Duration,
    /// How long requests in progress may take to end after shutdown was asked for.
    pub shutdown_timeout: Duration,
}

impl Default for BrokerConfig {
    fn default() -> BrokerConfig {
        BrokerConfig {
            listen: "127.0.0.1:9092".to_owned(),
            advertised: None,
            auto_create_topics: true,
            read_only_topics: Vec::new(),
            kept_topics: Vec::new(),
            default_partitions: 1,
            partitions_max: 100_000,
            offsets_topic_partitions: 1,
            group_initial_rebalance_delay: Duration::from_secs(3),
            group_session_timeout_min: Duration::from_secs(6),
            group_session_timeout_max: Duration::from_mins(30),
            group_members_max: 10_000,
            groups_max: 100_000,
            frame_size_max_bytes: 100 * 1024 * 1024,
            connections_max: 10_000,
            requests_per_connection_max: 64,
            requests_size_max_bytes: 512 * 1024 * 1024,
            fetch_size_max_bytes: 55 * 1024 * 1024,
            frame_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_mins(10),
            write_timeout: Duration::from_mins(1),
            shutdown_timeout: Duration::from_secs(5),
        }
    }
}
