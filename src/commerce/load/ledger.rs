//! What the generator was told: acknowledgements, answers and live holds, to be compared with the log.

use std::collections::HashMap;

use super::answer::AnswerKind;
use super::ids::StepId;

/// What is known of one command that was sent; 8 bytes beside its key, for hundreds of thousands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The broker acknowledged the command as durable.
    pub acknowledged: bool,
    /// The last answer that was not a request to try again.
    pub answer: Option<AnswerKind>,
}

/// Everything that the generator was told in one run.
#[derive(Debug, Default)]
pub struct Ledger {
    commands: HashMap<StepId, Told>,
    /// Reservations granted, and how often.
    granted: HashMap<StepId, u32>,
    /// Holds that are neither paid, given back nor expired.
    live: HashMap<StepId, i64>,
}

impl Ledger {
    /// A command was sent.
    pub fn sent(&mut self, step: StepId) {
        self.commands.entry(step).or_default();
    }

    /// A command was acknowledged.
    pub fn acknowledged(&mut self, step: StepId) {
        self.commands.entry(step).or_default().acknowledged = true;
    }

    /// A command was answered.
    pub fn answered(&mut self, step: StepId, answer: AnswerKind) {
        self.commands.entry(step).or_default().answer = Some(answer);
    }

    /// A reservation was granted until `expires_at_ms`; returns whether this is news.
    pub fn granted(&mut self, reservation: StepId, expires_at_ms: i64) -> bool {
        let count = self.granted.entry(reservation).or_default();
        *count += 1;
        if *count == 1 {
            self.live.insert(reservation, expires_at_ms);
        }
        *count == 1
    }

    /// A hold ended; returns whether it was live.
    pub fn ended(&mut self, reservation: StepId) -> bool {
        self.live.remove(&reservation).is_some()
    }

    /// Number of holds that have not ended.
    pub fn live_holds(&self) -> usize {
        self.live.len()
    }

    /// The last moment at which a live hold ends by itself, milliseconds since the epoch.
    pub fn last_expiry_ms(&self) -> Option<i64> {
        self.live.values().copied().max()
    }

    /// Commands sent, and what became of each.
    pub fn commands(&self) -> &HashMap<StepId, Told> {
        &self.commands
    }

    /// Grants told beyond the first for each reservation.
    pub fn repeated_grants(&self) -> u64 {
        self.granted.values().map(|count| u64::from(count - 1)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: StepId = StepId { shopper: 1, step: 0 };

    #[test]
    fn a_second_grant_is_counted_and_not_live_again() {
        let mut ledger = Ledger::default();
        assert!(ledger.granted(STEP, 50));
        assert!(ledger.ended(STEP));
        assert!(!ledger.granted(STEP, 90));
        assert_eq!((ledger.repeated_grants(), ledger.live_holds()), (1, 0));
        assert!(!ledger.ended(STEP));
    }

    #[test]
    fn acknowledgement_and_answer_come_in_any_order() {
        let mut ledger = Ledger::default();
        ledger.sent(STEP);
        assert_eq!(ledger.commands()[&STEP], Told::default());
        ledger.answered(STEP, AnswerKind::SoldOut);
        ledger.acknowledged(STEP);
        let told = Told {
            acknowledged: true,
            answer: Some(AnswerKind::SoldOut),
        };
        assert_eq!(ledger.commands()[&STEP], told);
    }

    #[test]
    fn the_last_expiry_is_that_of_the_live_holds() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.last_expiry_ms(), None);
        ledger.granted(STEP, 90);
        ledger.granted(StepId { shopper: 2, step: 0 }, 50);
        assert_eq!(ledger.last_expiry_ms(), Some(90));
        ledger.ended(STEP);
        assert_eq!(ledger.last_expiry_ms(), Some(50));
    }
}
