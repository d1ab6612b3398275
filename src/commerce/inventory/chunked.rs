//! Growing arrays in chunks: growth moves nothing, and a frozen copy shares every chunk until it is changed.
//!
//! A shard's thread must never stop for a gigabyte to be moved or copied. So its tables are made of these, and a
//! snapshot is taken of frozen copies while the originals go on: the first change to a shared chunk copies that
//! chunk alone.

use std::collections::VecDeque;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

/// Elements of a chunk. 2,048: copying one takes some microseconds, and to freeze ten million holds with all that
/// belongs to them shares 25,000 chunks, about 2 ms.
const CHUNK_LEN: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 11;

#[derive(Debug)]
enum Chunk<T> {
    Own(Vec<T>),
    Shared(Arc<Vec<T>>),
}

impl<T: Clone> Chunk<T> {
    fn new() -> Self {
        Chunk::Own(Vec::with_capacity(CHUNK_LEN))
    }

    fn as_slice(&self) -> &[T] {
        match self {
            Chunk::Own(values) => values,
            Chunk::Shared(values) => values,
        }
    }

    /// The values, to change them: a chunk that a frozen copy still uses is copied first.
    fn own(&mut self) -> &mut Vec<T> {
        if let Chunk::Shared(shared) = self {
            let values = Arc::try_unwrap(std::mem::take(shared)).unwrap_or_else(|shared| {
                let mut values = Vec::with_capacity(CHUNK_LEN);
                values.extend_from_slice(&shared);
                values
            });
            *self = Chunk::Own(values);
        }
        match self {
            Chunk::Own(values) => values,
            Chunk::Shared(_) => unreachable!("the chunk was just made its own"),
        }
    }

    fn share(&mut self) -> Chunk<T> {
        let shared = match self {
            Chunk::Own(values) => Arc::new(std::mem::take(values)),
            Chunk::Shared(shared) => Arc::clone(shared),
        };
        *self = Chunk::Shared(Arc::clone(&shared));
        Chunk::Shared(shared)
    }
}

/// An array that grows at its end; elements are known by their place.
#[derive(Debug)]
pub(super) struct Chunked<T> {
    chunks: Vec<Chunk<T>>,
    len: usize,
}

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Chunked {
            chunks: Vec::new(),
            len: 0,
        }
    }
}

impl<T: Clone> Chunked<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Appends a value and returns its place.
    pub(super) fn push(&mut self, value: T) -> u32 {
        let place = self.len as u32;
        if self.len.is_multiple_of(CHUNK_LEN) {
            self.chunks.push(Chunk::new());
        }
        self.chunks[self.len >> CHUNK_BITS].own().push(value);
        self.len += 1;
        place
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(Chunk::as_slice)
    }

    /// A copy that stays as it is.
    pub(super) fn frozen(&mut self) -> Self {
        Chunked {
            chunks: self.chunks.iter_mut().map(Chunk::share).collect(),
            len: self.len,
        }
    }
}

impl<T: Clone> Index<u32> for Chunked<T> {
    type Output = T;

    fn index(&self, place: u32) -> &T {
        &self.chunks[place as usize >> CHUNK_BITS].as_slice()[place as usize % CHUNK_LEN]
    }
}

impl<T: Clone> IndexMut<u32> for Chunked<T> {
    fn index_mut(&mut self, place: u32) -> &mut T {
        &mut self.chunks[place as usize >> CHUNK_BITS].own()[place as usize % CHUNK_LEN]
    }
}

/// Values that come and go; a place is used again after its value was taken.
#[derive(Debug)]
pub(super) struct Slab<T> {
    values: Chunked<T>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab {
            values: Chunked::default(),
            free: Vec::new(),
        }
    }
}

impl<T: Clone + Default> Slab<T> {
    /// Number of places that were ever in use at once.
    pub(super) fn places(&self) -> usize {
        self.values.len()
    }

    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(place) = self.free.pop() {
            self.values[place] = value;
            place
        } else {
            self.values.push(value)
        }
    }

    /// Takes the value at `place` out and leaves the default there.
    pub(super) fn take(&mut self, place: u32) -> T {
        self.free.push(place);
        std::mem::take(&mut self.values[place])
    }

    /// The values of all places; a free one has the default.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.values.iter()
    }

    /// A copy that stays as it is, and gives no places out.
    pub(super) fn frozen(&mut self) -> Self {
        Slab {
            values: self.values.frozen(),
            free: Vec::new(),
        }
    }
}

impl<T: Clone> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, place: u32) -> &T {
        &self.values[place]
    }
}

impl<T: Clone> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, place: u32) -> &mut T {
        &mut self.values[place]
    }
}

/// The number of an element of a [`ChunkedQueue`]: counted from the first one ever, modulo 2³¹.
pub(super) type QueueNumber = u32;

/// The largest number.
pub(super) const QUEUE_NUMBER_MAX: QueueNumber = QueueNumber::MAX >> 1;

/// A queue whose elements keep their number; at most 2³¹ at a time.
#[derive(Debug)]
pub(super) struct ChunkedQueue<T> {
    chunks: VecDeque<Chunk<T>>,
    /// Elements of the first chunk that were popped.
    popped: usize,
    len: usize,
    /// Number of the first element.
    first: QueueNumber,
}

impl<T> Default for ChunkedQueue<T> {
    fn default() -> Self {
        ChunkedQueue {
            chunks: VecDeque::new(),
            popped: 0,
            len: 0,
            first: 0,
        }
    }
}

impl<T: Copy> ChunkedQueue<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push_back(&mut self, value: T) -> QueueNumber {
        let end = self.popped + self.len;
        if end.is_multiple_of(CHUNK_LEN) {
            self.chunks.push_back(Chunk::new());
        }
        self.chunks[end >> CHUNK_BITS].own().push(value);
        let number = self.first.wrapping_add(self.len as u32) & QUEUE_NUMBER_MAX;
        self.len += 1;
        number
    }

    /// The number and value of the first element.
    pub(super) fn front(&self) -> Option<(QueueNumber, T)> {
        (self.len > 0).then(|| (self.first, self[self.first]))
    }

    pub(super) fn pop_front(&mut self) {
        if self.len == 0 {
            return;
        }
        self.len -= 1;
        self.popped += 1;
        self.first = (self.first + 1) & QUEUE_NUMBER_MAX;
        if self.popped == CHUNK_LEN {
            self.chunks.pop_front();
            self.popped = 0;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(Chunk::as_slice).skip(self.popped)
    }

    /// A copy that stays as it is.
    pub(super) fn frozen(&mut self) -> Self {
        ChunkedQueue {
            chunks: self.chunks.iter_mut().map(Chunk::share).collect(),
            ..*self
        }
    }

    fn place(&self, number: QueueNumber) -> usize {
        let distance = number.wrapping_sub(self.first) & QUEUE_NUMBER_MAX;
        self.popped + distance as usize
    }
}

impl<T: Copy> Index<QueueNumber> for ChunkedQueue<T> {
    type Output = T;

    fn index(&self, number: QueueNumber) -> &T {
        let place = self.place(number);
        &self.chunks[place >> CHUNK_BITS].as_slice()[place % CHUNK_LEN]
    }
}

impl<T: Copy> IndexMut<QueueNumber> for ChunkedQueue<T> {
    fn index_mut(&mut self, number: QueueNumber) -> &mut T {
        let place = self.place(number);
        &mut self.chunks[place >> CHUNK_BITS].own()[place % CHUNK_LEN]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Push(usize),
        Pop(usize),
        Set(usize),
        Freeze,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0..CHUNK_LEN * 2).prop_map(Step::Push),
            2 => (0..CHUNK_LEN * 2).prop_map(Step::Pop),
            3 => any::<usize>().prop_map(Step::Set),
            1 => Just(Step::Freeze),
        ];
        prop::collection::vec(step, 1..24)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_queue_is_a_queue_and_its_frozen_copies_stay(steps in steps(), first in 0..QUEUE_NUMBER_MAX) {
            let mut queue = ChunkedQueue { first, ..ChunkedQueue::default() };
            let (mut model, mut next, mut frozen) = (VecDeque::new(), 0, Vec::new());
            for step in steps {
                match step {
                    Step::Push(count) => for _ in 0..count {
                        model.push_back((queue.push_back(next), next));
                        next += 1;
                    },
                    Step::Pop(count) => for _ in 0..count {
                        queue.pop_front();
                        model.pop_front();
                    },
                    Step::Set(at) if !model.is_empty() => {
                        let at = at % model.len();
                        model[at].1 = next;
                        queue[model[at].0] = next;
                        next += 1;
                    }
                    Step::Set(_) => {}
                    Step::Freeze => frozen.push((queue.frozen(), model.clone())),
                }
                prop_assert_eq!((queue.len(), queue.front()), (model.len(), model.front().copied()));
            }
            frozen.push((queue, model));
            for (queue, model) in frozen {
                let values: Vec<i32> = model.iter().map(|(_, value)| *value).collect();
                prop_assert_eq!(queue.iter().copied().collect::<Vec<_>>(), values);
                prop_assert!(model.iter().all(|(number, value)| queue[*number] == *value));
            }
        }

        #[test]
        fn a_slab_gives_back_what_it_got_and_its_frozen_copies_stay(steps in steps()) {
            let (mut slab, mut next) = (Slab::default(), 1);
            let (mut model, mut frozen) = (Vec::<(u32, i32)>::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Push(count) => for _ in 0..count {
                        model.push((slab.insert(next), next));
                        next += 1;
                    },
                    Step::Pop(count) => for _ in 0..count.min(model.len()) {
                        let (place, value) = model.swap_remove(count % model.len());
                        prop_assert_eq!(slab.take(place), value);
                    },
                    Step::Set(at) if !model.is_empty() => {
                        let at = at % model.len();
                        model[at].1 = next;
                        slab[model[at].0] = next;
                        next += 1;
                    }
                    Step::Set(_) => {}
                    Step::Freeze => frozen.push((slab.frozen(), model.clone())),
                }
            }
            frozen.push((slab, model));
            for (slab, mut model) in frozen {
                let found = (0..).zip(slab.iter().copied()).filter(|(_, value)| *value != 0);
                model.sort_unstable();
                prop_assert_eq!(found.collect::<Vec<_>>(), model);
            }
        }
    }
}
