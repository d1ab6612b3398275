//! Reads outcomes back: a task that fetches `inventory.events` and hands this run's answers on.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::answer::AnswerKind;
use super::client::{Client, for_each_record};
use super::error::SaleError;
use super::ids::{RunId, StepId};
use super::scenario::PARTITION;
use crate::commerce::inventory::{EVENTS_TOPIC, Event, Outcome};

/// Bytes of one fetch. 256 KiB: about 1,000 events, which are parsed in about a millisecond, so that
/// sending is not held up.
const FETCH_SIZE_MAX_BYTES: i32 = 256 * 1024;

/// How long the broker may hold a fetch when nothing happens.
const FETCH_WAIT_MAX: Duration = Duration::from_millis(500);

/// Fetches that may wait to be looked at; with the fetch size, the bound of the reader's memory.
const QUEUED_FETCHES: usize = 4;

/// One event, as far as the generator cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The step whose command is answered; `None` for an expiry.
    pub command: Option<StepId>,
    /// The step that names the reservation.
    pub reservation: Option<StepId>,
    /// What it came to.
    pub kind: AnswerKind,
    /// When the hold ends by itself, for a grant; milliseconds since the epoch.
    pub expires_at_ms: i64,
    /// When to ask again, for a throttled command.
    pub retry_after: Duration,
}

/// The answers of one fetch, and when they were there.
#[derive(Debug)]
pub struct Answers {
    /// When the fetch was answered.
    pub at: Instant,
    /// The answers to this run's commands, in the log's order.
    pub answers: Vec<Answer>,
}

/// Starts reading at `offset`; ends when the receiver is dropped, or with an error.
pub fn spawn(client: Client, run: RunId, offset: i64) -> mpsc::Receiver<Result<Answers, SaleError>> {
    let (sender, receiver) = mpsc::channel(QUEUED_FETCHES);
    tokio::spawn(async move {
        if let Err(error) = read_until_closed(client, run, offset, &sender).await {
            // A receiver that is gone does not want to know.
            let _ = sender.send(Err(error)).await;
        }
    });
    receiver
}

async fn read_until_closed(
    mut client: Client,
    run: RunId,
    mut offset: i64,
    sender: &mpsc::Sender<Result<Answers, SaleError>>,
) -> Result<(), SaleError> {
    while !sender.is_closed() {
        let fetched = client
            .fetch(
                EVENTS_TOPIC,
                PARTITION,
                offset,
                FETCH_SIZE_MAX_BYTES,
                FETCH_WAIT_MAX,
            )
            .await?;
        let at = Instant::now();
        let mut answers = Vec::new();
        offset = for_each_event(fetched.records, offset, |event| {
            answers.extend(answer_of(run, event));
        })?;
        if !answers.is_empty() && sender.send(Ok(Answers { at, answers })).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Calls `visit` with every event at or above `from`; returns the offset to read next.
pub fn for_each_event(
    records: bytes::Bytes,
    from: i64,
    mut visit: impl FnMut(&Event),
) -> Result<i64, SaleError> {
    let mut failure = None;
    let next = for_each_record(records, from, |record| {
        match Event::decode(record.value.map_or(&[][..], |value| value)) {
            Ok(event) => visit(&event),
            Err(source) if failure.is_none() => {
                failure = Some(SaleError::Record {
                    topic: EVENTS_TOPIC,
                    offset: record.offset,
                    source,
                });
            }
            Err(_) => {}
        }
    })
    .map_err(|source| SaleError::Records {
        topic: EVENTS_TOPIC,
        source,
    })?;
    failure.map_or(Ok(next), Err)
}

/// What the event says about this run, if anything.
pub fn answer_of(run: RunId, event: &Event) -> Option<Answer> {
    let command = run.step_of_command(event.command);
    let reservation = event.reservation.and_then(|id| run.step_of_reservation(id));
    if command.is_none() && reservation.is_none() {
        return None;
    }
    let expires_at_ms = match event.outcome {
        Outcome::Reserved { expires_at_ms, .. } => expires_at_ms,
        _ => 0,
    };
    let retry_after = match event.outcome {
        Outcome::Throttled { retry_after_ms } => Duration::from_millis(u64::from(retry_after_ms)),
        _ => Duration::ZERO,
    };
    Some(Answer {
        command,
        reservation,
        kind: AnswerKind::of(&event.outcome),
        expires_at_ms,
        retry_after,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commerce::load::client::BatchBuilder;
    use uuid::Uuid;

    const STEP: StepId = StepId { shopper: 4, step: 1 };

    fn event(command: Uuid, reservation: Option<Uuid>, outcome: Outcome) -> Event {
        Event {
            outcome,
            command,
            reservation,
            command_offset: None,
            at_ms: 0,
        }
    }

    #[test]
    fn an_expiry_names_its_reservation_only() {
        let run = RunId::from_random(3);
        let expired = event(
            Uuid::nil(),
            Some(run.reservation(STEP)),
            Outcome::ReservationExpired,
        );
        let expected = Answer {
            command: None,
            reservation: Some(STEP),
            kind: AnswerKind::ReservationExpired,
            expires_at_ms: 0,
            retry_after: Duration::ZERO,
        };
        assert_eq!(answer_of(run, &expired), Some(expected));
    }

    #[test]
    fn events_of_others_are_not_ours() {
        let other = RunId::from_random(4);
        let committed = event(
            other.command(STEP),
            Some(other.reservation(STEP)),
            Outcome::Committed,
        );
        assert_eq!(answer_of(RunId::from_random(3), &committed), None);
    }

    #[test]
    fn a_record_that_is_no_event_is_an_error_with_its_offset() {
        let mut batch = BatchBuilder::default();
        let mut json = Vec::new();
        event(Uuid::nil(), None, Outcome::Committed).write_json(&mut json);
        batch.push(None, json.into());
        batch.push(None, bytes::Bytes::from_static(b"{}"));
        let mut seen = 0;
        let result = for_each_event(batch.finish(0).unwrap(), 0, |_| seen += 1);
        assert!(
            matches!(result, Err(SaleError::Record { offset: 1, .. })),
            "{result:?}"
        );
        assert_eq!(seen, 1);
    }
}
