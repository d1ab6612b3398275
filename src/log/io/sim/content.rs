//! The bytes of one file: sparse pages shared between images, so that copying an image is cheap.

use std::collections::BTreeMap;
use std::sync::Arc;

const PAGE_SIZE_BYTES: usize = 4096;

type Page = [u8; PAGE_SIZE_BYTES];

/// Bytes and length of a file; what was never written reads as zeros.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    length: u64,
    pages: BTreeMap<u64, Arc<Page>>,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// Cuts or extends; what was cut off reads as zeros if it is extended again.
    pub(super) fn set_len(&mut self, length: u64) {
        if length < self.length {
            let first_cut = length.div_ceil(PAGE_SIZE_BYTES as u64);
            self.pages.split_off(&first_cut);
            let kept = (length % PAGE_SIZE_BYTES as u64) as usize;
            if let Some(page) = self.pages.get_mut(&(length / PAGE_SIZE_BYTES as u64)) {
                Arc::make_mut(page)[kept..].fill(0);
            }
        }
        self.length = length;
    }

    /// Writes `data`, extending the file where it ends behind the end.
    pub(super) fn write(&mut self, position: u64, data: &[u8]) {
        for (page_number, start, range) in pages_of(position, data.len()) {
            let chunk = &data[range];
            // Zeros over a hole stay a hole: a journal file is zeroed once before it is used.
            if !self.pages.contains_key(&page_number) && is_zero(chunk) {
                continue;
            }
            let page = self
                .pages
                .entry(page_number)
                .or_insert_with(|| Arc::new([0; PAGE_SIZE_BYTES]));
            Arc::make_mut(page)[start..start + chunk.len()].copy_from_slice(chunk);
        }
        self.length = self.length.max(position + data.len() as u64);
    }

    /// Fills `buffer`; what lies behind the end reads as zeros.
    pub(super) fn read(&self, position: u64, buffer: &mut [u8]) {
        for (page_number, start, range) in pages_of(position, buffer.len()) {
            let chunk = &mut buffer[range];
            match self.pages.get(&page_number) {
                Some(page) => chunk.copy_from_slice(&page[start..start + chunk.len()]),
                None => chunk.fill(0),
            }
        }
    }

    /// Where the bytes are that were written: the pages that are stored.
    pub(super) fn stored_positions(&self) -> Vec<u64> {
        let stored = self.pages.iter().filter(|(_, page)| !is_zero(&page[..]));
        stored
            .map(|(number, _)| number * PAGE_SIZE_BYTES as u64)
            .collect()
    }

    /// Mixes length and bytes into a hash, page by page, holes skipped.
    pub(super) fn hash_into(&self, hash: &mut impl std::hash::Hasher) {
        hash.write_u64(self.length);
        for (number, page) in &self.pages {
            if !is_zero(&page[..]) {
                hash.write_u64(*number);
                hash.write_u32(crc32c::crc32c(&page[..]));
                hash.write_u32(crc32fast::hash(&page[..]));
            }
        }
    }
}

pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// Page number, first byte in the page, and range of the data, for each page that a run of bytes touches.
fn pages_of(position: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = position + done as u64;
        let start = (at % PAGE_SIZE_BYTES as u64) as usize;
        let end = length.min(done + PAGE_SIZE_BYTES - start);
        let range = done..end;
        done = end;
        Some((at / PAGE_SIZE_BYTES as u64, start, range))
    })
}
