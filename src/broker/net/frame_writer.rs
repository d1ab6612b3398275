//! Responses onto a socket: slices of several responses in one vectored write.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::super::protocol::ResponseFrame;

/// Most slices in one write; the kernel's limit is 1024.
const SLICES_MAX: usize = 64;

/// Slices that wait to be written, in order.
#[derive(Debug, Default)]
pub(super) struct FrameWriter {
    slices: VecDeque<Bytes>,
    size_bytes: usize,
}

impl FrameWriter {
    /// Adds a response behind the others.
    pub(super) fn push(&mut self, frame: ResponseFrame) {
        for part in frame.parts {
            if !part.is_empty() {
                self.size_bytes += part.len();
                self.slices.push_back(part);
            }
        }
    }

    /// Bytes that wait to be written.
    pub(super) fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Writes everything that waits.
    ///
    /// # Errors
    /// `TimedOut` when the client accepted nothing for `timeout`.
    pub(super) async fn flush<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        timeout: Duration,
    ) -> io::Result<()> {
        while !self.slices.is_empty() {
            let mut vector = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for (entry, slice) in vector.iter_mut().zip(&self.slices) {
                *entry = IoSlice::new(slice);
                count += 1;
            }
            let written = tokio::time::timeout(timeout, writer.write_vectored(&vector[..count])).await??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.advance(written);
        }
        Ok(())
    }

    fn advance(&mut self, mut written_bytes: usize) {
        self.size_bytes -= written_bytes;
        while let Some(first) = self.slices.front_mut() {
            if written_bytes < first.len() {
                first.advance(written_bytes);
                return;
            }
            written_bytes -= first.len();
            self.slices.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn frame(parts: &[&'static [u8]]) -> ResponseFrame {
        ResponseFrame {
            parts: parts.iter().map(|part| Bytes::from_static(part)).collect(),
        }
    }

    #[tokio::test]
    async fn slices_arrive_in_order_through_a_narrow_pipe() {
        let mut writer = FrameWriter::default();
        let mut expected = Vec::new();
        for _ in 0..SLICES_MAX {
            writer.push(frame(&[b"head", b"", b"record batch"]));
            expected.extend_from_slice(b"headrecord batch");
        }
        assert_eq!(writer.size_bytes(), expected.len());
        let (mut near, mut far) = tokio::io::duplex(7);
        let flush = async {
            writer.flush(&mut near, Duration::from_mins(1)).await.unwrap();
            drop(near);
            writer.size_bytes()
        };
        let mut received = Vec::new();
        let (left_bytes, read) = tokio::join!(flush, far.read_to_end(&mut received));
        read.unwrap();
        assert_eq!((left_bytes, received), (0, expected));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_reads_is_given_up() {
        let mut writer = FrameWriter::default();
        writer.push(frame(&[b"more than fits"]));
        let (mut near, _far) = tokio::io::duplex(4);
        let error = writer.flush(&mut near, Duration::from_mins(1)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
