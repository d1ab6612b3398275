//! Which topics the members of a group read, as far as the group's protocol tells.

use bytes::Bytes;
use kafka_wire_core::{DecodeError, DecodeLimits, Decoder};

use super::super::protocol::ErrorCode;
use super::group::Group;

/// The protocol type of consumers; what other groups (Kafka Connect) put into their metadata is unknown.
const CONSUMER: &str = "consumer";

impl Group {
    /// The error for a removal of committed offsets, whatever their topic, if there is one.
    pub(super) fn check_offset_removal(&self) -> Result<(), ErrorCode> {
        if self.members.is_empty() || self.protocol_type.as_deref() == Some(CONSUMER) {
            Ok(())
        } else {
            Err(ErrorCode::NON_EMPTY_GROUP)
        }
    }

    /// Whether a member reads the topic, or may for all that is known.
    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.members.values().any(|member| {
            let subscription = member.metadata(self.protocol.as_deref());
            names_topic(subscription, topic).unwrap_or(true)
        })
    }
}

/// Whether a consumer's subscription names the topic. Every version begins as version 0 does: the version,
/// then the topics.
fn names_topic(subscription: Bytes, topic: &str) -> Result<bool, DecodeError> {
    let mut decoder = Decoder::new(subscription, DecodeLimits::default())?;
    let _version = decoder.read_i16()?;
    let mut is_named = false;
    for _ in 0..decoder.read_array_len()?.get() {
        is_named |= decoder.read_string()?.as_str() == topic;
    }
    Ok(is_named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_name_their_topics() {
        let subscription =
            Bytes::from_static(b"\0\x03\0\0\0\x02\0\x01a\0\x02bc\0\0\0\0 and what later versions add");
        for (topic, expected) in [("a", true), ("bc", true), ("b", false), ("", false)] {
            assert_eq!(names_topic(subscription.clone(), topic), Ok(expected), "{topic}");
        }
        let nothing = Bytes::from_static(b"\0\0\0\0\0\0");
        assert_eq!(names_topic(nothing, "a"), Ok(false));
    }

    #[test]
    fn torn_subscriptions_are_errors() {
        let torn: [&[u8]; 4] = [b"", b"\0", b"\0\0\0\0\0\x01", b"\0\0\x7f\xff\xff\xff\0\x01a"];
        for bytes in torn {
            assert!(names_topic(Bytes::from_static(bytes), "a").is_err(), "{bytes:?}");
        }
    }
}
