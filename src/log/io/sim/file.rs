//! One simulated file: what is durable, what programs see, and the sectors and lengths in between.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSlice;
use std::sync::Arc;

use super::SECTOR_SIZE_BYTES;
use super::content::{Content, is_zero};
use super::fault::{FaultCounts, FaultKind};
use super::random::Choices;
use crate::log::io::BLOCK_SIZE_BYTES;

/// The bytes of a sector; a sector of zeros is common and not stored.
type Sector = Option<Arc<[u8; SECTOR_SIZE_BYTES]>>;

/// Chances in percent that a pending sector survives; one is drawn for each file, so that "nearly all" and
/// "nearly none" happen as often as "half".
const SURVIVAL_PERCENTS: [usize; 5] = [0, 10, 50, 90, 100];

/// A file.
#[derive(Clone, Debug)]
pub(super) struct FileNode {
    durable: Content,
    current: Content,
    /// Changes since the last sync, split where the file was cut; never empty.
    eras: Vec<Era>,
    /// Pending sectors that only the device has: when a sync fails, reads show what became of them.
    past_cache: BTreeSet<u64>,
    /// Sectors that cannot be read until they are written.
    unreadable: BTreeSet<u64>,
    /// Bytes of the disk that the file holds, whole blocks.
    pub(super) allocated_bytes: u64,
}

/// Changes between two truncations.
#[derive(Clone, Debug, Default)]
struct Era {
    /// The length to which the era's truncation cut the file; without meaning in the first era.
    cut_to: u64,
    /// Growing lengths that were set.
    lengths: Vec<u64>,
    /// All versions of each sector that was written.
    sectors: BTreeMap<u64, Vec<Sector>>,
}

impl FileNode {
    pub(super) fn new() -> FileNode {
        FileNode::with(Content::default(), 0)
    }

    fn with(content: Content, allocated_bytes: u64) -> FileNode {
        FileNode {
            durable: content.clone(),
            allocated_bytes: allocated_bytes.max(whole_blocks(content.len())),
            current: content,
            eras: vec![Era::default()],
            past_cache: BTreeSet::new(),
            unreadable: BTreeSet::new(),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.current.len()
    }

    pub(super) fn read(&self, position: u64, buffer: &mut [u8]) {
        self.current.read(position, buffer);
    }

    pub(super) fn durable(&self) -> &Content {
        &self.durable
    }

    pub(super) fn visible(&self) -> &Content {
        &self.current
    }

    /// Whether a sector of the range cannot be read.
    pub(super) fn is_unreadable(&self, position: u64, size_bytes: u64) -> bool {
        !self.unreadable.is_empty()
            && size_bytes > 0
            && self
                .unreadable
                .range(sectors_of(position, size_bytes))
                .next()
                .is_some()
    }

    /// Makes a sector unreadable.
    pub(super) fn spoil(&mut self, sector: u64) {
        self.unreadable.insert(sector);
    }

    /// Changes content at rest behind the back of whoever wrote it.
    pub(super) fn corrupt(&mut self, change: impl Fn(&mut Content)) {
        change(&mut self.durable);
        change(&mut self.current);
    }

    /// Changes what is durable only: reads go on to show what was written, until the power fails.
    pub(super) fn corrupt_durable(&mut self, position: u64, data: &[u8]) {
        self.durable.write(position, data);
    }

    /// Volatile write.
    pub(super) fn write(&mut self, position: u64, buffers: &[IoSlice<'_>]) {
        let mut end = position;
        for buffer in buffers {
            if !buffer.is_empty() {
                self.current.write(end, buffer);
                end += buffer.len() as u64;
            }
        }
        if end == position {
            return;
        }
        if self
            .last_pending_length()
            .is_none_or(|length| length < self.current.len())
        {
            let length = self.current.len();
            self.era().lengths.push(length);
        }
        for number in sectors_of(position, end - position) {
            self.unreadable.remove(&number);
            let sector = sector_at(&self.current, number);
            if !self.is_hole(number) || sector.is_some() {
                self.era().sectors.entry(number).or_default().push(sector);
            }
        }
    }

    /// Volatile write that the device has and the page cache has not.
    pub(super) fn write_past_cache(&mut self, position: u64, data: &[u8]) {
        self.write(position, &[IoSlice::new(data)]);
        self.past_cache.extend(sectors_of(position, data.len() as u64));
    }

    /// Volatile change of the length.
    pub(super) fn set_len(&mut self, length: u64) {
        if length < self.current.len() {
            self.eras.push(Era {
                cut_to: length,
                ..Era::default()
            });
        } else {
            self.era().lengths.push(length);
        }
        self.current.set_len(length);
    }

    /// Makes everything written so far durable.
    pub(super) fn sync(&mut self) {
        self.durable = self.image(&mut Survival::All);
        self.eras = vec![Era::default()];
        self.past_cache.clear();
    }

    /// A sync that the device forgets: reads show what was written, and no later sync writes it again.
    pub(super) fn forget_pending(&mut self) {
        self.eras = vec![Era::default()];
    }

    /// The same for the sectors of one write; lengths stay pending.
    pub(super) fn forget_range(&mut self, position: u64, size_bytes: u64) {
        for era in &mut self.eras {
            for number in sectors_of(position, size_bytes) {
                era.sectors.remove(&number);
            }
        }
    }

    /// The same for a durable write.
    pub(super) fn forget_write(&mut self, position: u64, data: &[u8]) {
        self.current.write(position, data);
    }

    /// A sync that fails: some sectors arrive, the others are never written again although reads show them.
    pub(super) fn fail_sync(&mut self, choices: &mut Choices) {
        self.durable = self.image(&mut Survival::Random(choices));
        self.eras = vec![Era::default()];
        for number in std::mem::take(&mut self.past_cache) {
            let bytes = sector_at(&self.durable, number);
            let bytes = bytes.as_ref().map_or(&[0; SECTOR_SIZE_BYTES], |sector| &**sector);
            self.current.write(number * SECTOR_SIZE_BYTES as u64, bytes);
        }
    }

    /// A durable write that has ended; `survives` tells for each sector whether it arrived.
    pub(super) fn write_durable(&mut self, position: u64, data: &[u8], mut survives: impl FnMut() -> bool) {
        for (index, sector) in data.chunks(SECTOR_SIZE_BYTES).enumerate() {
            if !survives() {
                continue;
            }
            let at = position + (index * SECTOR_SIZE_BYTES) as u64;
            self.durable.write(at, sector);
            self.current.write(at, sector);
            self.unreadable.remove(&(at / SECTOR_SIZE_BYTES as u64));
            for era in &mut self.eras {
                era.sectors.remove(&(at / SECTOR_SIZE_BYTES as u64));
            }
        }
    }

    /// The file as it is found after a power cut.
    pub(super) fn after_power_cut(&self, survival: &mut Survival<'_>, fired: &mut FaultCounts) -> FileNode {
        let content = self.image(survival);
        if self.has_pending() {
            let dropped = content == self.durable;
            if dropped {
                fired.add(FaultKind::DroppedWrites);
            } else if content != self.current {
                fired.add(FaultKind::ReorderedWrites);
            }
        }
        FileNode {
            unreadable: self.unreadable.clone(),
            ..FileNode::with(content, 0)
        }
    }

    fn has_pending(&self) -> bool {
        self.eras.len() > 1 || !self.eras[0].sectors.is_empty() || !self.eras[0].lengths.is_empty()
    }

    fn image(&self, survival: &mut Survival<'_>) -> Content {
        let last_era = survival.choose(self.eras.len() - 1);
        let survival_percent = survival.percent();
        let mut content = self.durable.clone();
        for (index, era) in self.eras[..=last_era].iter().enumerate() {
            if index > 0 {
                content.set_len(era.cut_to);
            }
            let length_before = content.len();
            for (number, versions) in &era.sectors {
                if let Some(version) = survival.choose_version(survival_percent, versions) {
                    let bytes = version
                        .as_ref()
                        .map_or(&[0; SECTOR_SIZE_BYTES], |sector| &**sector);
                    content.write(number * SECTOR_SIZE_BYTES as u64, bytes);
                }
            }
            let lengths = if index < last_era {
                era.lengths.len()
            } else {
                survival.choose(era.lengths.len())
            };
            let length = era.lengths[..lengths].last().copied().unwrap_or(length_before);
            content.set_len(length.max(length_before));
        }
        content
    }

    fn era(&mut self) -> &mut Era {
        self.eras.last_mut().expect("a file has an era")
    }

    fn last_pending_length(&self) -> Option<u64> {
        let era = self.eras.last()?;
        let first = if self.eras.len() > 1 {
            era.cut_to
        } else {
            self.durable.len()
        };
        Some(era.lengths.last().copied().unwrap_or(first))
    }

    /// Whether a sector is zeros in every version that a crash could show.
    fn is_hole(&self, number: u64) -> bool {
        self.eras.iter().all(|era| !era.sectors.contains_key(&number))
            && sector_at(&self.durable, number).is_none()
    }
}

/// Which pending changes survive.
pub(super) enum Survival<'a> {
    All,
    None,
    Random(&'a mut Choices),
    /// One answer for each pending change.
    Picked(&'a mut dyn FnMut() -> bool),
}

impl Survival<'_> {
    /// How many of `count` ordered changes survive.
    pub(super) fn choose(&mut self, count: usize) -> usize {
        match self {
            Survival::All => count,
            Survival::None => 0,
            Survival::Random(choices) => choices.below(count + 1),
            Survival::Picked(pick) => {
                (0..count)
                    .fold((0, true), |(kept, goes_on), _| {
                        let goes_on = pick() && goes_on;
                        (kept + usize::from(goes_on), goes_on)
                    })
                    .0
            }
        }
    }

    pub(super) fn percent(&mut self) -> usize {
        match self {
            Survival::All | Survival::Picked(_) => 100,
            Survival::None => 0,
            Survival::Random(choices) => SURVIVAL_PERCENTS[choices.below(SURVIVAL_PERCENTS.len())],
        }
    }

    pub(super) fn chance(&mut self, percent: usize) -> bool {
        match self {
            Survival::All => true,
            Survival::None => false,
            Survival::Random(choices) => choices.below(100) < percent,
            Survival::Picked(pick) => pick(),
        }
    }

    fn choose_version<'v>(&mut self, percent: usize, versions: &'v [Sector]) -> Option<&'v Sector> {
        if !self.chance(percent) {
            return None;
        }
        match self {
            Survival::Random(choices) => versions.get(choices.below(versions.len())),
            Survival::All | Survival::None | Survival::Picked(_) => versions.last(),
        }
    }
}

/// `size_bytes` rounded up to whole blocks.
pub(super) fn whole_blocks(size_bytes: u64) -> u64 {
    size_bytes.next_multiple_of(BLOCK_SIZE_BYTES as u64)
}

fn sectors_of(position: u64, size_bytes: u64) -> std::ops::Range<u64> {
    let sector = SECTOR_SIZE_BYTES as u64;
    position / sector..(position + size_bytes).div_ceil(sector)
}

fn sector_at(content: &Content, number: u64) -> Sector {
    let mut bytes = [0; SECTOR_SIZE_BYTES];
    content.read(number * SECTOR_SIZE_BYTES as u64, &mut bytes);
    (!is_zero(&bytes)).then(|| Arc::new(bytes))
}
