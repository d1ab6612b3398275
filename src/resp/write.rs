//! The encodings of RESP, appended to a buffer.

/// The end of every line.
const END: &[u8] = b"\r\n";

/// A status such as `+OK`, which must not contain CR or LF.
pub fn status(buffer: &mut Vec<u8>, text: &str) {
    line(buffer, b'+', text);
}

/// An error: a code in capitals, and what else there is to say. Must not contain CR or LF.
pub fn error(buffer: &mut Vec<u8>, text: &str) {
    line(buffer, b'-', text);
}

/// A number.
pub fn integer(buffer: &mut Vec<u8>, number: i64) {
    buffer.push(b':');
    decimal(buffer, number);
    buffer.extend_from_slice(END);
}

/// A string of any bytes.
pub fn bulk(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.push(b'$');
    decimal(buffer, bytes.len() as i64);
    buffer.extend_from_slice(END);
    buffer.extend_from_slice(bytes);
    buffer.extend_from_slice(END);
}

/// The head of an array of `count` elements, which must follow.
pub fn array(buffer: &mut Vec<u8>, count: usize) {
    head(buffer, b'*', count);
}

/// The head of a map of `count` pairs, which must follow: an array of twice as many elements where the client does
/// not speak RESP3.
pub fn map(buffer: &mut Vec<u8>, is_resp3: bool, count: usize) {
    if is_resp3 {
        head(buffer, b'%', count);
    } else {
        head(buffer, b'*', 2 * count);
    }
}

/// The absence of a value.
pub fn null(buffer: &mut Vec<u8>, is_resp3: bool) {
    buffer.extend_from_slice(if is_resp3 { b"_\r\n" } else { b"$-1\r\n" });
}

fn line(buffer: &mut Vec<u8>, kind: u8, text: &str) {
    debug_assert!(!text.contains(['\r', '\n']), "a line is one line: {text:?}");
    buffer.push(kind);
    buffer.extend_from_slice(text.as_bytes());
    buffer.extend_from_slice(END);
}

fn head(buffer: &mut Vec<u8>, kind: u8, count: usize) {
    buffer.push(kind);
    decimal(buffer, count as i64);
    buffer.extend_from_slice(END);
}

fn decimal(buffer: &mut Vec<u8>, number: i64) {
    // The digits of an `i64` and a sign.
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut left = number.unsigned_abs();
    loop {
        start -= 1;
        digits[start] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if number < 0 {
        start -= 1;
        digits[start] = b'-';
    }
    buffer.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding() {
        let mut buffer = Vec::new();
        status(&mut buffer, "OK");
        error(&mut buffer, "ERR no");
        for number in [0, -7, i64::MAX, i64::MIN] {
            integer(&mut buffer, number);
        }
        bulk(&mut buffer, b"a\r\nb");
        array(&mut buffer, 2);
        map(&mut buffer, false, 3);
        map(&mut buffer, true, 3);
        null(&mut buffer, false);
        null(&mut buffer, true);
        let expected = "+OK\r\n-ERR no\r\n:0\r\n:-7\r\n:9223372036854775807\r\n:-9223372036854775808\r\n\
                        $4\r\na\r\nb\r\n*2\r\n*6\r\n%3\r\n$-1\r\n_\r\n";
        assert_eq!(String::from_utf8(buffer).unwrap(), expected);
    }
}
