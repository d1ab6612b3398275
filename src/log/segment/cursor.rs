//! The rule by which a partition is cut into segments: where the next batch goes.

use super::{FlushedPosition, SEGMENT_SIZE_LIMIT_BYTES};
use crate::log::Offset;
use crate::log::batch::Place;

/// Largest distance of an offset from its segment's base: Kafka keeps it in a signed 32-bit number.
const RELATIVE_OFFSET_MAX: u64 = i32::MAX as u64;

/// The place behind the last batch of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    place: Place,
}

impl From<FlushedPosition> for Cursor {
    fn from(end: FlushedPosition) -> Cursor {
        let place = Place {
            segment: end.segment,
            position: end.position,
        };
        Cursor { place }
    }
}

impl Cursor {
    /// Takes the place of the next batch: at the end of the segment, or the first of a new one if it does not
    /// fit there.
    pub fn take(
        &mut self,
        base_offset: Offset,
        next_offset: Offset,
        size_bytes: usize,
        segment_size_max_bytes: u64,
    ) -> Place {
        let size_bytes = size_bytes as u64;
        let limit = segment_size_max_bytes.min(SEGMENT_SIZE_LIMIT_BYTES);
        let fits = self.place.position + size_bytes <= limit
            && next_offset.0 - 1 - self.place.segment.0 <= RELATIVE_OFFSET_MAX;
        if !fits || self.place.position == 0 {
            self.begin(base_offset);
        }
        let place = self.place;
        self.place.position += size_bytes;
        place
    }

    /// Lets the next batch begin a segment.
    pub fn begin(&mut self, base_offset: Offset) {
        self.place = Place {
            segment: base_offset,
            position: 0,
        };
    }

    /// Goes on behind a batch of that many bytes at `place`.
    pub fn pass(&mut self, place: Place, size_bytes: usize) {
        self.place = Place {
            position: place.position + size_bytes as u64,
            ..place
        };
    }

    /// The place behind the last batch.
    pub fn place(&self) -> Place {
        self.place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(cursor: &mut Cursor, base: u64, next: u64, size_bytes: usize) -> (u64, u64) {
        let place = cursor.take(Offset(base), Offset(next), size_bytes, 1_000);
        (place.segment.0, place.position)
    }

    #[test]
    fn a_batch_that_does_not_fit_begins_a_segment() {
        let mut cursor = Cursor::default();
        assert_eq!(take(&mut cursor, 0, 1, 600), (0, 0));
        assert_eq!(take(&mut cursor, 1, 2, 400), (0, 600), "exactly full");
        assert_eq!(take(&mut cursor, 2, 3, 1), (2, 0));
        assert_eq!(take(&mut cursor, 3, 4, 5_000), (3, 0), "larger than a segment");
        assert_eq!(take(&mut cursor, 4, 5, 1), (4, 0));
    }

    #[test]
    fn offsets_stay_within_31_bits_of_the_segment() {
        let mut cursor = Cursor::default();
        take(&mut cursor, 0, 1, 10);
        let last = RELATIVE_OFFSET_MAX;
        assert_eq!(take(&mut cursor, 1, last + 1, 10), (0, 10));
        assert_eq!(take(&mut cursor, last + 1, last + 2, 10), (last + 1, 0));
    }
}
