//! Reads that take long: the past, which is replayed from the events, and pages of live holds, for which decisions wait.

use std::fmt::Write;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, LINK};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::super::views;
use super::parameters::{Parameters, as_of, number};
use super::problem::{Problem, json_response};
use super::routes::{Answered, Engine, unknown_sku};
use crate::commerce::inventory::{
    AsOf, LedgerEntry, LedgerFormat, RecoverError, Router, StockView, write_ledger,
};

/// Most ledger entries that are asked for. 10,000: some 4 MiB of JSON, for each of the few long reads.
const ENTRIES_MAX: usize = 10_000;

/// How many are given if nobody says how many.
const ENTRIES_DEFAULT: usize = 1_000;

/// Most live holds of one answer; an engine's page has no more.
const HOLDS_MAX: usize = 1_000;

/// How many are given if nobody says how many.
const HOLDS_DEFAULT: usize = 100;

/// The units of an article as they were.
pub(super) async fn stock_as_of(
    engine: &Engine,
    sku: String,
    as_of: AsOf,
) -> Result<Option<StockView>, Problem> {
    replay(engine, move |router| router.stock_as_of(&sku, as_of)).await
}

/// A page of an article's ledger.
pub(super) async fn ledger(
    State(engine): State<Engine>,
    Path(sku): Path<String>,
    mut parameters: Parameters,
    headers: HeaderMap,
) -> Answered {
    let moment = parameters.take("as_of", as_of)?;
    let from = parameters.take("from", number(0, u64::MAX))?.unwrap_or(0);
    let limit = parameters
        .take("limit", number(1, ENTRIES_MAX))?
        .unwrap_or(ENTRIES_DEFAULT);
    parameters.end()?;
    let of = sku.clone();
    let page = replay(&engine, move |router| {
        let mut page = LedgerPage::new(from, limit);
        let ledger = router.ledger(&of, moment.unwrap_or(AsOf::End), |entry| page.take(entry))?;
        let is_known = ledger.places().next().is_some();
        Ok(is_known.then_some(page))
    });
    let page = page.await?.ok_or_else(|| unknown_sku(&sku))?;
    let (format, content_type) = format_of(&headers);
    let mut body = Vec::new();
    // To memory, which does not fail.
    let _ = write_ledger(page.entries, format, &mut body);
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(next) = page.next {
        let mut link = format!("<?from={next}&limit={limit}");
        let _ = match moment {
            Some(AsOf::Offset(offset)) => write!(link, "&as_of=offset:{}", offset.0),
            Some(AsOf::Time(instant_ms)) => write!(link, "&as_of=ms:{instant_ms}"),
            Some(AsOf::End) | None => Ok(()),
        };
        link.push_str(">; rel=\"next\"");
        if let Ok(link) = HeaderValue::try_from(link) {
            headers.insert(LINK, link);
        }
    }
    Ok(response)
}

/// The form of a ledger that a client takes: JSON lines unless it names CSV.
fn format_of(headers: &HeaderMap) -> (LedgerFormat, &'static str) {
    let accepts = headers.get_all(ACCEPT).iter();
    let mut accepted = accepts
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.split(';').next());
    if accepted.any(|range| range.trim().eq_ignore_ascii_case("text/csv")) {
        (LedgerFormat::Csv, "text/csv; charset=utf-8; header=present")
    } else {
        (LedgerFormat::JsonLines, "application/x-ndjson")
    }
}

/// A part of a ledger: whole events, so that the next page can begin at an offset.
#[derive(Debug)]
struct LedgerPage {
    from: u64,
    limit: usize,
    entries: Vec<LedgerEntry>,
    /// Offset of the first event behind the page.
    next: Option<u64>,
}

impl LedgerPage {
    fn new(from: u64, limit: usize) -> LedgerPage {
        LedgerPage {
            from,
            limit,
            entries: Vec::new(),
            next: None,
        }
    }

    fn take(&mut self, entry: LedgerEntry) {
        if entry.offset < self.from || self.next.is_some() {
            return;
        }
        let begins_event = self.entries.last().is_none_or(|last| last.offset != entry.offset);
        if begins_event && self.entries.len() >= self.limit {
            self.next = Some(entry.offset);
        } else {
            self.entries.push(entry);
        }
    }
}

/// A page of live holds.
pub(super) async fn holds(State(engine): State<Engine>, mut parameters: Parameters) -> Answered {
    let (shard, place) = parameters.take("from", cursor)?.unwrap_or((0, 0));
    let limit = parameters
        .take("limit", number(1, HOLDS_MAX))?
        .unwrap_or(HOLDS_DEFAULT);
    parameters.end()?;
    let _place = place_for(&engine)?;
    let Some(page) = engine.router.live_page(shard, place, limit) else {
        return Err(Problem::malformed(format!(
            "there is no shard {shard}; begin without from, and go on with the next of the answer"
        )));
    };
    let page = page.await.map_err(|_| Problem::stopped())?;
    let next = match page.next {
        Some(place) => Some(format!("{shard}:{place}")),
        None if shard + 1 < engine.router.shard_count() => Some(format!("{}:0", shard + 1)),
        None => None,
    };
    let holds: Vec<Value> = page
        .holds
        .iter()
        .map(|(id, hold)| {
            let mut hold = views::reservation(hold);
            hold["reservation"] = id.to_string().into();
            hold
        })
        .collect();
    Ok(json_response(
        StatusCode::OK,
        "application/json",
        &json!({"reservations": holds, "next": next}),
    ))
}

/// Shard and place in it.
fn cursor(value: &str) -> Result<(usize, u32), String> {
    let cursor = value
        .split_once(':')
        .and_then(|(shard, place)| Some((shard.parse().ok()?, place.parse().ok()?)));
    cursor.ok_or_else(|| "<shard>:<place>, the next of the answer before".to_owned())
}

/// Works on a thread that may be kept busy, and keeps its place until the work is done, even if the client has left.
async fn replay<T: Send + 'static>(
    engine: &Engine,
    work: impl FnOnce(&Router) -> Result<T, RecoverError> + Send + 'static,
) -> Result<T, Problem> {
    let place = place_for(engine)?;
    let router = engine.router.clone();
    let worked = tokio::task::spawn_blocking(move || {
        let worked = work(&router);
        drop(place);
        worked
    });
    let worked = worked.await.map_err(|error| {
        tracing::error!(%error, "a read of the past did not end");
        Problem::stopped()
    })?;
    worked.map_err(|error| Problem::unreadable(&error))
}

fn place_for(engine: &Engine) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(&engine.long_reads)
        .try_acquire_owned()
        .map_err(|_| Problem::busy())
}
