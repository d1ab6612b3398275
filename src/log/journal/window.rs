//! A journal file read from front to back through a small window of memory.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::frame::{FrameHeader, HEADER_SIZE_BYTES};
use crate::log::io::{Disk, File, OpenMode};

/// Read at once. 1 MiB: the device's rate is flat from there on.
const WINDOW_SIZE_BYTES: usize = 1024 * 1024;

/// An open journal file, and the part of it that is in memory.
#[derive(Debug)]
pub struct Window {
    file: Arc<dyn File>,
    file_size_bytes: u64,
    position: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// Opens the file at `path`; nothing is read yet.
    pub fn open(disk: &dyn Disk, path: &Path) -> io::Result<Window> {
        let file = disk.open(path, OpenMode::Read)?;
        let file_size_bytes = file.len()?;
        Ok(Window {
            file,
            file_size_bytes,
            position: 0,
            bytes: Vec::new(),
        })
    }

    /// The file's length.
    pub fn file_size_bytes(&self) -> u64 {
        self.file_size_bytes
    }

    /// The frame that begins at `position` with its CRC and its payload, if an intact one does.
    pub fn frame(&mut self, position: u64) -> io::Result<Option<(FrameHeader, u32, &[u8])>> {
        let Some(header) = self.bytes(position, HEADER_SIZE_BYTES)? else {
            return Ok(None);
        };
        let Some(size_bytes) = FrameHeader::size_bytes_of(header) else {
            return Ok(None);
        };
        let Some(bytes) = self.bytes(position, size_bytes)? else {
            return Ok(None);
        };
        Ok(FrameHeader::decode(bytes).map(|(header, crc)| (header, crc, &bytes[HEADER_SIZE_BYTES..])))
    }

    /// That many bytes from `position` on; none where the file ends before.
    fn bytes(&mut self, position: u64, size_bytes: usize) -> io::Result<Option<&[u8]>> {
        let end = position + size_bytes as u64;
        if end > self.file_size_bytes {
            return Ok(None);
        }
        if position < self.position || end > self.position + self.bytes.len() as u64 {
            let left = usize::try_from(self.file_size_bytes - position).unwrap_or(usize::MAX);
            self.bytes.resize(size_bytes.max(WINDOW_SIZE_BYTES).min(left), 0);
            self.position = position;
            let read = self.file.read_at(&mut self.bytes, position);
            if read.is_err() {
                // What is in the window now is not what the file holds there.
                self.bytes.clear();
            }
            read?;
        }
        let start = (position - self.position) as usize;
        Ok(Some(&self.bytes[start..start + size_bytes]))
    }
}
