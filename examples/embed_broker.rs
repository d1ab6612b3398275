//! A Kafka broker inside a program, beside direct access to the same log.
//!
//! `cargo run --release --example embed_broker`, then in another shell
//! `echo hello | kcat -b 127.0.0.1:9092 -t greetings -P`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use doorbuster::broker::{Broker, BrokerConfig};
use doorbuster::log::{Log, LogOptions};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let log = Log::open("./embed-broker-data", LogOptions::default())?;
    let broker = Broker::bind(log.clone(), BrokerConfig::default()).await?;
    println!(
        "a Kafka broker listens on {}, stop it with Ctrl-C",
        broker.local_addr()
    );

    let stop = CancellationToken::new();
    let serving = tokio::spawn(broker.run(stop.clone()));
    tokio::signal::ctrl_c().await?;
    stop.cancel();
    serving.await??;

    for topic in log.topics() {
        let records: u64 = topic
            .partitions
            .iter()
            .map(|partition| partition.high_watermark().0)
            .sum();
        println!("{}: {records} records", topic.name);
    }
    log.close()?;
    Ok(())
}
