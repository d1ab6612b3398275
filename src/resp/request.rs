//! One command of a client, in place: its arguments are ranges of the buffer that it arrived in.

use std::ops::Range;

/// Most arguments of one command: twice the lines of the largest cart, and what goes before them.
pub const ARGUMENTS_MAX: usize = 256;

/// Largest command in bytes. 128 KiB: a cart of the largest size as JSON, several times over.
pub const REQUEST_MAX_BYTES: usize = 128 * 1024;

/// Longest inline command, in bytes: what a person types.
pub const INLINE_MAX_BYTES: usize = 4 * 1024;

/// Longest header line, such as `*3` or `$12`: its type, a sign and the digits of an `i64`.
const HEADER_MAX_BYTES: usize = 32;

/// Why bytes are not a command. The connection cannot go on: nobody knows where the next command begins.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The number behind `*` is no number, or too large.
    #[error("invalid multibulk length, at most {ARGUMENTS_MAX} arguments are taken")]
    ArgumentCount,
    /// An argument does not begin with `$`.
    #[error("expected '$', got '{}'", char::from(*.found).escape_default())]
    ExpectedBulk {
        /// What stands there.
        found: u8,
    },
    /// The number behind `$` is no number, or negative.
    #[error("invalid bulk length")]
    BulkLength,
    /// A bulk string does not end with CR and LF.
    #[error("expected CRLF behind a bulk string")]
    BulkEnd,
    /// The command is larger than [`REQUEST_MAX_BYTES`].
    #[error("too big request, at most {REQUEST_MAX_BYTES} bytes are taken")]
    TooLarge,
    /// An inline command is longer than [`INLINE_MAX_BYTES`].
    #[error("too big inline request, at most {INLINE_MAX_BYTES} bytes are taken")]
    InlineTooLarge,
    /// A quote of an inline command does not end.
    #[error("unbalanced quotes in request")]
    Quotes,
}

/// The arguments of one command, as ranges of the buffer; kept between commands for its room.
#[derive(Clone, Debug, Default)]
pub struct Arguments(Vec<Range<usize>>);

impl Arguments {
    /// How many there are, the command's name included; none for an empty line.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is not even a name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The arguments in `buffer`, the one that they were parsed from.
    pub fn of<'a>(&'a self, buffer: &'a [u8]) -> impl ExactSizeIterator<Item = &'a [u8]> {
        self.0
            .iter()
            .map(|range| buffer.get(range.clone()).unwrap_or_default())
    }
}

/// Parses the command at the start of `buffer` into `arguments`.
///
/// Returns its size in bytes, or `None` if more bytes must arrive first. A `buffer` of [`REQUEST_MAX_BYTES`] is never
/// incomplete.
pub fn parse_request(buffer: &[u8], arguments: &mut Arguments) -> Result<Option<usize>, RequestError> {
    arguments.0.clear();
    match buffer.first() {
        None => Ok(None),
        Some(b'*') => parse_array(buffer, arguments),
        Some(_) => parse_inline(buffer, arguments),
    }
}

fn parse_array(buffer: &[u8], arguments: &mut Arguments) -> Result<Option<usize>, RequestError> {
    let Some((count, mut position)) = header(buffer, 0).map_err(|()| RequestError::ArgumentCount)? else {
        return Ok(None);
    };
    if count > ARGUMENTS_MAX as i64 {
        return Err(RequestError::ArgumentCount);
    }
    // As Redis does, an empty or null array is passed over.
    for _ in 0..count {
        match buffer.get(position) {
            None => return incomplete(buffer),
            Some(b'$') => {}
            Some(&found) => return Err(RequestError::ExpectedBulk { found }),
        }
        let Some((size_bytes, start)) = header(buffer, position).map_err(|()| RequestError::BulkLength)?
        else {
            return incomplete(buffer);
        };
        let size_bytes = usize::try_from(size_bytes).map_err(|_| RequestError::BulkLength)?;
        if size_bytes > REQUEST_MAX_BYTES - 2 || start + size_bytes + 2 > REQUEST_MAX_BYTES {
            return Err(RequestError::TooLarge);
        }
        let end = start + size_bytes;
        match buffer.get(end..end + 2) {
            None => return incomplete(buffer),
            Some(b"\r\n") => {}
            Some(_) => return Err(RequestError::BulkEnd),
        }
        arguments.0.push(start..end);
        position = end + 2;
    }
    Ok(Some(position))
}

fn incomplete(buffer: &[u8]) -> Result<Option<usize>, RequestError> {
    if buffer.len() >= REQUEST_MAX_BYTES {
        return Err(RequestError::TooLarge);
    }
    Ok(None)
}

/// The number of the header line at `position`, behind its type byte, and where the line behind it begins.
pub(super) fn header(buffer: &[u8], position: usize) -> Result<Option<(i64, usize)>, ()> {
    let line = &buffer[position + 1..];
    let seen = &line[..line.len().min(HEADER_MAX_BYTES)];
    let Some(length) = seen.iter().position(|&byte| byte == b'\r') else {
        return if seen.len() == HEADER_MAX_BYTES {
            Err(())
        } else {
            Ok(None)
        };
    };
    let number = number(&line[..length]).ok_or(())?;
    match line.get(length + 1) {
        None => Ok(None),
        Some(b'\n') => Ok(Some((number, position + 1 + length + 2))),
        Some(_) => Err(()),
    }
}

/// A decimal number as RESP writes it.
pub(super) fn number(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: i64 = 0;
    for &digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Gathered below zero, where there is room for the least number too.
        value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if is_negative {
        Some(value)
    } else {
        value.checked_neg()
    }
}

/// A line of words; a word with blanks stands in single or double quotes, which know no escapes.
fn parse_inline(buffer: &[u8], arguments: &mut Arguments) -> Result<Option<usize>, RequestError> {
    let seen = &buffer[..buffer.len().min(INLINE_MAX_BYTES)];
    let Some(length) = seen.iter().position(|&byte| byte == b'\n') else {
        return if seen.len() == INLINE_MAX_BYTES {
            Err(RequestError::InlineTooLarge)
        } else {
            Ok(None)
        };
    };
    let line = &seen[..length];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut position = 0;
    while position < line.len() {
        let first = line[position];
        if first.is_ascii_whitespace() {
            position += 1;
            continue;
        }
        if arguments.0.len() == ARGUMENTS_MAX {
            return Err(RequestError::ArgumentCount);
        }
        if first == b'"' || first == b'\'' {
            let start = position + 1;
            let size_bytes = line[start..]
                .iter()
                .position(|&byte| byte == first)
                .ok_or(RequestError::Quotes)?;
            arguments.0.push(start..start + size_bytes);
            position = start + size_bytes + 1;
            if line.get(position).is_some_and(|byte| !byte.is_ascii_whitespace()) {
                return Err(RequestError::Quotes);
            }
        } else {
            let size_bytes = line[position..]
                .iter()
                .position(u8::is_ascii_whitespace)
                .unwrap_or(line.len() - position);
            arguments.0.push(position..position + size_bytes);
            position += size_bytes;
        }
    }
    Ok(Some(length + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::resp::write;

    /// The size of a command, and its arguments.
    type Parsed = Option<(usize, Vec<Vec<u8>>)>;

    fn parse(buffer: &[u8]) -> Result<Parsed, RequestError> {
        let mut arguments = Arguments::default();
        let parsed = parse_request(buffer, &mut arguments)?;
        Ok(parsed.map(|size_bytes| (size_bytes, arguments.of(buffer).map(<[u8]>::to_vec).collect())))
    }

    #[track_caller]
    fn check(buffer: &[u8], size_bytes: usize, expected: &[&[u8]]) {
        let expected = expected.iter().map(|argument| argument.to_vec()).collect();
        assert_eq!(parse(buffer), Ok(Some((size_bytes, expected))));
        for end in 0..size_bytes {
            assert_eq!(parse(&buffer[..end]), Ok(None), "cut at {end}");
        }
    }

    #[test]
    fn arrays_and_lines() {
        check(b"*1\r\n$4\r\nPING\r\n", 14, &[b"PING"]);
        check(b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\nrest", 20, &[b"ECHO", b""]);
        check(b"*2\r\n$1\r\na\r\n$2\r\n\r\n\r\n", 19, &[b"a", b"\r\n"]);
        check(b"*0\r\nPING\r\n", 4, &[]);
        check(b"*-1\r\n", 5, &[]);
        check(b"\r\n", 2, &[]);
        check(b"PING\n", 5, &[b"PING"]);
        check(b"  RESERVE \t r-1  x\r\n", 20, &[b"RESERVE", b"r-1", b"x"]);
        check(
            b"STOCK \"tv 55\" '' 'it\"s'\r\n",
            25,
            &[b"STOCK", b"tv 55", b"", b"it\"s"],
        );
    }

    #[test]
    fn what_is_not_a_command() {
        let long = vec![b'x'; INLINE_MAX_BYTES];
        for (buffer, expected) in [
            (&b"*x\r\n"[..], RequestError::ArgumentCount),
            (b"*\r\n", RequestError::ArgumentCount),
            (b"*1\rx", RequestError::ArgumentCount),
            (b"*257\r\n", RequestError::ArgumentCount),
            (b"*9223372036854775808\r\n", RequestError::ArgumentCount),
            (&[b'*'; 64], RequestError::ArgumentCount),
            (b"*1\r\n:1\r\n", RequestError::ExpectedBulk { found: b':' }),
            (
                b"*1\r\n*1\r\n$1\r\na\r\n",
                RequestError::ExpectedBulk { found: b'*' },
            ),
            (b"*1\r\n$-1\r\n", RequestError::BulkLength),
            (b"*1\r\n$1x\r\n", RequestError::BulkLength),
            (b"*1\r\n$131072\r\n", RequestError::TooLarge),
            (b"*1\r\n$9223372036854775807\r\n", RequestError::TooLarge),
            (b"*1\r\n$1\r\nabc", RequestError::BulkEnd),
            (&long, RequestError::InlineTooLarge),
            (b"STOCK \"tv\r\n", RequestError::Quotes),
            (b"STOCK \"tv\"55\r\n", RequestError::Quotes),
        ] {
            assert_eq!(parse(buffer), Err(expected), "{}", buffer.escape_ascii());
        }
    }

    #[test]
    fn a_full_buffer_is_never_incomplete() {
        let mut buffer = b"*256\r\n".to_vec();
        while buffer.len() < REQUEST_MAX_BYTES {
            buffer.extend_from_slice(b"$1000\r\n");
            buffer.resize(buffer.len() + 1000, b'x');
            buffer.extend_from_slice(b"\r\n");
        }
        assert_eq!(parse(&buffer[..REQUEST_MAX_BYTES]), Err(RequestError::TooLarge));
    }

    #[test]
    fn numbers() {
        for (text, expected) in [
            (&b"0"[..], Some(0)),
            (b"-0", Some(0)),
            (b"9223372036854775807", Some(i64::MAX)),
            (b"-9223372036854775808", Some(i64::MIN)),
            (b"9223372036854775808", None),
            (b"", None),
            (b"-", None),
            (b"+1", None),
            (b" 1", None),
            (b"1a", None),
        ] {
            assert_eq!(number(text), expected, "{}", text.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(arguments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..10)) {
            let mut buffer = Vec::new();
            write::array(&mut buffer, arguments.len());
            for argument in &arguments {
                write::bulk(&mut buffer, argument);
            }
            prop_assert_eq!(parse(&buffer), Ok(Some((buffer.len(), arguments))));
        }

        #[test]
        fn any_bytes_are_a_command_or_an_error(buffer in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some((size_bytes, _))) = parse(&buffer) {
                prop_assert!(0 < size_bytes && size_bytes <= buffer.len());
            }
        }
    }
}
