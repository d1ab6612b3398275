//! Counts and latencies of a run, as the generator saw them.

use std::time::Duration;

use super::latency::Latencies;
use super::progress::{Phase, Progress};

/// Running numbers of one run.
#[derive(Debug, Default)]
pub struct Tally {
    /// Reserve attempts sent.
    pub attempted: u64,
    /// Reserve attempts answered for good.
    pub answered: u64,
    /// From the intended start to the answer, reserve attempts.
    pub latency: Latencies,
    /// From the actual start to the answer, reserve attempts.
    pub service_time: Latencies,
    /// From the intended to the actual start, all commands: the generator's own health.
    pub schedule_lag: Latencies,
    /// When the last reserve attempt was answered, from the opening of the doors.
    pub last_answer_at: Duration,
    /// When the last shopper came.
    pub last_arrival_at: Duration,
    /// Share of one processor that the generator's thread took while the doors were open.
    pub processor_share: Option<f64>,
    /// Units of the doorbuster that are held or paid for.
    pub doorbuster_taken: i64,
    recent: Latencies,
    reported_at: Duration,
    reported_answers: u64,
}

impl Tally {
    /// A reserve attempt was answered at `at`.
    pub fn answered(&mut self, intended: Duration, sent: Duration, at: Duration) {
        self.answered += 1;
        self.last_answer_at = self.last_answer_at.max(at);
        self.latency.record(at.saturating_sub(intended));
        self.recent.record(at.saturating_sub(intended));
        self.service_time.record(at.saturating_sub(sent));
    }

    /// The state for the live view; rates count from the last call.
    pub fn progress(&mut self, phase: Phase, elapsed: Duration, units: u32, live_holds: usize) -> Progress {
        let seconds = elapsed.saturating_sub(self.reported_at).as_secs_f64();
        let fresh = self.answered - self.reported_answers;
        let progress = Progress {
            phase,
            elapsed,
            attempted: self.attempted,
            answered: self.answered,
            answers_per_second: if seconds > 0.0 {
                fresh as f64 / seconds
            } else {
                0.0
            },
            latency_us: self.recent.percentiles(),
            doorbuster_left: i64::from(units) - self.doorbuster_taken,
            live_holds,
        };
        self.recent.clear();
        self.reported_at = elapsed;
        self.reported_answers = self.answered;
        progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_count_from_the_last_report_and_latency_from_the_intention() {
        let mut tally = Tally::default();
        let ms = Duration::from_millis;
        tally.answered(ms(100), ms(110), ms(130));
        tally.answered(ms(100), ms(110), ms(120));
        let first = tally.progress(Phase::Open, ms(500), 10, 1);
        assert_eq!((first.answered, first.answers_per_second), (2, 4.0));
        assert_eq!(first.latency_us.max / 100, 300);
        let second = tally.progress(Phase::Open, ms(1_000), 10, 1);
        assert_eq!(
            (second.answered, second.answers_per_second, second.latency_us.max),
            (2, 0.0, 0)
        );
        assert_eq!(tally.service_time.percentiles().max / 100, 200);
        assert_eq!(tally.last_answer_at, ms(130));
    }
}
