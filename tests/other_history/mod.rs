//! Two stores of one identity that went different ways, and a frame of one in the journal of the other.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use doorbuster::log::batch::{self, BatchBuilder, Record};
use doorbuster::log::io::sim::{SimulatedClock, SimulatedDisk, SimulatedRandom};
use doorbuster::log::io::{Disk, Environment, OpenMode};
use doorbuster::log::{Log, LogOptions, Offset, Timestamp, TopicSpec};

const JOURNAL: &str = "/data/journal/0000.journal";
const BLOCK: usize = 4096;

/// Values of the one history; each group takes one block of the journal, from the third on.
pub const VALUES: [u8; 5] = *b"abcde";
const OTHER_VALUES: [u8; 5] = *b"vwxyz";

/// What a log serves in whose journal the block of `group` is the other history's; none if it does not open.
pub fn served_with_foreign_group(group: usize) -> Option<Vec<u8>> {
    let (disk, other) = (store(VALUES), store(OTHER_VALUES));
    let mut block = vec![0; BLOCK];
    let position = ((2 + group) * BLOCK) as u64;
    let journal = |disk: &SimulatedDisk| disk.open(Path::new(JOURNAL), OpenMode::ReadWrite).unwrap();
    journal(&other).read_at(&mut block, position).unwrap();
    let file = journal(&disk);
    file.write_at(&[IoSlice::new(&block)], position).unwrap();
    file.sync().unwrap();
    let log = open(&disk)?;
    let partition = log.topic("t").unwrap().partitions[0].clone();
    let mut values = Vec::new();
    while Offset(values.len() as u64) < partition.high_watermark() {
        let slices = partition.read(Offset(values.len() as u64), 1 << 20).unwrap();
        for found in slices.iter().flat_map(batch::batches) {
            let (_, bytes) = found.unwrap();
            let records = batch::records(&bytes).unwrap();
            values.extend(records.map(|record| record.unwrap().value.unwrap()[0]));
        }
    }
    Some(values)
}

/// A store with these values, whose process was killed; the same randomness gives the same identity.
fn store(values: [u8; 5]) -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    let log = open(&disk).unwrap();
    let topic = log.create_topic("t", &TopicSpec::with_partitions(1)).unwrap();
    for value in values {
        let mut builder = BatchBuilder::new(Timestamp(1));
        builder.push(&Record::of_value(Timestamp(1), &[value])).unwrap();
        topic.partitions[0]
            .append(builder.finish())
            .unwrap()
            .wait()
            .unwrap();
    }
    drop((topic, log));
    disk.crash_keeping_none()
}

fn open(disk: &SimulatedDisk) -> Option<Log> {
    let environment = Environment {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SimulatedClock::new(Timestamp(1))),
        random: Arc::new(SimulatedRandom::new(1)),
    };
    let options = LogOptions {
        batch_size_max_bytes: 6 * 1024,
        journal_file_size_bytes: 64 * 1024,
        ..LogOptions::default()
    };
    Log::open_in(environment, Path::new("/data"), options).ok()
}
