//! Bodies and keys to commands. A command's JSON is that of `inventory.commands`; what the path says is filled in.

use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::super::ids::id_of;
use super::problem::Problem;
use crate::commerce::inventory::Command;

/// The header that makes a repeat harmless.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What the path of a request says about its command.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FromPath<'a> {
    /// The command's kind.
    pub(super) kind: Option<&'a str>,
    /// The article.
    pub(super) sku: Option<&'a str>,
    /// The reservation, in the caller's words.
    pub(super) reservation: Option<&'a str>,
}

/// The id of a path or a body.
pub(super) fn id(text: &str) -> Result<Uuid, Problem> {
    id_of(text.as_bytes()).map_err(|error| Problem::malformed(error.to_string()))
}

/// The id of the `Idempotency-Key` header, if there is one: a structured string, or the bare text that many send.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<Uuid>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Problem::malformed("more than one Idempotency-Key"));
    }
    let text = value
        .to_str()
        .map_err(|_| Problem::malformed("the Idempotency-Key is not visible ASCII"))?
        .trim();
    let bare = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    id(bare).map(Some)
}

/// The JSON of a body; an empty one is null.
pub(super) fn json(headers: &HeaderMap, body: &[u8]) -> Result<Value, Problem> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = content_type
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim();
    // A page of another site cannot send this type without asking first.
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "a body is application/json",
        ));
    }
    serde_json::from_slice(body).map_err(|error| Problem::malformed(format!("the body is not JSON: {error}")))
}

/// The command of a body, of what the path says, and of the key.
pub(super) fn command(body: Value, path: FromPath<'_>, key: Option<Uuid>) -> Result<Command, Problem> {
    let mut fields = match body {
        Value::Null => Map::new(),
        Value::Object(fields) => fields,
        _ => return Err(Problem::malformed("a command is a JSON object")),
    };
    for (name, said) in [
        ("type", path.kind),
        ("sku", path.sku),
        ("reservation", path.reservation),
    ] {
        if let Some(said) = said {
            fields.insert(name.to_owned(), said.into());
        }
    }
    let own = take_id(&mut fields, "id")?;
    let reservation = take_id(&mut fields, "reservation")?;
    if let (Some(own), Some(key)) = (own, key)
        && own != key
    {
        return Err(Problem::malformed(
            "the id of the body is not that of the Idempotency-Key",
        ));
    }
    // A reservation's first command is known by the reservation's own id, and so are its commit and its release.
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default();
    let given = own.or(key);
    let (id, reservation) = match kind {
        "reserve" | "join_waitlist" => {
            let reservation = reservation.or(given).unwrap_or_else(Uuid::now_v7);
            (given.unwrap_or(reservation), Some(reservation))
        }
        "commit" | "release" | "leave_waitlist" => {
            (given.or(reservation).unwrap_or_else(Uuid::now_v7), reservation)
        }
        _ => (given.unwrap_or_else(Uuid::now_v7), reservation),
    };
    fields.insert("id".to_owned(), id.to_string().into());
    if let Some(reservation) = reservation {
        fields.insert("reservation".to_owned(), reservation.to_string().into());
    }
    serde_json::from_value(Value::Object(fields))
        .map_err(|error| Problem::malformed(format!("not a command: {error}")))
}

/// Takes an id out of a command's fields.
fn take_id(fields: &mut Map<String, Value>, name: &str) -> Result<Option<Uuid>, Problem> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => id(&text).map(Some),
        Some(_) => Err(Problem::malformed(format!("{name} is not a text"))),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use serde_json::json;

    use super::*;
    use crate::commerce::inventory::Line;

    const UUID: &str = "0190a000-0000-7000-8000-000000000001";

    fn header(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn a_key_is_an_id_with_or_without_quotes() {
        let expected = Uuid::parse_str(UUID).unwrap();
        assert_eq!(key(&header(UUID)).unwrap(), Some(expected));
        assert_eq!(key(&header(&format!("\"{UUID}\""))).unwrap(), Some(expected));
        assert_eq!(key(&header("order-7")).unwrap(), Some(id_of(b"order-7").unwrap()));
        assert_eq!(key(&HeaderMap::new()).unwrap(), None);
        assert!(key(&header("")).is_err());
        assert!(key(&header(&"x".repeat(65))).is_err());
        let mut twice = header("a");
        twice.append(IDEMPOTENCY_KEY, HeaderValue::from_static("b"));
        assert!(key(&twice).is_err());
    }

    #[test]
    fn a_reservation_is_known_by_its_body_or_its_key_or_a_new_id() {
        let reserve = FromPath {
            kind: Some("reserve"),
            ..FromPath::default()
        };
        let cart = json!({"customer": "c", "lines": [{"sku": "tv", "quantity": 1}], "ttl_ms": 5});
        let with = |name: &str, text: &str| {
            let mut body = cart.clone();
            body[name] = text.into();
            body
        };
        let expected = |id: Uuid| Command::reserve(id, "c", vec![Line::new("tv", 1)], 5);
        let named = id_of(b"o-1").unwrap();
        for (body, key) in [
            (cart.clone(), Some(named)),
            (with("id", "o-1"), None),
            (with("reservation", "o-1"), None),
            (with("id", "o-1"), Some(named)),
        ] {
            assert_eq!(command(body, reserve, key).unwrap(), expected(named));
        }
        assert!(command(with("id", "o-1"), reserve, Some(Uuid::nil())).is_err());
        let drawn = command(cart.clone(), reserve, None).unwrap();
        assert_eq!(drawn.reservation(), Some(drawn.id()));
        assert_ne!(drawn, command(cart, reserve, None).unwrap());
    }

    #[test]
    fn the_path_wins_and_an_empty_body_is_enough() {
        let path = FromPath {
            kind: Some("commit"),
            reservation: Some(UUID),
            ..FromPath::default()
        };
        let id = Uuid::parse_str(UUID).unwrap();
        let expected = Command::commit(id);
        assert_eq!(command(Value::Null, path, None).unwrap(), expected);
        assert_eq!(
            command(json!({"type": "release", "reservation": "other"}), path, None).unwrap(),
            expected
        );
    }

    #[test]
    fn what_is_not_a_command() {
        for body in [
            json!([]),
            json!(1),
            json!({}),
            json!({"type": "steal"}),
            json!({"type": "commit"}),
            json!({"type": "commit", "id": 7}),
        ] {
            assert!(
                command(body.clone(), FromPath::default(), None).is_err(),
                "{body}"
            );
        }
    }
}
