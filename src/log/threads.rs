//! The three threads of a log: one drives the journal for those who cannot wait, one flushes, one cleans.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::LogFailed;
use super::core::Core;

/// How long the journal is left without a word that its last groups are durable. 100 ms: an idle log looks ten
/// times a second, which is not to be seen in its CPU time.
const CLAIM_INTERVAL: Duration = Duration::from_millis(100);

/// Starts the threads; they end when the core is closing or has stopped.
pub fn start(core: &Arc<Core>) -> io::Result<Vec<JoinHandle<()>>> {
    let journal = Arc::clone(core);
    let flusher = Arc::clone(core);
    let cleaner = Arc::clone(core);
    Ok(vec![
        thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || drive_journal(&journal))?,
        thread::Builder::new()
            .name("flusher".to_owned())
            .spawn(move || flush(&flusher))?,
        thread::Builder::new()
            .name("cleaner".to_owned())
            .spawn(move || clean(&cleaner))?,
    ])
}

fn drive_journal(core: &Core) {
    loop {
        // Appends that drive the journal themselves do not ring: the next look finds what they left.
        let rang = core.journal_bell.wait_at_most(CLAIM_INTERVAL);
        if core.is_closing.load(Ordering::Acquire) {
            return;
        }
        let driven = if rang {
            core.drain_journal()
        } else {
            core.claim_if_idle()
        };
        if driven.is_err() {
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

/// A whole pass comes once in an interval; in between the bell tells of segments whose records were deleted.
fn clean(core: &Core) {
    let interval = core.options().cleaner_interval;
    let clock = &core.environment.clock;
    let mut due = clock.monotonic() + interval;
    loop {
        let left = due.saturating_sub(clock.monotonic());
        core.cleaner_bell.wait_at_most(left);
        if core.is_closing.load(Ordering::Acquire) {
            return;
        }
        if clock.monotonic() < due {
            core.remove_deleted();
            continue;
        }
        if core.clean().is_err() {
            return;
        }
        due = clock.monotonic() + interval;
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
        core.lock_flusher().drop_retained();
        core.pool.trim();
        core.seal_one();
    }
    Ok(())
}
