//! The `doorbuster` command.
fn main() {}
