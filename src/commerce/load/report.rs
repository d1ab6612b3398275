//! The report of a flash sale: one documented JSON object, and the same as a table for people.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::audit::Findings;
use super::latency::Percentiles;
use super::scenario::Scenario;
use super::tally::Tally;

/// Name and version of the JSON form; the number grows when a field changes its meaning or goes.
pub const SCHEMA: &str = "doorbuster.flash-sale.v1";

/// Schedule lag (p99) above which the generator, not the shop, was the bottleneck.
const SCHEDULE_LAG_MAX: Duration = Duration::from_millis(50);

/// Whether nothing was oversold, lost or done twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The log accounts for every unit and every answer.
    Correct,
    /// It does not; the counts say where.
    Incorrect,
}

/// Whether the generator kept its own schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Generator {
    /// Shoppers came when they were meant to.
    Kept,
    /// The generator fell behind: latencies include its own delay, and the rate was not offered.
    /// The counts and the verdict are as good as ever.
    Limited,
}

/// The result of one flash sale. Counts of outcomes come from the log, read again after the sale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// The version of doorbuster.
    pub version: String,
    /// Whether the log accounts for everything.
    pub verdict: Verdict,
    /// Reserve attempts that the generator sent.
    pub attempted: u64,
    /// Reservations granted.
    pub reserved: u64,
    /// Attempts that repeated a granted reservation and were told so.
    pub repeated: u64,
    /// Attempts refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Reservations paid for.
    pub committed: u64,
    /// Reservations given back.
    pub released: u64,
    /// Reservations that ended by themselves.
    pub expired: u64,
    /// Commands without an answer.
    pub unanswered: u64,
    /// Holds that should have ended and did not.
    pub stuck: u64,
    /// Units granted beyond what there was.
    pub oversold: u64,
    /// Acknowledged commands that are not in the log, and answers given that are not in the log.
    pub lost: u64,
    /// Reservations granted, paid for or given back more than once.
    pub duplicated: u64,
    /// Events that contradict the events before them in any other way.
    pub contradictions: u64,
    /// Reserve attempts decided per second while the doors were open, granted or refused.
    pub reservations_per_second: f64,
    /// Reserve attempts, from the intended start to the answer read back, in microseconds.
    pub latency_us: Percentiles,
    /// The same from the actual start.
    pub service_time_us: Percentiles,
    /// From the intended to the actual start of a command: the generator's own health.
    pub schedule_lag_us: Percentiles,
    /// Whether the generator kept its schedule.
    pub generator: Generator,
    /// Share of one processor that the generator took while the doors were open, where the system tells.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub generator_processor_share: Option<f64>,
    /// The seed.
    pub seed: u64,
    /// Shoppers that came.
    pub shoppers: u32,
    /// Units of each article.
    pub units: u32,
    /// Shoppers per second asked for.
    pub shoppers_per_second: f64,
    /// Time from the opening of the doors to the last answer, in seconds.
    pub open_seconds: f64,
    /// How long holds last, in milliseconds.
    pub hold_ms: u64,
    /// Processors of this machine.
    pub processors: usize,
    /// How the broker made writes durable, when it ran inside this process.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub write_path: Option<String>,
}

impl Report {
    /// Puts the report together.
    pub fn new(
        scenario: &Scenario,
        tally: &Tally,
        findings: &Findings,
        write_path: Option<String>,
    ) -> Report {
        let open_seconds = tally.last_answer_at.as_secs_f64();
        let lag = tally.schedule_lag.percentiles();
        let limited = Duration::from_micros(lag.p99) > SCHEDULE_LAG_MAX;
        Report {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            verdict: verdict(findings),
            attempted: tally.attempted,
            reserved: findings.reserved,
            repeated: findings.repeated,
            refused: findings
                .refused
                .iter()
                .map(|(kind, count)| (kind.name().to_owned(), *count))
                .collect(),
            committed: findings.committed,
            released: findings.released,
            expired: findings.expired,
            unanswered: findings.unanswered,
            stuck: findings.stuck,
            oversold: findings.oversold,
            lost: findings.lost,
            duplicated: findings.duplicated,
            contradictions: findings.contradictions,
            reservations_per_second: if open_seconds > 0.0 {
                tally.answered as f64 / open_seconds
            } else {
                0.0
            },
            latency_us: tally.latency.percentiles(),
            service_time_us: tally.service_time.percentiles(),
            schedule_lag_us: lag,
            generator: if limited {
                Generator::Limited
            } else {
                Generator::Kept
            },
            generator_processor_share: tally.processor_share,
            seed: scenario.seed,
            shoppers: scenario.shoppers,
            units: scenario.units,
            shoppers_per_second: scenario.rate_per_second,
            open_seconds,
            hold_ms: scenario.hold_time.as_millis() as u64,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            write_path,
        }
    }
}

fn verdict(findings: &Findings) -> Verdict {
    let wrong = [
        findings.oversold,
        findings.lost,
        findings.duplicated,
        findings.contradictions,
        findings.unanswered,
        findings.stuck,
    ];
    if wrong.iter().all(|count| *count == 0) {
        Verdict::Correct
    } else {
        Verdict::Incorrect
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused: u64 = self.refused.values().sum();
        writeln!(f, "flash sale, seed {}", self.seed)?;
        writeln!(
            f,
            "  shoppers       {:>12}   {:.0} per second",
            self.shoppers, self.shoppers_per_second
        )?;
        writeln!(f, "  attempted      {:>12}", self.attempted)?;
        writeln!(
            f,
            "  reserved       {:>12}   {} of each article",
            self.reserved, self.units
        )?;
        writeln!(f, "    committed    {:>12}", self.committed)?;
        writeln!(f, "    released     {:>12}", self.released)?;
        writeln!(
            f,
            "    expired      {:>12}   after {:.1} s",
            self.expired,
            self.hold_ms as f64 / 1e3
        )?;
        writeln!(f, "  repeated       {:>12}", self.repeated)?;
        writeln!(f, "  refused        {refused:>12}")?;
        for (reason, count) in &self.refused {
            writeln!(f, "    {:<12} {count:>12}", reason.replace('_', " "))?;
        }
        writeln!(
            f,
            "  per second     {:>12.0}   over {:.1} s",
            self.reservations_per_second, self.open_seconds
        )?;
        write_latency(f, "latency", &self.latency_us)?;
        write_latency(f, "service time", &self.service_time_us)?;
        if self.generator == Generator::Limited {
            let lag = Milliseconds(self.schedule_lag_us.p99);
            writeln!(
                f,
                "  INVALID AS A MEASUREMENT: the generator ran behind its schedule (p99 {lag}); the verdict holds"
            )?;
        }
        if let Some(write_path) = &self.write_path {
            writeln!(f, "  written by     {write_path}")?;
        }
        let checks = [
            ("oversold", self.oversold),
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("unanswered", self.unanswered),
            ("stuck", self.stuck),
            ("contradictions", self.contradictions),
        ];
        let checks: Vec<String> = checks
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        writeln!(f, "  {}", checks.join(", "))?;
        f.write_str(match self.verdict {
            Verdict::Correct => "verdict: correct",
            Verdict::Incorrect => "verdict: INCORRECT",
        })
    }
}

fn write_latency(f: &mut fmt::Formatter<'_>, name: &str, latency: &Percentiles) -> fmt::Result {
    writeln!(
        f,
        "  {name:<12}   p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
        Milliseconds(latency.p50),
        Milliseconds(latency.p90),
        Milliseconds(latency.p99),
        Milliseconds(latency.p99_9),
        Milliseconds(latency.max),
    )
}

/// Microseconds, shown as milliseconds.
struct Milliseconds(u64);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0 as f64 / 1e3;
        if self.0 < 10_000 {
            write!(f, "{milliseconds:.2} ms")
        } else {
            write!(f, "{milliseconds:.0} ms")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commerce::load::answer::AnswerKind;

    fn scenario() -> Scenario {
        Scenario {
            seed: 7,
            shoppers: 100,
            units: 10,
            rate_per_second: 50.0,
            hold_time: Duration::from_millis(1_500),
            connections: 2,
        }
    }

    fn findings() -> Findings {
        Findings {
            reserved: 30,
            repeated: 4,
            refused: BTreeMap::from([(AnswerKind::SoldOut, 60), (AnswerKind::CustomerLimit, 6)]),
            committed: 20,
            released: 3,
            expired: 7,
            ..Findings::default()
        }
    }

    fn tally() -> Tally {
        let mut tally = Tally::default();
        tally.attempted = 100;
        for _ in 0..100 {
            tally.answered(Duration::ZERO, Duration::from_millis(1), Duration::from_secs(2));
        }
        tally
    }

    #[test]
    fn json_has_the_documented_fields() {
        let report = Report::new(&scenario(), &tally(), &findings(), None);
        let json = serde_json::to_value(&report).unwrap();
        let expected = [
            ("schema", serde_json::json!("doorbuster.flash-sale.v1")),
            ("verdict", serde_json::json!("correct")),
            ("attempted", serde_json::json!(100)),
            ("reserved", serde_json::json!(30)),
            ("repeated", serde_json::json!(4)),
            (
                "refused",
                serde_json::json!({"sold_out": 60, "customer_limit": 6}),
            ),
            ("committed", serde_json::json!(20)),
            ("released", serde_json::json!(3)),
            ("expired", serde_json::json!(7)),
            ("oversold", serde_json::json!(0)),
            ("lost", serde_json::json!(0)),
            ("duplicated", serde_json::json!(0)),
            ("reservations_per_second", serde_json::json!(50.0)),
            ("seed", serde_json::json!(7)),
            ("generator", serde_json::json!("kept")),
        ];
        for (field, value) in expected {
            assert_eq!(json[field], value, "{field}");
        }
        let latency: Vec<&String> = json["latency_us"].as_object().unwrap().keys().collect();
        assert_eq!(latency.len(), 5);
        for name in ["p50", "p90", "p99", "p99_9", "max"] {
            assert!(json["latency_us"][name].is_u64(), "{name}");
        }
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    }

    #[test]
    fn any_fault_makes_the_verdict_incorrect() {
        let faults: [fn(&mut Findings); 6] = [
            |found| found.oversold = 1,
            |found| found.lost = 1,
            |found| found.duplicated = 1,
            |found| found.contradictions = 1,
            |found| found.unanswered = 1,
            |found| found.stuck = 1,
        ];
        assert_eq!(verdict(&findings()), Verdict::Correct);
        for (number, fault) in faults.iter().enumerate() {
            let mut found = findings();
            fault(&mut found);
            assert_eq!(verdict(&found), Verdict::Incorrect, "fault {number}");
        }
    }

    #[test]
    fn a_generator_that_fell_behind_says_so() {
        let mut tally = tally();
        tally.schedule_lag.record(SCHEDULE_LAG_MAX * 2);
        let report = Report::new(&scenario(), &tally, &findings(), None);
        assert_eq!(report.generator, Generator::Limited);
        assert!(report.to_string().contains("INVALID AS A MEASUREMENT"));
        assert_eq!(report.verdict, Verdict::Correct);
    }

    #[test]
    fn the_table_ends_with_the_verdict() {
        let text = Report::new(&scenario(), &tally(), &findings(), None).to_string();
        assert_eq!(text.lines().last(), Some("verdict: correct"));
        let wrong = Findings {
            oversold: 2,
            ..findings()
        };
        let text = Report::new(&scenario(), &tally(), &wrong, None).to_string();
        assert_eq!(text.lines().last(), Some("verdict: INCORRECT"));
        assert!(text.contains("oversold 2, lost 0"), "{text}");
    }
}
