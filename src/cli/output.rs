//! Everything that is printed: results to standard output, everything else to standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// Writes a result and a line end to standard output.
///
/// # Errors
/// Any error of standard output; see [`is_broken_pipe`].
pub fn result(text: &impl Display) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()?;
    Ok(())
}

/// Writes a result as one JSON object on one line to standard output.
///
/// # Errors
/// As [`result`].
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    result(&serde_json::to_string(value)?)
}

/// Writes a line to standard error. Nobody can be told when that fails.
pub fn status(text: &impl Display) {
    let _ = writeln!(io::stderr().lock(), "doorbuster: {text}");
}

/// Tells of a failure: what was attempted, and each cause behind it.
pub fn failure(error: &anyhow::Error) {
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "doorbuster: {error}");
    let mut said = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Transparent errors repeat what their source says.
        if !said.contains(&cause) {
            let _ = write!(stderr, ": {cause}");
        }
        said = cause;
    }
    let _ = writeln!(stderr);
}

/// One line that is redrawn on a terminal, and written anew when standard error is not one.
#[derive(Debug)]
pub struct StatusLine {
    redrawn: bool,
    drawn: bool,
}

impl StatusLine {
    /// A line on standard error.
    pub fn new() -> StatusLine {
        StatusLine {
            redrawn: io::stderr().is_terminal(),
            drawn: false,
        }
    }

    /// Whether the line is redrawn in place.
    pub fn is_redrawn(&self) -> bool {
        self.redrawn
    }

    /// Shows `text`.
    pub fn show(&mut self, text: &impl Display) {
        let mut stderr = io::stderr().lock();
        if self.redrawn {
            // Carriage return, text, clear to the end of the line.
            let _ = write!(stderr, "\r{text}\x1b[K");
            let _ = stderr.flush();
            self.drawn = true;
        } else {
            let _ = writeln!(stderr, "{text}");
        }
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        if self.drawn {
            let _ = writeln!(io::stderr().lock());
        }
    }
}

/// Whether the reader of standard output went away, which is no failure.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_broken_pipe_is_found_below_context() {
        let broken = Err::<(), _>(io::Error::from(io::ErrorKind::BrokenPipe)).context("writing");
        assert!(is_broken_pipe(&broken.unwrap_err()));
        let other = Err::<(), _>(io::Error::from(io::ErrorKind::NotFound)).context("writing");
        assert!(!is_broken_pipe(&other.unwrap_err()));
    }
}
