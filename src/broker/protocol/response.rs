//! Encoding of one response into the frame parts that go onto the socket.

use bytes::{Bytes, BytesMut};
use kafka_wire::KafkaMessage;
use kafka_wire_core::{ApiVersion, EncodeError};

use super::{ApiKey, RequestHeader};

/// Bytes of the length prefix of a frame.
pub const LENGTH_PREFIX_SIZE_BYTES: usize = 4;

/// A complete response frame, as the slices to write one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseFrame {
    /// The slices; the first begins with the length prefix.
    pub parts: Vec<Bytes>,
}

impl ResponseFrame {
    /// Size of the whole frame on the wire.
    pub fn size_bytes(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }
}

/// Encodes `response` as the answer to the request with `header`.
pub fn encode_response<T: KafkaMessage>(
    header: &RequestHeader,
    response: &T,
) -> Result<ResponseFrame, EncodeError> {
    let version = ApiVersion::new(header.version);
    // A client that does not know the version yet must be able to read the answer, so the header of
    // ApiVersions never has tagged fields.
    let flexible = T::is_flexible(version) && header.api != ApiKey::ApiVersions;
    let mut buffer = begin_frame(header.correlation_id, flexible);
    response.encode_into(&mut buffer, version)?;
    end_frame(&mut buffer, 0)?;
    Ok(ResponseFrame {
        parts: vec![buffer.freeze()],
    })
}

/// Starts a frame: room for the length, then the response header.
pub fn begin_frame(correlation_id: i32, flexible: bool) -> BytesMut {
    let mut buffer = BytesMut::with_capacity(256);
    buffer.extend_from_slice(&[0; LENGTH_PREFIX_SIZE_BYTES]);
    buffer.extend_from_slice(&correlation_id.to_be_bytes());
    if flexible {
        buffer.extend_from_slice(&[0]);
    }
    buffer
}

/// Writes the length of a frame that is `buffer` plus `outside_bytes` that are sent from elsewhere.
pub fn end_frame(buffer: &mut BytesMut, outside_bytes: usize) -> Result<(), EncodeError> {
    let bytes = buffer.len() - LENGTH_PREFIX_SIZE_BYTES + outside_bytes;
    let length = i32::try_from(bytes).map_err(|_| EncodeError::FrameTooLarge { bytes })?;
    buffer[..LENGTH_PREFIX_SIZE_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(())
}
