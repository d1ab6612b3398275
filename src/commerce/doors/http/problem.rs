//! Answers: outcomes, and RFC 9457 problems.

use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::commerce::inventory::{Command, Outcome, RecoverError, Routed, Unroutable};

/// Beginning of every problem's type.
const TYPE_PREFIX: &str = "urn:doorbuster:problem:";

/// When a client of a stopped engine may ask again, in seconds.
const STOPPED_RETRY_SECONDS: u64 = 1;

/// When a client that met too many long reads may ask again, in seconds.
const BUSY_RETRY_SECONDS: u64 = 1;

/// A refusal.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    /// In the spelling of outcomes: small letters and underscores.
    kind: String,
    detail: String,
    fields: Map<String, Value>,
    header: Option<Box<(HeaderName, String)>>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Problem {
        Problem {
            status,
            kind: kind.to_owned(),
            detail: detail.into(),
            fields: Map::new(),
            header: None,
        }
    }

    pub(super) fn malformed(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    pub(super) fn stopped() -> Problem {
        Problem {
            header: Some(Box::new((RETRY_AFTER, STOPPED_RETRY_SECONDS.to_string()))),
            ..Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "stopped",
                "the engine takes no commands; ask again later with the same id",
            )
        }
    }

    pub(super) fn busy() -> Problem {
        Problem {
            header: Some(Box::new((RETRY_AFTER, BUSY_RETRY_SECONDS.to_string()))),
            ..Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "as many reads of the past and pages of holds are under way as the door allows; ask again later",
            )
        }
    }

    pub(super) fn unreadable(error: &RecoverError) -> Problem {
        if let RecoverError::Incomplete { .. } = error {
            return Problem::new(StatusCode::GONE, "history_gone", error.to_string());
        }
        tracing::error!(
            error = error as &dyn std::error::Error,
            "the past could not be read"
        );
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "history_unreadable",
            error.to_string(),
        )
    }

    pub(super) fn method_not_allowed(allowed: &str) -> Problem {
        Problem {
            header: Some(Box::new((ALLOW, allowed.to_owned()))),
            ..Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                format!("this resource answers {allowed}"),
            )
        }
    }

    /// The problem as JSON.
    fn body(&self) -> Value {
        let mut body = self.fields.clone();
        body.insert(
            "type".into(),
            format!("{TYPE_PREFIX}{}", self.kind.replace('_', "-")).into(),
        );
        body.insert("title".into(), title(&self.kind).into());
        body.insert("status".into(), self.status.as_u16().into());
        body.insert("detail".into(), self.detail.as_str().into());
        Value::Object(body)
    }
}

/// A kind of problem as a heading.
fn title(kind: &str) -> String {
    let mut title = kind.replace('_', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, "application/problem+json", &self.body());
        if let Some((name, value)) = self.header.map(|header| *header)
            && let Ok(value) = HeaderValue::try_from(value)
        {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// An answer in JSON.
pub(super) fn json_response(status: StatusCode, content_type: &'static str, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// What a command was about, for its answer.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    id: uuid::Uuid,
    reservation: Option<uuid::Uuid>,
    /// The refusal that says what was asked for is the case already.
    already: Option<Outcome>,
}

impl From<&Command> for Asked {
    fn from(command: &Command) -> Asked {
        Asked {
            id: command.id(),
            reservation: command.reservation(),
            already: match command {
                Command::Commit { .. } => Some(Outcome::AlreadyCommitted),
                Command::Release { .. } => Some(Outcome::AlreadyReleased),
                _ => None,
            },
        }
    }
}

/// What became of one command, as an answer of its own.
pub(super) fn answer(asked: &Asked, routed: &Routed) -> Response {
    let (status, mut fields) = match told(asked, routed) {
        Ok(told) => told,
        Err(problem) => return problem.into_response(),
    };
    let location = match (status, asked.reservation) {
        (StatusCode::CREATED, Some(reservation)) => Some(format!("/v1/reservations/{reservation}")),
        _ => None,
    };
    name_ids(&mut fields, asked);
    let mut response = json_response(status, "application/json", &Value::Object(fields));
    if let Some(location) = location.and_then(|location| HeaderValue::try_from(location).ok()) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// What became of one command of many.
pub(super) fn element(asked: &Asked, routed: &Routed) -> Value {
    match told(asked, routed) {
        Ok((status, mut fields)) => {
            name_ids(&mut fields, asked);
            fields.insert("status".into(), status.as_u16().into());
            Value::Object(fields)
        }
        Err(problem) => problem.body(),
    }
}

fn name_ids(fields: &mut Map<String, Value>, asked: &Asked) {
    fields.insert("id".into(), asked.id.to_string().into());
    if let Some(reservation) = asked.reservation {
        fields.insert("reservation".into(), reservation.to_string().into());
    }
}

/// Status and fields of what was done, or the problem.
fn told(asked: &Asked, routed: &Routed) -> Result<(StatusCode, Map<String, Value>), Problem> {
    let outcome = match routed {
        Ok(outcome) => outcome,
        Err(error @ Unroutable::CartAcrossShards { first, second }) => {
            let mut problem = Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "cart_across_shards",
                error.to_string(),
            );
            problem.fields.insert("first".into(), json!(first));
            problem.fields.insert("second".into(), json!(second));
            return Err(problem);
        }
    };
    let fields = match serde_json::to_value(outcome) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    if outcome.is_granted() || asked.already.as_ref() == Some(outcome) {
        let status = match outcome {
            Outcome::Reserved { .. } => StatusCode::CREATED,
            _ => StatusCode::OK,
        };
        return Ok((status, fields));
    }
    Err(refusal(asked, outcome, fields))
}

fn refusal(asked: &Asked, outcome: &Outcome, mut fields: Map<String, Value>) -> Problem {
    let kind = match fields.remove("type") {
        Some(Value::String(kind)) => kind,
        _ => "refused".to_owned(),
    };
    name_ids(&mut fields, asked);
    let (status, detail) = match outcome {
        Outcome::SoldOut { sku, available } => (
            StatusCode::CONFLICT,
            format!("{available} units of {sku:?} can be sold"),
        ),
        Outcome::CustomerLimit { sku, remaining } => (
            StatusCode::CONFLICT,
            format!("the customer may have {remaining} more units of {sku:?}"),
        ),
        Outcome::ExistsDifferent { .. } => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "the reservation with this id is a different one".to_owned(),
        ),
        Outcome::AlreadyFailed { .. } => (
            StatusCode::CONFLICT,
            "this id was refused before and stays refused; try with a new id".to_owned(),
        ),
        Outcome::UnknownSku { sku } => (StatusCode::NOT_FOUND, format!("there is no article {sku:?}")),
        Outcome::UnknownReservation => (
            StatusCode::NOT_FOUND,
            "there is no such reservation, or it is forgotten".to_owned(),
        ),
        Outcome::Invalid { .. } => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "the command makes no sense, see reason".to_owned(),
        ),
        Outcome::Throttled { .. } => (
            StatusCode::TOO_MANY_REQUESTS,
            "nothing was decided; ask again with the same id".to_owned(),
        ),
        _ => (
            StatusCode::CONFLICT,
            format!("refused: {}", kind.replace('_', " ")),
        ),
    };
    let header = match outcome {
        // In whole seconds, rounded up.
        Outcome::Throttled { retry_after_ms } => Some(Box::new((
            RETRY_AFTER,
            retry_after_ms.div_ceil(1_000).to_string(),
        ))),
        _ => None,
    };
    Problem {
        status,
        kind,
        detail,
        fields,
        header,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commerce::inventory::{FailureReason, Field, InvalidReason};

    fn asked(command: &Command) -> Asked {
        Asked::from(command)
    }

    fn commit() -> Command {
        Command::Commit {
            id: uuid::Uuid::from_u128(1),
            reservation: uuid::Uuid::from_u128(2),
            lines: Vec::new(),
        }
    }

    #[test]
    fn every_outcome_has_its_status() {
        let sku = || "tv".to_owned();
        for (outcome, status) in [
            (
                Outcome::Received {
                    sku: sku(),
                    quantity: 1,
                    location: String::new(),
                },
                200,
            ),
            (
                Outcome::Reserved {
                    customer: "c".into(),
                    lines: vec![],
                    ttl_ms: 1,
                    expires_at_ms: 2,
                    cart: None,
                },
                201,
            ),
            (Outcome::Exists { expires_at_ms: None }, 200),
            (Outcome::ExistsDifferent { field: Field::Lines }, 422),
            (
                Outcome::AlreadyFailed {
                    reason: FailureReason::SoldOut,
                },
                409,
            ),
            (
                Outcome::SoldOut {
                    sku: sku(),
                    available: 0,
                },
                409,
            ),
            (
                Outcome::CustomerLimit {
                    sku: sku(),
                    remaining: 0,
                },
                409,
            ),
            (Outcome::Extended { expires_at_ms: 1 }, 200),
            (Outcome::Committed, 200),
            (Outcome::AlreadyCommitted, 200),
            (Outcome::AlreadyReleased, 409),
            (Outcome::Expired, 409),
            (Outcome::UnknownSku { sku: sku() }, 404),
            (Outcome::UnknownReservation, 404),
            (
                Outcome::Invalid {
                    reason: InvalidReason::EmptyCart,
                },
                422,
            ),
            (Outcome::Throttled { retry_after_ms: 100 }, 429),
        ] {
            let response = answer(&asked(&commit()), &Ok(outcome.clone()));
            assert_eq!(response.status().as_u16(), status, "{outcome:?}");
            let is_problem = response.headers()[CONTENT_TYPE] == "application/problem+json";
            assert_eq!(is_problem, status >= 400, "{outcome:?}");
        }
    }

    #[test]
    fn a_problem_has_the_fields_of_its_outcome() {
        let sold_out = Outcome::SoldOut {
            sku: "tv".into(),
            available: 3,
        };
        assert_eq!(
            element(&asked(&commit()), &Ok(sold_out)),
            json!({
                "type": "urn:doorbuster:problem:sold-out",
                "title": "Sold out",
                "status": 409,
                "detail": "3 units of \"tv\" can be sold",
                "sku": "tv",
                "available": 3,
                "id": "00000000-0000-0000-0000-000000000001",
                "reservation": "00000000-0000-0000-0000-000000000002",
            })
        );
        assert_eq!(
            element(&asked(&commit()), &Ok(Outcome::AlreadyCommitted)),
            json!({
                "type": "already_committed",
                "status": 200,
                "id": "00000000-0000-0000-0000-000000000001",
                "reservation": "00000000-0000-0000-0000-000000000002",
            })
        );
    }

    #[test]
    fn waiting_is_told_in_whole_seconds() {
        let throttled = Outcome::Throttled {
            retry_after_ms: 1_001,
        };
        let response = answer(&asked(&commit()), &Ok(throttled));
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        assert_eq!(Problem::stopped().into_response().headers()[RETRY_AFTER], "1");
    }
}
