//! How a client is set up.

use std::time::Duration;

/// Options of a [`super::Client`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// How long a call may take from when it is made, reconnections included; a year at most.
    pub timeout: Duration,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// Most calls that wait for their answers; further ones are refused at once.
    pub calls_max: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            calls_max: 1 << 16,
        }
    }
}
