//! A store whose files were damaged, or forged: opening it never panics, and damage is never served as data.

#![no_main]

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use doorbuster::log::batch::{self, BatchBuilder, Record};
use doorbuster::log::io::sim::{SimulatedClock, SimulatedDisk, SimulatedRandom};
use doorbuster::log::io::{BLOCK_SIZE_BYTES, Disk, Environment, File, OpenMode};
use doorbuster::log::{Log, LogOptions, Offset, Partition, Timestamp, TopicSpec};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

const FOLDER: &str = "/data";
const TOPIC: &str = "orders";
const PARTITIONS: u32 = 2;
const BATCHES: u64 = 24;

/// Where a journal frame has the length of its payload, and its checksum, and where the payload begins.
const PAYLOAD_LENGTH_POSITION: usize = 48;
const FRAME_CRC_POSITION: usize = 60;
const FRAME_HEADER_SIZE_BYTES: usize = 64;

#[derive(Arbitrary, Debug)]
enum Input {
    /// What devices do: every byte that is served afterwards must be one that was written.
    Damage(Vec<Damage>),
    /// What only an attacker does, checksums included: the log must refuse it, or live with it.
    Forgery(Vec<Forgery>),
}

#[derive(Arbitrary, Debug)]
enum Damage {
    /// One bit is wrong. Checksums find every such error.
    FlipBit { file: u8, position: u32, bit: u8 },
    /// A sector reads as zeros.
    ZeroSector { file: u8, sector: u16 },
    /// A block is at the wrong place.
    CopyBlock {
        from_file: u8,
        from_block: u8,
        to_file: u8,
        to_block: u8,
    },
    /// The end of a file is gone.
    Truncate { file: u8, length: u32 },
    /// A file is gone.
    Remove { file: u8 },
}

#[derive(Arbitrary, Debug)]
struct Forgery {
    file: u8,
    position: u32,
    bytes: [u8; 8],
    /// Makes the checksum of the journal frame (or file header) in that block right again.
    reseal: Option<u8>,
}

/// An intact store, and the files in it.
struct Store {
    disk: SimulatedDisk,
    files: Vec<PathBuf>,
}

fuzz_target!(|input: Input| {
    let store = store();
    let disk = store.disk.crash_keeping_none();
    match &input {
        Input::Damage(damage) => damage.iter().for_each(|damage| apply(store, &disk, damage)),
        Input::Forgery(forgeries) => forgeries.iter().for_each(|forgery| forge(store, &disk, forgery)),
    }
    let Some(log) = open(&disk) else { return };
    if let Some(topic) = log.topic(TOPIC) {
        for (index, partition) in topic.partitions.iter().enumerate() {
            check(partition, index as u32, matches!(input, Input::Damage(_)));
            let _ = partition.batch_at_time(Timestamp(5));
            let _ = partition.batch_with_max_timestamp();
            if let Ok(append) = partition.append(batch_of(index as u32, 99)) {
                let _ = append.wait();
            }
        }
    }
    let _ = log.close();
    drop(open(&disk));
});

/// Reads all that is readable; offsets follow each other, and values are the written ones if they must be.
fn check(partition: &Partition, index: u32, only_written: bool) {
    let mut next = partition.log_start();
    while next < partition.high_watermark() {
        let Ok(slices) = partition.read(next, 16 * 1024) else {
            return;
        };
        let before = next;
        for slice in slices {
            for (header, bytes) in batch::batches(&slice).map_while(Result::ok) {
                if only_written {
                    assert!(header.base_offset <= next && next < header.next_offset());
                    check_values(&bytes, index);
                }
                next = header.next_offset();
            }
        }
        if next <= before {
            assert!(!only_written, "a read that finds nothing");
            return;
        }
    }
}

fn check_values(batch: &[u8], index: u32) {
    for record in batch::records(batch).expect("it was not compressed") {
        let record = record.expect("it was well formed");
        assert_eq!(record.value, Some(&value_of(index, record.offset)[..]));
    }
}

fn store() -> &'static Store {
    static STORE: OnceLock<Store> = OnceLock::new();
    STORE.get_or_init(|| {
        let disk = SimulatedDisk::new(1);
        let log = open(&disk).expect("an empty disk is a new store");
        let spec = TopicSpec {
            partitions: PARTITIONS,
            ..TopicSpec::default()
        };
        let topic = log.create_topic(TOPIC, &spec).expect("a new store has no topic");
        for batch in 0..BATCHES {
            for (index, partition) in topic.partitions.iter().enumerate() {
                let append = partition
                    .append(batch_of(index as u32, batch))
                    .expect("it is valid");
                append.wait().expect("the disk is whole");
            }
            if batch == BATCHES / 2 {
                log.flush().expect("the disk is whole");
            }
        }
        let disk = disk.crash_keeping_none();
        let mut files = Vec::new();
        list(&disk, Path::new(FOLDER), &mut files);
        Store { disk, files }
    })
}

fn open(disk: &SimulatedDisk) -> Option<Log> {
    let environment = Environment {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimulatedClock::new(Timestamp(1))),
        random: Arc::new(SimulatedRandom::new(1)),
    };
    let options = LogOptions {
        batch_size_max_bytes: 6 * 1024,
        journal_file_size_bytes: 48 * 1024,
        segment_size_max_bytes: 4 * 1024,
        ..LogOptions::default()
    };
    Log::open_in(environment, Path::new(FOLDER), options).ok()
}

/// Two records with values that tell their partition and offset; without records that were not asked for.
fn batch_of(index: u32, batch: u64) -> Bytes {
    let mut builder = BatchBuilder::new(Timestamp(batch as i64));
    for record in 0..2 {
        let value = value_of(index, Offset(batch * 2 + record));
        let timestamp = Timestamp(batch as i64);
        let record = Record {
            timestamp,
            key: None,
            value: Some(&value),
            headers: &[],
        };
        builder.push(&record).expect("it is small");
    }
    builder.finish()
}

fn value_of(index: u32, offset: Offset) -> Vec<u8> {
    let mut value = format!("{index}/{offset} ").into_bytes();
    value.resize(200, offset.0 as u8);
    value
}

fn list(disk: &SimulatedDisk, folder: &Path, files: &mut Vec<PathBuf>) {
    for name in disk.list(folder).expect("it is a folder") {
        let path = folder.join(name);
        if disk.list(&path).is_ok() {
            list(disk, &path, files);
        } else {
            files.push(path);
        }
    }
}

/// The chosen file and its length, if it is there still.
fn file(store: &Store, disk: &SimulatedDisk, choice: u8) -> Option<(Arc<dyn File>, u64)> {
    let path = &store.files[usize::from(choice) % store.files.len()];
    let file = disk.open(path, OpenMode::ReadWrite).ok()?;
    let length = file.len().ok().filter(|length| *length > 0)?;
    Some((file, length))
}

fn is_segment(store: &Store, choice: u8) -> bool {
    let path = &store.files[usize::from(choice) % store.files.len()];
    path.extension().is_some_and(|extension| extension == "log")
}

fn apply(store: &Store, disk: &SimulatedDisk, damage: &Damage) {
    let _ = try_apply(store, disk, damage);
}

fn try_apply(store: &Store, disk: &SimulatedDisk, damage: &Damage) -> Option<()> {
    match *damage {
        Damage::FlipBit {
            file: choice,
            position,
            bit,
        } => {
            let (file, length) = file(store, disk, choice)?;
            let position = u64::from(position) % length;
            let mut byte = [0];
            file.read_at(&mut byte, position).ok()?;
            byte[0] ^= 1 << (bit % 8);
            file.write_at(&[IoSlice::new(&byte)], position).ok()
        }
        Damage::ZeroSector { file: choice, sector } => {
            let (file, length) = file(store, disk, choice)?;
            let position = u64::from(sector) * 512 % length;
            let zeros = vec![0; (length - position).min(512) as usize];
            file.write_at(&[IoSlice::new(&zeros)], position).ok()
        }
        Damage::CopyBlock {
            from_file,
            from_block,
            to_file,
            to_block,
        } => {
            // A batch does not name its partition: blocks of two partitions with the same offsets at the
            // same positions can be told apart by a seal of the segment only.
            if is_segment(store, from_file) && is_segment(store, to_file) {
                return None;
            }
            let (from, from_length) = file(store, disk, from_file)?;
            let (to, _) = file(store, disk, to_file)?;
            let position = u64::from(from_block) * BLOCK_SIZE_BYTES as u64 % from_length;
            let mut block = vec![0; (from_length - position).min(BLOCK_SIZE_BYTES as u64) as usize];
            from.read_at(&mut block, position).ok()?;
            to.write_at(
                &[IoSlice::new(&block)],
                u64::from(to_block) * BLOCK_SIZE_BYTES as u64,
            )
            .ok()
        }
        Damage::Truncate { file: choice, length } => {
            let (file, old_length) = file(store, disk, choice)?;
            file.truncate(u64::from(length) % old_length).ok()
        }
        Damage::Remove { file } => disk
            .remove_file(&store.files[usize::from(file) % store.files.len()])
            .ok(),
    }
}

fn forge(store: &Store, disk: &SimulatedDisk, forgery: &Forgery) {
    let Some((file, length)) = file(store, disk, forgery.file) else {
        return;
    };
    let position = u64::from(forgery.position) % length;
    let _ = file.write_at(&[IoSlice::new(&forgery.bytes)], position);
    if let Some(block) = forgery.reseal {
        let _ = reseal(&*file, u64::from(block) * BLOCK_SIZE_BYTES as u64 % length);
    }
}

fn reseal(file: &dyn File, position: u64) -> Option<()> {
    let mut header = [0; FRAME_HEADER_SIZE_BYTES];
    file.read_at(&mut header, position).ok()?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&header[..FRAME_CRC_POSITION]);
    // Block 0 is the file's header, which has no payload.
    if position > 0 {
        let length = header[PAYLOAD_LENGTH_POSITION..]
            .first_chunk()
            .map(|bytes| u32::from_le_bytes(*bytes))?;
        let payload_position = position + FRAME_HEADER_SIZE_BYTES as u64;
        let left = file.len().ok()?.checked_sub(payload_position)?;
        let mut payload = vec![0; u64::from(length).min(left) as usize];
        file.read_at(&mut payload, payload_position).ok()?;
        crc.update(&payload);
    }
    let crc = crc.finalize().to_le_bytes();
    file.write_at(&[IoSlice::new(&crc)], position + FRAME_CRC_POSITION as u64)
        .ok()
}
