//! What was counted while a cell ran.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::process::Usage;

/// Longest call that is told apart. 1 minute, in nanoseconds.
const CALL_MAX_NANOSECONDS: u64 = 60_000_000_000;

/// How one reservation was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The unit is held.
    Granted,
    /// The same reservation was granted before.
    Exists,
    /// There was no unit, now or when the reservation was first sent.
    SoldOut,
}

/// Counts of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// Units that were granted.
    pub granted: u64,
    /// Reservations that were there before.
    pub existed: u64,
    /// Reservations that were refused for want of stock.
    pub sold_out: u64,
}

impl Answers {
    /// Counts one more.
    pub fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Granted => self.granted += 1,
            Verdict::Exists => self.existed += 1,
            Verdict::SoldOut => self.sold_out += 1,
        }
    }
}

/// Percentiles of one call, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub p50_us: f64,
    pub p99_us: f64,
    pub p99_9_us: f64,
    pub p99_99_us: f64,
    pub max_us: f64,
}

/// What a cell came to, as the generator saw it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Reservations answered in the measured time.
    pub reservations: u64,
    /// The measured time.
    pub seconds: f64,
    /// One call, in the measured time.
    pub latency: Latency,
    /// Calls in the measured time.
    pub calls: u64,
    /// Seconds on a processor of the generator, in the measured time; none where it is the server.
    pub client_cpu_seconds: Option<f64>,
    /// Seconds on a processor of the server, in the measured time.
    pub server_cpu_seconds: f64,
    /// All answers, also those that came before and after the measured time.
    pub answers: Answers,
}

/// The count in progress: everything is answered, but only the time between the marks is measured.
pub struct Meter<'a> {
    usage: &'a dyn Fn() -> anyhow::Result<Usage>,
    begins: Instant,
    ends: Instant,
    latencies: Histogram<u64>,
    reservations: u64,
    answers: Answers,
    first: Option<(Instant, Usage)>,
    last: Option<(Instant, Usage)>,
}

impl<'a> Meter<'a> {
    /// A meter that measures from `warm_up` on, for `measured`; `usage` reads what processes used.
    pub fn new(
        warm_up: Duration,
        measured: Duration,
        usage: &'a dyn Fn() -> anyhow::Result<Usage>,
    ) -> anyhow::Result<Meter<'a>> {
        let begins = Instant::now() + warm_up;
        Ok(Meter {
            usage,
            begins,
            ends: begins + measured,
            latencies: Histogram::new_with_bounds(1, CALL_MAX_NANOSECONDS, 3)?,
            reservations: 0,
            answers: Answers::default(),
            first: None,
            last: None,
        })
    }

    /// Whether calls are still begun. Must be asked often: it is here that the marks are set.
    pub fn goes_on(&mut self, now: Instant) -> anyhow::Result<bool> {
        if self.first.is_none() && now >= self.begins {
            self.first = Some((now, (self.usage)()?));
        }
        if now < self.ends {
            return Ok(true);
        }
        self.finish(now)?;
        Ok(false)
    }

    /// Sets the end mark, if it is not set.
    pub fn finish(&mut self, now: Instant) -> anyhow::Result<()> {
        if self.last.is_none() {
            self.last = Some((now, (self.usage)()?));
        }
        Ok(())
    }

    /// Counts an answer.
    pub fn answer(&mut self, verdict: Verdict) {
        self.answers.add(verdict);
        self.reservations += u64::from(self.is_measuring());
    }

    /// Counts the end of a call that was begun, or meant to begin, at `begun`.
    pub fn call(&mut self, begun: Instant, now: Instant) {
        if self.is_measuring() {
            self.latencies
                .saturating_record(now.saturating_duration_since(begun).as_nanos() as u64);
        }
    }

    fn is_measuring(&self) -> bool {
        self.first.is_some() && self.last.is_none()
    }

    /// The result, once everything is answered.
    pub fn result(mut self) -> anyhow::Result<Measured> {
        let now = Instant::now();
        self.finish(now)?;
        let (last_at, last) = self.last.unwrap_or((now, Usage::default()));
        let (first_at, first) = self.first.unwrap_or((last_at, last));
        let microseconds = |quantile: f64| self.latencies.value_at_quantile(quantile) as f64 / 1e3;
        Ok(Measured {
            reservations: self.reservations,
            seconds: last_at.saturating_duration_since(first_at).as_secs_f64(),
            latency: Latency {
                p50_us: microseconds(0.5),
                p99_us: microseconds(0.99),
                p99_9_us: microseconds(0.999),
                p99_99_us: microseconds(0.999_9),
                max_us: self.latencies.max() as f64 / 1e3,
            },
            calls: self.latencies.len(),
            client_cpu_seconds: last
                .client_cpu_seconds
                .zip(first.client_cpu_seconds)
                .map(|(b, a)| b - a),
            server_cpu_seconds: last.server_cpu_seconds - first.server_cpu_seconds,
            answers: self.answers,
        })
    }
}
