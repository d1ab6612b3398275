//! The least of the Kafka protocol, by hand: what must not depend on a client library's timing.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

const FETCH: i16 = 1;
const FETCH_VERSION: i16 = 4;
const METADATA: i16 = 3;
const METADATA_VERSION: i16 = 1;
const CORRELATION: i32 = 20_260;

/// Largest answer that is read. 64 MiB: more than any test asks for.
const ANSWER_SIZE_MAX_BYTES: usize = 64 * 1024 * 1024;

/// The answer to a fetch from one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Kafka's error code, 0 for none.
    pub error_code: i16,
    /// The offset behind the last readable record.
    pub high_watermark: i64,
    /// Record batches.
    pub records: Vec<u8>,
}

/// Asks for the metadata of all topics and returns the body of the answer.
///
/// # Errors
/// If the connection fails or the answer does not belong to the question.
pub fn ask_metadata(address: &str) -> io::Result<Vec<u8>> {
    // All topics.
    ask(address, METADATA, METADATA_VERSION, &(-1i32).to_be_bytes())
}

/// Fetches what is there from `offset` on, without waiting and without looking at it.
///
/// # Errors
/// If the connection fails or the answer does not belong to the question.
pub fn fetch(address: &str, topic: &str, partition: i32, offset: i64) -> io::Result<Fetched> {
    let mut body = Vec::new();
    body.extend_from_slice(&(-1i32).to_be_bytes()); // a consumer, not a replica
    body.extend_from_slice(&0i32.to_be_bytes()); // wait at most 0 ms
    body.extend_from_slice(&0i32.to_be_bytes()); // for at least 0 bytes
    body.extend_from_slice(&(1i32 << 20).to_be_bytes()); // 1 MiB in all
    body.push(0); // read uncommitted
    body.extend_from_slice(&1i32.to_be_bytes()); // one topic
    body.extend_from_slice(&(topic.len() as i16).to_be_bytes());
    body.extend_from_slice(topic.as_bytes());
    body.extend_from_slice(&1i32.to_be_bytes()); // one partition
    body.extend_from_slice(&partition.to_be_bytes());
    body.extend_from_slice(&offset.to_be_bytes());
    body.extend_from_slice(&(1i32 << 20).to_be_bytes()); // 1 MiB of it
    let answer = ask(address, FETCH, FETCH_VERSION, &body)?;
    let found = fetched(&answer, topic.len());
    found.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no fetch: {answer:02x?}")))
}

fn fetched(answer: &[u8], topic_length: usize) -> Option<Fetched> {
    // Throttle time, one topic, its name, one partition, its number.
    let answer = answer.get(4 + 4 + 2 + topic_length + 4 + 4..)?;
    let error_code = i16::from_be_bytes(answer.get(..2)?.try_into().ok()?);
    let high_watermark = i64::from_be_bytes(answer.get(2..10)?.try_into().ok()?);
    // Last stable offset, then the aborted transactions: none, as null or an empty list.
    let aborted = i32::from_be_bytes(answer.get(18..22)?.try_into().ok()?);
    let length = i32::from_be_bytes(answer.get(22..26)?.try_into().ok()?);
    let records = answer.get(26..)?.to_vec();
    let whole = aborted <= 0 && records.len() as i64 == i64::from(length.max(0));
    whole.then_some(Fetched {
        error_code,
        high_watermark,
        records,
    })
}

/// Sends one request and returns the body of its answer.
fn ask(address: &str, api: i16, version: i16, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let mut request = Vec::new();
    request.extend_from_slice(&api.to_be_bytes());
    request.extend_from_slice(&version.to_be_bytes());
    request.extend_from_slice(&CORRELATION.to_be_bytes());
    request.extend_from_slice(&(-1i16).to_be_bytes()); // no client id
    request.extend_from_slice(body);
    stream.write_all(&(request.len() as i32).to_be_bytes())?;
    stream.write_all(&request)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    assert!(length <= ANSWER_SIZE_MAX_BYTES, "an answer of {length} bytes");
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    if answer.len() < 4 || answer[..4] != CORRELATION.to_be_bytes() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("not the answer: {answer:02x?}"),
        ));
    }
    Ok(answer.split_off(4))
}

/// Creates a topic and waits until it is there.
pub async fn create_topic(address: &str, name: &str, partitions: i32) {
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    let created = admin(address).create_topics(&[topic], &patiently()).await;
    assert_eq!(created.expect("an answer"), [Ok(name.to_owned())]);
}

/// Deletes a topic and waits until it is gone.
pub async fn delete_topic(address: &str, name: &str) {
    let deleted = admin(address).delete_topics(&[name], &patiently()).await;
    assert_eq!(deleted.expect("an answer"), [Ok(name.to_owned())]);
}

fn admin(address: &str) -> AdminClient<DefaultClientContext> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", address)
        .create()
        .expect("an admin client")
}

fn patiently() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(ANSWER_MAX))
}
