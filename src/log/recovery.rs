//! Opening a data folder: what was acknowledged comes back, or the log halts and says why.
//!
//! Nothing that was there is changed before everything has been read and decided.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::anchor::AnchorFile;
use super::catalog::{Catalog, METADATA_PARTITION};
use super::checkpoint::{Checkpoint, CheckpointFiles, PartitionCheckpoint};
use super::core::{Core, CoreParts};
use super::direct::{DirectSegments, RetiredSlots};
use super::extent_reader;
use super::flusher::Flusher;
use super::io::aligned::BufferPool;
use super::io::{Disk, DurableWriter, Environment, Lock, OpenMode};
use super::journal::{Extent, JournalFiles, Replay, WRITES_IN_FLIGHT_MAX, Writer, WriterStart, replay};
use super::log::{LogStatus, OpenError};
use super::partition_state::PartitionState;
use super::places::{PARTITIONS_FOLDER, Places};
use super::planted::{self, Bug};
use super::restored::Restored;
use super::retained::Retained;
use super::{LogOptions, Offset, PartitionId, StoreId};

pub(super) const LOCK_FILE: &str = "lock";
pub(super) const STORE_FILE: &str = "store";
const STORE_DRAFT: &str = "store.draft";
pub(super) const JOURNAL_FOLDER: &str = "journal";
const STORE_MAGIC: &[u8; 8] = b"DBSTORE2";
pub(super) const STORE_SIZE_BYTES: usize = 20;

/// Free journal buffers that are kept for the next groups: what one flush at full rate sets free. They go back
/// to the system when the log is idle.
const POOL_RETAINED_MAX_BYTES: usize = 128 * 1024 * 1024;

/// Partitions by number.
pub type Partitions = BTreeMap<PartitionId, Arc<PartitionState>>;

/// An opened data folder, without its threads.
pub struct Recovered {
    pub core: Core,
    pub status: LogStatus,
    pub catalog: Catalog,
    pub partitions: Partitions,
    pub has_threads: bool,
}

/// Opens the data folder and reads back what its journal and segments hold.
pub fn open(
    environment: Environment,
    folder: &Path,
    options: LogOptions,
    has_threads: bool,
) -> Result<Recovered, OpenError> {
    let disk = &environment.disk;
    disk.create_dir_all(folder)
        .map_err(io_error("create the data folder", folder))?;
    let lock = take_lock(&environment, folder)?;
    let disk_size_bytes = disk
        .size_bytes(folder)
        .map_err(io_error("ask for the size of", folder))?;
    let options = options.fitted_to(disk_size_bytes);
    let decided = decide(&environment, folder, &options)?;
    begin(environment, folder, options, has_threads, lock, decided)
}

fn take_lock(environment: &Environment, folder: &Path) -> Result<Box<dyn Lock>, OpenError> {
    let lock_file = if planted::is(Bug::IgnoreLock) {
        folder.join(environment.random.next_u64().to_string())
    } else {
        folder.join(LOCK_FILE)
    };
    environment
        .disk
        .lock(&lock_file)
        .map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::Locked {
                path: folder.to_path_buf(),
                holder: error.to_string(),
            },
            _ => io_error("lock", &folder.join(LOCK_FILE))(error),
        })
}

/// What the folder holds, and where the next run goes on.
struct Decided {
    store: StoreId,
    incarnation: u64,
    checkpoint_files: CheckpointFiles,
    checkpoint: Checkpoint,
    anchor: AnchorFile,
    places: Places,
    journal: Replay,
    partitions: Partitions,
    catalog: Catalog,
    restored: Restored,
}

/// Reads everything that decides what was acknowledged. A folder that was there is not changed.
fn decide(environment: &Environment, folder: &Path, options: &LogOptions) -> Result<Decided, OpenError> {
    let disk = &environment.disk;
    let store = read_or_create_store(environment, folder)?;
    let (mut checkpoint_files, checkpoint) = CheckpointFiles::open(&**disk, folder, store)?;
    if planted::is(Bug::WriteBeforeDecision) {
        checkpoint_files.secure(&**disk)?;
    }
    let anchor = AnchorFile::open(&**disk, folder, store, options.accept_lost_writes)?;
    let places = Places::new(Arc::clone(disk), folder, store, options);
    let is_intact = |partition: PartitionId, first: Offset, extent: &Extent| {
        let known = checkpoint
            .as_ref()
            .and_then(|known| known.partitions.get(&partition));
        let is_known = known.is_some_and(|known| extent.next_offset(first) <= known.flushed.next_offset);
        if is_known || planted::is(Bug::BelieveExtents) {
            return Ok(true);
        }
        extent_reader::is_intact(&**disk, &places.of(partition).dir, first, extent)
    };
    let checkpoint_lsn = checkpoint.as_ref().map(|checkpoint| checkpoint.lsn);
    let mut journal = replay(
        &**disk,
        &folder.join(JOURNAL_FOLDER),
        store,
        checkpoint_lsn,
        &is_intact,
    )?;
    check_anchor(folder, options, journal.last_lsn, anchor.lsn())?;
    let incarnation = journal
        .incarnation
        .max(checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.incarnation))
        + 1;

    let opening = Opening {
        places: &places,
        checkpoint: checkpoint.as_ref(),
    };
    let (metadata, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut journal.entries)
        .into_iter()
        .partition(|entry| entry.partition == METADATA_PARTITION);
    let mut partitions = Partitions::from([(METADATA_PARTITION, opening.partition(METADATA_PARTITION)?)]);
    let mut restored = Restored::default();
    restored.restore(&**disk, &partitions, metadata)?;
    let catalog = read_catalog(&partitions[&METADATA_PARTITION])?;
    for id in catalog
        .partitions()
        .into_iter()
        .filter(|id| *id != METADATA_PARTITION)
    {
        partitions.insert(id, opening.partition(id)?);
    }
    restored.restore(&**disk, &partitions, rest)?;
    let checkpoint = opening.complete_checkpoint(&partitions, incarnation)?;
    Ok(Decided {
        store,
        incarnation,
        checkpoint_files,
        checkpoint,
        anchor,
        places,
        journal,
        partitions,
        catalog,
        restored,
    })
}

/// Refuses a journal that ends before what was durable, unless that was accepted.
fn check_anchor(folder: &Path, options: &LogOptions, found: u64, expected: u64) -> Result<(), OpenError> {
    if found >= expected || planted::is(Bug::SkipAnchorCheck) {
        return Ok(());
    }
    if !options.accept_lost_writes {
        let path = folder.to_path_buf();
        return Err(OpenError::LostWrites {
            path,
            found,
            expected,
        });
    }
    tracing::error!(folder = %folder.display(), found, expected, "acknowledged groups are lost, as was accepted");
    Ok(())
}

/// Makes durable what was read, and begins a run behind it: from here on the folder is written.
fn begin(
    environment: Environment,
    folder: &Path,
    options: LogOptions,
    has_threads: bool,
    lock: Box<dyn Lock>,
    mut decided: Decided,
) -> Result<Recovered, OpenError> {
    let disk = Arc::clone(&environment.disk);
    let journal = folder.join(JOURNAL_FOLDER);
    secure(&*disk, folder, &mut decided)?;
    remove_left_overs(&*disk, folder, &decided.partitions);
    let device: Arc<dyn DurableWriter> = Arc::from(
        disk.durable_writer(WRITES_IN_FLIGHT_MAX)
            .map_err(io_error("open the journal in", &journal))?,
    );
    let start = WriterStart {
        store: decided.store,
        incarnation: decided.incarnation,
        sequence: decided.journal.sequence,
        last_lsn: decided.journal.last_lsn,
        last_crc: decided.journal.last_crc,
        extent_size_min_bytes: options.extent_size_min_bytes,
    };
    let files = journal_files(&disk, &device, &journal, &options, decided.journal)?;
    let recovered_batches = decided.restored.batches;
    let status = LogStatus {
        folder: folder.to_path_buf(),
        store: decided.store,
        write_path: device.path(),
        recovered_batches,
    };
    tracing::info!(folder = %folder.display(), write_path = %status.write_path, recovered_batches, "log opened");
    let pool = BufferPool::new(POOL_RETAINED_MAX_BYTES);
    let retired_slots = Arc::new(RetiredSlots::default());
    let direct = DirectSegments::new(Arc::clone(&device), Arc::clone(&retired_slots));
    let core = Core::new(CoreParts {
        flusher: Flusher::new(
            Arc::clone(&disk),
            folder.to_path_buf(),
            decided.checkpoint_files,
            decided.checkpoint,
            decided.anchor,
            direct,
            Retained::new(options.tail_retained_max_bytes),
        ),
        retired_slots,
        writer: Writer::new(Arc::clone(&files), device, Arc::clone(&pool), start),
        environment,
        folder: folder.to_path_buf(),
        places: decided.places,
        options,
        files,
        pool,
        last_lsn: start.last_lsn,
        dirty: decided.restored.dirty,
        unflushed_bytes: decided.restored.size_bytes,
        last_partition: decided.catalog.last_partition,
        metadata: Arc::clone(&decided.partitions[&METADATA_PARTITION]),
        has_threads,
        lock,
    });
    Ok(Recovered {
        core,
        status,
        catalog: decided.catalog,
        partitions: decided.partitions,
        has_threads,
    })
}

/// Makes durable what a killed process may have left in caches.
fn secure(disk: &dyn Disk, folder: &Path, decided: &mut Decided) -> Result<(), OpenError> {
    sync_journal(disk, &folder.join(JOURNAL_FOLDER), &decided.journal)?;
    if !planted::is(Bug::SkipExtentSync) {
        decided.restored.sync(disk)?;
    }
    decided.checkpoint_files.secure(disk)?;
    sync_folder(disk, folder)?;
    if decided.anchor.lsn() != decided.journal.last_lsn {
        decided.anchor.write(decided.journal.last_lsn)?;
    }
    Ok(())
}

impl Core {
    /// A partition that has no data yet.
    pub(super) fn empty_partition(&self, id: PartitionId) -> PartitionState {
        PartitionState::empty(self.places.of(id))
    }
}

struct Opening<'a> {
    places: &'a Places,
    checkpoint: Option<&'a Checkpoint>,
}

impl Opening<'_> {
    /// The partition as its segments hold it.
    fn partition(&self, id: PartitionId) -> Result<Arc<PartitionState>, OpenError> {
        let place = self.places.of(id);
        let state = match self.checkpoint.map(|checkpoint| checkpoint.partitions.get(&id)) {
            Some(Some(checkpoint)) => PartitionState::at_checkpoint(place, checkpoint),
            Some(None) => PartitionState::empty(place),
            None => PartitionState::scanned(place).map_err(|source| OpenError::Segment {
                partition: id,
                source,
            })?,
        };
        Ok(Arc::new(state))
    }

    /// The checkpoint to continue from; one that was lost is made again from what the scan found.
    fn complete_checkpoint(
        &self,
        partitions: &Partitions,
        incarnation: u64,
    ) -> Result<Checkpoint, OpenError> {
        if let Some(checkpoint) = self.checkpoint {
            let mut checkpoint = Checkpoint {
                incarnation,
                ..checkpoint.clone()
            };
            // A deletion that was logged and then interrupted is completed here.
            checkpoint.partitions.retain(|id, _| partitions.contains_key(id));
            return Ok(checkpoint);
        }
        let mut checkpoint = Checkpoint {
            incarnation,
            ..Checkpoint::default()
        };
        for (id, state) in partitions {
            let segments = state.segments().map_err(|source| OpenError::Segment {
                partition: *id,
                source,
            })?;
            let flushed = segments.flushed();
            // Only what is in the journal was ever being written to a segment: a torn write can be repeated.
            if let Some(source) = segments.take_torn()
                && state.high_watermark() == flushed.next_offset
                && !planted::is(Bug::AcceptTornSegment)
            {
                return Err(OpenError::Segment {
                    partition: *id,
                    source,
                });
            }
            if flushed.next_offset > Offset::ZERO {
                let (log_start, producers) = (state.log_start(), state.scanned_producers());
                checkpoint.partitions.insert(
                    *id,
                    PartitionCheckpoint {
                        log_start,
                        cleaned: Offset::ZERO,
                        flushed,
                        producers,
                    },
                );
            }
        }
        Ok(checkpoint)
    }
}

fn read_catalog(metadata: &PartitionState) -> Result<Catalog, OpenError> {
    const STEP_BYTES: usize = 1024 * 1024;
    let mut catalog = Catalog::default();
    let mut next = metadata.log_start();
    while next < metadata.high_watermark() {
        for slice in metadata.read(next, STEP_BYTES).map_err(OpenError::CatalogRead)? {
            for batch in super::batch::batches(&slice) {
                let (header, bytes) = batch.map_err(|source| OpenError::Batch {
                    partition: METADATA_PARTITION,
                    source,
                })?;
                catalog.apply(&bytes)?;
                next = header.next_offset();
            }
        }
    }
    Ok(catalog)
}

/// What a killed process wrote, and the names that it gave, may be in caches only: nothing is served, and no
/// file is written over that a lost checkpoint would need, before they are durable.
fn sync_journal(disk: &dyn Disk, folder: &Path, found: &Replay) -> Result<(), OpenError> {
    for (path, _) in found.needed.iter().filter(|_| !planted::is(Bug::SkipJournalSync)) {
        let synced = disk.open(path, OpenMode::ReadWrite).and_then(|file| file.sync());
        synced.map_err(io_error("sync", path))?;
    }
    disk.sync_dir(folder).map_err(io_error("sync", folder))
}

fn journal_files(
    disk: &Arc<dyn Disk>,
    device: &Arc<dyn DurableWriter>,
    folder: &Path,
    options: &LogOptions,
    found: Replay,
) -> Result<Arc<JournalFiles>, OpenError> {
    let files = JournalFiles::new(
        Arc::clone(disk),
        Arc::clone(device),
        folder,
        options.journal_file_size_bytes,
        found.needed,
        found.free,
    )?;
    if files.wants_spare()
        && let Err(error) = files.add_spare()
    {
        // A full disk is no reason to stay away: the flusher frees a file, or appends are refused.
        if !error.is_storage_full() || !files.has_any() {
            return Err(error.into());
        }
        tracing::warn!(%error, "no space for another journal file, going on with those there are");
    }
    Ok(Arc::new(files))
}

/// Removes folders of partitions that belong to no topic: their deletion was logged and then interrupted.
fn remove_left_overs(disk: &dyn Disk, folder: &Path, partitions: &Partitions) {
    let folder = folder.join(PARTITIONS_FOLDER);
    for name in disk.list(&folder).unwrap_or_default() {
        let Ok(number) = name.parse() else { continue };
        if !partitions.contains_key(&PartitionId(number))
            && let Err(error) = disk.remove_dir_all(&folder.join(&name))
        {
            tracing::warn!(partition = number, %error, "could not remove the folder of a deleted partition");
        }
    }
}

/// Reads the folder's identity. A folder without one is new, unless a journal or a checkpoint says otherwise.
fn read_or_create_store(environment: &Environment, folder: &Path) -> Result<StoreId, OpenError> {
    let disk = &environment.disk;
    let path = folder.join(STORE_FILE);
    match disk.open(&path, OpenMode::Read) {
        Ok(file) => {
            let mut bytes = [0; STORE_SIZE_BYTES];
            let store = match file.read_at(&mut bytes, 0) {
                Ok(()) => decode_store(&bytes),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
                Err(error) => return Err(io_error("read", &path)(error)),
            };
            store.ok_or_else(|| OpenError::Store {
                path: folder.to_path_buf(),
                what: "damaged",
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // The store's name is written last: with it, the folder's structure is complete.
            let journal = folder.join(JOURNAL_FOLDER);
            let has_data = disk.list(&journal).is_ok_and(|names| !names.is_empty());
            if has_data {
                return Err(OpenError::Store {
                    path: folder.to_path_buf(),
                    what: "missing",
                });
            }
            let partitions = folder.join(PARTITIONS_FOLDER);
            for sub in [&journal, &partitions] {
                disk.create_dir_all(sub).map_err(io_error("create", sub))?;
            }
            let store = StoreId(environment.random.next_u64());
            // From the first batch on there is a checkpoint: one that is missing later was lost, and then the
            // segments must be intact to their end.
            let (mut checkpoint_files, _) = CheckpointFiles::open(&**disk, folder, store)?;
            checkpoint_files.secure(&**disk)?;
            checkpoint_files.write(&Checkpoint {
                number: 1,
                ..Checkpoint::default()
            })?;
            AnchorFile::create(&**disk, folder, store)?;
            write_store(&**disk, folder, store)?;
            Ok(store)
        }
        Err(error) => Err(io_error("open", &path)(error)),
    }
}

/// Makes file `store`, durably: the folder is a store from then on.
pub(super) fn write_store(disk: &dyn Disk, folder: &Path, store: StoreId) -> Result<(), OpenError> {
    let (draft, path) = (folder.join(STORE_DRAFT), folder.join(STORE_FILE));
    let mut bytes = STORE_MAGIC.to_vec();
    bytes.extend_from_slice(&store.0.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    if disk.open(&draft, OpenMode::Read).is_ok() {
        disk.remove_file(&draft).map_err(io_error("remove", &draft))?;
    }
    let file = disk
        .open(&draft, OpenMode::CreateNew)
        .map_err(io_error("create", &draft))?;
    file.write_at(&[IoSlice::new(&bytes)], 0)
        .map_err(io_error("write", &draft))?;
    file.sync().map_err(io_error("sync", &draft))?;
    disk.rename(&draft, &path).map_err(io_error("name", &path))?;
    sync_folder(disk, folder)
}

/// Makes the data folder's entries durable, and its own name.
fn sync_folder(disk: &dyn Disk, folder: &Path) -> Result<(), OpenError> {
    disk.sync_dir(folder).map_err(io_error("sync", folder))?;
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        disk.sync_dir(parent).map_err(io_error("sync", parent))?;
    }
    Ok(())
}

/// The identity in the bytes of file `store`, if they are intact.
pub(super) fn decode_store(bytes: &[u8; STORE_SIZE_BYTES]) -> Option<StoreId> {
    let (body, crc) = bytes.split_at(STORE_SIZE_BYTES - 4);
    let intact = &body[..8] == STORE_MAGIC && crc == crc32fast::hash(body).to_le_bytes();
    intact.then(|| StoreId(u64::from_le_bytes(std::array::from_fn(|index| body[8 + index]))))
}

pub fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path: PathBuf = path.to_path_buf();
    move |source| OpenError::Io { what, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::io::sim::{SimulatedClock, SimulatedDisk, SimulatedRandom};
    use crate::log::{Log, Timestamp, TopicSpec};

    #[test]
    fn a_deletion_that_was_interrupted_is_completed_in_the_checkpoint() {
        let disk = SimulatedDisk::new(1);
        let folder = Path::new("/data");
        let open = || {
            let environment = Environment {
                disk: Arc::new(disk.clone()),
                clock: Arc::new(SimulatedClock::new(Timestamp(1))),
                random: Arc::new(SimulatedRandom::new(1)),
            };
            Log::open_in(environment, folder, LogOptions::default()).unwrap()
        };
        let partitions = |log: &Log| -> Vec<u32> {
            let (_, checkpoint) = CheckpointFiles::open(&disk, folder, log.status().store).unwrap();
            checkpoint.unwrap().partitions.keys().map(|id| id.0).collect()
        };
        let log = open();
        let spec = TopicSpec {
            partitions: 1,
            ..TopicSpec::default()
        };
        let topic = log.create_topic("t", &spec).unwrap();
        let batch = super::super::catalog::encode_deletion("any", 1, Timestamp(1)).unwrap();
        topic.partitions[0].append(batch).unwrap().wait().unwrap();
        log.flush().unwrap();
        log.delete_topic("t").unwrap();
        drop((log, topic));
        let log = open();
        assert_eq!(
            partitions(&log),
            [0, 1],
            "the process ended before the next checkpoint"
        );
        log.flush().unwrap();
        assert_eq!(partitions(&log), [0]);
    }
}
