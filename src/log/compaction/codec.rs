//! Kafka's codecs for the records of a batch. Without the feature `compression` there is none, and compressed
//! batches are kept as they are.

use crate::log::batch::Compression;

/// Largest size of the records of one batch, decompressed. 128 MiB: some bytes on the disk may claim to be gigabytes.
#[cfg(feature = "compression")]
const DECOMPRESSED_SIZE_MAX_BYTES: usize = 128 * 1024 * 1024;

/// The records in `compressed`; none if they cannot be told, or are too many.
#[cfg(not(feature = "compression"))]
pub fn decompress(_compression: Compression, _compressed: &[u8]) -> Option<Vec<u8>> {
    None
}

/// The bytes of `records` in that codec; none if there is no such codec here.
#[cfg(not(feature = "compression"))]
pub fn compress(_compression: Compression, _records: &[u8]) -> Option<Vec<u8>> {
    None
}

/// The records in `compressed`; none if they cannot be told, or are too many.
#[cfg(feature = "compression")]
pub fn decompress(compression: Compression, compressed: &[u8]) -> Option<Vec<u8>> {
    match compression {
        Compression::None => Some(compressed.to_vec()),
        Compression::Gzip => read_all(flate2::read::GzDecoder::new(compressed)),
        Compression::Snappy => snappy::decompress(compressed),
        Compression::Lz4 => read_all(lz4_flex::frame::FrameDecoder::new(compressed)),
        Compression::Zstd => read_all(zstd::stream::read::Decoder::new(compressed).ok()?),
    }
}

/// The bytes of `records` in that codec; none if the codec fails.
#[cfg(feature = "compression")]
pub fn compress(compression: Compression, records: &[u8]) -> Option<Vec<u8>> {
    use std::io::Write;

    match compression {
        Compression::None => Some(records.to_vec()),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(records).ok()?;
            encoder.finish().ok()
        }
        Compression::Snappy => snappy::compress(records),
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(records).ok()?;
            encoder.finish().ok()
        }
        Compression::Zstd => zstd::stream::encode_all(records, 0).ok(),
    }
}

#[cfg(feature = "compression")]
fn read_all(reader: impl std::io::Read) -> Option<Vec<u8>> {
    use std::io::Read;

    let mut records = Vec::new();
    let limit = DECOMPRESSED_SIZE_MAX_BYTES as u64 + 1;
    reader.take(limit).read_to_end(&mut records).ok()?;
    (records.len() <= DECOMPRESSED_SIZE_MAX_BYTES).then_some(records)
}

/// Snappy in the framing of Kafka's Java client (xerial), or bare as some other clients write it.
///
/// ```text
/// 0x82 "SNAPPY" 0 | version i32 | compatible version i32 | blocks, each: length u32, snappy; all big-endian
/// ```
#[cfg(feature = "compression")]
mod snappy {
    use bytes::Buf;

    use super::DECOMPRESSED_SIZE_MAX_BYTES;

    const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
    const VERSION: u32 = 1;
    const VERSIONS_SIZE_BYTES: usize = 8;
    /// As large as the Java client's blocks.
    const BLOCK_SIZE_BYTES: usize = 32 * 1024;

    pub fn decompress(compressed: &[u8]) -> Option<Vec<u8>> {
        let mut records = Vec::new();
        let Some(blocks) = compressed.strip_prefix(&MAGIC) else {
            push_block(compressed, &mut records)?;
            return Some(records);
        };
        let mut rest = blocks.get(VERSIONS_SIZE_BYTES..)?;
        while !rest.is_empty() {
            let length = rest.try_get_u32().ok()? as usize;
            let (block, behind) = rest.split_at_checked(length)?;
            push_block(block, &mut records)?;
            rest = behind;
        }
        Some(records)
    }

    fn push_block(block: &[u8], records: &mut Vec<u8>) -> Option<()> {
        let size_bytes = snap::raw::decompress_len(block).ok()?;
        if records.len() + size_bytes > DECOMPRESSED_SIZE_MAX_BYTES {
            return None;
        }
        records.extend(snap::raw::Decoder::new().decompress_vec(block).ok()?);
        Some(())
    }

    pub fn compress(records: &[u8]) -> Option<Vec<u8>> {
        let mut compressed = MAGIC.to_vec();
        for _ in 0..2 {
            compressed.extend(VERSION.to_be_bytes());
        }
        let mut encoder = snap::raw::Encoder::new();
        for block in records.chunks(BLOCK_SIZE_BYTES) {
            let block = encoder.compress_vec(block).ok()?;
            compressed.extend((block.len() as u32).to_be_bytes());
            compressed.extend(block);
        }
        Some(compressed)
    }
}

#[cfg(all(test, feature = "compression"))]
mod tests {
    use super::*;

    const CODECS: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    #[test]
    fn every_codec_gives_back_what_it_took() {
        let records: Vec<u8> = (0..100_000_u32).flat_map(|n| (n / 7).to_be_bytes()).collect();
        for codec in CODECS {
            for size_bytes in [0, 1, 32 * 1024, records.len()] {
                let compressed = compress(codec, &records[..size_bytes]).unwrap();
                let found = decompress(codec, &compressed).unwrap();
                assert_eq!(found, records[..size_bytes], "{codec:?} of {size_bytes} bytes");
            }
        }
    }

    #[test]
    fn bare_snappy_is_read_too() {
        let compressed = snap::raw::Encoder::new().compress_vec(b"records").unwrap();
        assert_eq!(decompress(Compression::Snappy, &compressed).unwrap(), b"records");
    }

    #[test]
    fn garbage_and_bombs_are_refused() {
        for codec in &CODECS[1..] {
            assert_eq!(
                decompress(*codec, b"\x82SNAPPY\0 this is none"),
                None,
                "{codec:?}"
            );
        }
        let zeros = vec![0; DECOMPRESSED_SIZE_MAX_BYTES + 1];
        for codec in [Compression::Gzip, Compression::Zstd] {
            assert_eq!(
                decompress(codec, &compress(codec, &zeros).unwrap()),
                None,
                "{codec:?}"
            );
        }
        let claims_4_gib = [&b"\xff\xff\xff\xff\x0f"[..], b"x"].concat();
        assert_eq!(decompress(Compression::Snappy, &claims_4_gib), None);
    }
}
