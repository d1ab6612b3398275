//! What must hold after every crash, checked from where the last check ended.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use super::lane::lane_of;
use super::ledger::{Fate, Ledger, Place, PlaceIndex, Sent, digest};
use super::reader::{LiveView, consumer, ends, read_ranges};
use super::recount::Recount;

/// Topic of the engine's commands.
pub const COMMANDS: &str = "inventory.commands";
/// Topic of its outcomes.
pub const EVENTS: &str = "inventory.events";

const GROUP: &str = "kill-nine-audit";
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Everything that was verified so far.
pub struct Audit {
    ledger: Arc<Ledger>,
    places: Arc<[Place]>,
    /// Digests by place and offset.
    verified: Vec<Vec<u32>>,
    /// Offsets by lane, place and sequence.
    found: HashMap<(u32, PlaceIndex), Vec<Option<i64>>>,
    /// Acknowledged, not looked for yet.
    acknowledged: Vec<Sent>,
    /// Ids of commands by shard and offset.
    commands: Vec<Vec<Option<String>>>,
    recounts: Vec<Recount>,
    committed: Vec<i64>,
}

impl Audit {
    /// An audit that has seen nothing.
    pub fn new(ledger: Arc<Ledger>, places: Arc<[Place]>) -> Audit {
        let shards = places.iter().filter(|place| place.topic == COMMANDS).count();
        Audit {
            ledger,
            verified: vec![Vec::new(); places.len()],
            found: HashMap::new(),
            acknowledged: Vec::new(),
            commands: vec![Vec::new(); shards],
            recounts: (0..shards).map(|_| Recount::default()).collect(),
            committed: Vec::new(),
            places,
        }
    }

    /// Number of records that were verified.
    pub fn len(&self) -> usize {
        self.verified.iter().map(Vec::len).sum()
    }

    /// Number of events by type.
    pub fn event_types(&self) -> BTreeMap<String, u64> {
        let mut types = BTreeMap::new();
        for (kind, count) in self.recounts.iter().flat_map(|recount| &recount.types) {
            *types.entry(kind.clone()).or_default() += count;
        }
        types
    }

    /// Reads what is new and checks it against the ledger and the live view.
    ///
    /// # Errors
    /// With the place and offset of the first contradiction.
    pub fn verify(&mut self, address: &str, live: &LiveView) -> Result<(), String> {
        self.acknowledged.extend(self.ledger.take_acknowledged());
        let shown = live.lengths();
        let consumer = consumer(address, GROUP);
        self.check_committed(&consumer)?;
        let ends = self.ends(&consumer);
        for (place, (shown, end)) in shown.iter().zip(&ends).enumerate() {
            let what = &self.places[place];
            expect(shown <= end, || {
                format!(
                    "{what:?} ends at {end}, but offset {} was shown before",
                    shown - 1
                )
            })?;
        }
        for events in [false, true] {
            self.read(&consumer, &ends, events, live)?;
        }
        self.check_acknowledged()?;
        self.commit(&consumer)
    }

    /// Reads everything again and compares it with what was verified before.
    ///
    /// # Errors
    /// With the place and offset of the first difference.
    pub fn read_all_again(&self, address: &str) -> Result<(), String> {
        let consumer = consumer(address, GROUP);
        let ends = ends(&consumer, &self.places);
        let mut fault = None;
        let mut recounts: Vec<Recount> = self.recounts.iter().map(|_| Recount::default()).collect();
        let whole = |(place, end)| (place, (0, end));
        let ranges = ends.iter().copied().enumerate().map(whole).collect();
        read_ranges(&consumer, &self.places, &ranges, |place, message| {
            if fault.is_none() {
                fault = self.compare(place, message, &mut recounts).err();
            }
        });
        fault.map_or(Ok(()), Err)?;
        for (place, (end, verified)) in self.places.iter().zip(ends.iter().zip(&self.verified)) {
            let verified = verified.len() as i64;
            // Holds go on to expire without any command.
            let as_before = if place.topic == EVENTS {
                *end >= verified
            } else {
                *end == verified
            };
            expect(as_before, || {
                format!("{place:?} ends at {end}, verified were {verified}")
            })?;
        }
        Ok(())
    }

    /// Commands without an outcome, by shard and offset.
    pub fn unanswered(&self) -> Vec<(usize, Vec<usize>)> {
        let shards = self.recounts.iter().zip(&self.commands).enumerate();
        let open = |(shard, (recount, commands)): (usize, (&Recount, &Vec<_>))| {
            let offsets = recount.unanswered(commands.len());
            (!offsets.is_empty()).then_some((shard, offsets))
        };
        shards.filter_map(open).collect()
    }

    /// The ends of all places; those of events first, so that every command that they answer is read.
    fn ends(&self, consumer: &BaseConsumer) -> Vec<i64> {
        let of = |events: bool| {
            let wanted = |place: &&Place| (place.topic == EVENTS) == events;
            let places: Vec<Place> = self.places.iter().filter(wanted).cloned().collect();
            ends(consumer, &places)
        };
        let (mut events, mut rest) = (of(true).into_iter(), of(false).into_iter());
        let end = |place: &Place| {
            if place.topic == EVENTS {
                events.next()
            } else {
                rest.next()
            }
        };
        self.places.iter().filter_map(end).collect()
    }

    fn read(
        &mut self,
        consumer: &BaseConsumer,
        ends: &[i64],
        events: bool,
        live: &LiveView,
    ) -> Result<(), String> {
        let mut ranges = BTreeMap::new();
        for (place, end) in ends.iter().enumerate() {
            if (self.places[place].topic == EVENTS) == events {
                ranges.insert(place, (self.verified[place].len() as i64, *end));
            }
        }
        let mut fault = None;
        let places = Arc::clone(&self.places);
        read_ranges(consumer, &places, &ranges, |place, message| {
            if fault.is_none() {
                fault = self.check(place, message, live).err();
            }
        });
        fault.map_or(Ok(()), Err)
    }

    fn check(
        &mut self,
        place: PlaceIndex,
        message: &BorrowedMessage<'_>,
        live: &LiveView,
    ) -> Result<(), String> {
        let Place { topic, partition } = self.places[place];
        let offset = message.offset();
        let at = |fault: String| format!("{topic} partition {partition} offset {offset}: {fault}");
        let value = digest(message.key(), message.payload());
        let shown = live.digest(place, offset).unwrap_or(value);
        expect(shown == value, || {
            at("is not the record that was shown there before".to_owned())
        })?;
        if topic == EVENTS {
            let shard = partition as usize;
            let counted = event_of(message).and_then(|event| {
                let counted = self.recounts[shard].count(&event, &self.commands[shard]);
                counted.map_err(|fault| format!("{fault}: {event}"))
            });
            counted.map_err(at)?;
        } else {
            self.check_sent(place, message, value).map_err(at)?;
        }
        if topic == COMMANDS {
            let command: Option<Value> = message
                .payload()
                .and_then(|json| serde_json::from_slice(json).ok());
            let id = command.and_then(|command| Some(command.get("id")?.as_str()?.to_owned()));
            self.commands[partition as usize].push(id);
        }
        self.verified[place].push(value);
        Ok(())
    }

    /// Checks that the record was sent, and that it comes once and in its lane's order.
    fn check_sent(
        &mut self,
        place: PlaceIndex,
        message: &BorrowedMessage<'_>,
        value: u32,
    ) -> Result<(), String> {
        let sent = lane_of(message, place).ok_or("is not from any lane")?;
        let entry = self
            .ledger
            .entry(sent)
            .ok_or_else(|| format!("{sent:?} was never sent"))?;
        expect(entry.digest == value, || format!("is not what {sent:?} was"))?;
        if let Fate::Acknowledged(Some(offset)) = entry.fate {
            let found = message.offset();
            expect(offset == found, || {
                format!("{sent:?} was acknowledged at offset {offset}")
            })?;
        }
        let found = self.found.entry((sent.lane, place)).or_default();
        let sequence = sent.sequence as usize;
        expect(found.len() <= sequence, || {
            format!("{sent:?} comes a second time or behind {}", found.len() - 1)
        })?;
        found.resize(sequence, None);
        found.push(Some(message.offset()));
        Ok(())
    }

    fn check_acknowledged(&mut self) -> Result<(), String> {
        for sent in std::mem::take(&mut self.acknowledged) {
            let found = self.found.get(&(sent.lane, sent.place));
            let found = found.and_then(|found| *found.get(sent.sequence as usize)?);
            let fate = self.ledger.entry(sent).map(|entry| entry.fate);
            let place = &self.places[sent.place];
            let end = self.verified[sent.place].len();
            expect(found.is_some(), || {
                format!("{place:?} LOST {sent:?}, {fate:?}; it ends at {end}")
            })?;
        }
        Ok(())
    }

    fn check_committed(&self, consumer: &BaseConsumer) -> Result<(), String> {
        if self.committed.is_empty() {
            return Ok(());
        }
        let list = self.list(&vec![0; self.places.len()]);
        let found = consumer.committed_offsets(list, ANSWER_MAX);
        let found = found.map_err(|error| format!("committed offsets cannot be read: {error}"))?;
        for (place, expected) in self.places.iter().zip(&self.committed) {
            let offset = found
                .find_partition(place.topic, place.partition)
                .map(|element| element.offset());
            let expected = Some(Offset::Offset(*expected));
            expect(offset == expected, || {
                format!("{place:?} has committed {offset:?}, want {expected:?}")
            })?;
        }
        Ok(())
    }

    fn commit(&mut self, consumer: &BaseConsumer) -> Result<(), String> {
        let offsets: Vec<i64> = self.verified.iter().map(|place| place.len() as i64).collect();
        let committed = consumer.commit(&self.list(&offsets), CommitMode::Sync);
        committed.map_err(|error| format!("offsets cannot be committed: {error}"))?;
        self.committed = offsets;
        Ok(())
    }

    fn list(&self, offsets: &[i64]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (place, offset) in self.places.iter().zip(offsets) {
            let offset = Offset::Offset(*offset);
            list.add_partition_offset(place.topic, place.partition, offset)
                .expect("an offset");
        }
        list
    }

    fn compare(
        &self,
        place: PlaceIndex,
        message: &BorrowedMessage<'_>,
        recounts: &mut [Recount],
    ) -> Result<(), String> {
        let Place { topic, partition } = self.places[place];
        let offset = message.offset();
        let at =
            |fault: String| format!("{topic} partition {partition} offset {offset}, read again: {fault}");
        let found = digest(message.key(), message.payload());
        let verified = self.verified[place]
            .get(offset as usize)
            .copied()
            .unwrap_or(found);
        expect(found == verified, || at("is not what was verified".to_owned()))?;
        if topic == EVENTS {
            let shard = partition as usize;
            let counted =
                event_of(message).and_then(|event| recounts[shard].count(&event, &self.commands[shard]));
            counted.map_err(at)?;
        }
        Ok(())
    }
}

fn event_of(message: &BorrowedMessage<'_>) -> Result<Value, String> {
    serde_json::from_slice(message.payload().unwrap_or_default()).map_err(|error| error.to_string())
}

fn expect(holds: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault()) }
}
