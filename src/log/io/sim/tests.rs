//! The simulated disk keeps exactly what it promises.

use std::collections::BTreeSet;
use std::io::{ErrorKind, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::log::Timestamp;
use crate::log::io::{
    BLOCK_SIZE_BYTES, Clock, Completion, Disk, DurableWriter, File, FileSlot, OpenMode, Random, WritePath,
};

/// Enough seeds that every outcome of a few coin flips is seen.
const SEEDS: std::ops::Range<u64> = 0..200;

const SECTOR: usize = SECTOR_SIZE_BYTES;

fn write(file: &Arc<dyn File>, data: &[u8], position: u64) {
    file.write_at(&[IoSlice::new(data)], position).unwrap();
}

fn create(disk: &SimulatedDisk, path: &str) -> Arc<dyn File> {
    disk.open(Path::new(path), OpenMode::CreateNew).unwrap()
}

fn read(disk: &SimulatedDisk, path: &str) -> Vec<u8> {
    let file = disk.open(Path::new(path), OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// A disk with the durable file `f` of `content`.
fn disk_with(content: &[u8]) -> (SimulatedDisk, Arc<dyn File>) {
    let disk = SimulatedDisk::new(1);
    let file = create(&disk, "f");
    write(&file, content, 0);
    file.sync().unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    (disk, file)
}

/// All contents of `f` that crashes of `disk` show.
fn outcomes(disk: &SimulatedDisk) -> BTreeSet<Vec<u8>> {
    SEEDS.map(|seed| read(&disk.crash_image(seed), "f")).collect()
}

/// A block-aligned buffer of `count` blocks of `fill`.
fn blocks(count: usize, fill: u8) -> Bytes {
    let bytes = Bytes::from(vec![fill; (count + 1) * BLOCK_SIZE_BYTES]);
    let start = bytes.as_ptr().align_offset(BLOCK_SIZE_BYTES);
    bytes.slice(start..start + count * BLOCK_SIZE_BYTES)
}

/// A writer on the durable file `f` of four zeroed blocks.
fn writer_with_blocks(seed: u64) -> (SimulatedDisk, Box<dyn DurableWriter>, FileSlot) {
    let disk = SimulatedDisk::new(seed);
    let file = create(&disk, "f");
    write(&file, &[0; 4 * BLOCK_SIZE_BYTES], 0);
    file.sync().unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    let writer = disk.durable_writer(4).unwrap();
    let slot = writer.attach(Path::new("f")).unwrap();
    (disk, writer, slot)
}

#[test]
fn synced_bytes_survive_and_unsynced_may_vanish() {
    let (disk, file) = disk_with(b"durable");
    write(&file, b"DUR", 0);
    assert_eq!(
        outcomes(&disk),
        BTreeSet::from([b"durable".to_vec(), b"DURable".to_vec()])
    );
    assert_eq!(read(&disk.crash_keeping_none(), "f"), b"durable");
    assert_eq!(read(&disk.crash_keeping_all(), "f"), b"DURable");
    assert_eq!(read(&disk, "f"), b"DURable");
    file.sync().unwrap();
    assert_eq!(outcomes(&disk), BTreeSet::from([b"DURable".to_vec()]));
}

#[test]
fn a_write_is_torn_at_sectors_only() {
    let (disk, file) = disk_with(&[0; 3 * SECTOR]);
    write(&file, &[1; 3 * SECTOR], 0);
    let outcomes = outcomes(&disk);
    assert_eq!(outcomes.len(), 8, "each sector on its own");
    for outcome in outcomes {
        assert!(
            outcome
                .chunks(SECTOR)
                .all(|sector| sector == [0; SECTOR] || sector == [1; SECTOR])
        );
    }
}

#[test]
fn every_version_of_a_sector_may_be_the_one_that_survives() {
    let (disk, file) = disk_with(b"0");
    write(&file, b"1", 0);
    write(&file, b"2", 0);
    assert_eq!(
        outcomes(&disk),
        [b"0", b"1", b"2"].iter().map(|v| v.to_vec()).collect()
    );
}

#[test]
fn an_unsynced_length_may_vanish_with_the_bytes_behind_it() {
    let (disk, file) = disk_with(b"ab");
    write(&file, b"cd", 2);
    let expected = [&b"ab"[..], b"ab\0\0", b"abcd"].map(<[u8]>::to_vec);
    assert_eq!(outcomes(&disk), BTreeSet::from(expected));
}

#[test]
fn a_truncation_never_brings_old_bytes_back() {
    let (disk, file) = disk_with(b"abcd");
    file.truncate(1).unwrap();
    file.truncate(3).unwrap();
    let expected = [&b"abcd"[..], b"a", b"a\0\0"].map(<[u8]>::to_vec);
    assert_eq!(outcomes(&disk), BTreeSet::from(expected));
    file.sync().unwrap();
    assert_eq!(read(&disk.crash_keeping_none(), "f"), b"a\0\0");
}

#[test]
fn folder_changes_survive_as_a_prefix() {
    let disk = SimulatedDisk::new(1);
    let folder = Path::new("/data/topic");
    disk.create_dir_all(folder).unwrap();
    assert!(
        SEEDS
            .into_iter()
            .any(|seed| disk.crash_image(seed).list(Path::new("/")).unwrap().is_empty())
    );
    disk.sync_dir(Path::new("/")).unwrap();
    disk.sync_dir(Path::new("/data")).unwrap();
    create(&disk, "/data/topic/a.new");
    disk.rename(&folder.join("a.new"), &folder.join("a")).unwrap();
    create(&disk, "/data/topic/b");
    disk.remove_file(&folder.join("a")).unwrap();
    let names: BTreeSet<_> = SEEDS
        .map(|seed| disk.crash_image(seed).list(folder).unwrap())
        .collect();
    let expected: [&[&str]; 5] = [&[], &["a.new"], &["a"], &["a", "b"], &["b"]];
    assert_eq!(
        names,
        expected
            .iter()
            .map(|names| names.iter().map(ToString::to_string).collect())
            .collect()
    );
    disk.sync_dir(folder).unwrap();
    assert_eq!(disk.crash_keeping_none().list(folder).unwrap(), ["b"]);
}

#[test]
fn a_replaced_file_is_the_old_or_the_new() {
    let (disk, _) = disk_with(b"old");
    let file = create(&disk, "f.new");
    write(&file, b"new", 0);
    file.sync().unwrap();
    disk.rename(Path::new("f.new"), Path::new("f")).unwrap();
    assert_eq!(
        outcomes(&disk),
        BTreeSet::from([b"old".to_vec(), b"new".to_vec()])
    );
    disk.sync_dir(Path::new("")).unwrap();
    assert_eq!(outcomes(&disk), BTreeSet::from([b"new".to_vec()]));
}

#[test]
fn removing_a_folder_may_stop_anywhere() {
    let disk = SimulatedDisk::new(1);
    disk.create_dir_all(Path::new("a")).unwrap();
    create(&disk, "a/x");
    disk.sync_dir(Path::new("")).unwrap();
    disk.sync_dir(Path::new("a")).unwrap();
    disk.remove_dir_all(Path::new("a")).unwrap();
    assert_eq!(disk.list(Path::new("a")).unwrap_err().kind(), ErrorKind::NotFound);
    let images = SEEDS.map(|seed| disk.crash_image(seed).list(Path::new("a")).ok());
    let expected = [None, Some(vec![]), Some(vec!["x".to_owned()])];
    assert_eq!(images.collect::<BTreeSet<_>>(), BTreeSet::from(expected));
}

#[test]
fn what_a_kill_leaves_is_still_volatile() {
    let (disk, file) = disk_with(b"a");
    write(&file, b"b", 0);
    let killed = disk.crash_keeping_all();
    assert_eq!(read(&killed, "f"), b"b");
    assert_eq!(read(&killed.crash_keeping_none(), "f"), b"a");
    let reopened = killed.open(Path::new("f"), OpenMode::ReadWrite).unwrap();
    reopened.sync().unwrap();
    assert_eq!(read(&killed.crash_keeping_none(), "f"), b"b");
}

#[test]
fn the_lock_is_exclusive_and_dies_with_the_machine() {
    let disk = SimulatedDisk::new(1);
    let path = Path::new("lock");
    let held = disk.lock(path).unwrap();
    assert_eq!(disk.lock(path).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(disk.crash_keeping_all().lock(path).is_ok());
    assert!(disk.crash_image(1).lock(path).is_ok());
    drop(held);
    assert!(disk.lock(path).is_ok());
}

#[test]
fn durable_writes_complete_out_of_order_and_survive() {
    let mut orders = BTreeSet::new();
    for seed in SEEDS {
        let (disk, writer, slot) = writer_with_blocks(seed);
        assert_eq!(writer.path(), WritePath::Simulated);
        for token in 0..3_u8 {
            let position = u64::from(token) * BLOCK_SIZE_BYTES as u64;
            writer
                .submit(slot, position, blocks(1, token + 1), token.into())
                .unwrap();
        }
        let mut completions = Vec::new();
        while completions.len() < 3 {
            let before = completions.len();
            writer.wait(&mut completions).unwrap();
            assert!(completions.len() > before);
            let survivor = read(&disk.crash_keeping_none(), "f");
            for token in 0..3 {
                let arrived = survivor[token * BLOCK_SIZE_BYTES] != 0;
                assert_eq!(arrived, completions.iter().any(|c| c.token == token as u64));
            }
        }
        assert!(completions.iter().all(|completion| completion.result.is_ok()));
        orders.insert(
            completions
                .iter()
                .map(|completion| completion.token)
                .collect::<Vec<_>>(),
        );
        assert_eq!(
            writer.wait(&mut completions).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
    assert_eq!(orders.len(), 6, "every order of three");
}

#[test]
fn sectors_of_a_write_in_flight_are_there_or_not() {
    let (disk, writer, slot) = writer_with_blocks(1);
    writer.submit(slot, 0, blocks(1, 9), 0).unwrap();
    assert!(
        read(&disk, "f").iter().all(|&byte| byte == 0),
        "not shown before its end"
    );
    let arrived: BTreeSet<usize> = SEEDS
        .map(|seed| {
            read(&disk.crash_image(seed), "f")
                .chunks(SECTOR)
                .filter(|s| s[0] == 9)
                .count()
        })
        .collect();
    assert_eq!(arrived, (0..=8).collect());
    assert!(read(&disk.crash_keeping_all(), "f").starts_with(&[9; BLOCK_SIZE_BYTES]));
    assert!(
        read(&disk.crash_keeping_none(), "f")
            .iter()
            .all(|&byte| byte == 0)
    );
}

#[test]
fn the_writer_wants_aligned_writes_within_its_depth() {
    let (_disk, writer, slot) = writer_with_blocks(1);
    let kind = |position, data: Bytes| writer.submit(slot, position, data, 0).unwrap_err().kind();
    assert_eq!(kind(512, blocks(1, 1)), ErrorKind::InvalidInput);
    assert_eq!(kind(0, blocks(1, 1).slice(..512)), ErrorKind::InvalidInput);
    assert_eq!(
        kind(0, blocks(2, 1).slice(512..512 + BLOCK_SIZE_BYTES)),
        ErrorKind::InvalidInput
    );
    assert_eq!(kind(0, Bytes::new()), ErrorKind::InvalidInput);
    for _ in 0..4 {
        writer.submit(slot, 0, blocks(1, 1), 0).unwrap();
    }
    assert_eq!(kind(0, blocks(1, 1)), ErrorKind::WouldBlock);
    writer.detach(slot);
    assert_eq!(kind(0, blocks(1, 1)), ErrorKind::InvalidInput);
}

#[test]
fn a_power_cut_stops_everything_from_its_operation_on() {
    let (disk, file) = disk_with(b"a");
    let next = disk.operations();
    disk.fail_at(next + 1, Fault::PowerCut);
    write(&file, b"b", 0);
    assert_eq!(file.sync().unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert_eq!(
        file.read_at(&mut [0], 0).unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
    assert_eq!(
        disk.list(Path::new("")).unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
    assert_eq!(disk.operations(), next + 2);
    assert_eq!(outcomes(&disk), BTreeSet::from([b"a".to_vec(), b"b".to_vec()]));
}

#[test]
fn a_failed_sync_loses_what_reads_still_show() {
    let mut durable = BTreeSet::new();
    for seed in SEEDS {
        let disk = SimulatedDisk::new(seed);
        let file = create(&disk, "f");
        write(&file, b"a", 0);
        file.sync().unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        write(&file, b"b", 0);
        disk.fail_at(disk.operations(), Fault::WriteError);
        assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(5));
        file.sync().unwrap();
        assert_eq!(read(&disk, "f"), b"b");
        durable.insert(read(&disk.crash_keeping_none(), "f"));
    }
    assert_eq!(durable, BTreeSet::from([b"a".to_vec(), b"b".to_vec()]));
}

#[test]
fn errors_come_once() {
    let (disk, file) = disk_with(b"a");
    disk.fail_at(disk.operations(), Fault::Enospc);
    let error = file.write_at(&[IoSlice::new(b"b")], 0).unwrap_err();
    assert_eq!(
        (error.kind(), read(&disk, "f")),
        (ErrorKind::StorageFull, b"a".to_vec())
    );
    disk.fail_at(disk.operations(), Fault::WriteError);
    let error = disk.open(Path::new("g"), OpenMode::CreateNew).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(5));
    assert_eq!(disk.list(Path::new("")).unwrap(), ["f"]);
    write(&file, b"b", 0);
    assert_eq!(read(&disk, "f"), b"b");
}

#[test]
fn a_failed_or_torn_durable_write_may_have_reached_some_sectors() {
    for fault in [Fault::WriteError, Fault::TornWrite] {
        let mut arrived = BTreeSet::new();
        for seed in SEEDS {
            let (disk, writer, slot) = writer_with_blocks(seed);
            writer.submit(slot, 0, blocks(1, 9), 7).unwrap();
            disk.fail_at(disk.operations(), fault);
            let mut completions: Vec<Completion> = Vec::new();
            let result = writer.wait(&mut completions);
            if fault == Fault::WriteError {
                result.unwrap();
                assert_eq!(
                    completions[0].result.as_ref().unwrap_err().raw_os_error(),
                    Some(5)
                );
            } else {
                assert_eq!(result.unwrap_err().kind(), ErrorKind::BrokenPipe);
            }
            let image = read(&disk.crash_keeping_none(), "f");
            arrived.insert(image.chunks(SECTOR).filter(|sector| sector[0] == 9).count());
        }
        assert_eq!(arrived, (0..=8).collect(), "{fault:?}");
    }
}

#[test]
fn a_full_disk_refuses_allocation_but_not_reserved_blocks() {
    let disk = SimulatedDisk::new(1);
    disk.set_capacity(4 * 4096);
    let file = create(&disk, "f");
    file.allocate(3 * 4096).unwrap();
    assert_eq!((file.len().unwrap(), disk.used_bytes()), (0, 3 * 4096));
    let other = create(&disk, "g");
    assert_eq!(
        other.allocate(2 * 4096).unwrap_err().kind(),
        ErrorKind::StorageFull
    );
    write(&other, &[1; 4096], 0);
    let error = other.write_at(&[IoSlice::new(b"x")], 4096).unwrap_err();
    assert_eq!(
        (error.kind(), other.len().unwrap()),
        (ErrorKind::StorageFull, 4096)
    );
    write(&file, &[1; 3 * 4096], 0);
    file.truncate(4096).unwrap();
    write(&other, b"x", 4096);
    disk.remove_file(Path::new("f")).unwrap();
    assert_eq!(disk.used_bytes(), 2 * 4096);
}

#[test]
fn files_and_folders_are_told_apart() {
    let (disk, file) = disk_with(b"abc");
    let kind = |path: &str, mode| disk.open(Path::new(path), mode).unwrap_err().kind();
    assert_eq!(kind("f", OpenMode::CreateNew), ErrorKind::AlreadyExists);
    assert_eq!(kind("g", OpenMode::Read), ErrorKind::NotFound);
    assert_eq!(kind("f/g", OpenMode::Read), ErrorKind::NotADirectory);
    assert_eq!(kind("", OpenMode::Read), ErrorKind::IsADirectory);
    let reader = disk.open(Path::new("f"), OpenMode::Read).unwrap();
    let error = reader.write_at(&[IoSlice::new(b"x")], 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert_eq!(
        file.read_at(&mut [0; 2], 2).unwrap_err().kind(),
        ErrorKind::UnexpectedEof
    );
    assert_eq!(file.slice(1..3).unwrap(), b"bc"[..]);
    assert_eq!(file.slice(1..4).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    disk.create_dir_all(Path::new("d")).unwrap();
    let error = disk.rename(Path::new("f"), Path::new("d/f")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CrossesDevices);
}

#[test]
fn one_seed_gives_the_same_bytes() {
    let run = |seed| {
        let (disk, writer, slot) = writer_with_blocks(seed);
        let mut completions = Vec::new();
        for token in 0..4 {
            writer
                .submit(slot, 0, blocks(1, token + 1), token.into())
                .unwrap();
        }
        while completions.len() < 4 {
            writer.wait(&mut completions).unwrap();
        }
        (
            disk.fingerprint(),
            disk.crash_image(seed).fingerprint(),
            disk.operations(),
        )
    };
    assert_eq!(run(3), run(3));
    let fingerprints: BTreeSet<_> = SEEDS.map(|seed| run(seed).0).collect();
    assert_eq!(fingerprints.len(), 4, "whichever of four writes came last");
}

#[test]
fn clock_and_randomness_do_as_they_are_told() {
    let clock = SimulatedClock::new(Timestamp(1_000));
    clock.advance(Duration::from_millis(5));
    assert_eq!(
        (clock.now(), clock.monotonic()),
        (Timestamp(1_005), Duration::from_millis(5))
    );
    clock.set(Timestamp(3));
    assert_eq!(
        (clock.now(), clock.monotonic()),
        (Timestamp(3), Duration::from_millis(5))
    );
    let draw = |seed| {
        let random = SimulatedRandom::new(seed);
        [random.next_u64(), random.next_u64()]
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    assert_ne!(draw(1)[0], draw(1)[1]);
}
