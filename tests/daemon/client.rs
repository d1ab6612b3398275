//! A blocking Kafka client of few words, for tests that look at the daemon rather than at a client.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::runtime::Runtime;

use super::wire::{create_topic, delete_topic};

/// Longest wait for anything that should happen at once.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// A producer that tries once and tells what the broker said, and consumers as they are needed.
pub struct Client {
    address: String,
    runtime: Runtime,
    producer: FutureProducer,
}

impl Client {
    /// A client of the broker at `address`.
    pub fn new(address: &str) -> Client {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", address)
            .set("acks", "all")
            .set("retries", "0")
            .set("linger.ms", "0")
            .set("message.timeout.ms", "20000");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        Client {
            address: address.to_owned(),
            runtime,
            producer: config.create().expect("a producer"),
        }
    }

    /// Creates a topic.
    pub fn create_topic(&self, topic: &str, partitions: i32) {
        self.runtime
            .block_on(create_topic(&self.address, topic, partitions));
    }

    /// Deletes a topic.
    pub fn delete_topic(&self, topic: &str) {
        self.runtime.block_on(delete_topic(&self.address, topic));
    }

    /// The names of all topics.
    pub fn topics(&self) -> BTreeSet<String> {
        let metadata = self.producer.client().fetch_metadata(None, ANSWER_MAX);
        let metadata = metadata.expect("metadata");
        metadata
            .topics()
            .iter()
            .map(|topic| topic.name().to_owned())
            .collect()
    }

    /// Tries to delete topics; what the broker says about each, nothing if it was deleted.
    pub fn delete_topics(&self, topics: &[&str]) -> Vec<Option<RDKafkaErrorCode>> {
        let mut config = ClientConfig::new();
        let admin: AdminClient<DefaultClientContext> = config
            .set("bootstrap.servers", &self.address)
            .create()
            .expect("an administrator");
        let deleted = admin.delete_topics(topics, &AdminOptions::new());
        let deleted = self.runtime.block_on(deleted).expect("an answer");
        let code = |result: Result<String, (String, RDKafkaErrorCode)>| result.err().map(|(_, code)| code);
        deleted.into_iter().map(code).collect()
    }

    /// Sends one record and waits for its offset.
    ///
    /// # Errors
    /// What the broker, or the client, said.
    pub fn produce(&self, topic: &str, partition: i32, value: &[u8]) -> Result<i64, KafkaError> {
        let record = FutureRecord::<[u8], [u8]>::to(topic)
            .partition(partition)
            .payload(value);
        let sent = self.runtime.block_on(self.producer.send(record, ANSWER_MAX));
        sent.map(|delivery| delivery.offset).map_err(|(error, _)| error)
    }

    /// The values of a partition up to the end that it has now, which must begin with offset 0.
    pub fn read_all(&self, topic: &str, partition: i32) -> Vec<Vec<u8>> {
        let consumer = self.consumer("read-all");
        let (low, high) = consumer
            .fetch_watermarks(topic, partition, ANSWER_MAX)
            .expect("watermarks");
        assert_eq!(low, 0, "{topic}-{partition} lost its beginning");
        consumer
            .assign(&list(topic, partition, 0))
            .expect("an assignment");
        let mut values = Vec::new();
        let begun = Instant::now();
        while (values.len() as i64) < high {
            assert!(
                begun.elapsed() < ANSWER_MAX,
                "{topic}-{partition}: read {} of {high}",
                values.len()
            );
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else {
                continue;
            };
            assert_eq!(
                message.offset(),
                values.len() as i64,
                "{topic}-{partition} has a gap or goes back"
            );
            values.push(message.payload().unwrap_or_default().to_vec());
        }
        values
    }

    /// Commits an offset for a group.
    ///
    /// # Errors
    /// What the broker said.
    pub fn commit(&self, group: &str, topic: &str, partition: i32, offset: i64) -> Result<(), KafkaError> {
        self.consumer(group)
            .commit(&list(topic, partition, offset), CommitMode::Sync)
    }

    /// The offset that a group has committed; none if there is none.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let found = self
            .consumer(group)
            .committed_offsets(list(topic, partition, 0), ANSWER_MAX);
        match found
            .expect("committed offsets")
            .find_partition(topic, partition)?
            .offset()
        {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    fn consumer(&self, group: &str) -> BaseConsumer {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.address)
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("check.crcs", "true")
            .set("fetch.wait.max.ms", "20");
        config.create().expect("a consumer")
    }
}

fn list(topic: &str, partition: i32, offset: i64) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset))
        .expect("an offset");
    list
}
