//! What the log says of a history: its order, and that every answer follows from what stands before it.

use std::collections::HashMap;

use doorbuster::commerce::inventory::Event;
use uuid::Uuid;

use crate::history::Span;
use crate::shop::{Answer, Shop, answer_of};

/// What is wrong with a log.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// The event answers no command of the history.
    Unasked { command: Uuid },
    /// One command was answered twice.
    Twice { command: Uuid },
    /// A command that was heard to have done something has no event.
    Lost { command: Uuid },
    /// The log says something else than was heard.
    Differs {
        command: Uuid,
        heard: Answer,
        logged: Answer,
    },
    /// The event does not follow from the events before it.
    Impossible {
        command: Uuid,
        logged: Answer,
        follows: Answer,
    },
    /// The later event's command was answered before the earlier one's was begun.
    OutOfOrder { earlier: Uuid, later: Uuid },
}

/// Checks the events of all shops, in the order of the log, against what was heard. `shop_of` tells to which shop a
/// command belongs.
pub fn check(spans: &[Span], events: &[Event], shop_of: impl Fn(Uuid) -> u32) -> Result<(), Fault> {
    let asked: HashMap<Uuid, &Span> = spans.iter().map(|span| (span.id, span)).collect();
    let mut shops: HashMap<u32, Shop> = HashMap::new();
    let mut logged: HashMap<Uuid, Answer> = HashMap::new();
    // The span with the latest call so far: whoever comes behind it was not answered before that call.
    let mut latest: Option<&Span> = None;
    for event in events {
        let command = event.command;
        // Stock signals answer nobody.
        if command.is_nil() {
            continue;
        }
        let span = *asked.get(&command).ok_or(Fault::Unasked { command })?;
        let answer = answer_of(&event.outcome);
        if logged.insert(command, answer).is_some() {
            return Err(Fault::Twice { command });
        }
        let follows = shops.entry(shop_of(command)).or_default().take(span.step);
        if follows != answer {
            return Err(Fault::Impossible {
                command,
                logged: answer,
                follows,
            });
        }
        if let (Some(latest), Some((_, answered))) = (latest, span.heard)
            && answered < latest.called
        {
            return Err(Fault::OutOfOrder {
                earlier: latest.id,
                later: command,
            });
        }
        if latest.is_none_or(|latest| latest.called < span.called) {
            latest = Some(span);
        }
    }
    for span in spans {
        let Some((heard, _)) = span.heard else { continue };
        match logged.get(&span.id) {
            Some(logged) if *logged != heard => {
                return Err(Fault::Differs {
                    command: span.id,
                    heard,
                    logged: *logged,
                });
            }
            None if changes_something(heard) => return Err(Fault::Lost { command: span.id }),
            _ => {}
        }
    }
    Ok(())
}

/// Whether the answer tells that something is not as it was before.
fn changes_something(answer: Answer) -> bool {
    matches!(
        answer,
        Answer::Received
            | Answer::Reserved
            | Answer::SoldOut { .. }
            | Answer::UnknownSku
            | Answer::Committed
            | Answer::Released
    )
}
