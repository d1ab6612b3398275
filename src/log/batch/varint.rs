//! Zigzag variable-length integers, as Kafka encodes the fields of a record.

use bytes::BufMut;

/// Longest encoding of a 64-bit number: ten groups of seven bits.
const VARINT_SIZE_MAX_BYTES: usize = 10;

/// Number of bytes that `value` takes, 1 to 10.
pub(in crate::log) fn size_bytes(value: i64) -> usize {
    let significant_bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    significant_bits.div_ceil(7)
}

/// Appends `value` to `out`.
pub(in crate::log) fn write(out: &mut impl BufMut, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

/// Takes a number from the front of `bytes`; `None` when it is cut off or longer than 64 bits.
pub(super) fn read(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for (index, &byte) in bytes.iter().take(VARINT_SIZE_MAX_BYTES).enumerate() {
        let group = u64::from(byte & 0x7f);
        if index == VARINT_SIZE_MAX_BYTES - 1 && group > 1 {
            return None;
        }
        value |= group << (7 * index);
        if byte < 0x80 {
            *bytes = &bytes[index + 1..];
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reads_what_it_writes(value: i64) {
            let mut out = Vec::new();
            write(&mut out, value);
            prop_assert_eq!(out.len(), size_bytes(value));
            let mut rest = &out[..];
            prop_assert_eq!(read(&mut rest), Some(value));
            prop_assert!(rest.is_empty());
        }
    }

    #[test]
    fn knows_the_edges() {
        for (value, encoded) in [
            (0, vec![0]),
            (-1, vec![1]),
            (63, vec![0x7e]),
            (64, vec![0x80, 1]),
            (
                i64::MIN,
                vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            ),
        ] {
            let mut out = Vec::new();
            write(&mut out, value);
            assert_eq!(out, encoded);
            assert_eq!(read(&mut &encoded[..]), Some(value));
            assert_eq!(read(&mut &encoded[..encoded.len() - 1]), None, "{value} cut off");
        }
    }

    #[test]
    fn refuses_more_than_64_bits() {
        let mut bytes = vec![0xff; 9];
        bytes.push(2);
        assert_eq!(read(&mut &bytes[..]), None);
        assert_eq!(read(&mut &[0x80; 11][..]), None);
    }
}
