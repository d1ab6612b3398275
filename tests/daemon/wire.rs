//! The least of the Kafka protocol, by hand: what must not depend on a client library's timing.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

const METADATA: i16 = 3;
const METADATA_VERSION: i16 = 1;
const CORRELATION: i32 = 20_260;

/// Asks for the metadata of all topics and returns the body of the answer.
///
/// # Errors
/// If the connection fails or the answer does not belong to the question.
pub fn ask_metadata(address: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let mut request = Vec::new();
    request.extend_from_slice(&METADATA.to_be_bytes());
    request.extend_from_slice(&METADATA_VERSION.to_be_bytes());
    request.extend_from_slice(&CORRELATION.to_be_bytes());
    request.extend_from_slice(&(-1i16).to_be_bytes()); // no client id
    request.extend_from_slice(&(-1i32).to_be_bytes()); // all topics
    stream.write_all(&(request.len() as i32).to_be_bytes())?;
    stream.write_all(&request)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer)?;
    if answer.len() < 8 || answer[..4] != CORRELATION.to_be_bytes() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("no metadata: {answer:02x?}")));
    }
    Ok(answer.split_off(4))
}

/// Creates a topic and waits until it is there.
pub async fn create_topic(address: &str, name: &str, partitions: i32) {
    let mut config = ClientConfig::new();
    let client: AdminClient<DefaultClientContext> =
        config.set("bootstrap.servers", address).create().expect("an admin client");
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_MAX));
    let created = client.create_topics(&[topic], &options).await.expect("an answer");
    assert_eq!(created, [Ok(name.to_owned())]);
}
