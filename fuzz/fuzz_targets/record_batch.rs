//! Any bytes as record batches: no panic, no read outside, and what decodes is encoded to the same records.

#![no_main]

use bytes::Bytes;
use doorbuster::log::batch::{self, BatchBuilder, Compression, Record};
use libfuzzer_sys::fuzz_target;

/// Size of the fixed part that the length field does not count.
const LENGTH_PREFIX_BYTES: usize = 12;
const CRC_POSITION: usize = 17;
const CRC_COVERS_FROM: usize = 21;

fuzz_target!(|data: &[u8]| {
    read(data);
    if data.len() >= batch::HEADER_SIZE_BYTES {
        read(&mended(data));
    }
});

/// The bytes with magic, length and checksum made right, so that the checks behind those are reached.
fn mended(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    bytes[16] = 2;
    let length = (bytes.len() - LENGTH_PREFIX_BYTES) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[CRC_COVERS_FROM..]);
    bytes[CRC_POSITION..CRC_COVERS_FROM].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn read(data: &[u8]) {
    let mut left = data.len();
    for found in batch::batches(&Bytes::copy_from_slice(data)) {
        let Ok((header, bytes)) = found else { break };
        assert_eq!(bytes.len(), header.size_bytes());
        assert!(header.base_offset < header.next_offset());
        left -= bytes.len();
        if let Ok(records) = batch::records(&bytes) {
            assert_eq!(header.compression(), Compression::None);
            let mut next = header.base_offset;
            for record in records.map_while(Result::ok) {
                assert!(next <= record.offset && record.offset <= header.last_offset());
                next = record.offset.plus(1);
            }
        }
    }
    assert!(left <= data.len());
    if batch::validate(data).is_ok() {
        rebuild(data);
    }
}

/// Builds the batch again from its records; both must hold the same ones.
fn rebuild(data: &[u8]) {
    let Ok(records) = batch::records(data) else { return };
    let Ok(records) = records.collect::<Result<Vec<_>, _>>() else {
        return;
    };
    let Ok(header) = batch::BatchHeader::parse(data) else {
        return;
    };
    let mut builder = BatchBuilder::new(header.base_timestamp);
    for record in &records {
        // The builder takes no null header values.
        let headers = record.headers.clone().map(|(name, value)| Some((name, value?)));
        let Some(headers) = headers.collect::<Option<Vec<_>>>() else {
            return;
        };
        let (timestamp, key, value) = (record.timestamp, record.key, record.value);
        builder
            .push(&Record {
                timestamp,
                key,
                value,
                headers: &headers,
            })
            .expect("as small as the input");
    }
    if records.is_empty() {
        return;
    }
    let again = builder.finish();
    let found = batch::validate(&again).expect("the builder builds valid batches");
    assert_eq!(found.record_count, header.record_count);
    for (record, expected) in batch::records(&again)
        .expect("it is not compressed")
        .zip(&records)
    {
        let record = record.expect("the builder writes whole records");
        assert_eq!(
            (record.timestamp, record.key, record.value),
            (expected.timestamp, expected.key, expected.value)
        );
        assert!(record.headers.eq(expected.headers.clone()));
    }
}
