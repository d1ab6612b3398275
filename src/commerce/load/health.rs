//! The generator's own health: how much of a processor its thread takes.

use std::time::Duration;

/// Time that the calling thread has spent on a processor, where the system tells.
///
/// Linux: the first number of `schedstat`, in nanoseconds.
pub fn thread_busy_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    parse_schedstat(&text)
}

fn parse_schedstat(text: &str) -> Option<Duration> {
    text.split_whitespace()
        .next()?
        .parse()
        .ok()
        .map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_is_the_busy_time() {
        assert_eq!(
            parse_schedstat("1500000 20 3\n"),
            Some(Duration::from_micros(1_500))
        );
        for not in ["", "\n", "x 1 2", "-5 1 2"] {
            assert_eq!(parse_schedstat(not), None, "{not:?}");
        }
    }
}
