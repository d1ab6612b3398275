//! Seals: what they find, that they survive, and how far damage reaches.

use super::*;
use crate::log::segment::paths::SegmentPaths;

fn segment_names(disk: &SimulatedDisk) -> Vec<Offset> {
    let names = disk.list(Path::new(DIR)).unwrap();
    names
        .iter()
        .filter_map(|name| paths::base_offset_of(name))
        .collect()
}

fn seal_of(disk: &SimulatedDisk, base_offset: Offset) -> Option<Seal> {
    let place = place(disk);
    let path = SegmentPaths::new(&place.dir, base_offset).seal;
    Seal::read(disk, &path, place.identity(base_offset)).unwrap()
}

/// Large batches in segments of a few chunks.
fn large(disk: &SimulatedDisk, count: u64) -> (Segments, Vec<StoredBatch>) {
    disk.create_dir_all(Path::new("data")).unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    let segments = open_large(disk, None);
    let batches: Vec<_> = (0..count)
        .map(|index| stored(index, 1_000 + index as i64, &[(index * 977 % 5_000) as usize]))
        .collect();
    append(&segments, &batches).unwrap();
    segments.sync().unwrap();
    (segments, batches)
}

fn open_large(disk: &SimulatedDisk, flushed: Option<FlushedPosition>) -> Segments {
    let place = SegmentPlace {
        options: SegmentOptions {
            segment_size_max_bytes: 3 * CHUNK_SIZE_BYTES + 1_000,
            index_interval_bytes: 4_096,
        },
        ..place(disk)
    };
    Segments::open(place, flushed).unwrap()
}

#[test]
fn every_closed_segment_has_a_seal_that_continues_the_one_before() {
    let disk = SimulatedDisk::new(1);
    let segments = empty(&disk);
    let batches = many(60);
    for chunk in batches.chunks(7) {
        append(&segments, chunk).unwrap();
    }
    segments.sync().unwrap();
    let disk = disk.crash_keeping_none();
    let bases = segment_names(&disk);
    let (last, closed) = bases.split_last().unwrap();
    assert_eq!(seal_of(&disk, *last), None);
    let mut predecessor = None;
    for (index, base) in closed.iter().enumerate() {
        let seal = seal_of(&disk, *base).unwrap();
        let log = content(&disk, &format!("{:020}.log", base.0));
        assert_eq!(seal.predecessor, predecessor);
        assert_eq!(seal.content.size_bytes, log.len() as u64);
        assert_eq!(seal.content.next_offset, bases[index + 1]);
        assert_eq!(
            seal.content.chunk_crcs,
            [place(&disk).identity(*base).chunk_crc(0, &log)]
        );
        let here = batches
            .iter()
            .filter(|batch| (*base..bases[index + 1]).contains(&batch.base_offset));
        assert_eq!(
            Some(seal.content.max_timestamp),
            here.map(|batch| batch.max_timestamp).max()
        );
        predecessor = Some(seal.lineage);
    }
}

#[test]
fn seals_are_the_same_wherever_the_process_was_begun_again() {
    let expected = {
        let disk = SimulatedDisk::new(1);
        let _ = large(&disk, 200);
        files(&disk)
    };
    for first in (1..200).step_by(23) {
        let disk = SimulatedDisk::new(1);
        let (segments, _) = large(&disk, first);
        let flushed = segments.flushed();
        drop(segments);
        let batches: Vec<_> = (0..200)
            .map(|index| stored(index, 1_000 + index as i64, &[(index * 977 % 5_000) as usize]))
            .collect();
        let segments = open_large(&disk, Some(flushed));
        append(&segments, &batches).unwrap();
        segments.sync().unwrap();
        assert!(files(&disk) == expected, "begun again at batch {first}");
    }
}

#[test]
fn an_entry_that_was_wrong_when_the_process_began_is_not_sealed() {
    let disk = SimulatedDisk::new(1);
    let (segments, _) = large(&disk, 30);
    let flushed = segments.flushed();
    assert_eq!(flushed.segment, Offset::ZERO);
    drop(segments);
    for name in ["00000000000000000000.index", "00000000000000000000.timeindex"] {
        let image = disk.crash_keeping_all();
        // The lowest bits of the first entry: it still rises.
        let mut bytes = content(&image, name);
        bytes[3] ^= 1;
        bytes[7] ^= 1;
        overwrite(&image, name, 0, &bytes[..8]);
        let expected = {
            let disk = SimulatedDisk::new(1);
            let _ = large(&disk, 100);
            files(&disk)
        };
        let segments = open_large(&image, Some(flushed));
        let batches: Vec<_> = (0..100)
            .map(|index| stored(index, 1_000 + index as i64, &[(index * 977 % 5_000) as usize]))
            .collect();
        append(&segments, &batches).unwrap();
        segments.sync().unwrap();
        assert!(files(&image) == expected, "{name}");
    }
}

#[test]
fn damage_found_when_a_segment_is_closed_is_not_sealed_and_the_log_goes_on() {
    let disk = SimulatedDisk::new(1);
    let (segments, _) = large(&disk, 30);
    let flushed = segments.flushed();
    drop(segments);
    overwrite(&disk, "00000000000000000000.log", 65, &[0xee]);
    let segments = open_large(&disk, Some(flushed));
    let batches: Vec<_> = (0..300)
        .map(|index| stored(index, 1_000 + index as i64, &[(index * 977 % 5_000) as usize]))
        .collect();
    append(&segments, &batches).unwrap();
    segments.sync().unwrap();
    let bases = segment_names(&disk);
    assert_eq!(seal_of(&disk, bases[0]), None);
    let second = seal_of(&disk, bases[1]).unwrap();
    assert_eq!(second.predecessor, None, "a chain begins");
    assert_eq!(
        seal_of(&disk, bases[2]).unwrap().predecessor,
        Some(second.lineage)
    );
    assert!(matches!(
        segments.read(Offset(0), 0),
        Err(SegmentError::CorruptBatch { .. })
    ));
    assert!(concat(&segments.read(Offset(1), READ_ALL_BYTES * 10).unwrap()) == bytes_of(&batches[1..]));
}

#[test]
fn a_damaged_chunk_is_an_error_for_the_batches_in_it_only() {
    let disk = SimulatedDisk::new(1);
    let (segments, batches) = large(&disk, 200);
    let flushed = Some(segments.flushed());
    let base = segment_names(&disk)[1];
    let name = format!("{:020}.log", base.0);
    let size = content(&disk, &name).len() as u64;
    for chunk in 0..size.div_ceil(CHUNK_SIZE_BYTES) {
        let image = disk.crash_keeping_none();
        let range = chunk * CHUNK_SIZE_BYTES..((chunk + 1) * CHUNK_SIZE_BYTES).min(size);
        let mut position = 0;
        let mut touched = Vec::new();
        for batch in batches.iter().filter(|batch| batch.base_offset >= base) {
            let end = position + batch.bytes.len() as u64;
            if position < range.end && range.start < end {
                touched.push((position, batch.base_offset));
            }
            position = end;
        }
        // A byte of the partition leader's epoch, which no batch's checksum covers.
        let inside = touched
            .iter()
            .find(|(position, _)| *position >= range.start)
            .unwrap();
        overwrite(&image, &name, inside.0 + 12, &[0x5a]);
        let segments = open_large(&image, flushed);
        for batch in &batches {
            let is_touched = touched.iter().any(|(_, offset)| *offset == batch.base_offset);
            match segments.read(batch.base_offset, 0) {
                Ok(slices) => assert!(!is_touched && concat(&slices) == batch.bytes, "{chunk}"),
                Err(SegmentError::ChunkDamaged { position, .. }) => {
                    assert!(
                        is_touched && position == range.start,
                        "{chunk} {}",
                        batch.base_offset
                    );
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    }
}

#[test]
fn a_segment_shorter_than_its_seal_is_damaged_where_it_is_cut() {
    let disk = SimulatedDisk::new(1);
    let (segments, batches) = large(&disk, 200);
    let flushed = Some(segments.flushed());
    let path = Path::new(DIR).join("00000000000000000000.log");
    let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
    let expected_bytes = file.len().unwrap();
    let found_bytes = 2 * CHUNK_SIZE_BYTES + 10;
    file.truncate(found_bytes).unwrap();
    let second = segment_names(&disk)[1];
    let segments = open_large(&disk, flushed);
    let mut position = 0;
    for batch in &batches {
        let end = position + batch.bytes.len() as u64;
        match segments.read(batch.base_offset, 0) {
            Ok(slices) => assert!(concat(&slices) == batch.bytes),
            Err(SegmentError::SealedLength {
                found_bytes: found,
                expected_bytes: expected,
                ..
            }) => {
                assert_eq!((found, expected), (found_bytes, expected_bytes));
                assert!(batch.base_offset < second && end > 2 * CHUNK_SIZE_BYTES - 4_096);
            }
            Err(error) => panic!("{error:?}"),
        }
        position = end;
    }
    let error = Segments::open(place(&disk), None).unwrap_err();
    assert!(matches!(error, SegmentError::SealedLength { .. }), "{error:?}");
}

#[test]
fn a_damaged_seal_is_an_error_for_its_segment_and_is_not_made_again() {
    let disk = SimulatedDisk::new(1);
    let segments = empty(&disk);
    let batches = many(60);
    append(&segments, &batches).unwrap();
    segments.sync().unwrap();
    let flushed = Some(segments.flushed());
    let bases = segment_names(&disk);
    let name = format!("{:020}.seal", bases[1].0);
    overwrite(&disk, &name, 50, &[0xff]);
    let damaged = content(&disk, &name);
    let segments = open(&disk, flushed).unwrap();
    for batch in &batches {
        let is_damaged = (bases[1]..bases[2]).contains(&batch.base_offset);
        match segments.read(batch.base_offset, 0) {
            Ok(slices) => assert!(!is_damaged && concat(&slices) == batch.bytes),
            Err(error) => {
                assert!(
                    is_damaged && matches!(error, SegmentError::SealDamaged { .. }),
                    "{error:?}"
                );
            }
        }
    }
    assert!(content(&disk, &name) == damaged);
}

#[test]
fn a_segment_of_another_history_is_refused_though_it_is_intact() {
    let written = |last_sizes: &[usize]| {
        let disk = SimulatedDisk::new(1);
        let segments = empty(&disk);
        let mut batches = many(20);
        batches[1] = stored(batches[1].base_offset.0, 1_000, last_sizes);
        append(&segments, &batches).unwrap();
        segments.sync().unwrap();
        (disk, Some(segments.flushed()))
    };
    let sizes = [100, 100];
    let (disk, flushed) = written(&sizes);
    let (other, _) = written(&[sizes[0] - 1, sizes[1] + 1]);
    assert_eq!(segment_names(&disk), segment_names(&other));
    for suffix in ["log", "index", "timeindex", "seal"] {
        let name = format!("{:020}.{suffix}", 0);
        overwrite(&disk, &name, 0, &content(&other, &name));
    }
    let segments = open(&disk, flushed).unwrap();
    let bases = segment_names(&disk);
    for base in [bases[0], bases[1]] {
        let error = segments.read(base, 0).unwrap_err();
        assert!(matches!(error, SegmentError::LinkBroken { .. }), "{error:?}");
    }
    assert!(segments.read(bases[2], 0).is_ok());
    let error = open(&disk, None).unwrap_err();
    assert!(matches!(error, SegmentError::LinkBroken { .. }), "{error:?}");
}

#[test]
fn wrong_indexes_of_a_sealed_segment_are_made_again_as_they_were() {
    let disk = SimulatedDisk::new(1);
    let segments = empty(&disk);
    let batches = many(60);
    append(&segments, &batches).unwrap();
    segments.sync().unwrap();
    let flushed = Some(segments.flushed());
    let complete = files(&disk);
    for name in ["00000000000000000000.index", "00000000000000000000.timeindex"] {
        let size_bits = content(&disk, name).len() * 8;
        assert!(size_bits > 0);
        for bit in 0..size_bits {
            let image = disk.crash_keeping_none();
            let mut bytes = content(&image, name);
            bytes[bit / 8] ^= 1 << (bit % 8);
            overwrite(&image, name, 0, &bytes);
            let segments = open(&image, flushed).unwrap();
            assert!(concat(&segments.read(Offset::ZERO, READ_ALL_BYTES).unwrap()) == bytes_of(&batches));
            assert_eq!(
                segments.batch_at_time(Timestamp(1_050), Offset(0)).unwrap(),
                batches
                    .iter()
                    .find(|batch| batch.max_timestamp.0 >= 1_050)
                    .map(|batch| batch.bytes.clone())
            );
            assert!(files(&image) == complete, "bit {bit} of {name}");
        }
    }
}

#[test]
fn reserved_space_behind_the_end_is_no_torn_write() {
    let disk = SimulatedDisk::new(1);
    let segments = empty(&disk);
    let batches = many(30);
    append(&segments, &batches).unwrap();
    segments.sync().unwrap();
    let end = segments.flushed();
    let last = format!("{:020}.log", end.segment.0);
    let path = Path::new(DIR).join(&last);
    for extra_bytes in [1, 60, 61, 500, 200_000] {
        let image = disk.crash_keeping_none();
        let file = image.open(&path, OpenMode::ReadWrite).unwrap();
        file.truncate(end.position + extra_bytes).unwrap();
        let found = open(&image, None).unwrap();
        assert_eq!(found.flushed(), end);
        assert!(found.take_torn().is_none(), "{extra_bytes} zeros");
        overwrite(&image, &last, end.position + extra_bytes - 1, &[1]);
        let found = open(&image, None).unwrap();
        assert_eq!(found.flushed(), end);
        assert!(
            matches!(found.take_torn(), Some(SegmentError::CorruptBatch { position, .. }) if position == end.position)
        );
    }
}

#[test]
fn a_missing_last_segment_is_found_by_the_seal_before_it() {
    let disk = SimulatedDisk::new(1);
    let segments = empty(&disk);
    let batches = many(60);
    append(&segments, &batches).unwrap();
    segments.sync().unwrap();
    let last = segments.flushed().segment;
    let image = disk.crash_keeping_none();
    image
        .remove_file(&Path::new(DIR).join(format!("{:020}.log", last.0)))
        .unwrap();
    let found = open(&image, None).unwrap();
    assert_eq!(found.flushed().next_offset, last);
    assert!(matches!(found.take_torn(), Some(SegmentError::NextMissing { next, .. }) if next == last));
    // Where the journal has what was in it, it is written again.
    append(&found, &batches).unwrap();
    found.sync().unwrap();
    assert!(files(&image) == files(&disk));
}

#[test]
fn segments_without_seals_are_checked_and_sealed_as_they_would_have_been() {
    let disk = SimulatedDisk::new(1);
    let segments = empty(&disk);
    let batches = many(60);
    append(&segments, &batches).unwrap();
    segments.sync().unwrap();
    let end = segments.flushed();
    let flushed = Some(end);
    let complete = files(&disk);
    let bases = segment_names(&disk);
    assert_eq!(segments.seal_next().unwrap(), None);
    let seal_all = |image: &SimulatedDisk| {
        let segments = open(image, flushed).unwrap();
        let sealed: Vec<_> = std::iter::from_fn(|| segments.seal_next().unwrap()).collect();
        check_model(&segments, &batches);
        sealed
    };
    let image = disk.crash_keeping_none();
    remove(&image, ".seal");
    assert_eq!(seal_all(&image), bases[..bases.len() - 1]);
    let closed = |files: Vec<(String, Vec<u8>)>| -> Vec<_> {
        let last = format!("{:020}", end.segment.0);
        files
            .into_iter()
            .filter(|(name, _)| !name.starts_with(&last))
            .collect()
    };
    assert!(
        closed(files(&image.crash_keeping_none())) == closed(complete.clone()),
        "without seals"
    );

    let image = disk.crash_keeping_none();
    for suffix in ["index", "seal"] {
        image
            .remove_file(&Path::new(DIR).join(format!("{:020}.{suffix}", bases[1].0)))
            .unwrap();
    }
    assert_eq!(seal_all(&image), [bases[1]]);
    assert!(
        closed(files(&image.crash_keeping_none())) == closed(complete),
        "without one"
    );
}

#[test]
fn a_changed_segment_does_not_get_a_new_seal() {
    let disk = SimulatedDisk::new(1);
    let segments = empty(&disk);
    let batches = many(60);
    append(&segments, &batches).unwrap();
    segments.sync().unwrap();
    let flushed = Some(segments.flushed());
    let base = segment_names(&disk)[1];
    let seal = format!("{:020}.seal", base.0);
    let rest = |image: &SimulatedDisk| {
        image.remove_file(&Path::new(DIR).join(&seal)).unwrap();
        let segments = open(image, flushed).unwrap();
        let error = segments.seal_next().unwrap_err();
        assert_eq!(segments.seal_next().unwrap(), None, "told once");
        assert!(!files(image).iter().any(|(name, _)| *name == seal));
        error
    };
    let image = disk.crash_keeping_none();
    overwrite(&image, &format!("{:020}.log", base.0), 70, &[0xee]);
    assert!(matches!(
        rest(&image),
        SegmentError::CorruptBatch { position: 0, .. }
    ));
    // The epoch is under no batch's checksum.
    let image = disk.crash_keeping_none();
    overwrite(&image, &format!("{:020}.log", base.0), 12, &[0xee]);
    assert!(matches!(rest(&image), SegmentError::LinkBroken { .. }));
}

#[test]
fn a_time_index_older_than_its_offset_index_is_made_again() {
    let disk = SimulatedDisk::new(1);
    let (segments, batches) = large(&disk, 40);
    let end = segments.flushed();
    let path = Path::new(DIR).join("00000000000000000000.timeindex");
    let size_bytes = content(&disk, "00000000000000000000.timeindex").len() as u64;
    assert!(size_bytes > 5 * 12 && end.segment == Offset::ZERO);
    for left_bytes in (0..=size_bytes).step_by(12) {
        let image = disk.crash_keeping_all();
        image
            .open(&path, OpenMode::ReadWrite)
            .unwrap()
            .truncate(left_bytes)
            .unwrap();
        let segments = open_large(&image, Some(end));
        for batch in &batches {
            let found = segments.batch_at_time(batch.max_timestamp, Offset(0)).unwrap();
            assert_eq!(found, Some(batch.bytes.clone()), "{left_bytes} bytes are left");
        }
    }
}

#[test]
fn no_power_cut_leaves_a_seal_that_is_wrong() {
    let batches = many(30);
    for operation in 2.. {
        let disk = SimulatedDisk::new(1);
        let segments = empty(&disk);
        disk.fail_at(operation, Fault::PowerCut);
        let result = batches.chunks(4).try_for_each(|chunk| {
            append(&segments, chunk)?;
            segments.sync()
        });
        for seed in 0..6 {
            match open(&disk.crash_image(seed), None) {
                Ok(found) => {
                    let next = found.flushed().next_offset;
                    let count = batches.partition_point(|batch| batch.next_offset <= next);
                    check_model(&found, &batches[..count]);
                    append(&found, &batches).unwrap();
                    found.sync().unwrap();
                    check_model(&found, &batches);
                }
                // The checkpoint, which is not lost as well, tells that these were not synced.
                Err(SegmentError::CorruptBatch { .. } | SegmentError::EndsEarly { .. }) => {}
                Err(error) => panic!("cut at operation {operation}, seed {seed}: {error:?}"),
            }
        }
        if result.is_ok() {
            return;
        }
    }
}

/// Rewrites the segments from `first` to before `end` as one without the batches that `is_left` refuses.
fn rewrite(
    disk: &SimulatedDisk,
    batches: &[StoredBatch],
    (first, end): (Offset, Offset),
    is_left: impl Fn(usize) -> bool,
) {
    let bases: Vec<_> = segment_names(disk)
        .into_iter()
        .filter(|base| (first..end).contains(base))
        .collect();
    let seals: Vec<_> = bases.iter().map(|base| seal_of(disk, *base).unwrap()).collect();
    let (mut log, mut indexes) = (
        Vec::new(),
        indexes::Indexes::new(first, OPTIONS.index_interval_bytes),
    );
    for (index, batch) in batches.iter().enumerate() {
        if (first..end).contains(&batch.base_offset) && is_left(index) {
            let header = batch::BatchHeader::parse(&batch.bytes).unwrap();
            indexes.observe(&sealing::place_of(log.len() as u64, &header));
            log.extend_from_slice(&batch.bytes);
        }
    }
    indexes.close();
    let place = place(disk);
    let identity = place.identity(first);
    let mut sums = chunks::RunningSums::new(identity, 0);
    sums.push(0, &log);
    let size_bytes = log.len() as u64;
    let content = sealing::content(identity, (size_bytes, end), &indexes, sums.finish(size_bytes).1);
    let seal = Seal::rewritten(content, &seals[0], seals.last().unwrap());
    for (name, _) in files(disk) {
        let base = name.split('.').next().unwrap().parse().map(Offset).unwrap();
        if bases.contains(&base) {
            disk.remove_file(&Path::new(DIR).join(name)).unwrap();
        }
    }
    let (offsets, times) = indexes.encode_from(0, 0);
    let paths = SegmentPaths::new(&place.dir, first);
    for (path, bytes) in [
        (paths.log, log),
        (paths.offset_index, offsets),
        (paths.time_index, times),
        (paths.seal, seal.encode()),
    ] {
        let file = disk.open(&path, OpenMode::CreateNew).unwrap();
        file.write_at(&[std::io::IoSlice::new(&bytes)], 0).unwrap();
    }
}

#[test]
fn rewritten_segments_answer_with_what_is_left_and_fit_into_the_chain() {
    let disk = SimulatedDisk::new(1);
    let segments = empty(&disk);
    let batches = many(60);
    append(&segments, &batches).unwrap();
    segments.sync().unwrap();
    let end = segments.flushed();
    let bases = segment_names(&disk);
    let last_of_third = batches.partition_point(|batch| batch.base_offset < bases[3]) - 1;
    // Gaps at the begin, in the middle, and at the end of the second and third segments.
    let first_of_second = batches.partition_point(|batch| batch.base_offset < bases[1]);
    let is_left =
        |index: usize| index.is_multiple_of(2) && index != first_of_second && index != last_of_third;
    rewrite(&disk, &batches, (bases[1], bases[3]), is_left);
    let left: Vec<_> = batches
        .iter()
        .enumerate()
        .filter(|(index, batch)| !(bases[1]..bases[3]).contains(&batch.base_offset) || is_left(*index))
        .map(|(_, batch)| batch.clone())
        .collect();
    for flushed in [Some(end), None] {
        let segments = open(&disk, flushed).unwrap();
        assert_eq!(segments.flushed(), end);
        assert!(segments.take_torn().is_none());
        for offset in 0..end.next_offset.0 {
            let rest = &left[left.partition_point(|batch| batch.next_offset.0 <= offset)..];
            let one = segments.read(Offset(offset), 0).unwrap();
            assert_eq!(one, [rest[0].bytes.clone()], "at {offset}");
            let all = segments.read(Offset(offset), READ_ALL_BYTES).unwrap();
            assert!(concat(&all) == bytes_of(rest), "from {offset}");
        }
        for timestamp in 990..1_150 {
            let expected = left.iter().find(|batch| batch.max_timestamp.0 >= timestamp);
            let found = segments.batch_at_time(Timestamp(timestamp), Offset(0)).unwrap();
            assert_eq!(found, expected.map(|batch| batch.bytes.clone()), "at {timestamp}");
        }
    }
    let reports: Vec<_> = verify_partition(place(&disk), end).unwrap().collect();
    let found: Vec<_> = reports.iter().flat_map(|report| &report.findings).collect();
    assert!(found.is_empty(), "{found:?}");
    let generations = reports
        .iter()
        .filter_map(|report| report.seal.as_ref())
        .map(|seal| seal.generation);
    assert!(generations.take(3).eq([0, 1, 0]));
}
