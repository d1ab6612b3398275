//! Block-aligned buffers for durable writes, recycled through a pool.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::BLOCK_SIZE_BYTES;

/// Smallest buffer of the pool; sizes double from here.
const CLASS_SIZE_MIN_BYTES: usize = 4096;
/// Number of size classes: 4 KiB to 8 MiB.
const CLASS_COUNT: usize = 12;

/// Memory that `O_DIRECT` accepts: aligned to a block, its capacity a multiple of one.
struct Block {
    start: NonNull<u8>,
    capacity: usize,
}

// SAFETY: a `Block` is the only owner of its allocation, as a `Vec<u8>` would be; it moves freely.
unsafe impl Send for Block {}
// SAFETY: through `&Block` the memory is only read.
unsafe impl Sync for Block {}

impl Block {
    fn new(capacity: usize) -> Block {
        let layout = Block::layout(capacity);
        // SAFETY: the layout's size is not zero, `capacity` is at least CLASS_SIZE_MIN_BYTES.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else {
            handle_alloc_error(layout)
        };
        Block { start, capacity }
    }

    fn layout(capacity: usize) -> Layout {
        debug_assert!(capacity >= CLASS_SIZE_MIN_BYTES && capacity.is_multiple_of(BLOCK_SIZE_BYTES));
        Layout::from_size_align(capacity, BLOCK_SIZE_BYTES).expect("capacity is far below isize::MAX")
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: `start` points to `capacity` initialised bytes (zeroed at allocation) that live as long
        // as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.capacity) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `&mut self` makes this the only access.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.capacity) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout, freed once.
        unsafe { dealloc(self.start.as_ptr(), Block::layout(self.capacity)) };
    }
}

/// A pool of block-aligned buffers by size class.
pub struct BufferPool {
    classes: Mutex<Classes>,
    retained_max_bytes: usize,
}

#[derive(Default)]
struct Classes {
    free: [Vec<Block>; CLASS_COUNT],
    retained_bytes: usize,
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool")
            .field("retained_max_bytes", &self.retained_max_bytes)
            .finish_non_exhaustive()
    }
}

impl BufferPool {
    /// A pool that keeps at most `retained_max_bytes` of free buffers.
    pub fn new(retained_max_bytes: usize) -> Arc<BufferPool> {
        Arc::new(BufferPool {
            classes: Mutex::default(),
            retained_max_bytes,
        })
    }

    /// An empty buffer with room for at least `capacity` bytes.
    pub fn take(self: &Arc<Self>, capacity: usize) -> AlignedBuffer {
        let class = class_of(capacity);
        let recycled = class.and_then(|class| {
            let mut classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner);
            let block = classes.free[class].pop()?;
            classes.retained_bytes -= block.capacity;
            Some(block)
        });
        let size = class.map_or(capacity.next_multiple_of(BLOCK_SIZE_BYTES), |class| {
            CLASS_SIZE_MIN_BYTES << class
        });
        let block = recycled.unwrap_or_else(|| Block::new(size));
        AlignedBuffer {
            owner: Pooled {
                block: Some(block),
                pool: Arc::clone(self),
            },
            len: 0,
        }
    }

    /// Gives all free buffers back to the system.
    pub fn trim(&self) {
        let freed = std::mem::take(&mut *self.classes.lock().unwrap_or_else(PoisonError::into_inner));
        drop(freed);
    }

    fn give_back(&self, block: Block) {
        let Some(class) = class_of(block.capacity) else {
            return;
        };
        let mut classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner);
        if classes.retained_bytes + block.capacity <= self.retained_max_bytes {
            classes.retained_bytes += block.capacity;
            classes.free[class].push(block);
        }
    }
}

fn class_of(capacity: usize) -> Option<usize> {
    let size = capacity.max(CLASS_SIZE_MIN_BYTES).next_power_of_two();
    let class = (size / CLASS_SIZE_MIN_BYTES).trailing_zeros() as usize;
    (class < CLASS_COUNT).then_some(class)
}

struct Pooled {
    block: Option<Block>,
    pool: Arc<BufferPool>,
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        self.block.as_ref().map_or(&[], Block::bytes)
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.pool.give_back(block);
        }
    }
}

/// A block-aligned buffer being filled from the front.
pub struct AlignedBuffer {
    owner: Pooled,
    len: usize,
}

impl AlignedBuffer {
    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes written so far.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        let len = self.len;
        &mut self.memory()[..len]
    }

    /// Appends `data`.
    ///
    /// # Panics
    /// When the capacity that the buffer was taken with does not hold it.
    pub fn extend_from_slice(&mut self, data: &[u8]) {
        let start = self.len;
        self.memory()[start..start + data.len()].copy_from_slice(data);
        self.len += data.len();
    }

    /// Appends zeros up to the next block boundary.
    pub fn pad_to_block(&mut self) {
        let (start, end) = (self.len, self.len.next_multiple_of(BLOCK_SIZE_BYTES));
        self.memory()[start..end].fill(0);
        self.len = end;
    }

    /// The written bytes, shared; the memory returns to the pool with the last slice.
    pub fn freeze(self) -> Bytes {
        let len = self.len;
        Bytes::from_owner(self.owner).slice(..len)
    }

    fn memory(&mut self) -> &mut [u8] {
        self.owner.block.as_mut().map_or(&mut [], Block::bytes_mut)
    }
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuffer")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_padded_and_recycled() {
        let pool = BufferPool::new(1 << 20);
        let mut buffer = pool.take(5000);
        buffer.extend_from_slice(&[7; 5000]);
        buffer.pad_to_block();
        let bytes = buffer.freeze();
        assert_eq!(bytes.len(), 8192);
        assert_eq!(bytes.as_ptr() as usize % BLOCK_SIZE_BYTES, 0);
        assert_eq!(&bytes[..5000], &[7; 5000][..]);
        assert_eq!(&bytes[5000..], &[0; 3192][..]);
        let address = bytes.as_ptr();
        let slice = bytes.slice(10..20);
        drop(bytes);
        assert_eq!(
            pool.classes.lock().unwrap().retained_bytes,
            0,
            "a slice keeps the memory"
        );
        drop(slice);
        assert_eq!(
            pool.take(8192).freeze().as_ptr(),
            address,
            "the memory is used again"
        );
    }

    #[test]
    fn padding_clears_what_an_earlier_use_left() {
        let pool = BufferPool::new(1 << 20);
        let mut buffer = pool.take(4096);
        buffer.extend_from_slice(&[9; 4096]);
        drop(buffer.freeze());
        let mut buffer = pool.take(4096);
        buffer.extend_from_slice(&[1]);
        buffer.pad_to_block();
        assert_eq!(&buffer.freeze()[1..], &[0; 4095][..]);
    }

    #[test]
    fn the_pool_keeps_no_more_than_its_limit() {
        let pool = BufferPool::new(8192);
        let buffers: Vec<_> = (0..4).map(|_| pool.take(4096)).collect();
        drop(buffers);
        assert_eq!(pool.classes.lock().unwrap().retained_bytes, 8192);
        pool.trim();
        assert_eq!(pool.classes.lock().unwrap().retained_bytes, 0);
    }
}
