//! Offsets whose records are gone, as batches without records: readers find each batch where the one before ended.

use crate::log::Offset;
use crate::log::batch::BatchHeader;

/// Largest number of offsets that one batch stands for: its last offset delta is a signed 32-bit number.
const SPAN_MAX: u64 = i32::MAX as u64 + 1;

/// Consecutive offsets that are empty and not written yet.
#[derive(Debug, Default)]
pub struct Gap {
    /// First and next offset.
    range: Option<(Offset, Offset)>,
}

impl Gap {
    /// Lengthens the gap, which `first` continues, by the offsets up to `next`.
    pub fn extend(&mut self, first: Offset, next: Offset) {
        debug_assert!(self.range.is_none_or(|(_, end)| end == first));
        let begin = self.range.map_or(first, |(begin, _)| begin);
        self.range = Some((begin, next));
    }

    /// Whether there are empty offsets that no batch stands for yet.
    pub fn is_open(&self) -> bool {
        self.range.is_some()
    }

    /// The batches that stand for the gap, which is over.
    pub fn take(&mut self) -> Vec<Vec<u8>> {
        let Some((mut begin, next)) = self.range.take() else {
            return Vec::new();
        };
        let mut batches = Vec::new();
        while begin < next {
            let end = next.min(begin.plus(SPAN_MAX));
            batches.push(BatchHeader::empty(begin, Offset(end.0 - 1)).encode(&[]));
            begin = end;
        }
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::batch::verify;

    fn ranges(gap: &mut Gap) -> Vec<(u64, u64)> {
        let range = |batch: &Vec<u8>| {
            let header = verify(batch).unwrap();
            assert_eq!((header.record_count, header.has_producer()), (0, false));
            (header.base_offset.0, header.next_offset().0)
        };
        gap.take().iter().map(range).collect()
    }

    #[test]
    fn neighbours_become_one_batch() {
        let mut gap = Gap::default();
        assert_eq!(ranges(&mut gap), []);
        gap.extend(Offset(3), Offset(4));
        gap.extend(Offset(4), Offset(9));
        assert_eq!(ranges(&mut gap), [(3, 9)]);
        assert_eq!(ranges(&mut gap), []);
    }

    #[test]
    fn a_long_gap_becomes_several() {
        let mut gap = Gap::default();
        gap.extend(Offset(5), Offset(5 + 2 * SPAN_MAX + 1));
        let middle = 5 + SPAN_MAX;
        let expected = [
            (5, middle),
            (middle, middle + SPAN_MAX),
            (middle + SPAN_MAX, middle + SPAN_MAX + 1),
        ];
        assert_eq!(ranges(&mut gap), expected);
    }
}
