//! Why a call has no outcome.

use crate::resp::ReplyError;

/// Why a call has no outcome. A refusal by the engine is none of these: it is an outcome.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("address {address:?} could not be resolved: {reason}")]
    Address {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
    /// The first attempt to connect failed.
    #[error("connecting to {address} failed: {reason}")]
    Connect {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
    /// No answer in time, which is no refusal: the same command with the same id tells what became of it.
    #[error("no answer in time; the same command with the same id tells what became of it")]
    Timeout,
    /// Too many calls wait for their answers; this one was not sent.
    #[error("too many calls wait for their answers; this one was not sent")]
    Overloaded,
    /// The client was closed while the call waited.
    #[error("the client was closed")]
    Closed,
    /// The daemon did not take the command, for a reason that is no outcome of the engine.
    #[error("the daemon says: {0}")]
    Daemon(String),
    /// What the daemon answered is not an answer to this call.
    #[error("the daemon's answer is not understood: {0}")]
    Answer(String),
    /// What arrived is not RESP.
    #[error("what arrived is not RESP")]
    Reply(#[from] ReplyError),
}
