//! RESP, the protocol of Redis: bytes to commands and replies, and back. Pure, and within limits.
//!
//! [`parse_request`] reads what a client sends, an array of bulk strings or an inline line; [`parse_reply`] reads
//! what a server answers; [`write`] has the encodings of both. The format is RESP2 with the null and the
//! map of RESP3 (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).

mod reply;
mod request;
pub mod write;

pub use reply::{REPLY_DEPTH_MAX, Reply, ReplyError, parse_reply};
pub use request::{
    ARGUMENTS_MAX, Arguments, INLINE_MAX_BYTES, REQUEST_MAX_BYTES, RequestError, parse_request,
};
