//! The form of Redis's protocol: commands out, replies in.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{bail, ensure};

/// Deepest nesting of a reply.
const DEPTH_MAX: usize = 8;

/// Appends a command.
pub fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    let length = |out: &mut Vec<u8>, mark: u8, length: usize| {
        out.push(mark);
        let mut digits = [0; 20];
        let mut first = digits.len();
        let mut rest = length;
        loop {
            first -= 1;
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        out.extend_from_slice(&digits[first..]);
        out.extend_from_slice(b"\r\n");
    };
    length(out, b'*', words.len());
    for word in words {
        length(out, b'$', word.len());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// Size of the reply at the front of `input`; none if it is not whole.
pub fn reply_size_bytes(input: &[u8]) -> anyhow::Result<Option<usize>> {
    size_of_reply(input, DEPTH_MAX)
}

fn size_of_reply(input: &[u8], depth: usize) -> anyhow::Result<Option<usize>> {
    ensure!(depth > 0, "a reply is nested too deeply");
    let Some(end) = input.windows(2).position(|pair| pair == b"\r\n") else {
        return Ok(None);
    };
    let (line, after) = (&input[..end], end + 2);
    let number = || -> anyhow::Result<i64> { Ok(std::str::from_utf8(&line[1..])?.parse()?) };
    match line.first() {
        Some(b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(') => Ok(Some(after)),
        Some(b'$' | b'=' | b'!') => {
            let length = number()?;
            let whole = if length < 0 {
                after
            } else {
                after + length as usize + 2
            };
            Ok((whole <= input.len()).then_some(whole))
        }
        Some(mark @ (b'*' | b'~' | b'>' | b'%')) => {
            let items = number()?.max(0) * if *mark == b'%' { 2 } else { 1 };
            let mut position = after;
            for _ in 0..items {
                match size_of_reply(&input[position..], depth - 1)? {
                    Some(size_bytes) => position += size_bytes,
                    None => return Ok(None),
                }
            }
            Ok(Some(position))
        }
        _ => bail!("{:?} is no reply", String::from_utf8_lossy(line)),
    }
}

/// Sends commands, and returns their replies as they came.
pub fn call(stream: &mut TcpStream, commands: &[u8], count: usize) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut writer = stream.try_clone()?;
    let mut replies = Vec::with_capacity(count);
    std::thread::scope(|scope| {
        let sent = scope.spawn(move || writer.write_all(commands));
        let mut input = Vec::new();
        let mut chunk = [0; 64 * 1024];
        while replies.len() < count {
            match reply_size_bytes(&input)? {
                Some(size_bytes) => {
                    let rest = input.split_off(size_bytes);
                    replies.push(std::mem::replace(&mut input, rest));
                }
                None => match stream.read(&mut chunk)? {
                    0 => bail!("the connection was closed"),
                    received => input.extend_from_slice(&chunk[..received]),
                },
            }
        }
        match sent.join() {
            Ok(sent) => Ok(sent?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    Ok(replies)
}

/// The number that a reply consists of.
pub fn number(reply: &[u8]) -> anyhow::Result<i64> {
    let text = std::str::from_utf8(reply)?;
    let digits = match text.strip_prefix(':') {
        Some(rest) => rest.trim_end(),
        None => match text.strip_prefix('$').and_then(|rest| rest.split_once("\r\n")) {
            Some((_, digits)) => digits.trim_end(),
            None => bail!("{text:?} is no number"),
        },
    };
    Ok(digits.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        let mut out = Vec::new();
        command(&mut out, &[b"SET", b"", b"0123456789ab"]);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$12\r\n0123456789ab\r\n");
    }

    #[test]
    fn replies_are_measured_and_cut_ones_wait() {
        for whole in [
            &b"+OK\r\n"[..],
            b"-SOLDOUT available=0\r\n",
            b":12\r\n",
            b"$3\r\na\r\n\r\n",
            b"$-1\r\n",
            b"*-1\r\n",
            b"*2\r\n:1\r\n*1\r\n$1\r\nx\r\n",
            b"%1\r\n+a\r\n:1\r\n",
        ] {
            let followed = [whole, b":7\r\n"].concat();
            assert_eq!(reply_size_bytes(&followed).unwrap(), Some(whole.len()));
            for cut in 0..whole.len() {
                assert_eq!(reply_size_bytes(&whole[..cut]).unwrap(), None);
            }
        }
        assert!(reply_size_bytes(b"hello\r\n").is_err());
        assert!(reply_size_bytes(&b"*1\r\n".repeat(20)).is_err());
    }

    #[test]
    fn numbers_in_both_forms() {
        assert_eq!(number(b":-3\r\n").unwrap(), -3);
        assert_eq!(number(b"$2\r\n17\r\n").unwrap(), 17);
        assert!(number(b"$-1\r\n").is_err());
    }
}
