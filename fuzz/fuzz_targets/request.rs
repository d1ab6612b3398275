//! Any bytes as a Kafka request: no panic, and memory in proportion to the frame, whatever its lengths claim.

#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use doorbuster::broker::protocol::{SERVED_APIS, decode_request};
use libfuzzer_sys::fuzz_target;

/// Most bytes that decoding may hold per byte of the frame, and beside that.
const MEMORY_PER_FRAME_BYTE: usize = 16;
const MEMORY_FIXED_BYTES: usize = 64 * 1024;

/// Counts what is held, and the most that was.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first_chunk::<2>() else { return };
    decode(Bytes::copy_from_slice(data));
    decode(served(*choice, rest));
});

/// The bytes behind the header of an API and version that is served, so that its body is reached.
fn served(choice: [u8; 2], body: &[u8]) -> Bytes {
    let api = &SERVED_APIS[usize::from(choice[0]) % SERVED_APIS.len()];
    let version = api.min + i16::from(choice[1]) % (api.max - api.min + 1);
    let mut frame = Vec::with_capacity(body.len() + 4);
    frame.extend_from_slice(&(api.key as i16).to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(body);
    Bytes::from(frame)
}

fn decode(frame: Bytes) {
    let limit = frame.len() * MEMORY_PER_FRAME_BYTE + MEMORY_FIXED_BYTES;
    let before = HELD.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let decoded = decode_request(frame.clone());
    let used = MOST.load(Ordering::Relaxed).saturating_sub(before);
    assert!(used <= limit, "{} bytes of frame took {used} bytes", frame.len());
    drop(decoded);
}
