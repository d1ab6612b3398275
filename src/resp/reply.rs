//! One reply of a server.

use super::request::{header, number};

/// Deepest nesting of a reply that is read.
pub const REPLY_DEPTH_MAX: usize = 8;

/// Largest reply in bytes. 4 MiB: the description of all commands, many times over.
const REPLY_MAX_BYTES: usize = 4 * 1024 * 1024;

/// An answer to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A short text such as `OK`.
    Status(String),
    /// A refusal: a code in capitals, and more.
    Error(String),
    /// A number.
    Integer(i64),
    /// A string of any bytes.
    Bulk(Vec<u8>),
    /// No value.
    Null,
    /// Several values.
    Array(Vec<Reply>),
    /// Pairs of a name and a value; only where RESP3 was asked for.
    Map(Vec<(Reply, Reply)>),
}

/// Why bytes are not a reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The first byte is the mark of no kind of reply.
    #[error("unknown kind of reply {:?}", char::from(*.found))]
    Kind {
        /// The byte.
        found: u8,
    },
    /// A length or a number is none.
    #[error("a number of the reply is malformed")]
    Number,
    /// A text is not UTF-8.
    #[error("a text of the reply is not UTF-8")]
    Text,
    /// A string does not end where it should.
    #[error("a string of the reply has no end")]
    End,
    /// Nested deeper than [`REPLY_DEPTH_MAX`], or larger than 4 MiB.
    #[error("the reply is too large")]
    TooLarge,
}

/// Parses the reply at the start of `buffer`.
///
/// Returns it with its size in bytes, or `None` if more bytes must arrive first.
pub fn parse_reply(buffer: &[u8]) -> Result<Option<(Reply, usize)>, ReplyError> {
    let parsed = parse_at(buffer, 0, REPLY_DEPTH_MAX)?;
    if parsed.is_none() && buffer.len() >= REPLY_MAX_BYTES {
        return Err(ReplyError::TooLarge);
    }
    Ok(parsed)
}

/// The reply at `position`, and where the next one begins.
fn parse_at(buffer: &[u8], position: usize, depth_left: usize) -> Result<Option<(Reply, usize)>, ReplyError> {
    let Some(&kind) = buffer.get(position) else {
        return Ok(None);
    };
    match kind {
        b'+' | b'-' | b':' | b'_' => {
            let Some((line, next)) = line(buffer, position + 1)? else {
                return Ok(None);
            };
            let text = || {
                std::str::from_utf8(line)
                    .map(str::to_owned)
                    .map_err(|_| ReplyError::Text)
            };
            let reply = match kind {
                b'+' => Reply::Status(text()?),
                b'-' => Reply::Error(text()?),
                b':' => Reply::Integer(number(line).ok_or(ReplyError::Number)?),
                _ => Reply::Null,
            };
            Ok(Some((reply, next)))
        }
        b'$' => {
            let Some((size_bytes, start)) = header(buffer, position).map_err(|()| ReplyError::Number)? else {
                return Ok(None);
            };
            if size_bytes == -1 {
                return Ok(Some((Reply::Null, start)));
            }
            let size_bytes = length(size_bytes)?;
            let end = start + size_bytes;
            match buffer.get(end..end + 2) {
                None => Ok(None),
                Some(b"\r\n") => Ok(Some((Reply::Bulk(buffer[start..end].to_vec()), end + 2))),
                Some(_) => Err(ReplyError::End),
            }
        }
        b'*' | b'%' => {
            let Some((count, mut next)) = header(buffer, position).map_err(|()| ReplyError::Number)? else {
                return Ok(None);
            };
            if count == -1 {
                return Ok(Some((Reply::Null, next)));
            }
            let is_map = kind == b'%';
            let count = length(count)? * if is_map { 2 } else { 1 };
            let depth_left = depth_left.checked_sub(1).ok_or(ReplyError::TooLarge)?;
            // Grows as elements arrive: a count on the wire allocates nothing.
            let mut elements = Vec::new();
            for _ in 0..count {
                let Some((element, behind)) = parse_at(buffer, next, depth_left)? else {
                    return Ok(None);
                };
                elements.push(element);
                next = behind;
            }
            let reply = if is_map {
                let mut elements = elements.into_iter();
                let pairs = std::iter::from_fn(|| Some((elements.next()?, elements.next()?)));
                Reply::Map(pairs.collect())
            } else {
                Reply::Array(elements)
            };
            Ok(Some((reply, next)))
        }
        found => Err(ReplyError::Kind { found }),
    }
}

fn length(number: i64) -> Result<usize, ReplyError> {
    let length = usize::try_from(number).map_err(|_| ReplyError::Number)?;
    if length > REPLY_MAX_BYTES {
        return Err(ReplyError::TooLarge);
    }
    Ok(length)
}

/// The line at `start` without its end, and where the next one begins.
fn line(buffer: &[u8], start: usize) -> Result<Option<(&[u8], usize)>, ReplyError> {
    let rest = &buffer[start..];
    let Some(length) = rest.iter().position(|&byte| byte == b'\r') else {
        return Ok(None);
    };
    match rest.get(length + 1) {
        None => Ok(None),
        Some(b'\n') => Ok(Some((&rest[..length], start + length + 2))),
        Some(_) => Err(ReplyError::End),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(buffer: &[u8], expected: Reply) {
        assert_eq!(parse_reply(buffer), Ok(Some((expected, buffer.len()))));
        for end in 0..buffer.len() {
            assert_eq!(parse_reply(&buffer[..end]), Ok(None), "cut at {end}");
        }
    }

    #[test]
    fn every_kind() {
        check(b"+OK\r\n", Reply::Status("OK".into()));
        check(b"-ERR no\r\n", Reply::Error("ERR no".into()));
        check(b":-5\r\n", Reply::Integer(-5));
        check(b"$2\r\n\r\n\r\n", Reply::Bulk(b"\r\n".to_vec()));
        check(b"$-1\r\n", Reply::Null);
        check(b"*-1\r\n", Reply::Null);
        check(b"_\r\n", Reply::Null);
        check(
            b"*2\r\n+RESERVED\r\n:7\r\n",
            Reply::Array(vec![Reply::Status("RESERVED".into()), Reply::Integer(7)]),
        );
        check(
            b"%1\r\n$1\r\na\r\n*0\r\n",
            Reply::Map(vec![(Reply::Bulk(b"a".to_vec()), Reply::Array(vec![]))]),
        );
    }

    #[test]
    fn what_is_not_a_reply() {
        for (buffer, expected) in [
            (b"!\r\n".to_vec(), ReplyError::Kind { found: b'!' }),
            (b":x\r\n".to_vec(), ReplyError::Number),
            (b"$-2\r\n".to_vec(), ReplyError::Number),
            (b"+\xff\r\n".to_vec(), ReplyError::Text),
            (b"+a\rb".to_vec(), ReplyError::End),
            (b"$1\r\nabc".to_vec(), ReplyError::End),
            (b"$4194305\r\n".to_vec(), ReplyError::TooLarge),
            (b"*1\r\n".repeat(REPLY_DEPTH_MAX + 1), ReplyError::TooLarge),
        ] {
            assert_eq!(parse_reply(&buffer), Err(expected), "{}", buffer.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_reply_or_an_error(buffer in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some((_, size_bytes))) = parse_reply(&buffer) {
                prop_assert!(0 < size_bytes && size_bytes <= buffer.len());
            }
        }
    }
}
