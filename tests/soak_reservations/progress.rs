//! How far a soak is, what it found, and the note from which it goes on.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::drive::Driven;
use crate::ledger::Faults;

/// Name of the note, which is also the report.
const FILE: &str = "soak-reservations.json";

/// All generations so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    schema: String,
    pub seed: u64,
    pub generations: u64,
    /// Commands that have their outcomes.
    pub operations: u64,
    events: u64,
    kills: u64,
    /// Batches whose acknowledgement a kill cut off, and which were sent again.
    resent_batches: u64,
    /// Time in which commands were sent and outcomes read, kills and starts included.
    driven_seconds: f64,
    /// Time in which what was left on the disk was looked at.
    verified_seconds: f64,
    oversold: u64,
    lost: u64,
    double: u64,
    wrong: u64,
    unreconciled: u64,
}

impl Progress {
    /// What was noted in `folder`, if it is of the same soak and not at its end.
    pub fn load(folder: &Path, seed: u64, operations: u64) -> Progress {
        let noted = std::fs::read(folder.join(FILE)).ok();
        let noted = noted.and_then(|json| serde_json::from_slice::<Progress>(&json).ok());
        let goes_on = noted.filter(|noted| noted.seed == seed && noted.operations < operations);
        goes_on.unwrap_or_else(|| Progress {
            schema: "doorbuster.soak-reservations.v1".to_owned(),
            seed,
            ..Progress::default()
        })
    }

    /// Adds a generation whose commands are done.
    pub fn add(&mut self, commands: u64, driven: &Driven, took: Duration) {
        self.generations += 1;
        self.operations += commands;
        self.events += driven.events;
        self.kills += driven.kills;
        self.resent_batches += driven.resent;
        self.driven_seconds += took.as_secs_f64();
        self.verified_seconds -= took.as_secs_f64();
    }

    /// Adds what was found in it, `took` after it began.
    pub fn verified(&mut self, faults: &Faults, took: Duration) {
        self.verified_seconds += took.as_secs_f64();
        self.oversold += faults.oversold;
        self.lost += faults.lost;
        self.double += faults.double;
        self.wrong += faults.wrong;
        self.unreconciled += faults.unreconciled;
    }

    /// Notes it in `folder`.
    pub fn save(&self, folder: &Path) {
        let json = serde_json::to_vec_pretty(self).expect("numbers");
        // Under another name until it is whole.
        let (new, file) = (folder.join("soak-reservations.new"), folder.join(FILE));
        std::fs::write(&new, json).expect("a note");
        std::fs::rename(&new, &file).expect("a note");
    }

    /// Prints a line.
    #[expect(clippy::print_stdout, reason = "what was found is a result")]
    pub fn tell(&self, operations: u64) {
        println!(
            "{} of {operations} operations, {:.0} a second, {} events, {} kills, {} batches sent again, verified in \
             {:.0} s: oversold {}, lost {}, double {}, wrong {}, unreconciled {}",
            self.operations,
            self.operations as f64 / self.driven_seconds,
            self.events,
            self.kills,
            self.resent_batches,
            self.verified_seconds,
            self.oversold,
            self.lost,
            self.double,
            self.wrong,
            self.unreconciled
        );
    }
}
