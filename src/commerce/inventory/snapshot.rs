//! A state on disk: derived from the log, checked, and worth nothing as evidence.
//!
//! ```text
//! snapshot := head location* article* cell* kit* customer* total* command* asked* expired* waiter*
//!             hold* ended*                         each a section of the file
//! head     := now_ms next_command_offset
//! customer := name                                 known by its place in the section, as others are
//! total    := customer article units
//! hold     := customer reservation ttl_ms created_at_ms expires_at_ms lines
//! ended    := reservation code at_ms
//! command  := id 0 at_ms
//! ```
//!
//! Integers are varints; the other items are in `snapshot_items`; the file is drawn in `snapshot_file`. The state's digest is computed from the same items, but
//! with names of customers, so that what a snapshot keeps is what the digest covers.

use std::path::Path;

use uuid::Uuid;

use super::holds::{Hold, HoldIndex, HoldLine, HoldLines, HoldView, Holds};
use super::reservations::{Reservations, ended_code, ended_status};
use super::snapshot_file::{SnapshotError, SnapshotFile, SnapshotReader, SnapshotWriter};
use super::snapshot_items::{
    put_article, put_asked, put_cell, put_expired, put_hold_lines, put_kit, put_location, put_waiter,
    take_article, take_asked, take_cell, take_expired, take_hold_lines, take_kit, take_location, take_waiter,
};
use super::wire::{Cursor, DecodeError, put_text, put_uuid, put_varint};
use super::{Limits, State};
use crate::log::Offset;

/// The sections of the file.
const HEAD: usize = 0;
const LOCATIONS: usize = 1;
const ARTICLES: usize = 2;
const CELLS: usize = 3;
const KITS: usize = 4;
const CUSTOMERS: usize = 5;
const TOTALS: usize = 6;
const COMMANDS: usize = 7;
const ASKED: usize = 8;
const EXPIRED: usize = 9;
const WAITERS: usize = 10;
const HOLDS: usize = 11;
const ENDED: usize = 12;
const SECTIONS_LEN: usize = 13;

/// A state, and the place in the log where it was true.
#[derive(Debug)]
pub struct Snapshot {
    /// The store that the state comes from.
    pub identity: [u8; 16],
    /// The offset behind the last event of the state.
    pub position: Offset,
    /// The state.
    pub state: State,
}

impl Snapshot {
    /// Writes `state`, which was true at `position`, in one step: the old snapshot stays until the new one is durable.
    pub fn save(
        file: &SnapshotFile,
        identity: [u8; 16],
        position: Offset,
        state: &State,
    ) -> Result<(), SnapshotError> {
        let mut out = SnapshotWriter::create(file, SECTIONS_LEN)?;
        encode(state, &mut out);
        out.finish(identity, position)
    }

    /// Reads a snapshot; `None` if there is no file.
    pub fn load(path: &Path, limits: &Limits) -> Result<Option<Snapshot>, SnapshotError> {
        let Some(reader) = SnapshotReader::open(path, SECTIONS_LEN)? else {
            return Ok(None);
        };
        Ok(Some(Snapshot {
            identity: reader.identity,
            position: reader.position,
            state: decode(&reader, limits)?,
        }))
    }
}

fn encode(state: &State, out: &mut SnapshotWriter<'_>) {
    out.begin(1);
    out.item(|out| put_head(out, state));
    let articles = &state.articles;
    out.begin(articles.locations.len());
    (0..articles.locations.len()).for_each(|index| out.item(|out| put_location(out, state, index as u32)));
    out.begin(articles.len());
    (0..articles.len()).for_each(|index| out.item(|out| put_article(out, state, index as u32)));
    out.begin(articles.cell_count());
    (0..articles.cell_count()).for_each(|index| out.item(|out| put_cell(out, articles.cell(index as u32))));
    out.begin(articles.kit_count());
    for (kit, parts) in articles.kits() {
        out.item(|out| put_kit(out, kit, parts));
    }

    // Customers are numbered anew, so that the numbers that are free take no room after a start.
    let mut numbers = vec![0_u32; state.totals.customer_places()];
    let customers = (0..).zip(state.totals.customers());
    let count = customers
        .map(|(number, index)| numbers[index as usize] = number)
        .count();
    out.begin(count);
    for index in state.totals.customers() {
        out.item(|out| put_text(out, state.totals.customer(index)));
    }
    let number = |index: u32| u64::from(numbers[index as usize]);
    out.begin(state.totals.len());
    for (customer, article, units) in state.totals.pairs() {
        out.item(|out| {
            put_varint(out, number(customer));
            put_total(out, article, units);
        });
    }
    out.begin(state.commands.len());
    for (id, at_ms) in state.commands.iter() {
        out.item(|out| put_ended(out, id, 0, at_ms));
    }
    out.begin(state.asked.len());
    for (id, asked) in &state.asked {
        out.item(|out| put_asked(out, *id, asked));
    }
    out.begin(state.expired.len());
    for (id, hold) in state.expired.iter() {
        out.item(|out| put_expired(out, state, id, hold));
    }
    out.begin(state.waitlists.len());
    for (article, _, waiter) in state.waitlists.iter() {
        out.item(|out| put_waiter(out, state, article, waiter));
    }
    out.begin(state.holds.len());
    for hold in state.holds.iter() {
        out.item(|out| {
            put_varint(out, number(hold.1.customer));
            put_hold(out, state, &hold);
        });
    }
    out.begin(state.reservations.ended_len());
    for (id, status, at_ms) in state.reservations.ended() {
        out.item(|out| put_ended(out, id, ended_code(status), at_ms));
    }
}

fn put_head(out: &mut Vec<u8>, state: &State) {
    put_varint(out, state.now_ms as u64);
    put_varint(out, state.next_command_offset);
}

fn put_total(out: &mut Vec<u8>, article: u32, units: u64) {
    put_varint(out, u64::from(article));
    put_varint(out, units);
}

fn put_hold(out: &mut Vec<u8>, state: &State, (index, hold): &(HoldIndex, HoldView<'_>)) {
    put_uuid(out, state.reservations.held_id(*index));
    put_varint(out, u64::from(hold.ttl_ms));
    put_varint(out, hold.created_at_ms as u64);
    put_varint(out, hold.expires_at_ms as u64);
    put_hold_lines(out, hold.lines.as_slice());
}

fn put_ended(out: &mut Vec<u8>, id: Uuid, code: u8, at_ms: i64) {
    put_uuid(out, id);
    out.push(code);
    put_varint(out, at_ms as u64);
}

/// Reads the sections, the two halves at the same time: what is known by names, and what is known by ids.
fn decode(reader: &SnapshotReader<'_>, limits: &Limits) -> Result<State, SnapshotError> {
    let mut state = State::new(limits.clone());
    let (mut holds, mut reservations) = (Holds::new(), Reservations::new());
    std::thread::scope(|scope| {
        let ids = scope.spawn(|| decode_ids(reader, &mut holds, &mut reservations));
        decode_names(reader, &mut state)?;
        ids.join().unwrap_or_else(|_| Err(reader.unfinished()))
    })?;
    state.holds = holds;
    state.reservations = reservations;
    take_units(&mut state).map_err(|source| reader.undecodable(source))?;
    // What followed from the last events may not be logged: everything that can follow is looked at.
    (0..state.articles.len()).for_each(|article| state.touch(article as u32));
    Ok(state)
}

fn decode_names(reader: &SnapshotReader<'_>, state: &mut State) -> Result<(), SnapshotError> {
    reader.for_each(HEAD, |cursor| {
        state.now_ms = cursor.i64()?;
        state.next_command_offset = cursor.varint()?;
        Ok(())
    })?;
    reader.for_each(LOCATIONS, |cursor| take_location(cursor, state))?;
    reader.for_each(ARTICLES, |cursor| take_article(cursor, state))?;
    reader.for_each(CELLS, |cursor| take_cell(cursor, state))?;
    if !state.articles.are_complete() {
        return Err(reader.undecodable(DecodeError::Contradiction));
    }
    reader.for_each(KITS, |cursor| take_kit(cursor, state))?;
    state.totals.reserve_customers(reader.count(CUSTOMERS));
    let mut next = 0;
    reader.for_each(CUSTOMERS, |cursor| {
        let customer = state.totals.add_customer(cursor.text()?);
        next += 1;
        if customer + 1 == next {
            Ok(())
        } else {
            Err(DecodeError::Contradiction)
        }
    })?;
    reader.for_each(TOTALS, |cursor| {
        let (customer, article, units) = (cursor.u32()?, cursor.u32()?, cursor.varint()?);
        if customer >= next || article as usize >= state.articles.len() {
            return Err(DecodeError::Contradiction);
        }
        state.totals.add(customer, article, units);
        Ok(())
    })?;
    reader.for_each(COMMANDS, |cursor| {
        let (id, code) = (cursor.uuid()?, cursor.byte()?);
        if code != 0 {
            return Err(DecodeError::UnknownCode { code });
        }
        state.commands.remember(id, cursor.i64()?);
        Ok(())
    })?;
    reader.for_each(ASKED, |cursor| take_asked(cursor, state))?;
    reader.for_each(EXPIRED, |cursor| take_expired(cursor, state))?;
    reader.for_each(WAITERS, |cursor| take_waiter(cursor, state))
}

fn decode_ids(
    reader: &SnapshotReader<'_>,
    holds: &mut Holds,
    reservations: &mut Reservations,
) -> Result<(), SnapshotError> {
    reservations.reserve(reader.count(HOLDS) + reader.count(ENDED));
    reader.for_each(HOLDS, |cursor| take_hold(cursor, holds, reservations))?;
    reader.for_each(ENDED, |cursor| {
        let (id, code) = (cursor.uuid()?, cursor.byte()?);
        let status = ended_status(code).ok_or(DecodeError::UnknownCode { code })?;
        reservations.set_ended(id, status, cursor.i64()?);
        Ok(())
    })
}

fn take_hold(
    cursor: &mut Cursor<'_>,
    holds: &mut Holds,
    reservations: &mut Reservations,
) -> Result<(), DecodeError> {
    let (customer, reservation) = (cursor.u32()?, cursor.uuid()?);
    let ttl_ms = cursor.u32()?;
    let (created_at_ms, expires_at_ms) = (cursor.i64()?, cursor.i64()?);
    let lines = take_hold_lines(cursor)?;
    let lines = match lines[..] {
        [line] => HoldLines::One([line]),
        _ => HoldLines::Many(lines.into()),
    };
    let index = holds.insert(Hold {
        customer,
        ttl_ms,
        created_at_ms,
        expires_at_ms,
        lines,
    });
    reservations.set_held(reservation, index);
    Ok(())
}

/// Takes the units of all holds out of sale, and counts the holds as users of their customers.
fn take_units(state: &mut State) -> Result<(), DecodeError> {
    let customers = state.totals.customer_places() as u32;
    for (_, hold) in state.holds.iter() {
        if hold.customer >= customers {
            return Err(DecodeError::Contradiction);
        }
        state.totals.add_user_of(hold.customer);
        for line in hold.lines.as_slice() {
            if line.cell as usize >= state.articles.cell_count() {
                return Err(DecodeError::Contradiction);
            }
            let cell = state.articles.cell_mut(line.cell);
            cell.reserved = cell.reserved.saturating_add(line.quantity.into());
            if !cell.is_sound() {
                return Err(DecodeError::Contradiction);
            }
        }
    }
    let cells = state.articles.cell_count();
    let is_known = |line: &HoldLine| (line.cell as usize) < cells;
    if !state
        .expired
        .iter()
        .all(|(_, hold)| hold.lines.iter().all(is_known))
    {
        return Err(DecodeError::Contradiction);
    }
    // Each was kept alive while its users were unknown.
    (0..customers).for_each(|customer| state.totals.drop_customer(customer));
    Ok(())
}

impl State {
    /// A digest of everything that the state holds, equal for equal states on every machine.
    ///
    /// Items are digested one by one and added up, so that the order inside hash tables does not matter.
    pub fn hash(&self) -> u64 {
        let mut item = Vec::new();
        put_head(&mut item, self);
        let mut sum = digest(HEAD, &item);
        let mut add = |section: usize, put: &mut dyn FnMut(&mut Vec<u8>)| {
            item.clear();
            put(&mut item);
            sum = sum.wrapping_add(digest(section, &item));
        };
        for index in 0..self.articles.len() as u32 {
            add(ARTICLES, &mut |out| {
                put_varint(out, u64::from(index));
                put_article(out, self, index);
            });
        }
        for index in 0..self.articles.locations.len() as u32 {
            add(LOCATIONS, &mut |out| {
                put_varint(out, u64::from(index));
                put_location(out, self, index);
            });
        }
        for index in 0..self.articles.cell_count() as u32 {
            add(CELLS, &mut |out| {
                put_varint(out, u64::from(index));
                put_cell(out, self.articles.cell(index));
            });
        }
        for (kit, parts) in self.articles.kits() {
            add(KITS, &mut |out| put_kit(out, kit, parts));
        }
        for (id, asked) in &self.asked {
            add(ASKED, &mut |out| put_asked(out, *id, asked));
        }
        for (index, (id, hold)) in self.expired.iter().enumerate() {
            add(EXPIRED, &mut |out| {
                put_varint(out, index as u64);
                put_expired(out, self, id, hold);
            });
        }
        for (article, index, waiter) in self.waitlists.iter() {
            add(WAITERS, &mut |out| {
                put_varint(out, index as u64);
                put_waiter(out, self, article, waiter);
            });
        }
        for (customer, article, units) in self.totals.pairs() {
            add(TOTALS, &mut |out| {
                put_text(out, self.totals.customer(customer));
                put_total(out, article, units);
            });
        }
        for hold in self.holds.iter() {
            add(HOLDS, &mut |out| {
                put_text(out, self.totals.customer(hold.1.customer));
                put_hold(out, self, &hold);
            });
        }
        for (index, (id, status, at_ms)) in self.reservations.ended().enumerate() {
            add(ENDED, &mut |out| {
                put_varint(out, index as u64);
                put_ended(out, id, ended_code(status), at_ms);
            });
        }
        for (index, (id, at_ms)) in self.commands.iter().enumerate() {
            add(COMMANDS, &mut |out| {
                put_varint(out, index as u64);
                put_ended(out, id, 0, at_ms);
            });
        }
        sum
    }
}

/// FNV-1a with 64 bits and a final mix, so that sums of digests spread (the mix is that of `SplitMix64`).
fn digest(section: usize, item: &[u8]) -> u64 {
    let seed = 0xcbf2_9ce4_8422_2325 ^ section as u64;
    let hash = item.iter().fold(seed, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
