//! Judges a run by its log: reads both topics again from the run's start, and compares them with what
//! the generator was told.
//!
//! - **lost**: a command was acknowledged and is not in `inventory.commands`, or an answer was given and
//!   is not in `inventory.events`;
//! - **duplicated**: a reservation was granted more than once, or one command was answered more than once;
//! - **oversold**: at some position of the log more units were held and paid for than had come in.
//!
//! Units are recounted by the engine's own auditor ([`crate::commerce::inventory::Audit`]), which shares
//! nothing with the code that decides.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::answer::AnswerKind;
use super::client::{Client, for_each_record};
use super::driver::Recorded;
use super::error::SaleError;
use super::ids::{RunId, StepId};
use super::ledger::Ledger;
use super::plant::{Plant, Planter};
use super::reader::{answer_of, for_each_event};
use super::scenario::PARTITION;
use crate::commerce::inventory::{Audit, COMMANDS_TOPIC, Command, EVENTS_TOPIC, Event};

/// Bytes of one fetch of the audit, which nothing else waits for. 1 MiB.
const FETCH_SIZE_MAX_BYTES: i32 = 1024 * 1024;

/// How long the broker may hold a fetch; below the topic's end there is always something to send.
const FETCH_WAIT_MAX: Duration = Duration::from_secs(1);

/// What the log says about a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Reservations granted.
    pub reserved: u64,
    /// Attempts that repeated a granted reservation and were told so: nothing was done twice.
    pub repeated: u64,
    /// Reserve attempts refused, by reason.
    pub refused: BTreeMap<AnswerKind, u64>,
    /// Reservations paid for.
    pub committed: u64,
    /// Reservations given back.
    pub released: u64,
    /// Reservations that ended by themselves.
    pub expired: u64,
    /// Commands that the generator was never answered.
    pub unanswered: u64,
    /// Holds that never ended.
    pub stuck: u64,
    /// Units granted beyond what there was, the worst moment of each article summed up.
    pub oversold: u64,
    /// Acknowledged commands and answers given that are not in the log.
    pub lost: u64,
    /// Reservations granted more than once, and commands answered more than once.
    pub duplicated: u64,
    /// Events that contradict the events before them, or their command, in any other way.
    pub contradictions: u64,
}

/// Reads the run's part of both topics at `address` and judges it.
///
/// # Errors
/// When the topics cannot be read, or hold something that is no command or event.
pub async fn recount(
    address: &str,
    recorded: &Recorded,
    plant: Option<Plant>,
) -> Result<Findings, SaleError> {
    let mut broker = Client::connect(address).await?;
    let mut recount = Recount::new(recorded.run);
    read_through(
        &mut broker,
        COMMANDS_TOPIC,
        recorded.start.commands,
        |records, from| for_each_command(records, from, |offset, command| recount.command(offset, command)),
    )
    .await?;
    let mut planter = Planter::new(recorded.run, plant);
    read_through(
        &mut broker,
        EVENTS_TOPIC,
        recorded.start.events,
        |records, from| {
            for_each_event(records, from, |event| {
                planter.pass(event, |event| recount.event(event));
            })
        },
    )
    .await?;
    if let Some(event) = planter.last(&recorded.catalogue) {
        recount.event(&event);
    }
    Ok(recount.finish(&recorded.ledger))
}

/// Feeds `visit` everything between `offset` and the topic's end at this moment.
async fn read_through(
    broker: &mut Client,
    topic: &'static str,
    mut offset: i64,
    mut visit: impl FnMut(bytes::Bytes, i64) -> Result<i64, SaleError>,
) -> Result<(), SaleError> {
    let mut leader = broker.connect_to_leader(topic, PARTITION).await?;
    let end = leader.latest_offset(topic, PARTITION).await?;
    while offset < end {
        let fetched = leader
            .fetch(topic, PARTITION, offset, FETCH_SIZE_MAX_BYTES, FETCH_WAIT_MAX)
            .await?;
        offset = visit(fetched.records, offset)?;
    }
    Ok(())
}

/// Calls `visit` with every command; records that are no command belong to somebody else.
fn for_each_command(
    records: bytes::Bytes,
    from: i64,
    mut visit: impl FnMut(i64, &Command),
) -> Result<i64, SaleError> {
    for_each_record(records, from, |record| {
        if let Some(Ok(command)) = record.value.map(|value| Command::from_json(value)) {
            visit(record.offset, &command);
        }
    })
    .map_err(|source| SaleError::Records {
        topic: COMMANDS_TOPIC,
        source,
    })
}

/// What a command of the run is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Fills the shelves, or sets the rules of selling.
    Stocking,
    /// Asks for a reservation.
    Attempt,
    /// Pays or gives back.
    FollowUp,
}

impl Purpose {
    fn of(command: &Command) -> Purpose {
        match command {
            Command::Receive { .. } | Command::SetPolicy { .. } => Purpose::Stocking,
            Command::Reserve { .. } => Purpose::Attempt,
            _ => Purpose::FollowUp,
        }
    }
}

/// Counts everything anew from the two streams.
#[derive(Debug)]
struct Recount {
    run: RunId,
    audit: Audit,
    /// This run's commands in the log, and what they are for.
    commands: HashMap<StepId, Purpose>,
    /// What the log answers to this run's commands.
    answers: HashSet<(StepId, AnswerKind)>,
    findings: Findings,
}

impl Recount {
    fn new(run: RunId) -> Recount {
        Recount {
            run,
            audit: Audit::new(),
            commands: HashMap::new(),
            answers: HashSet::new(),
            findings: Findings::default(),
        }
    }

    /// Takes the next command of the log.
    fn command(&mut self, offset: i64, command: &Command) {
        if let (Some(step), Ok(offset)) = (self.run.step_of_command(command.id()), u64::try_from(offset)) {
            self.audit.command(offset, Some(command));
            self.commands.insert(step, Purpose::of(command));
        }
    }

    /// Takes the next event of the log.
    fn event(&mut self, event: &Event) {
        // Other sales on the same broker are left out, from both streams alike.
        let Some(answer) = answer_of(self.run, event) else {
            return;
        };
        self.audit.event(event);
        if let Some(step) = answer.command {
            // All commands of a run are in the log, so an answer that names no place there answers nobody.
            self.findings.contradictions += u64::from(event.command_offset.is_none());
            self.answers.insert((step, answer.kind));
            match self.commands.get(&step) {
                Some(Purpose::Attempt) => self.count_attempt(answer.kind),
                // With nothing on the shelves nothing can be oversold: such a sale proves nothing.
                Some(Purpose::Stocking) => {
                    let is_stocked = matches!(answer.kind, AnswerKind::Received | AnswerKind::PolicySet);
                    self.findings.contradictions += u64::from(!is_stocked);
                }
                Some(Purpose::FollowUp) | None => {}
            }
        }
        match answer.kind {
            AnswerKind::Reserved => self.findings.reserved += 1,
            AnswerKind::Committed => self.findings.committed += 1,
            AnswerKind::Released => self.findings.released += 1,
            AnswerKind::ReservationExpired => self.findings.expired += 1,
            _ => {}
        }
    }

    fn count_attempt(&mut self, kind: AnswerKind) {
        match kind {
            // Counted as a grant, or asked again.
            AnswerKind::Reserved | AnswerKind::Throttled => {}
            AnswerKind::Exists | AnswerKind::AlreadyCommitted | AnswerKind::AlreadyReleased => {
                self.findings.repeated += 1;
            }
            refused => *self.findings.refused.entry(refused).or_default() += 1,
        }
    }

    /// Ends the recount by comparing it with what the generator was told.
    fn finish(self, ledger: &Ledger) -> Findings {
        let Recount {
            audit,
            commands,
            answers,
            mut findings,
            ..
        } = self;
        for (step, told) in ledger.commands() {
            let command_missing = told.acknowledged && !commands.contains_key(step);
            let answer_missing = told
                .answer
                .is_some_and(|answer| !answers.contains(&(*step, answer)));
            findings.lost += u64::from(command_missing || answer_missing);
            findings.unanswered += u64::from(told.answer.is_none());
            if told.answer == Some(AnswerKind::Throttled) {
                // Asked again as often as the generator asks.
                *findings.refused.entry(AnswerKind::Throttled).or_default() += 1;
            }
        }
        let audited = audit.report();
        let ended = findings.committed + findings.released + findings.expired;
        findings.stuck = findings.reserved.saturating_sub(ended);
        findings.oversold = audited.oversold;
        // A lost answer is a command without an outcome too: the same loss is not counted twice.
        findings.lost = findings.lost.max(audited.lost);
        findings.duplicated = audited.duplicated + ledger.repeated_grants();
        findings.contradictions += audited.unmatched + audited.out_of_order + audited.over_limit;
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commerce::inventory::{CartPolicy, Line, Outcome};
    use crate::commerce::load::catalogue::{Article, Catalogue};

    const UNITS: u32 = 3;

    /// The shopper whose hold ends by itself.
    const ABANDONER: u32 = 2;

    /// Steps from here on pay or give back.
    const FOLLOW_UP: u16 = 256;

    fn run() -> RunId {
        RunId::from_random(77)
    }

    fn catalogue() -> Catalogue {
        Catalogue::new(run(), UNITS)
    }

    fn step(shopper: u32, step: u16) -> StepId {
        StepId { shopper, step }
    }

    fn sku() -> String {
        catalogue().sku(Article::DOORBUSTER).to_owned()
    }

    /// The two topics of a run, and what the generator was told.
    #[derive(Default)]
    struct History {
        commands: Vec<Command>,
        events: Vec<Event>,
        ledger: Ledger,
    }

    impl History {
        /// A command of a shopper, acknowledged and answered.
        fn say(&mut self, shopper: u32, number: u16, outcome: Outcome) {
            let (id, reservation) = (
                run().command(step(shopper, number)),
                run().reservation(step(shopper, 0)),
            );
            let command = match &outcome {
                Outcome::Received { sku, quantity, .. } => Command::Receive {
                    id,
                    sku: sku.clone(),
                    quantity: *quantity,
                    location: String::new(),
                },
                Outcome::PolicySet {
                    sku,
                    limit_per_customer,
                    ..
                } => Command::limit(id, sku, *limit_per_customer),
                Outcome::Released => Command::Release { id, reservation },
                _ if number >= FOLLOW_UP => Command::Commit {
                    id,
                    reservation,
                    lines: Vec::new(),
                },
                outcome => {
                    let lines = match outcome {
                        Outcome::Reserved { lines, .. } => lines.clone(),
                        _ => vec![Line::new(sku(), 1)],
                    };
                    Command::Reserve {
                        id,
                        reservation,
                        customer: "c".to_owned(),
                        lines,
                        ttl_ms: 1,
                        policy: CartPolicy::All,
                        split: None,
                    }
                }
            };
            let event = Event {
                command: id,
                reservation: command.reservation(),
                command_offset: Some(self.commands.len() as u64),
                at_ms: 1,
                outcome,
            };
            let answer = answer_of(run(), &event).unwrap();
            self.ledger.sent(step(shopper, number));
            self.ledger.acknowledged(step(shopper, number));
            self.ledger.answered(step(shopper, number), answer.kind);
            if answer.kind == AnswerKind::Reserved {
                self.ledger.granted(step(shopper, 0), 1);
            }
            self.commands.push(command);
            self.events.push(event);
        }

        fn reserved(&mut self, shopper: u32, quantity: u32) {
            let lines = vec![Line::new(sku(), quantity)];
            let customer = "c".to_owned();
            self.say(
                shopper,
                0,
                Outcome::Reserved {
                    customer,
                    lines,
                    ttl_ms: 1,
                    expires_at_ms: if shopper == ABANDONER { 1 } else { 2 },
                    cart: None,
                },
            );
        }

        fn expired(&mut self, shopper: u32) {
            self.events.push(Event {
                outcome: Outcome::ReservationExpired,
                command: uuid::Uuid::nil(),
                reservation: Some(run().reservation(step(shopper, 0))),
                command_offset: None,
                at_ms: 1,
            });
        }

        fn judge(&self, plant: Option<Plant>) -> Findings {
            let mut recount = Recount::new(run());
            for (offset, command) in (0..).zip(&self.commands) {
                recount.command(offset, command);
            }
            let mut planter = Planter::new(run(), plant);
            for event in &self.events {
                planter.pass(event, |event| recount.event(event));
            }
            if let Some(event) = planter.last(&catalogue()) {
                recount.event(&event);
            }
            recount.finish(&self.ledger)
        }
    }

    /// Three units, all taken; one comes back and is sold again; a repeat and a late one are refused.
    fn sound() -> History {
        let mut history = History::default();
        history.say(
            u32::MAX,
            0,
            Outcome::Received {
                sku: sku(),
                quantity: UNITS,
                location: String::new(),
            },
        );
        history.reserved(1, 2);
        history.reserved(2, 1);
        history.say(
            2,
            1,
            Outcome::Exists {
                expires_at_ms: Some(1),
            },
        );
        history.say(
            3,
            0,
            Outcome::SoldOut {
                sku: sku(),
                available: 0,
            },
        );
        history.say(1, FOLLOW_UP, Outcome::Committed);
        history.expired(2);
        history.reserved(4, 1);
        history.say(4, FOLLOW_UP, Outcome::Released);
        history
    }

    fn sound_findings() -> Findings {
        Findings {
            reserved: 3,
            repeated: 1,
            refused: BTreeMap::from([(AnswerKind::SoldOut, 1)]),
            committed: 1,
            released: 1,
            expired: 1,
            ..Findings::default()
        }
    }

    #[test]
    fn a_sound_history_has_no_fault() {
        assert_eq!(sound().judge(None), sound_findings());
    }

    #[test]
    fn every_planted_fault_is_found() {
        let oversell = sound().judge(Some(Plant::Oversell));
        assert_eq!((oversell.oversold, oversell.lost, oversell.duplicated), (3, 0, 0));
        let loss = sound().judge(Some(Plant::Loss));
        assert_eq!((loss.oversold, loss.lost, loss.duplicated), (0, 1, 0));
        let duplicate = sound().judge(Some(Plant::Duplicate));
        assert_eq!((duplicate.lost, duplicate.duplicated > 0), (0, true));
    }

    #[test]
    fn a_unit_sold_again_before_it_came_back_is_oversold() {
        let mut history = sound();
        // Shopper 4 gets the unit before the hold of shopper 2 expires.
        history.events.swap(6, 7);
        assert_eq!(
            history.judge(None),
            Findings {
                oversold: 1,
                ..sound_findings()
            }
        );
    }

    #[test]
    fn an_acknowledged_command_that_is_not_in_the_log_is_lost() {
        let mut history = sound();
        history.ledger.acknowledged(step(9, 0));
        history.ledger.answered(step(9, 0), AnswerKind::SoldOut);
        assert_eq!(
            history.judge(None),
            Findings {
                lost: 1,
                ..sound_findings()
            }
        );
    }

    #[test]
    fn an_answer_that_is_not_what_the_log_says_is_lost() {
        let mut history = sound();
        history.ledger.answered(step(3, 0), AnswerKind::Reserved);
        assert_eq!(
            history.judge(None),
            Findings {
                lost: 1,
                ..sound_findings()
            }
        );
    }

    #[test]
    fn a_command_without_an_answer_is_a_fault_even_if_it_was_never_acknowledged() {
        let mut history = sound();
        history.ledger.sent(step(9, 0));
        assert_eq!(
            history.judge(None),
            Findings {
                unanswered: 1,
                ..sound_findings()
            }
        );
    }

    #[test]
    fn a_hold_without_an_end_is_stuck() {
        let mut history = sound();
        history.reserved(5, 1);
        assert_eq!(
            history.judge(None),
            Findings {
                reserved: 4,
                stuck: 1,
                ..sound_findings()
            }
        );
    }

    #[test]
    fn a_grant_told_twice_is_a_duplicate() {
        let mut history = sound();
        history.ledger.granted(step(1, 0), 1);
        assert_eq!(
            history.judge(None),
            Findings {
                duplicated: 1,
                ..sound_findings()
            }
        );
    }

    #[test]
    fn a_sale_of_shelves_that_were_never_filled_proves_nothing() {
        let mut history = History::default();
        let received = Outcome::Received {
            sku: sku(),
            quantity: UNITS,
            location: String::new(),
        };
        history.say(u32::MAX, 0, received);
        let refused = Outcome::Throttled { retry_after_ms: 1 };
        history.events[0].outcome = refused;
        history.ledger.answered(step(u32::MAX, 0), AnswerKind::Throttled);
        history.say(1, 0, Outcome::UnknownSku { sku: sku() });
        assert_eq!(history.judge(None).contradictions, 1);
    }

    #[test]
    fn an_answer_to_no_place_in_the_log_is_a_contradiction() {
        let mut history = sound();
        // Neither sold nor lost: the second click is answered once more.
        history.events.push(Event {
            command_offset: None,
            ..history.events[3].clone()
        });
        let judged = history.judge(None);
        assert_eq!((judged.contradictions, judged.lost, judged.duplicated), (1, 0, 0));
    }

    #[test]
    fn a_customer_above_the_limit_is_a_contradiction() {
        let mut history = History::default();
        for outcome in [
            Outcome::Received {
                sku: sku(),
                quantity: UNITS,
                location: String::new(),
            },
            Outcome::PolicySet {
                sku: sku(),
                limit_per_customer: Some(1),
                low_stock: None,
                location: String::new(),
                safety: 0,
                backorder_cap: 0,
            },
        ] {
            let number = history.commands.len() as u16;
            history.say(u32::MAX, number, outcome);
        }
        history.reserved(1, 2);
        history.say(1, FOLLOW_UP, Outcome::Committed);
        assert_eq!(
            history.judge(None),
            Findings {
                reserved: 1,
                committed: 1,
                contradictions: 1,
                ..Findings::default()
            }
        );
    }

    #[test]
    fn other_sales_on_the_same_broker_do_not_count() {
        let mut history = sound();
        let other = RunId::from_random(78);
        history.events.push(Event {
            outcome: Outcome::Committed,
            command: other.command(step(1, 0)),
            reservation: Some(other.reservation(step(1, 0))),
            command_offset: Some(1_000),
            at_ms: 0,
        });
        assert_eq!(history.judge(None), sound_findings());
    }
}
