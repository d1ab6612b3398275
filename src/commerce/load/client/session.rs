//! A broker as the load generator sees it: negotiated versions, topics, produce and fetch.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use kafka_wire::fetch_request::{FetchPartition, FetchTopic};
use kafka_wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_wire::metadata_request::MetadataRequestTopic;
use kafka_wire::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_wire::{
    ApiVersionsRequest, FetchRequest, KafkaRequest, ListOffsetsRequest, MetadataRequest, MetadataResponse,
    ProduceRequest, ProduceResponse,
};
use kafka_wire_core::StrBytes;

use super::versions::{API_VERSIONS, Versions};
use super::{Answer, ClientError, Connection, Fetched};

/// Time a broker has for an answer that does not wait for anything.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Timestamps with a meaning in `ListOffsets`.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// One broker, over one connection.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    versions: Versions,
}

/// The future end of a produce request.
#[derive(Debug)]
pub struct Produced {
    answer: Answer<ProduceRequest>,
    address: SocketAddr,
    topic: String,
    partition: i32,
}

impl Client {
    /// Connects to the broker that `address` (`HOST:PORT`) names and agrees on versions.
    pub async fn connect(address: &str) -> Result<Client, ClientError> {
        let resolved = tokio::net::lookup_host(address)
            .await
            .map_err(|source| ClientError::Resolve {
                address: address.to_owned(),
                source,
            })?;
        let mut failure = ClientError::NoAddress {
            address: address.to_owned(),
        };
        for candidate in resolved {
            match Connection::open(candidate).await {
                Ok(connection) => return Client::negotiate(connection).await,
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn negotiate(mut connection: Connection) -> Result<Client, ClientError> {
        let offered = connection
            .call(&ApiVersionsRequest::default(), API_VERSIONS, ANSWER_LIMIT)
            .await?;
        let versions = Versions::agree(connection.address(), &offered)?;
        Ok(Client { connection, versions })
    }

    /// The broker's address.
    pub fn address(&self) -> SocketAddr {
        self.connection.address()
    }

    /// Whether a request would be taken at once.
    pub fn has_room(&self) -> bool {
        self.connection.has_room()
    }

    /// Connects to the broker that leads `topic`-`partition`, which may be this one.
    pub async fn connect_to_leader(&mut self, topic: &str, partition: i32) -> Result<Client, ClientError> {
        let metadata = self.metadata(topic).await?;
        let address = self.address();
        let found = metadata
            .topics
            .iter()
            .find(|found| found.name.as_deref() == Some(topic));
        let leader = found.and_then(|topic| {
            topic
                .partitions
                .iter()
                .find(|found| found.partition_index == partition)
                .map(|found| found.leader_id)
        });
        let broker =
            leader.and_then(|leader| metadata.brokers.iter().find(|broker| broker.node_id == leader));
        match broker {
            Some(broker) => Client::connect(&format!("{}:{}", broker.host, broker.port)).await,
            None => Err(ClientError::Incomplete {
                address,
                api: <MetadataRequest as kafka_wire::KafkaMessage>::NAME,
                topic: topic.to_owned(),
                partition,
            }),
        }
    }

    /// The number of partitions of `topic`.
    pub async fn partition_count(&mut self, topic: &str) -> Result<usize, ClientError> {
        let metadata = self.metadata(topic).await?;
        Ok(metadata
            .topics
            .iter()
            .map(|found| found.partitions.len())
            .max()
            .unwrap_or(0))
    }

    async fn metadata(&mut self, topic: &str) -> Result<MetadataResponse, ClientError> {
        let wanted = with(|message: &mut MetadataRequestTopic| {
            message.name = Some(StrBytes::from(topic));
        });
        let request = with(|message: &mut MetadataRequest| {
            message.topics = Some(vec![wanted]);
            message.allow_auto_topic_creation = false;
        });
        let response = self
            .connection
            .call(&request, self.versions.metadata, ANSWER_LIMIT)
            .await?;
        let code = response
            .topics
            .iter()
            .map(|topic| topic.error_code)
            .find(|code| *code != 0);
        self.refuse_unless_zero::<MetadataRequest>(code.unwrap_or(0), topic)?;
        Ok(response)
    }

    /// The offset of the first record of a partition that is still there.
    pub async fn earliest_offset(&mut self, topic: &str, partition: i32) -> Result<i64, ClientError> {
        self.list_offset(topic, partition, EARLIEST).await
    }

    /// The offset behind the last record of a partition.
    pub async fn latest_offset(&mut self, topic: &str, partition: i32) -> Result<i64, ClientError> {
        self.list_offset(topic, partition, LATEST).await
    }

    async fn list_offset(&mut self, topic: &str, partition: i32, timestamp: i64) -> Result<i64, ClientError> {
        let wanted = with(|message: &mut ListOffsetsPartition| {
            message.partition_index = partition;
            message.timestamp = timestamp;
        });
        let request = with(|message: &mut ListOffsetsRequest| {
            message.replica_id = -1;
            message.topics = vec![with(|message: &mut ListOffsetsTopic| {
                message.name = StrBytes::from(topic);
                message.partitions = vec![wanted];
            })];
        });
        let response = self
            .connection
            .call(&request, self.versions.list_offsets, ANSWER_LIMIT)
            .await?;
        let found = response.topics.first().and_then(|topic| topic.partitions.first());
        let found = found.ok_or_else(|| self.incomplete::<ListOffsetsRequest>(topic, partition))?;
        self.refuse_unless_zero::<ListOffsetsRequest>(found.error_code, topic)?;
        Ok(found.offset)
    }

    /// Sends one batch with `acks=all` and returns the future of its acknowledgement.
    pub async fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        batch: Bytes,
    ) -> Result<Produced, ClientError> {
        let data = with(|message: &mut PartitionProduceData| {
            message.index = partition;
            message.records = Some(batch);
        });
        let request = with(|message: &mut ProduceRequest| {
            message.acks = -1;
            message.timeout_ms = ANSWER_LIMIT.as_millis() as i32;
            message.topic_data = vec![with(|message: &mut TopicProduceData| {
                message.name = StrBytes::from(topic);
                message.partition_data = vec![data];
            })];
        });
        let answer = self.connection.send(&request, self.versions.produce).await?;
        Ok(Produced {
            answer,
            address: self.address(),
            topic: topic.to_owned(),
            partition,
        })
    }

    /// Record batches of one partition from `offset` on, waiting up to `wait_max` for the first byte.
    pub async fn fetch(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
        size_max_bytes: i32,
        wait_max: Duration,
    ) -> Result<Fetched, ClientError> {
        let wanted = with(|message: &mut FetchPartition| {
            message.partition = partition;
            message.fetch_offset = offset;
            message.partition_max_bytes = size_max_bytes;
        });
        let request = with(|message: &mut FetchRequest| {
            message.max_wait_ms = i32::try_from(wait_max.as_millis()).unwrap_or(i32::MAX);
            message.min_bytes = 1;
            message.max_bytes = size_max_bytes;
            message.topics = vec![with(|message: &mut FetchTopic| {
                message.topic = StrBytes::from(topic);
                message.partitions = vec![wanted];
            })];
        });
        let limit = ANSWER_LIMIT + wait_max;
        let response = self.connection.call(&request, self.versions.fetch, limit).await?;
        self.refuse_unless_zero::<FetchRequest>(response.error_code, topic)?;
        let found = response.responses.into_iter().next();
        let found = found.and_then(|topic| topic.partitions.into_iter().next());
        let found = found.ok_or_else(|| self.incomplete::<FetchRequest>(topic, partition))?;
        self.refuse_unless_zero::<FetchRequest>(found.error_code, topic)?;
        Ok(Fetched {
            high_watermark: found.high_watermark,
            records: found.records.unwrap_or_default(),
        })
    }

    fn refuse_unless_zero<R: KafkaRequest>(&self, code: i16, topic: &str) -> Result<(), ClientError> {
        if code == 0 {
            return Ok(());
        }
        Err(ClientError::Refused {
            address: self.address(),
            api: R::NAME,
            topic: topic.to_owned(),
            code,
        })
    }

    fn incomplete<R: KafkaRequest>(&self, topic: &str, partition: i32) -> ClientError {
        ClientError::Incomplete {
            address: self.address(),
            api: R::NAME,
            topic: topic.to_owned(),
            partition,
        }
    }
}

impl Produced {
    /// Waits until the batch is acknowledged as durable; returns its base offset.
    pub async fn acknowledged(self) -> Result<i64, ClientError> {
        let response: ProduceResponse = self.answer.await?;
        let found = response.responses.into_iter().next();
        let found = found.and_then(|topic| topic.partition_responses.into_iter().next());
        let api = <ProduceRequest as kafka_wire::KafkaMessage>::NAME;
        let Some(found) = found else {
            return Err(ClientError::Incomplete {
                address: self.address,
                api,
                topic: self.topic,
                partition: self.partition,
            });
        };
        match found.error_code {
            0 => Ok(found.base_offset),
            code => Err(ClientError::Refused {
                address: self.address,
                api,
                topic: self.topic,
                code,
            }),
        }
    }
}

/// A message with some fields set: the generated ones are non-exhaustive, so a literal is impossible.
pub(super) fn with<T: Default>(set: impl FnOnce(&mut T)) -> T {
    let mut message = T::default();
    set(&mut message);
    message
}
