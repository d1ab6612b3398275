//! The resources, and what is done for each.

use std::sync::Arc;
use std::time::Duration;

use axum::Router as Routes;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::super::views;
use super::parameters::{Parameters, as_of};
use super::problem::{Asked, Problem, answer, element, json_response};
use super::request::{FromPath, command, id, json, key};
use super::{HttpConfig, long_read};
use crate::commerce::inventory::{Command, Router};

/// The description of this API.
const OPENAPI: &str = include_str!("openapi.json");

/// Most commands of one request.
const COMMANDS_MAX: usize = 10_000;

/// What every handler works with.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    pub(super) router: Router,
    /// Places for requests that are worked on.
    places: Arc<Semaphore>,
    /// Places for long reads.
    pub(super) long_reads: Arc<Semaphore>,
    body_size_max_bytes: usize,
    request_timeout: Duration,
}

pub(super) type Answered = Result<Response, Problem>;

/// All resources of the API.
pub(super) fn routes(config: &HttpConfig, router: Router) -> Routes {
    let engine = Engine {
        router,
        places: Arc::new(Semaphore::new(config.requests_max)),
        long_reads: Arc::new(Semaphore::new(config.long_reads_max)),
        body_size_max_bytes: config.body_size_max_bytes,
        request_timeout: config.request_timeout,
    };
    let mut all = Routes::new();
    for (path, method, methods) in resources() {
        let refuse = move || async move { Problem::method_not_allowed(methods) };
        all = all.route(path, method.fallback(refuse));
    }
    all.fallback(|| async {
        not_found("there is no such resource; GET /openapi.json describes those there are")
    })
    .layer(from_fn_with_state(engine.clone(), within_limits))
    .with_state(engine)
}

/// Path, handlers and methods of each resource.
fn resources() -> [(&'static str, MethodRouter<Engine>, &'static str); 9] {
    [
        (
            "/v1/reservations",
            get(long_read::holds).post(reserve),
            "GET, HEAD, POST",
        ),
        ("/v1/reservations/{id}", get(reservation), "GET, HEAD"),
        ("/v1/reservations/{id}/{action}", post(change_reservation), "POST"),
        ("/v1/stock/{sku}", get(stock), "GET, HEAD"),
        ("/v1/stock/{sku}/ledger", get(long_read::ledger), "GET, HEAD"),
        ("/v1/stock/{sku}/{action}", post(change_stock), "POST"),
        ("/v1/commands", post(commands), "POST"),
        ("/openapi.json", get(openapi), "GET, HEAD"),
        ("/healthz", get(health), "GET, HEAD"),
    ]
}

/// Lets a request in when there is room, and answers for it when its time is over.
async fn within_limits(State(engine): State<Engine>, request: Request, next: Next) -> Response {
    let work = async {
        let _place = engine.places.acquire().await;
        let (head, body) = request.into_parts();
        // Read here, so that no handler waits for a body that does not come.
        match to_bytes(body, engine.body_size_max_bytes).await {
            Ok(body) => next.run(Request::from_parts(head, body.into())).await,
            Err(_) => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "payload_too_large",
                format!("a body has at most {} bytes", engine.body_size_max_bytes),
            )
            .into_response(),
        }
    };
    match tokio::time::timeout(engine.request_timeout, work).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "timeout",
            "no answer in time, which is no refusal: ask again with the same id",
        )
        .into_response(),
    }
}

async fn reserve(State(engine): State<Engine>, headers: HeaderMap, body: Bytes) -> Answered {
    let path = FromPath {
        kind: Some("reserve"),
        ..FromPath::default()
    };
    engine.change(&headers, &body, path).await
}

async fn change_reservation(
    State(engine): State<Engine>,
    Path((reservation, action)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answered {
    if !["commit", "release", "extend"].contains(&&*action) {
        return Err(not_found("a reservation can be committed, released and extended"));
    }
    let path = FromPath {
        kind: Some(&action),
        reservation: Some(&reservation),
        ..FromPath::default()
    };
    engine.change(&headers, &body, path).await
}

async fn change_stock(
    State(engine): State<Engine>,
    Path((sku, action)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Answered {
    let path = FromPath {
        kind: Some(&action),
        sku: Some(&sku),
        ..FromPath::default()
    };
    engine.change(&headers, &body, path).await
}

async fn commands(State(engine): State<Engine>, headers: HeaderMap, body: Bytes) -> Answered {
    let elements = match json(&headers, &body)? {
        Value::Array(elements) => elements,
        single => {
            let command = command(single, FromPath::default(), key(&headers)?)?;
            return engine.submit_one(command).await;
        }
    };
    if elements.len() > COMMANDS_MAX {
        return Err(Problem::malformed(format!(
            "at most {COMMANDS_MAX} commands are taken at once"
        )));
    }
    if key(&headers)?.is_some() {
        return Err(Problem::malformed(
            "an Idempotency-Key is for one command; of many, each has its own id",
        ));
    }
    let commands = elements
        .into_iter()
        .map(|element| command(element, FromPath::default(), None))
        .collect::<Result<Vec<Command>, Problem>>()?;
    let asked: Vec<Asked> = commands.iter().map(Asked::from).collect();
    let routed = engine
        .router
        .submit(commands)
        .await
        .map_err(|_| Problem::stopped())?;
    let elements: Vec<Value> = asked
        .iter()
        .zip(&routed)
        .map(|(asked, routed)| element(asked, routed))
        .collect();
    Ok(json_response(
        StatusCode::OK,
        "application/json",
        &Value::Array(elements),
    ))
}

async fn reservation(State(engine): State<Engine>, Path(text): Path<String>) -> Answered {
    let id = id(&text)?;
    let found = engine
        .router
        .reservation(id)
        .await
        .map_err(|_| Problem::stopped())?;
    let Some(found) = found else {
        let detail = "there is no such reservation, or it is forgotten";
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_reservation", detail));
    };
    let mut body = views::reservation(&found);
    body["reservation"] = id.to_string().into();
    Ok(json_response(StatusCode::OK, "application/json", &body))
}

async fn stock(
    State(engine): State<Engine>,
    Path(sku): Path<String>,
    mut parameters: Parameters,
) -> Answered {
    let as_of = parameters.take("as_of", as_of)?;
    parameters.end()?;
    let found = match as_of {
        Some(as_of) => long_read::stock_as_of(&engine, sku.clone(), as_of).await?,
        None => engine.router.stock(&sku).await.map_err(|_| Problem::stopped())?,
    };
    let Some(found) = found else {
        return Err(unknown_sku(&sku));
    };
    let mut body = views::stock(&found);
    body["sku"] = sku.into();
    Ok(json_response(StatusCode::OK, "application/json", &body))
}

async fn openapi() -> Response {
    ([("content-type", "application/json")], OPENAPI).into_response()
}

async fn health(State(engine): State<Engine>) -> Answered {
    match engine.router.stopped() {
        Some(_) => Err(Problem::stopped()),
        None => Ok(json_response(
            StatusCode::OK,
            "application/json",
            &json!({"status": "ok"}),
        )),
    }
}

pub(super) fn unknown_sku(sku: &str) -> Problem {
    let detail = format!("there is no article {sku:?}");
    Problem::new(StatusCode::NOT_FOUND, "unknown_sku", detail)
}

fn not_found(detail: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
}

impl Engine {
    /// Sends the one command of a request.
    async fn change(&self, headers: &HeaderMap, body: &[u8], path: FromPath<'_>) -> Answered {
        let command = command(json(headers, body)?, path, key(headers)?)?;
        self.submit_one(command).await
    }

    async fn submit_one(&self, command: Command) -> Answered {
        let asked = Asked::from(&command);
        let routed = self
            .router
            .submit(vec![command])
            .await
            .map_err(|_| Problem::stopped())?;
        match routed.first() {
            Some(routed) => Ok(answer(&asked, routed)),
            None => Err(Problem::stopped()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_names_every_resource_and_no_other() {
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        let described = document["paths"].as_object().unwrap();
        let mut expected: Vec<&str> = resources().iter().map(|(path, ..)| *path).collect();
        expected.sort_unstable();
        let found: Vec<&str> = described.keys().map(String::as_str).collect();
        assert_eq!(found, expected);
        for (path, _, methods) in resources() {
            // What answers GET answers HEAD.
            let methods = methods.to_lowercase();
            let methods: Vec<&str> = methods.split(", ").filter(|method| *method != "head").collect();
            let operations: Vec<&str> = described[path]
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .filter(|name| *name != "parameters")
                .collect();
            assert_eq!(operations, methods, "{path}");
        }
    }

    #[test]
    fn every_reference_of_the_description_leads_somewhere() {
        fn check(document: &Value, value: &Value) {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(reference)) = fields.get("$ref") {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                    }
                    fields.values().for_each(|value| check(document, value));
                }
                Value::Array(elements) => elements.iter().for_each(|value| check(document, value)),
                _ => {}
            }
        }
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        check(&document, &document);
    }
}
