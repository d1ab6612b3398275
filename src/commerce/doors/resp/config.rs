//! How the door is set up.

use std::time::Duration;

/// Configuration of a [`super::RespDoor`]; every limit is on by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RespConfig {
    /// Address to listen on, `host:port`; port 0 takes a free one.
    pub listen: String,
    /// Most connections at once; further ones are told so and closed.
    pub connections_max: usize,
    /// How long a client may take to send a command that it began.
    pub request_timeout: Duration,
    /// How long a client may take to accept more bytes of its replies.
    pub write_timeout: Duration,
    /// How long commands in progress may take to end after the door was closed.
    pub shutdown_timeout: Duration,
}

impl Default for RespConfig {
    fn default() -> Self {
        RespConfig {
            // Redis's own port is left to Redis, beside which a shop tries this.
            listen: "127.0.0.1:6380".to_owned(),
            connections_max: 10_000,
            request_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_mins(1),
            shutdown_timeout: Duration::from_secs(5),
        }
    }
}
