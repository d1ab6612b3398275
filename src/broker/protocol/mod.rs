//! Kafka's bytes: which APIs are served, and requests and responses as structures.
//!
//! The only place that decodes what a client sent. Message structures come from `kafka-wire`; the two
//! messages that carry records (Produce, Fetch) are coded here so that records are never copied and a
//! request's memory is bounded by its frame.

mod api_key;
mod error_code;
mod fetch_response;
mod produce_request;
mod request;
mod response;

pub use api_key::{ApiKey, SERVED_APIS, ServedApi};
pub use error_code::ErrorCode;
pub use fetch_response::{FetchAnswer, FetchedPartition, FetchedTopic, encode_fetch};
pub use request::{
    DecodedRequest, Request, RequestError, RequestHeader, SMALL_FRAME_MAX_BYTES, decode_request,
};
pub use response::{LENGTH_PREFIX_SIZE_BYTES, ResponseFrame, encode_response};

#[cfg(test)]
mod tests;
