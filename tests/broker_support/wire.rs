//! A client of bytes: sends any frame and decodes what comes back, without a library's manners.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_wire::{
    KafkaMessage, KafkaRequest, OutboundFrameLimits, RequestResponsePair, encode_request,
    response_header_version_for,
};
use kafka_wire_core::{ApiVersion, DecodeLimits, KafkaDecode, KafkaEncode, StrBytes};

/// One connection.
pub struct Wire {
    stream: TcpStream,
}

impl Wire {
    /// Connects; every read gives up after ten seconds.
    pub fn connect(address: SocketAddr) -> Wire {
        let stream = TcpStream::connect(address).expect("the broker accepts");
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire { stream }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker takes the bytes");
    }

    /// Sends bytes; the broker may have closed the connection already.
    pub fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next response frame without its length, or `None` when the broker closed the connection.
    pub fn receive(&mut self) -> Option<Bytes> {
        let mut length = [0; 4];
        if let Err(error) = self.stream.read_exact(&mut length) {
            let timed_out = matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            );
            assert!(!timed_out, "the broker neither answers nor closes");
            return None;
        }
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame).expect("the frame is complete");
        Some(Bytes::from(frame))
    }

    /// Whether nothing comes for a while.
    pub fn is_silent_for(&mut self, duration: Duration) -> bool {
        self.stream.set_read_timeout(Some(duration)).unwrap();
        let silent = self.stream.peek(&mut [0]).is_err();
        self.stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        silent
    }

    /// Sends a request and decodes its response.
    pub fn call<R>(&mut self, request: &R, version: i16) -> R::Response
    where
        R: RequestResponsePair + KafkaEncode,
        R::Response: KafkaDecode,
    {
        self.send(&request_frame(request, version, 5));
        let frame = self.receive().expect("the broker answers");
        decode_response::<R>(&frame, version, 5)
    }
}

/// The frame of a request, with its length.
pub fn request_frame<R: KafkaRequest + KafkaEncode>(request: &R, version: i16, correlation_id: i32) -> Bytes {
    let mut frame = BytesMut::new();
    let limits = OutboundFrameLimits::new(1 << 30);
    let client_id = Some(StrBytes::from("wire"));
    let version = ApiVersion::new(version);
    encode_request(&mut frame, correlation_id, client_id, request, version, limits)
        .unwrap_or_else(|error| panic!("{} version {version}: {error}", R::NAME));
    frame.freeze()
}

/// Decodes the response to a request of type `R`.
pub fn decode_response<R>(frame: &Bytes, version: i16, correlation_id: i32) -> R::Response
where
    R: RequestResponsePair,
    R::Response: KafkaDecode,
{
    assert_eq!(frame[..4], correlation_id.to_be_bytes());
    let version = ApiVersion::new(version);
    let header_version = response_header_version_for::<R>(version).unwrap();
    let body = frame.slice(if header_version >= 1 { 5.. } else { 4.. });
    <R::Response as KafkaDecode>::decode_from_bytes(body, version, DecodeLimits::default())
        .unwrap_or_else(|error| panic!("{} version {version}: {error}", <R as KafkaMessage>::NAME))
}
