//! How the door is set up.

use std::time::Duration;

/// Configuration of a [`super::HttpDoor`]; every limit is on by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpConfig {
    /// Address to listen on, `host:port`; port 0 takes a free one.
    pub listen: String,
    /// Most connections at once; further ones wait to be accepted.
    pub connections_max: usize,
    /// Most requests that are worked on at once; further ones wait.
    pub requests_max: usize,
    /// Most reads of the past and pages of holds at once; further ones are refused. Each of the past keeps a thread
    /// busy for as long as its shard's events take to read.
    pub long_reads_max: usize,
    /// Largest body of a request.
    pub body_size_max_bytes: usize,
    /// How long a client may take to send the head of a request, and how long it may be silent before it.
    pub header_timeout: Duration,
    /// How long a request may take from its head to its answer, and then how long a client may take none of it.
    pub request_timeout: Duration,
    /// How long requests in progress may take to end after shutdown was asked for.
    pub shutdown_timeout: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        HttpConfig {
            listen: "127.0.0.1:8080".to_owned(),
            connections_max: 10_000,
            requests_max: 1_024,
            long_reads_max: 2,
            body_size_max_bytes: 256 * 1024,
            header_timeout: Duration::from_mins(1),
            request_timeout: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(5),
        }
    }
}
