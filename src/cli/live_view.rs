//! The live view of a flash sale: one line with rate, latency and stock left.

use std::fmt;
use std::time::Duration;

use doorbuster::commerce::load::progress::Progress;

use super::output::StatusLine;

/// Time between two lines when they are not redrawn in place.
const PLAIN_INTERVAL: Duration = Duration::from_secs(1);

/// Shows progress on standard error.
#[derive(Debug)]
pub struct LiveView {
    line: StatusLine,
    /// Work of reports that were not shown: attempts answered since the last line.
    shown_answers: u64,
    shown_at: Duration,
}

struct Line<'a> {
    progress: &'a Progress,
    answers_per_second: f64,
}

impl LiveView {
    /// A view on which nothing is shown yet.
    pub fn new() -> LiveView {
        LiveView {
            line: StatusLine::new(),
            shown_answers: 0,
            shown_at: Duration::ZERO,
        }
    }

    /// Shows a moment of the run, if it is time to.
    pub fn show(&mut self, progress: &Progress) {
        let passed = progress.elapsed.saturating_sub(self.shown_at);
        if !self.line.is_redrawn() && passed < PLAIN_INTERVAL {
            return;
        }
        let fresh = progress.answered.saturating_sub(self.shown_answers);
        let answers_per_second = fresh as f64 / passed.as_secs_f64().max(f64::EPSILON);
        self.line.show(&Line {
            progress,
            answers_per_second,
        });
        self.shown_answers = progress.answered;
        self.shown_at = progress.elapsed;
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let progress = self.progress;
        write!(
            f,
            "{:>5.1} s  {:<9} {:>7.0}/s  p99 {:>8.2} ms  doorbusters left {:>6}  live holds {:>6}  answered {:>8}",
            progress.elapsed.as_secs_f64(),
            progress.phase.name(),
            self.answers_per_second,
            progress.latency_us.p99 as f64 / 1e3,
            progress.doorbuster_left,
            progress.live_holds,
            progress.answered,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbuster::commerce::load::latency::Percentiles;
    use doorbuster::commerce::load::progress::Phase;

    #[test]
    fn the_line_shows_rate_latency_and_stock() {
        let progress = Progress {
            phase: Phase::Open,
            elapsed: Duration::from_millis(2_500),
            attempted: 20,
            answered: 18,
            answers_per_second: 9.0,
            latency_us: Percentiles {
                p99: 3_210,
                ..Percentiles::default()
            },
            doorbuster_left: 12,
            live_holds: 3,
        };
        let line = Line {
            progress: &progress,
            answers_per_second: 7.0,
        }
        .to_string();
        assert_eq!(
            line,
            "  2.5 s  open            7/s  p99     3.21 ms  doorbusters left     12  live holds      3  answered       18"
        );
    }
}
