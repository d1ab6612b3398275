//! Frames from a socket: length-prefixed, bounded, and never paid for before their bytes arrive.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

use super::super::protocol::LENGTH_PREFIX_SIZE_BYTES;

/// Smallest amount of memory that is made ready for bytes from the socket: several small requests fit.
const READ_SIZE_MIN_BYTES: usize = 64 * 1024;

/// Free space below which more is made ready; a smaller rest would cost a system call per few bytes.
const READ_SPACE_MIN_BYTES: usize = 4 * 1024;

/// Bytes per second below which a client counts as too slow, on top of the fixed timeout.
const SLOW_CLIENT_BYTES_PER_SECOND: usize = 64 * 1024;

/// Reads frames; may be cancelled between any two bytes.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    reader: R,
    buffer: BytesMut,
    size_max_bytes: usize,
    timeout: Duration,
    /// When the incomplete frame in the buffer was first waited for.
    began: Option<Instant>,
}

/// Why a connection's bytes are not frames.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The length prefix makes no sense.
    #[error("frame length {found} is not within 1 to {limit}")]
    Length { found: i32, limit: usize },
    /// The connection ended inside a frame.
    #[error("connection ended inside a frame, after {received_bytes} bytes of it")]
    Truncated { received_bytes: usize },
    /// The frame did not arrive in time.
    #[error("frame did not arrive in time, only {received_bytes} bytes of it")]
    TooSlow { received_bytes: usize },
    /// The socket failed.
    #[error("reading from the socket failed")]
    Socket(#[source] std::io::Error),
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(reader: R, size_max_bytes: usize, timeout: Duration) -> FrameReader<R> {
        let buffer = BytesMut::new();
        FrameReader {
            reader,
            buffer,
            size_max_bytes,
            timeout,
            began: None,
        }
    }

    /// The next frame without its length prefix, or `None` when the client closed the connection.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        loop {
            let missing_bytes = match self.missing_bytes()? {
                0 => {
                    self.began = None;
                    return Ok(Some(self.take_frame()));
                }
                missing_bytes => missing_bytes,
            };
            self.make_space(missing_bytes);
            let read_bytes = self.read_some(missing_bytes).await?;
            if read_bytes == 0 {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                return Err(FrameError::Truncated {
                    received_bytes: self.buffer.len(),
                });
            }
        }
    }

    /// How many bytes the frame at the front of the buffer still lacks.
    fn missing_bytes(&self) -> Result<usize, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<LENGTH_PREFIX_SIZE_BYTES>() else {
            return Ok(LENGTH_PREFIX_SIZE_BYTES - self.buffer.len());
        };
        let found = i32::from_be_bytes(*prefix);
        let limit = self.size_max_bytes;
        match usize::try_from(found) {
            Ok(length) if length > 0 && length <= limit => {
                Ok((LENGTH_PREFIX_SIZE_BYTES + length).saturating_sub(self.buffer.len()))
            }
            _ => Err(FrameError::Length { found, limit }),
        }
    }

    fn take_frame(&mut self) -> Bytes {
        let length = self.buffer.get_i32();
        // `missing_bytes` checked that the length is positive and that its bytes are there.
        self.buffer.split_to(length as usize).freeze()
    }

    /// Makes space for more bytes: at most as much again as has arrived, so that a length alone costs nothing.
    fn make_space(&mut self, missing_bytes: usize) {
        if self.buffer.capacity() - self.buffer.len() >= missing_bytes.min(READ_SPACE_MIN_BYTES) {
            return;
        }
        let space = missing_bytes.min(self.buffer.len()).max(READ_SIZE_MIN_BYTES);
        self.buffer.reserve(space);
    }

    async fn read_some(&mut self, missing_bytes: usize) -> Result<usize, FrameError> {
        if self.buffer.is_empty() {
            // Between frames a client may be silent; how long is for the connection to say.
            let read = self.reader.read_buf(&mut self.buffer).await;
            return read.map_err(FrameError::Socket);
        }
        let slack = missing_bytes.max(self.size_of_frame()) / SLOW_CLIENT_BYTES_PER_SECOND;
        let timeout = self.timeout + Duration::from_secs(slack as u64);
        let deadline = *self.began.get_or_insert_with(Instant::now) + timeout;
        match tokio::time::timeout_at(deadline, self.reader.read_buf(&mut self.buffer)).await {
            Ok(read) => read.map_err(FrameError::Socket),
            Err(_) => Err(FrameError::TooSlow {
                received_bytes: self.buffer.len(),
            }),
        }
    }

    fn size_of_frame(&self) -> usize {
        let prefix = self.buffer.first_chunk::<LENGTH_PREFIX_SIZE_BYTES>();
        let length = prefix.map_or(0, |prefix| i32::from_be_bytes(*prefix));
        usize::try_from(length).unwrap_or(0).min(self.size_max_bytes)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    const LIMIT: usize = 1000;

    fn reader(bytes: &[u8]) -> FrameReader<&[u8]> {
        FrameReader::new(bytes, LIMIT, Duration::from_secs(30))
    }

    fn framed(payload: &[u8]) -> Vec<u8> {
        [&(payload.len() as u32).to_be_bytes(), payload].concat()
    }

    #[tokio::test]
    async fn frames_come_out_as_they_went_in() {
        let wire = [framed(b"one"), framed(&[7; LIMIT]), framed(b"3")].concat();
        let mut reader = reader(&wire);
        assert_eq!(reader.next().await.unwrap().unwrap(), Bytes::from_static(b"one"));
        assert_eq!(
            reader.next().await.unwrap().unwrap(),
            Bytes::from_static(&[7; LIMIT])
        );
        assert_eq!(reader.next().await.unwrap().unwrap(), Bytes::from_static(b"3"));
        assert_eq!(reader.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn impossible_lengths_are_refused() {
        for length in [-1, 0, i32::MIN, i32::MAX, LIMIT as i32 + 1] {
            let wire = length.to_be_bytes();
            let error = reader(&wire).next().await.unwrap_err();
            assert!(matches!(error, FrameError::Length { found, limit: LIMIT } if found == length));
        }
    }

    #[tokio::test]
    async fn an_end_inside_a_frame_is_an_error() {
        let wire = framed(b"payload");
        for length in 1..wire.len() {
            let error = reader(&wire[..length]).next().await.unwrap_err();
            assert!(matches!(error, FrameError::Truncated { received_bytes } if received_bytes == length));
        }
    }

    #[tokio::test]
    async fn a_length_alone_allocates_little() {
        let wire = (100_i32 << 20).to_be_bytes();
        let mut reader = FrameReader::new(&wire[..], 100 << 20, Duration::from_secs(30));
        assert!(reader.next().await.is_err());
        assert!(reader.buffer.capacity() <= 2 * READ_SIZE_MIN_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_must_come_to_its_end_in_time() {
        let (mut client, server) = tokio::io::duplex(64);
        client.write_all(&[0, 0]).await.unwrap();
        let mut reader = FrameReader::new(server, LIMIT, Duration::from_secs(30));
        assert!(matches!(
            reader.next().await,
            Err(FrameError::TooSlow { received_bytes: 2 })
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_began_behind_another_must_end_in_time_too() {
        let (mut client, server) = tokio::io::duplex(64);
        client
            .write_all(&[framed(b"one"), vec![0]].concat())
            .await
            .unwrap();
        let mut reader = FrameReader::new(server, LIMIT, Duration::from_secs(30));
        assert_eq!(reader.next().await.unwrap().unwrap(), Bytes::from_static(b"one"));
        let second = tokio::time::timeout(Duration::from_mins(10), reader.next()).await;
        assert!(matches!(
            second,
            Ok(Err(FrameError::TooSlow { received_bytes: 1 }))
        ));
    }

    #[tokio::test]
    async fn cancelling_loses_nothing() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut reader = FrameReader::new(server, LIMIT, Duration::from_secs(30));
        for byte in framed(b"abc") {
            let cancelled = tokio::time::timeout(Duration::ZERO, reader.next()).await;
            assert!(cancelled.is_err());
            client.write_all(&[byte]).await.unwrap();
        }
        assert_eq!(reader.next().await.unwrap().unwrap(), Bytes::from_static(b"abc"));
    }
}
