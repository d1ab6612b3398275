//! The primitives of the compact encodings: variable-length integers, texts, and a bounds-checked reader.

use uuid::Uuid;

/// Appends an unsigned integer, seven bits a byte, low bits first.
pub(super) fn put_varint(buffer: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buffer.push(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.push(value as u8);
}

/// Appends a length and the bytes of a text.
pub(super) fn put_text(buffer: &mut Vec<u8>, text: &str) {
    put_varint(buffer, text.len() as u64);
    buffer.extend_from_slice(text.as_bytes());
}

/// Appends the 16 bytes of an id.
pub(super) fn put_uuid(buffer: &mut Vec<u8>, id: Uuid) {
    buffer.extend_from_slice(id.as_bytes());
}

/// Why bytes do not decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a field.
    #[error("the bytes end inside a field")]
    Truncated,
    /// Bytes follow the last field.
    #[error("{count} bytes follow the last field")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// An integer is too large for its field.
    #[error("an integer is too large for its field")]
    TooLarge,
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    NotText,
    /// A code has no meaning in this version.
    #[error("code {code} has no meaning in this version")]
    UnknownCode {
        /// The code.
        code: u8,
    },
    /// Two parts of the bytes contradict each other.
    #[error("two parts of the bytes contradict each other")]
    Contradiction,
    /// A JSON value is not an event.
    #[error("a JSON value is not an event (line {line}, column {column})")]
    NotJson {
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault, from 1.
        column: usize,
    },
}

/// Reads fields off the front of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Cursor { rest: bytes }
    }

    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(DecodeError::Trailing { count }),
        }
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.bytes(1)?[0])
    }

    pub(super) fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(DecodeError::TooLarge);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::TooLarge)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        u32::try_from(self.varint()?).map_err(|_| DecodeError::TooLarge)
    }

    /// An instant: the two's complement of an `i64`, as unsigned.
    pub(super) fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(self.varint()? as i64)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let count = usize::try_from(self.varint()?).map_err(|_| DecodeError::TooLarge)?;
        std::str::from_utf8(self.bytes(count)?).map_err(|_| DecodeError::NotText)
    }

    pub(super) fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        let bytes = self.bytes(16)?;
        Uuid::from_slice(bytes).map_err(|_| DecodeError::Truncated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_at_their_edges() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut buffer = Vec::new();
            put_varint(&mut buffer, value);
            let mut cursor = Cursor::new(&buffer);
            assert_eq!(cursor.varint(), Ok(value));
            assert_eq!(cursor.finish(), Ok(()));
            assert_eq!(
                Cursor::new(&buffer[..buffer.len() - 1]).varint(),
                Err(DecodeError::Truncated)
            );
        }
        assert_eq!(Cursor::new(&[0xff; 10]).varint(), Err(DecodeError::TooLarge));
        assert_eq!(Cursor::new(&[0x80; 11]).varint(), Err(DecodeError::TooLarge));
        assert_eq!(
            Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0x1f]).u32(),
            Err(DecodeError::TooLarge)
        );
    }

    #[test]
    fn texts_are_checked() {
        assert_eq!(Cursor::new(&[2, b'a']).text(), Err(DecodeError::Truncated));
        assert_eq!(Cursor::new(&[1, 0xff]).text(), Err(DecodeError::NotText));
        assert_eq!(Cursor::new(&[0]).text(), Ok(""));
    }
}
