//! Outcomes and reads as replies.

use std::io::Write;

use serde_json::{Map, Value};

use super::asked::Form;
use super::session::Protocol;
use crate::commerce::inventory::{Outcome, Routed, Unroutable};
use crate::resp::write;

/// The answer of an engine that takes no commands.
pub(super) const STOPPED: &str = "STOPPED the engine takes no commands; ask again later with the same id";

/// Writes what became of a command.
pub(super) fn write_routed(reply: &mut Vec<u8>, routed: &Routed, form: Form) {
    match (routed, form) {
        (Ok(outcome), Form::Json) => write::bulk(reply, &serde_json::to_vec(outcome).unwrap_or_default()),
        (Ok(outcome), form) => write_outcome(reply, outcome, form),
        (Err(Unroutable::CartAcrossShards { first, second }), _) => {
            let mut text = b"CART_ACROSS_SHARDS".to_vec();
            push_field(&mut text, "first", &Value::from(first.as_str()));
            push_field(&mut text, "second", &Value::from(second.as_str()));
            write_error(reply, &text);
        }
    }
}

fn write_outcome(reply: &mut Vec<u8>, outcome: &Outcome, form: Form) {
    match (outcome, form) {
        // By hand what a sale is full of.
        (Outcome::Reserved { expires_at_ms, .. }, _) => with_number(reply, "RESERVED", *expires_at_ms),
        (Outcome::Extended { expires_at_ms }, _) => with_number(reply, "EXTENDED", *expires_at_ms),
        (
            Outcome::Exists {
                expires_at_ms: Some(expires_at_ms),
            },
            _,
        ) => with_number(reply, "EXISTS", *expires_at_ms),
        (Outcome::Exists { expires_at_ms: None }, _) => write::status(reply, "EXISTS"),
        (Outcome::Received { .. }, _) => write::status(reply, "RECEIVED"),
        (Outcome::Committed, _) => write::status(reply, "COMMITTED"),
        (Outcome::Released, _) => write::status(reply, "RELEASED"),
        (Outcome::AlreadyCommitted, Form::Commit) => write::status(reply, "ALREADY_COMMITTED"),
        (Outcome::AlreadyReleased, Form::Release) => write::status(reply, "ALREADY_RELEASED"),
        (Outcome::SoldOut { sku, available }, _) if is_plain(sku) => {
            // A Vec takes every write.
            let _ = write!(reply, "-SOLD_OUT sku={sku} available={available}\r\n");
        }
        (outcome, _) => write_by_fields(reply, outcome),
    }
}

fn with_number(reply: &mut Vec<u8>, status: &str, number: i64) {
    write::array(reply, 2);
    write::status(reply, status);
    write::integer(reply, number);
}

/// Writes an outcome of any kind from the fields of its JSON.
fn write_by_fields(reply: &mut Vec<u8>, outcome: &Outcome) {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(outcome) else {
        return write::error(reply, "ERR an outcome could not be written");
    };
    let code = match fields.remove("type") {
        Some(Value::String(kind)) => kind.to_ascii_uppercase(),
        _ => return write::error(reply, "ERR an outcome could not be written"),
    };
    if outcome.is_granted() {
        write_granted(reply, &code, fields);
        return;
    }
    let mut text = code.into_bytes();
    for (name, value) in &fields {
        push_field(&mut text, name, value);
    }
    write_error(reply, &text);
}

fn write_granted(reply: &mut Vec<u8>, code: &str, fields: Map<String, Value>) {
    if fields.is_empty() {
        return write::status(reply, code);
    }
    write::array(reply, 2);
    write::status(reply, code);
    write::bulk(reply, Value::Object(fields).to_string().as_bytes());
}

/// Adds ` name=value`, the value as JSON unless it is a plain text.
fn push_field(text: &mut Vec<u8>, name: &str, value: &Value) {
    // A Vec takes every write.
    let _ = match value {
        Value::Null => Ok(()),
        Value::String(plain) if is_plain(plain) => write!(text, " {name}={plain}"),
        // JSON escapes what would end the line.
        other => write!(text, " {name}={other}"),
    };
}

/// Whether a text stands as it is: nobody takes it for a number, and it has no end of its own.
fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:/@-".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(plain)
}

fn write_error(reply: &mut Vec<u8>, text: &[u8]) {
    reply.push(b'-');
    reply.extend_from_slice(text);
    reply.extend_from_slice(b"\r\n");
}

/// Writes a value of a read: objects as maps, and no value as null.
pub(super) fn write_value(reply: &mut Vec<u8>, value: &Value, protocol: Protocol) {
    let is_resp3 = protocol == Protocol::Resp3;
    match value {
        Value::Null => write::null(reply, is_resp3),
        Value::Bool(is_true) => write::integer(reply, i64::from(*is_true)),
        Value::Number(number) => match number.as_i64() {
            Some(number) => write::integer(reply, number),
            None => write::bulk(reply, number.to_string().as_bytes()),
        },
        Value::String(text) => write::bulk(reply, text.as_bytes()),
        Value::Array(elements) => {
            write::array(reply, elements.len());
            for element in elements {
                write_value(reply, element, protocol);
            }
        }
        Value::Object(fields) => {
            write::map(reply, is_resp3, fields.len());
            for (name, value) in fields {
                write::bulk(reply, name.as_bytes());
                write_value(reply, value, protocol);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::commerce::inventory::{FailureReason, Field, InvalidReason, Line};

    #[track_caller]
    fn check(outcome: Outcome, form: Form, expected: &str) {
        let mut reply = Vec::new();
        write_routed(&mut reply, &Ok(outcome), form);
        assert_eq!(String::from_utf8(reply).unwrap(), expected);
    }

    #[test]
    fn what_is_done_is_a_status() {
        let reserved = Outcome::Reserved {
            customer: "c".into(),
            lines: vec![],
            ttl_ms: 1,
            expires_at_ms: 1_000,
            cart: None,
        };
        check(reserved, Form::Other, "*2\r\n+RESERVED\r\n:1000\r\n");
        let exists = |expires_at_ms| Outcome::Exists { expires_at_ms };
        check(exists(Some(5)), Form::Other, "*2\r\n+EXISTS\r\n:5\r\n");
        check(exists(None), Form::Other, "+EXISTS\r\n");
        check(
            Outcome::Extended { expires_at_ms: 7 },
            Form::Other,
            "*2\r\n+EXTENDED\r\n:7\r\n",
        );
        let received = Outcome::Received {
            sku: "tv".into(),
            quantity: 1,
            location: String::new(),
        };
        check(received, Form::Other, "+RECEIVED\r\n");
        check(Outcome::Committed, Form::Commit, "+COMMITTED\r\n");
        check(Outcome::Released, Form::Release, "+RELEASED\r\n");
        check(Outcome::AlreadyCommitted, Form::Commit, "+ALREADY_COMMITTED\r\n");
        check(Outcome::AlreadyReleased, Form::Release, "+ALREADY_RELEASED\r\n");
        let part = Outcome::CommittedPart {
            lines: vec![Line::new("tv", 1)],
        };
        check(
            part,
            Form::Other,
            "*2\r\n+COMMITTED_PART\r\n$37\r\n{\"lines\":[{\"quantity\":1,\"sku\":\"tv\"}]}\r\n",
        );
    }

    #[test]
    fn what_is_refused_is_an_error_with_its_fields() {
        let sold_out = |sku: &str| Outcome::SoldOut {
            sku: sku.into(),
            available: 3,
        };
        check(
            sold_out("tv-55"),
            Form::Other,
            "-SOLD_OUT sku=tv-55 available=3\r\n",
        );
        check(
            sold_out("a b\r\n+OK"),
            Form::Other,
            "-SOLD_OUT available=3 sku=\"a b\\r\\n+OK\"\r\n",
        );
        check(
            sold_out("4711"),
            Form::Other,
            "-SOLD_OUT available=3 sku=\"4711\"\r\n",
        );
        check(Outcome::Expired, Form::Commit, "-EXPIRED\r\n");
        check(Outcome::AlreadyReleased, Form::Commit, "-ALREADY_RELEASED\r\n");
        check(Outcome::AlreadyCommitted, Form::Release, "-ALREADY_COMMITTED\r\n");
        check(
            Outcome::ExistsDifferent { field: Field::TtlMs },
            Form::Other,
            "-EXISTS_DIFFERENT field=ttl_ms\r\n",
        );
        check(
            Outcome::AlreadyFailed {
                reason: FailureReason::SoldOut,
            },
            Form::Other,
            "-ALREADY_FAILED reason=sold_out\r\n",
        );
        check(
            Outcome::Invalid {
                reason: InvalidReason::ZeroQuantity,
            },
            Form::Other,
            "-INVALID reason=zero_quantity\r\n",
        );
        check(
            Outcome::Throttled { retry_after_ms: 100 },
            Form::Other,
            "-THROTTLED retry_after_ms=100\r\n",
        );
        check(
            Outcome::UnknownReservation,
            Form::Json,
            "$30\r\n{\"type\":\"unknown_reservation\"}\r\n",
        );
        let mut reply = Vec::new();
        let unroutable = Unroutable::CartAcrossShards {
            first: "tv".into(),
            second: String::new(),
        };
        write_routed(&mut reply, &Err(unroutable), Form::Json);
        assert_eq!(reply, b"-CART_ACROSS_SHARDS first=tv second=\"\"\r\n");
    }

    #[test]
    fn reads_are_maps() {
        let value = json!({"a": 1, "b": null, "c": [{"d": "e"}]});
        let mut reply = Vec::new();
        write_value(&mut reply, &value, Protocol::Resp2);
        assert_eq!(
            String::from_utf8(reply).unwrap(),
            "*6\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n$-1\r\n$1\r\nc\r\n*1\r\n*2\r\n$1\r\nd\r\n$1\r\ne\r\n"
        );
    }
}
