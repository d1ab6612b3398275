//! Seals closed segments that have no seal: from Kafka, of an older version, or whose seal was removed.

use super::open::{check_link, open_file};
use super::paths::SegmentPaths;
use super::seal::Seal;
use super::sealing::{self, SealDraft, Survey};
use super::segments::{SealState, Segments};
use super::{FileOperation, SegmentError};
use crate::log::Offset;

impl Segments {
    /// Seals the oldest closed segment that has no seal, after reading it and checking all its batches, and
    /// tells which it was; none if there is nothing to do. Its indexes are made again from the batches.
    ///
    /// It reads a whole segment, so it is for a thread that nobody waits for. Segments that were appended here
    /// got their seals when they were closed.
    ///
    /// # Errors
    /// When a batch is damaged, or the seal behind continues another one: the segment stays as it is and is not
    /// tried again before the next opening. After a full disk it is.
    pub fn seal_next(&self) -> Result<Option<Offset>, SegmentError> {
        let _maintenance = self.maintain();
        let Some((before, base_offset, behind)) = self.next_unsealed() else {
            return Ok(None);
        };
        match self.seal_closed(before, base_offset, behind) {
            Ok(()) => {
                self.mark_sealed(base_offset);
                Ok(Some(base_offset))
            }
            Err(error) => {
                if !error.is_storage_full() {
                    self.refuse_seal(base_offset);
                }
                Err(error)
            }
        }
    }

    /// The oldest segment to seal, and its neighbours.
    fn next_unsealed(&self) -> Option<(Option<Offset>, Offset, Offset)> {
        let layout = self.layout();
        let index = layout
            .closed
            .iter()
            .position(|segment| segment.seal == SealState::Unsealed)?;
        let before = index
            .checked_sub(1)
            .map(|before| layout.closed[before].base_offset);
        let behind = layout.closed.get(index + 1);
        let behind = behind.map_or(layout.end.segment, |segment| segment.base_offset);
        Some((before, layout.closed[index].base_offset, behind))
    }

    fn seal_closed(
        &self,
        before: Option<Offset>,
        base_offset: Offset,
        behind: Offset,
    ) -> Result<(), SegmentError> {
        let place = &self.place;
        let seal_of = |base_offset: Offset| {
            let path = SegmentPaths::new(&place.dir, base_offset).seal;
            Ok(Seal::read(&*place.disk, &path, place.identity(base_offset))?.map(|seal| (path, seal)))
        };
        let predecessor = before.map_or(Ok(None), seal_of)?;
        let paths = SegmentPaths::new(&place.dir, base_offset);
        let (file, end) = open_file(&*place.disk, &paths.log)?;
        let identity = place.identity(base_offset);
        let interval_bytes = place.options.index_interval_bytes;
        let mut survey = Survey::new(&*file, &paths.log, identity, end, interval_bytes);
        survey.advance(end)?;
        let next_offset = survey.next_offset();
        if next_offset != behind {
            return Err(SegmentError::EndsEarly {
                path: paths.log,
                found: next_offset,
                expected: behind,
            });
        }
        let (_, chunk_crcs) = survey.sums.finish(end);
        let mut indexes = survey.indexes;
        indexes.close();
        let content = sealing::content(identity, (end, next_offset), &indexes, chunk_crcs);
        let seal = Seal::appended(content, predecessor.map(|(_, seal)| seal.lineage));
        if let Some((path, behind)) = seal_of(behind)? {
            check_link(&path, &behind, &seal)?;
        }
        let (offsets, times) = indexes.encode_from(0, 0);
        self.replace_file(&paths.offset_index, &offsets)?;
        self.replace_file(&paths.time_index, &times)?;
        // What was read may be in the page cache only.
        file.sync()
            .map_err(SegmentError::io(FileOperation::Sync, &paths.log))?;
        SealDraft::write(place, seal)?.publish(place)?;
        place
            .disk
            .sync_dir(&place.dir)
            .map_err(SegmentError::io(FileOperation::Sync, &place.dir))
    }
}
