//! Reservations of one unit, embedded: decided in memory, and durable in a log.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use doorbuster::commerce::inventory::{Command, Inventory, InventoryOptions, Line, Outcome, State, decide};
use doorbuster::log::{Log, LogOptions};
use uuid::Uuid;

/// Articles of the wide case.
const ARTICLES: u64 = 10_000;

/// A sequence of fresh reservation commands; seeded, so that every run asks the same.
struct Shoppers {
    asked: u64,
    articles: u64,
}

impl Shoppers {
    fn next(&mut self) -> Command {
        self.asked += 1;
        // The multiplier spreads ids as random ones are spread: 2⁶⁴ divided by the golden ratio.
        let spread = self.asked.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let id = Uuid::from_u64_pair(self.asked, spread);
        Command::reserve(
            id,
            format!("customer-{}", spread >> 40),
            vec![Line::new(sku((spread >> 20) % self.articles), 1)],
            600_000,
        )
    }

    fn batch(&mut self, count: usize) -> Vec<Command> {
        (0..count).map(|_| self.next()).collect()
    }
}

fn sku(n: u64) -> String {
    format!("sku-{n:06}")
}

fn stock(articles: u64) -> impl Iterator<Item = Command> {
    (0..articles).map(|n| Command::receive(Uuid::from_u64_pair(u64::MAX, n), sku(n), u32::MAX))
}

/// Decide and fold, without encoding and log.
fn in_memory(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide_and_apply");
    group.throughput(Throughput::Elements(1));
    group
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    for articles in [1, ARTICLES] {
        group.bench_function(BenchmarkId::new("articles", articles), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut state = State::default();
                for command in stock(articles) {
                    let event = decide(&state, command, 1_000);
                    state.apply(&event).expect("a decision fits its state");
                }
                let mut shoppers = Shoppers { asked: 0, articles };
                let commands = shoppers.batch(iterations as usize);
                let started = Instant::now();
                for command in commands {
                    let event = decide(&state, command, 1_000);
                    state.apply(&event).expect("a decision fits its state");
                    black_box(&event);
                }
                started.elapsed()
            });
        });
    }
    group.finish();
}

/// Durable before the answer, several callers with a batch each.
fn durable(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("durable");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    for (articles, callers, batch) in [
        (1, 1, 1),
        (1, 16, 1),
        (1, 1, 1_000),
        (1, 4, 1_000),
        (1, 2, 8_000),
        (ARTICLES, 2, 8_000),
    ] {
        group.throughput(Throughput::Elements(batch as u64));
        let id = format!("articles={articles}/callers={callers}/batch={batch}");
        group.bench_function(id, |bencher| {
            bencher.iter_custom(|iterations| durable_run(articles, callers, batch, iterations));
        });
    }
    group.finish();
}

/// The time that `callers` threads together need for `iterations` batches.
fn durable_run(articles: u64, callers: u64, batch: usize, iterations: u64) -> Duration {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on the disk to measure");
    let log = Log::open(folder.path(), LogOptions::default()).expect("a fresh log opens");
    let inventory = Inventory::open(&log, InventoryOptions::default()).expect("a fresh shard opens");
    inventory
        .submit_batch(stock(articles).collect())
        .expect("stock is received");
    let mut work: Vec<Vec<Vec<Command>>> = Vec::new();
    for caller in 0..callers {
        let mut shoppers = Shoppers {
            asked: caller << 40,
            articles,
        };
        let share = iterations / callers + u64::from(caller < iterations % callers);
        work.push((0..share).map(|_| shoppers.batch(batch)).collect());
    }
    let started = Instant::now();
    std::thread::scope(|scope| {
        for batches in work {
            let inventory = &inventory;
            scope.spawn(move || {
                for commands in batches {
                    let outcomes = inventory.submit_batch(commands).expect("the shard runs");
                    assert!(
                        matches!(outcomes[0], Outcome::Reserved { .. }),
                        "{:?}",
                        outcomes[0]
                    );
                }
            });
        }
    });
    let elapsed = started.elapsed();
    inventory.close();
    log.close().expect("the log closes");
    elapsed
}

criterion_group!(benches, in_memory, durable);
criterion_main!(benches);
