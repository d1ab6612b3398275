//! The two threads of a log: one drives the journal for those who cannot wait, one flushes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

use super::LogFailed;
use super::core::Core;

/// Starts the threads; they end when the core is closing or has stopped.
pub fn start(core: &Arc<Core>) -> io::Result<Vec<JoinHandle<()>>> {
    let journal = Arc::clone(core);
    let flusher = Arc::clone(core);
    Ok(vec![
        thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || drive_journal(&journal))?,
        thread::Builder::new()
            .name("flusher".to_owned())
            .spawn(move || flush(&flusher))?,
    ])
}

fn drive_journal(core: &Core) {
    loop {
        core.journal_bell.wait();
        if core.is_closing.load(Ordering::Acquire) || core.drain_journal().is_err() {
            return;
        }
    }
}

fn flush(core: &Core) {
    loop {
        core.flusher_bell.wait_at_most(core.options().flush_interval);
        if core.is_closing.load(Ordering::Acquire) || flush_once(core).is_err() {
            return;
        }
    }
}

/// The core has logged and published a failure where it happened: the thread only has to end.
fn flush_once(core: &Core) -> Result<(), LogFailed> {
    core.check_running()?;
    if core.files.wants_spare() {
        core.free_journal()?;
    }
    if core.needs_flush() {
        core.flush()?;
    } else {
        core.pool.trim();
    }
    Ok(())
}
