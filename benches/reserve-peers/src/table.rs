//! The report as markdown.

use std::fmt;

use crate::cli_bench::samples::Samples;
use crate::report::{Report, Row};
use crate::work::Workload;

/// A report that is written out as markdown.
#[derive(Debug)]
pub struct Table<'a>(pub &'a Report);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        writeln!(f, "# Reservations beside Redis and PostgreSQL\n")?;
        writeln!(
            f,
            "One unit, idempotent by order id. {} cores, which client and server share; {} s a cell; median of {} \
             run{} (lowest to highest). Rows in italics are not durable when they answer. Multiples of Redis are \
             within a run.\n",
            report.cores,
            report.seconds,
            report.runs,
            if report.runs == 1 { "" } else { "s" }
        )?;
        for version in &report.versions {
            writeln!(f, "- {version}")?;
        }
        let machine = &report.machine;
        writeln!(
            f,
            "\nThe machine: 64 bytes over loopback and back, blocking, p50 {} us; durable 4 KiB write, p50 {} us, p99 \
             {} us.",
            spread(&machine.round_trip_p50_us),
            spread(&machine.durable_write_p50_us),
            spread(&machine.durable_write_p99_us)
        )?;
        self.bars(f)?;
        for workload in [Workload::Hot, Workload::Zipf] {
            self.rows(f, workload)?;
        }
        self.holds(f)?;
        self.benchmarks(f)
    }
}

impl Table<'_> {
    fn bars(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.bars.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n| bar | asked | found | |\n|---|---|---|---|")?;
        for bar in &self.0.bars {
            let met = if bar.met { "met" } else { "**missed**" };
            writeln!(
                f,
                "| {} | {} | {} | {met} |",
                bar.measure,
                bar.bar,
                spread(&bar.found)
            )?;
        }
        Ok(())
    }

    fn rows(&self, f: &mut fmt::Formatter<'_>, workload: Workload) -> fmt::Result {
        let mut rows: Vec<&Row> = self
            .0
            .rows
            .iter()
            .filter(|row| row.workload == workload)
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        rows.sort_by_key(|row| (row.at_rate.is_some(), row.batch, row.in_flight));
        let title = match workload {
            Workload::Zipf => "10,000 articles, Zipf 1.0",
            _ => "One hot article",
        };
        writeln!(f, "\n## {title}\n")?;
        writeln!(
            f,
            "| batch x in flight | peer | a second | x Redis always | p50 us | p99 | p99.9 | p99.99 | CPU s a million, \
             client + server | bytes written each |\n|---|---|---|---|---|---|---|---|---|---|"
        )?;
        for row in rows {
            let shape = match &row.at_rate {
                Some(rate) => format!("1, begun at {:.0} a second", rate.median),
                None => format!(
                    "{} x {}",
                    thousands(row.batch as f64),
                    thousands(row.in_flight as f64)
                ),
            };
            let peer = if row.durable {
                row.peer.to_string()
            } else {
                format!("*{}*", row.peer)
            };
            let client = row
                .client_cpu_seconds_per_million
                .as_ref()
                .map(|client| format!("{:.2} + ", client.median));
            writeln!(
                f,
                "| {shape} | {peer} | {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {}{:.2} | {} |",
                spread(&row.per_second),
                row.times_redis_always.as_ref().map(spread).unwrap_or_default(),
                row.p50_us.median,
                row.p99_us.median,
                row.p99_9_us.median,
                row.p99_99_us.median,
                client.unwrap_or_default(),
                row.server_cpu_seconds_per_million.median,
                row.written_bytes_per_reservation
                    .as_ref()
                    .map(spread)
                    .unwrap_or_default(),
            )?;
        }
        Ok(())
    }

    fn holds(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.holds.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n## Live holds\n")?;
        writeln!(
            f,
            "| peer | live holds | bytes of memory each, buffers included |\n|---|---|---|"
        )?;
        for holds in &self.0.holds {
            let (live, bytes) = (thousands(holds.holds as f64), thousands(holds.memory_bytes));
            writeln!(f, "| {} | {live} | {bytes} |", holds.peer)?;
        }
        Ok(())
    }

    fn benchmarks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.redis_benchmark.is_empty() {
            return Ok(());
        }
        writeln!(f, "\n## redis-benchmark, unmodified\n")?;
        writeln!(
            f,
            "| arguments | at | a second | p50 us | p99 us |\n|---|---|---|---|---|"
        )?;
        for benchmark in &self.0.redis_benchmark {
            let (p50, p99) = (benchmark.p50_us, benchmark.p99_us);
            let rate = thousands(benchmark.per_second);
            writeln!(
                f,
                "| {} | {} | {rate} | {p50:.0} | {p99:.0} |",
                benchmark.arguments, benchmark.peer
            )?;
        }
        Ok(())
    }
}

/// Median and spread, with as many digits as say something.
fn spread(samples: &Samples) -> String {
    let figure = |figure: f64| {
        if samples.median < 10.0 {
            format!("{figure:.2}")
        } else {
            thousands(figure)
        }
    };
    let (median, lowest, highest) = (
        figure(samples.median),
        figure(samples.lowest),
        figure(samples.highest),
    );
    if lowest == highest {
        median
    } else {
        format!("{median} ({lowest} to {highest})")
    }
}

/// A whole number with its thousands apart.
fn thousands(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        assert_eq!(thousands(0.4), "0");
        assert_eq!(thousands(999.6), "1,000");
        assert_eq!(thousands(1_234_567.0), "1,234,567");
        assert_eq!(spread(&Samples::of([1.0, 2.0, 3.0])), "2.00 (1.00 to 3.00)");
        assert_eq!(spread(&Samples::of([12_000.0])), "12,000");
    }
}
