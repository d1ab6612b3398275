//! Hunting planted bugs: a simulator that does not find them is a defect.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Violation;
use super::many::{guarded, quietly};
use crate::log::planted::{self, Bug};

/// How the hunt for one bug ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hunt {
    /// The bug.
    pub bug: Bug,
    /// Seeds that were run.
    pub seeds: u64,
    /// What gave it away in the last of them; none if it was not found.
    pub violation: Option<Violation>,
}

/// Plants every bug, one after the other, and runs seeds from `from` on until one shows it, at most `seeds_max`.
pub fn hunt_all(from: u64, seeds_max: u64, threads: usize) -> Vec<Hunt> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    let worker = || {
        quietly(|| {
            while let Some(bug) = Bug::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                let hunt = planted::with(*bug, || hunt(*bug, from, seeds_max));
                found
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .push(hunt);
            }
        });
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.max(1) {
            scope.spawn(worker);
        }
        worker();
    });
    let mut found = found
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    found.sort_by_key(|hunt| hunt.bug as usize);
    found
}

fn hunt(bug: Bug, from: u64, seeds_max: u64) -> Hunt {
    for index in 0..seeds_max {
        if let Err(violation) = guarded(from.wrapping_add(index), false).result {
            return Hunt {
                bug,
                seeds: index + 1,
                violation: Some(violation),
            };
        }
    }
    Hunt {
        bug,
        seeds: seeds_max,
        violation: None,
    }
}
