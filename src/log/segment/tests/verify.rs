//! The whole check: every single flipped bit is found, and what is intact has no finding.

use super::*;

fn verify(disk: &SimulatedDisk, flushed: FlushedPosition) -> Vec<SegmentReport> {
    verify_partition(place(disk), flushed).unwrap().collect()
}

fn findings(disk: &SimulatedDisk, flushed: FlushedPosition) -> Vec<SegmentError> {
    verify(disk, flushed)
        .into_iter()
        .flat_map(|report| report.findings)
        .collect()
}

fn written() -> (SimulatedDisk, FlushedPosition, Vec<StoredBatch>) {
    let disk = SimulatedDisk::new(1);
    let segments = empty(&disk);
    let batches = many(24);
    for chunk in batches.chunks(5) {
        append(&segments, chunk).unwrap();
    }
    segments.sync().unwrap();
    (disk, segments.flushed(), batches)
}

#[test]
fn what_is_intact_is_reported_whole() {
    let (disk, flushed, batches) = written();
    let reports = verify(&disk, flushed);
    let findings: Vec<_> = reports.iter().flat_map(|report| &report.findings).collect();
    assert!(findings.is_empty(), "{findings:?}");
    assert!(reports.len() > 3);
    assert_eq!(reports.iter().map(|report| report.batches).sum::<u64>(), 24);
    let records = batches.last().unwrap().next_offset.0;
    assert_eq!(reports.iter().map(|report| report.records).sum::<u64>(), records);
    let bytes = bytes_of(&batches).len() as u64;
    assert_eq!(reports.iter().map(|report| report.size_bytes).sum::<u64>(), bytes);
    let (last, closed) = reports.split_last().unwrap();
    assert!(last.is_active && last.seal.is_none());
    assert!(
        closed
            .iter()
            .all(|report| !report.is_active && report.seal.is_some())
    );
}

#[test]
fn every_flipped_bit_of_closed_segments_is_found_and_none_is_served() {
    let (disk, flushed, batches) = written();
    let last = format!("{:020}", flushed.segment.0);
    let expected = bytes_of(&batches);
    for (name, bytes) in files(&disk) {
        if name.starts_with(&last) {
            continue;
        }
        for bit in 0..bytes.len() * 8 {
            let at = bit / 8;
            let flipped = [bytes[at] ^ 1 << (bit % 8)];
            overwrite(&disk, &name, at as u64, &flipped);
            let found = findings(&disk, flushed);
            assert!(!found.is_empty(), "bit {bit} of {name}");
            let only_derived = found.iter().all(SegmentError::is_derived);
            assert_eq!(
                only_derived,
                name.ends_with("index"),
                "bit {bit} of {name}: {found:?}"
            );
            let segments = open(&disk, Some(flushed)).unwrap();
            if let Ok(slices) = segments.read(Offset::ZERO, READ_ALL_BYTES) {
                assert!(expected.starts_with(&concat(&slices)), "bit {bit} of {name}");
            }
            overwrite(&disk, &name, 0, &bytes);
        }
    }
    assert!(findings(&disk, flushed).is_empty());
}

#[test]
fn every_flipped_bit_that_checksums_cover_is_found_in_the_last_segment() {
    let (disk, flushed, _) = written();
    let last = format!("{:020}", flushed.segment.0);
    let mut epochs = Vec::new();
    let log = content(&disk, &format!("{last}.log"));
    let mut position = 0;
    while position < flushed.position as usize {
        let header = batch::BatchHeader::parse(&log[position..]).unwrap();
        epochs.push(position + 12..position + 16);
        position += header.size_bytes();
    }
    for (name, bytes) in files(&disk) {
        if !name.starts_with(&last) {
            continue;
        }
        let size = if is_log(&name) {
            flushed.position as usize
        } else {
            bytes.len()
        };
        for bit in 0..size * 8 {
            let at = bit / 8;
            overwrite(&disk, &name, at as u64, &[bytes[at] ^ 1 << (bit % 8)]);
            // Nothing covers the leader's epoch, which means nothing here, before the segment is sealed.
            let is_epoch = is_log(&name) && epochs.iter().any(|epoch| epoch.contains(&at));
            let is_found = !findings(&disk, flushed).is_empty();
            assert_eq!(is_found, !is_epoch, "bit {bit} of {name}");
            overwrite(&disk, &name, 0, &bytes);
        }
    }
}

#[test]
fn missing_cut_and_longer_files_are_found() {
    let (disk, flushed, _) = written();
    let last = format!("{:020}", flushed.segment.0);
    for (name, bytes) in files(&disk) {
        if name.starts_with(&last) {
            continue;
        }
        let path = Path::new(DIR).join(&name);
        for size in [bytes.len() as u64 + 1, bytes.len() as u64 - 1, 0] {
            let image = disk.crash_keeping_all();
            image
                .open(&path, OpenMode::ReadWrite)
                .unwrap()
                .truncate(size)
                .unwrap();
            assert!(!findings(&image, flushed).is_empty(), "{name} of {size} bytes");
        }
        let image = disk.crash_keeping_all();
        image.remove_file(&path).unwrap();
        let reports = verify(&image, flushed);
        let first_log = format!("{:020}.log", 0);
        if name.strip_suffix(".seal").is_some() {
            assert!(
                reports
                    .iter()
                    .any(|report| !report.is_active && report.seal.is_none())
            );
        } else if name != first_log {
            assert!(
                reports.iter().any(|report| !report.findings.is_empty()),
                "{name} is missing"
            );
        }
    }
}
