//! Faults planted into what was read back, so that the verdict can be seen to fail.

use super::catalogue::{Article, Catalogue};
use super::ids::{RunId, StepId};
use crate::commerce::inventory::{Event, Line, Outcome};

/// A fault to plant into what was read, so that the verdict can be seen to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A reservation of more units than there are.
    Oversell,
    /// An answer that is missing.
    Loss,
    /// A reservation granted twice.
    Duplicate,
}

/// Plants a fault into a run's part of the stream of events.
#[derive(Debug)]
pub struct Planter {
    run: RunId,
    plant: Option<Plant>,
    planted: bool,
    newest_ms: i64,
}

impl Planter {
    /// Plants `plant`, or nothing.
    pub fn new(run: RunId, plant: Option<Plant>) -> Planter {
        Planter {
            run,
            plant,
            planted: false,
            newest_ms: 0,
        }
    }

    /// Hands the next event on to `sink`, changed if it is the one to be changed.
    pub fn pass(&mut self, event: &Event, mut sink: impl FnMut(&Event)) {
        let is_ours = event
            .reservation
            .is_some_and(|id| self.run.step_of_reservation(id).is_some());
        let is_first_grant = !self.planted && is_ours && matches!(event.outcome, Outcome::Reserved { .. });
        self.planted |= is_first_grant;
        self.newest_ms = event.at_ms;
        match self.plant {
            Some(Plant::Loss) if is_first_grant => {}
            Some(Plant::Duplicate) if is_first_grant => {
                sink(event);
                sink(event);
            }
            _ => sink(event),
        }
    }

    /// The event to be planted behind all others.
    pub fn last(&self, catalogue: &Catalogue) -> Option<Event> {
        if self.plant != Some(Plant::Oversell) {
            return None;
        }
        let stranger = StepId {
            shopper: u32::MAX,
            step: u16::MAX,
        };
        let sku = catalogue.sku(Article::DOORBUSTER).to_owned();
        let outcome = Outcome::Reserved {
            customer: "nobody".to_owned(),
            lines: vec![Line {
                sku,
                quantity: catalogue.units() + 1,
                location: String::new(),
            }],
            ttl_ms: 1,
            expires_at_ms: self.newest_ms,
            cart: None,
        };
        Some(Event {
            outcome,
            command: self.run.command(stranger),
            reservation: Some(self.run.reservation(stranger)),
            command_offset: None,
            at_ms: self.newest_ms,
        })
    }
}
