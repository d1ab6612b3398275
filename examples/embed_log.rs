//! A durable log inside a program: append, wait until it is on stable storage, read it back.
//!
//! `cargo run --release --no-default-features --example embed_log`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use doorbuster::log::batch::{self, BatchBuilder, Record};
use doorbuster::log::{Log, LogOptions, Offset, Timestamp, TopicSpec};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let log = Log::open("./embed-log-data", LogOptions::default())?;
    let topic = match log.topic("orders") {
        Some(topic) => topic,
        None => log.create_topic(
            "orders",
            &TopicSpec {
                partitions: 1,
                ..TopicSpec::default()
            },
        )?,
    };
    let orders = &topic.partitions[0];

    let now = Timestamp(1_700_000_000_000);
    let mut builder = BatchBuilder::new(now);
    for value in ["one book", "two lamps"] {
        let record = Record {
            timestamp: now,
            key: Some(b"customer-7"),
            value: Some(value.as_bytes()),
            headers: &[],
        };
        builder.push(&record)?;
    }
    let offset = orders.append(builder.finish())?.wait()?;
    println!(
        "durable at offset {offset}, written by {}",
        log.status().write_path
    );

    let mut next = Offset::ZERO;
    while next < orders.high_watermark() {
        for slice in orders.read(next, 1024 * 1024)? {
            for found in batch::batches(&slice) {
                let (header, bytes) = found?;
                for record in batch::records(&bytes)? {
                    let record = record?;
                    println!(
                        "{} {}",
                        record.offset,
                        String::from_utf8_lossy(record.value.unwrap_or_default())
                    );
                }
                next = header.next_offset();
            }
        }
    }
    log.close()?;
    Ok(())
}
