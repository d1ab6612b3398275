//! Replies as outcomes and views.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::ClientError;
use crate::commerce::inventory::{Line, Outcome};
use crate::resp::Reply;

/// How an outcome is told.
#[derive(Debug)]
pub(super) enum Told {
    /// As a status or an error; what is held is what was asked for.
    Reserve {
        customer: String,
        lines: Vec<Line>,
        ttl_ms: u32,
    },
    /// As a status or an error.
    Short,
    /// As JSON.
    Json,
}

/// The outcome that a reply tells.
pub(super) fn outcome(reply: Reply, told: Told) -> Result<Outcome, ClientError> {
    match (reply, told) {
        (Reply::Bulk(json), Told::Json) => {
            serde_json::from_slice(&json).map_err(|error| ClientError::Answer(error.to_string()))
        }
        (Reply::Error(text), _) => refusal(&text),
        (Reply::Status(status), _) => of_fields(&status, Map::new()),
        (Reply::Array(elements), told) => match (&elements[..], told) {
            (
                [Reply::Status(status), Reply::Integer(expires_at_ms)],
                Told::Reserve {
                    customer,
                    lines,
                    ttl_ms,
                },
            ) if status == "RESERVED" => Ok(Outcome::Reserved {
                customer,
                lines,
                ttl_ms,
                expires_at_ms: *expires_at_ms,
                cart: None,
            }),
            ([Reply::Status(status), Reply::Integer(expires_at_ms)], _) => {
                let fields = Map::from_iter([("expires_at_ms".to_owned(), Value::from(*expires_at_ms))]);
                of_fields(status, fields)
            }
            (other, _) => Err(unexpected(other)),
        },
        (other, _) => Err(unexpected(&other)),
    }
}

/// A map of a read; none if there is no such thing.
pub(super) fn view<T: DeserializeOwned>(reply: Reply) -> Result<Option<T>, ClientError> {
    match reply {
        Reply::Null => Ok(None),
        Reply::Error(text) => Err(ClientError::Daemon(text)),
        other => serde_json::from_value(value(other))
            .map(Some)
            .map_err(|error| ClientError::Answer(error.to_string())),
    }
}

/// The outcome of an error such as `SOLD_OUT sku=tv-55 available=0`.
fn refusal(text: &str) -> Result<Outcome, ClientError> {
    let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
    let fields = fields(rest).and_then(|fields| of_fields(code, fields).ok());
    // What is no outcome is the daemon's own trouble, such as ERR and STOPPED.
    fields.ok_or_else(|| ClientError::Daemon(text.to_owned()))
}

fn of_fields(code: &str, mut fields: Map<String, Value>) -> Result<Outcome, ClientError> {
    fields.insert("type".to_owned(), code.to_ascii_lowercase().into());
    serde_json::from_value(Value::Object(fields))
        .map_err(|error| ClientError::Answer(format!("{code}: {error}")))
}

/// The fields of `name=value name=value`, where a value is JSON or a plain word.
fn fields(mut text: &str) -> Option<Map<String, Value>> {
    let mut fields = Map::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once('=')?;
        let (value, rest) = if rest.starts_with(['"', '[', '{']) {
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
            let value = values.next()?.ok()?;
            (value, &rest[values.byte_offset()..])
        } else {
            let (word, _) = rest.split_once(' ').unwrap_or((rest, ""));
            // A plain word that JSON would know, such as `null`, is a name all the same.
            let is_name = word.starts_with(|first: char| first.is_ascii_alphabetic());
            let number = (!is_name).then(|| serde_json::from_str(word).ok()).flatten();
            let value = number.unwrap_or_else(|| Value::from(word));
            (value, &rest[word.len()..])
        };
        fields.insert(name.to_owned(), value);
        text = rest.strip_prefix(' ').unwrap_or(rest);
    }
    Some(fields)
}

fn value(reply: Reply) -> Value {
    match reply {
        Reply::Status(text) | Reply::Error(text) => text.into(),
        Reply::Integer(number) => number.into(),
        Reply::Bulk(bytes) => String::from_utf8_lossy(&bytes).into(),
        Reply::Null => Value::Null,
        Reply::Array(elements) => elements.into_iter().map(value).collect(),
        Reply::Map(pairs) => {
            let pairs = pairs.into_iter().map(|(name, of)| match value(name) {
                Value::String(name) => (name, value(of)),
                other => (other.to_string(), value(of)),
            });
            Value::Object(pairs.collect())
        }
    }
}

fn unexpected(reply: impl std::fmt::Debug) -> ClientError {
    ClientError::Answer(format!("{reply:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commerce::inventory::{FailureReason, Field, InvalidReason};

    #[test]
    fn refusals_are_outcomes() {
        let sold_out = |sku: &str, available| Outcome::SoldOut {
            sku: sku.into(),
            available,
        };
        for (text, expected) in [
            ("SOLD_OUT sku=tv-55 available=3", sold_out("tv-55", 3)),
            (
                "SOLD_OUT available=3 sku=\"a b=\\\"c\\\"\"",
                sold_out("a b=\"c\"", 3),
            ),
            ("SOLD_OUT available=0 sku=\"4711\"", sold_out("4711", 0)),
            ("SOLD_OUT sku=null available=0", sold_out("null", 0)),
            ("SOLD_OUT sku=true available=1", sold_out("true", 1)),
            ("EXPIRED", Outcome::Expired),
            (
                "EXISTS_DIFFERENT field=ttl_ms",
                Outcome::ExistsDifferent { field: Field::TtlMs },
            ),
            (
                "ALREADY_FAILED reason=sold_out",
                Outcome::AlreadyFailed {
                    reason: FailureReason::SoldOut,
                },
            ),
            (
                "INVALID reason=zero_quantity",
                Outcome::Invalid {
                    reason: InvalidReason::ZeroQuantity,
                },
            ),
            (
                "THROTTLED retry_after_ms=100",
                Outcome::Throttled { retry_after_ms: 100 },
            ),
        ] {
            assert_eq!(outcome(Reply::Error(text.into()), Told::Short).unwrap(), expected);
        }
        for text in [
            "ERR unknown command 'x'",
            "STOPPED the engine takes no commands",
            "SOLD_OUT sku=tv",
            "",
        ] {
            let refused = outcome(Reply::Error(text.into()), Told::Short);
            assert!(
                matches!(refused, Err(ClientError::Daemon(said)) if said == text),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_done_is_an_outcome() {
        let status = |text: &str| Reply::Status(text.into());
        assert_eq!(
            outcome(status("COMMITTED"), Told::Short).unwrap(),
            Outcome::Committed
        );
        assert_eq!(
            outcome(status("ALREADY_COMMITTED"), Told::Short).unwrap(),
            Outcome::AlreadyCommitted
        );
        let with = |text: &str| Reply::Array(vec![status(text), Reply::Integer(7)]);
        assert_eq!(
            outcome(with("EXISTS"), Told::Short).unwrap(),
            Outcome::Exists {
                expires_at_ms: Some(7)
            }
        );
        assert_eq!(
            outcome(with("EXTENDED"), Told::Short).unwrap(),
            Outcome::Extended { expires_at_ms: 7 }
        );
        let told = Told::Reserve {
            customer: "c".into(),
            lines: vec![Line::new("tv", 1)],
            ttl_ms: 5,
        };
        assert_eq!(
            outcome(with("RESERVED"), told).unwrap(),
            Outcome::Reserved {
                customer: "c".into(),
                lines: vec![Line::new("tv", 1)],
                ttl_ms: 5,
                expires_at_ms: 7,
                cart: None
            }
        );
        for odd in [status("WHAT"), with("WHAT"), Reply::Null, Reply::Array(vec![])] {
            assert!(matches!(outcome(odd, Told::Short), Err(ClientError::Answer(_))));
        }
    }
}
