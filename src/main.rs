//! The `doorbuster` program: see `doorbuster --help`.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
