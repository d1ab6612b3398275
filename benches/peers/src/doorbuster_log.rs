//! doorbuster's log: one partition that all threads append to, one batch for each commit.

use std::path::Path;

use anyhow::Context;
use doorbuster::log::batch::{BatchBuilder, Record};
use doorbuster::log::{Log, LogOptions, Partition, Timestamp, TopicSpec};

use crate::peer::Peer;

/// An open log.
pub struct Doorbuster {
    log: Log,
    partition: Partition,
}

impl Doorbuster {
    /// A new log in `folder`.
    pub fn open(folder: &Path) -> anyhow::Result<Doorbuster> {
        let log = Log::open(folder.join("log"), LogOptions::default()).context("opening the log")?;
        let spec = TopicSpec {
            partitions: 1,
            ..TopicSpec::default()
        };
        let topic = log.create_topic("peers", &spec).context("creating the topic")?;
        let partition = topic.partitions[0].clone();
        Ok(Doorbuster { log, partition })
    }
}

impl Peer for Doorbuster {
    fn commit(&self, _thread: usize, records: &[Vec<u8>]) -> anyhow::Result<()> {
        let mut builder = BatchBuilder::new(Timestamp(0));
        for record in records {
            builder.push(&Record {
                timestamp: Timestamp(0),
                key: None,
                value: Some(record),
                headers: &[],
            })?;
        }
        self.partition.append(builder.finish())?.wait()?;
        Ok(())
    }

    fn close(self: Box<Self>) -> anyhow::Result<()> {
        self.log.close().context("closing the log")
    }
}
