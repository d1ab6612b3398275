//! Read-only maps of growing files, whose pages are populated before anybody touches them.

use std::fs;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};
use rustix::mm::{Advice, madvise};

/// A map is made in steps of this length, so that a growing file is mapped a few times only. 64 MiB of
/// address space cost nothing until they are touched.
const MAP_STEP_BYTES: u64 = 64 * 1024 * 1024;
const PAGE_SIZE_BYTES: usize = 4096;

/// The newest map of one file; slices keep the map that they were cut from alive.
#[derive(Debug, Default)]
pub struct FileMap {
    map: Mutex<Option<Arc<Mmap>>>,
}

#[derive(Debug)]
struct MapSlice {
    map: Arc<Mmap>,
    range: Range<usize>,
}

impl AsRef<[u8]> for MapSlice {
    fn as_ref(&self) -> &[u8] {
        &self.map[self.range.clone()]
    }
}

impl FileMap {
    /// The bytes of `range`, which must lie inside the file.
    pub fn slice(&self, file: &fs::File, range: Range<u64>) -> io::Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let map = self.covering(file, range.end)?;
        let range = range.start as usize..range.end as usize;
        populate(&map, &range)?;
        Ok(Bytes::from_owner(MapSlice { map, range }))
    }

    fn covering(&self, file: &fs::File, end: u64) -> io::Result<Arc<Mmap>> {
        let mut current = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(map) = current.as_ref().filter(|map| map.len() as u64 >= end) {
            return Ok(Arc::clone(map));
        }
        let len = end.next_multiple_of(MAP_STEP_BYTES) as usize;
        // SAFETY: the file belongs to this process (the folder lock is held as long as it is open) and is
        // only ever appended to below `range.end`: `File::slice` requires that the bytes handed out are
        // never changed or cut off. Bytes behind the file's end are mapped but never handed out.
        let map = unsafe { MmapOptions::new().len(len).map(file) }?;
        let map = Arc::new(map);
        *current = Some(Arc::clone(&map));
        Ok(map)
    }
}

/// Reads the pages of `range` into memory, so that an unreadable page is an error here and not a SIGBUS
/// at the first touch (madvise(2), `MADV_POPULATE_READ`, Linux 5.14).
fn populate(map: &Mmap, range: &Range<usize>) -> io::Result<()> {
    let start = range.start - range.start % PAGE_SIZE_BYTES;
    let address = map.as_ptr().wrapping_add(start).cast_mut().cast();
    // SAFETY: the address range lies inside the map that `map` keeps alive; populating for reading changes
    // no memory.
    unsafe { madvise(address, range.end - start, Advice::LinuxPopulateRead) }?;
    Ok(())
}
