//! Any bytes as commands and as replies of Redis's protocol: no panic, no command longer than what arrived, and the
//! same command however the bytes are cut.

#![no_main]

use doorbuster::resp::{Arguments, REQUEST_MAX_BYTES, parse_reply, parse_request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut arguments = Arguments::default();
    let mut rest = data;
    while let Ok(Some(size_bytes)) = parse_request(rest, &mut arguments) {
        assert!(0 < size_bytes && size_bytes <= rest.len());
        let whole: Vec<Vec<u8>> = arguments.of(rest).map(<[u8]>::to_vec).collect();
        // What was enough is enough by itself, and nothing less is.
        assert_eq!(parse_request(&rest[..size_bytes], &mut arguments), Ok(Some(size_bytes)));
        assert!(arguments.of(rest).eq(whole.iter().map(Vec::as_slice)));
        assert_eq!(parse_request(&rest[..size_bytes - 1], &mut arguments), Ok(None));
        rest = &rest[size_bytes..];
    }
    if rest.len() >= REQUEST_MAX_BYTES {
        assert!(parse_request(rest, &mut arguments).is_err());
    }
    if let Ok(Some((_, size_bytes))) = parse_reply(data) {
        assert!(0 < size_bytes && size_bytes <= data.len());
        assert!(matches!(parse_reply(&data[..size_bytes]), Ok(Some((_, same))) if same == size_bytes));
    }
});
