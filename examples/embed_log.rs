//! A durable log inside a program, and why not a file: 64 threads that each wait until their record is on
//! stable storage share the log's writes, where every record of a plain file pays for a sync of its own.
//!
//! `cargo run --release --no-default-features --example embed_log`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::io::Write;
use std::sync::Mutex;
use std::time::Instant;

use doorbuster::log::batch::{BatchBuilder, Record};
use doorbuster::log::{Log, LogOptions, Offset, Timestamp, TopicSpec};

const THREADS: usize = 64;
const RECORDS_PER_THREAD: usize = 100;
type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Appends records from all threads, each waiting for its own; returns records per second.
fn rate(append: impl Fn() -> Outcome + Sync) -> Result<f64, Box<dyn std::error::Error + Send + Sync>> {
    let (start, append) = (Instant::now(), &append);
    std::thread::scope(|scope| {
        let work = || (0..RECORDS_PER_THREAD).try_for_each(|_| append());
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Outcome>| thread.join().expect("no panic");
        threads.into_iter().try_for_each(join)
    })?;
    Ok((THREADS * RECORDS_PER_THREAD) as f64 / start.elapsed().as_secs_f64())
}

fn main() -> Outcome {
    let folder = std::path::Path::new("./embed-log-data");
    let log = Log::open(folder, LogOptions::default())?;
    let orders = log
        .topic_or_create("orders", &TopicSpec::with_partitions(1))?
        .partitions[0]
        .clone();
    let record = [b'x'; 100];
    let by_log = rate(|| {
        let mut batch = BatchBuilder::new(Timestamp::NONE);
        batch.push(&Record::of_value(Timestamp::NONE, &record))?;
        orders.append(batch.finish())?.wait()?;
        Ok(())
    })?;
    let file = Mutex::new(std::fs::File::create(folder.join("plain-file"))?);
    let by_file = rate(|| {
        let mut file = file.lock().expect("no panic");
        file.write_all(&record)?;
        Ok(file.sync_data()?)
    })?;
    println!(
        "durable 100-byte records per second from {THREADS} threads: log {by_log:.0}, file {by_file:.0}"
    );
    println!("the log is {:.1} times as fast", by_log / by_file);
    println!(
        "{} records are in the log",
        orders.reader_from(Offset::ZERO).count()
    );
    Ok(log.close()?)
}
