//! A state on disk: derived from the log, checked, and worth nothing as evidence.
//!
//! ```text
//! snapshot := magic(8) version(u32 BE) crc(u32 BE) body      crc: CRC-32C of the body
//! body     := identity(16) position now_ms next_command_offset
//!             n location*   n article*   n cell*   n kit*   n total*   n hold*   n ended*   n command*
//!             n asked*   n expired*   n waiter*
//! ```
//!
//! Integers are varints. The state's digest is computed from the same items, so that what a snapshot keeps is
//! what the digest covers.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::holds::{Hold, HoldLines};
use super::reservations::{ended_code, ended_status};
use super::snapshot_items::{
    put_article, put_asked, put_cell, put_expired, put_hold_lines, put_kit, put_location, put_waiter,
    take_article, take_asked, take_cell, take_expired, take_hold_lines, take_kit, take_location, take_waiter,
};
use super::wire::{Cursor, DecodeError, put_text, put_uuid, put_varint};
use super::{Limits, State};
use crate::log::Offset;

const MAGIC: &[u8; 8] = b"dbinvsnp";
const VERSION: u32 = 2;
/// Magic, version and checksum.
const HEADER_SIZE_BYTES: usize = 16;

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

/// Why a snapshot was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file system refused.
    #[error("snapshot {path:?} could not be {attempt}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was attempted, as a participle.
        attempt: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The file is not a snapshot of this version.
    #[error("snapshot {path:?} is not a snapshot of version {VERSION}")]
    Unknown {
        /// The file.
        path: PathBuf,
    },
    /// The checksum is wrong.
    #[error("snapshot {path:?} has crc {found:#010x}, want {want:#010x}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Checksum of the body.
        found: u32,
        /// Checksum in the header.
        want: u32,
    },
    /// The body does not decode.
    #[error("snapshot {path:?} does not decode")]
    Decode {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DecodeError,
    },
}

/// Where a shard keeps its snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    path: PathBuf,
}

impl SnapshotFile {
    /// The snapshot of shard `partition` in folder `dir`.
    pub fn new(dir: &Path, partition: u32) -> Self {
        SnapshotFile {
            path: dir.join(format!("inventory-{partition}.snapshot")),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Renames the file so that it is never read again but can be looked at; a failure leaves it to the next start.
    pub fn quarantine(&self) {
        let aside = (0..).map(|n: u32| self.path.with_extension(format!("snapshot.bad-{n}")));
        let free = aside.take(QUARANTINED_MAX).find(|path| !path.exists());
        let renamed = match free {
            Some(aside) => fs::rename(&self.path, aside),
            None => fs::remove_file(&self.path),
        };
        if let Err(error) = renamed {
            tracing::warn!(path = %self.path.display(), %error, "bad snapshot could not be set aside");
        }
    }
}

/// Most bad snapshots that are kept for a look, so that a repeating fault cannot fill the disk.
const QUARANTINED_MAX: usize = 4;

impl Snapshot {
    /// Writes `state`, which was true at `position`, in one step: the old snapshot stays until the new one is durable.
    pub fn save(
        file: &SnapshotFile,
        identity: [u8; 16],
        position: Offset,
        state: &State,
    ) -> Result<(), SnapshotError> {
        let mut bytes = vec![0; HEADER_SIZE_BYTES];
        bytes.extend_from_slice(&identity);
        put_varint(&mut bytes, position.0);
        encode(state, &mut bytes);
        let crc = crc32c::crc32c(&bytes[HEADER_SIZE_BYTES..]);
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_be_bytes());
        bytes[12..16].copy_from_slice(&crc.to_be_bytes());
        write_whole(file.path(), &bytes)
    }

    /// Reads a snapshot; `None` if there is no file.
    pub fn load(path: &Path, limits: &Limits) -> Result<Option<Snapshot>, SnapshotError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(SnapshotError::Io {
                    path: path.into(),
                    attempt: "read",
                    source,
                });
            }
        };
        let unknown = || SnapshotError::Unknown { path: path.into() };
        let (header, body) = bytes.split_at_checked(HEADER_SIZE_BYTES).ok_or_else(unknown)?;
        if header[..8] != *MAGIC || header[8..12] != VERSION.to_be_bytes() {
            return Err(unknown());
        }
        let (found, want) = (crc32c::crc32c(body).to_be_bytes(), &header[12..16]);
        if found != *want {
            let want = want.iter().fold(0, |crc, byte| (crc << 8) | u32::from(*byte));
            let found = u32::from_be_bytes(found);
            return Err(SnapshotError::Corrupt {
                path: path.into(),
                found,
                want,
            });
        }
        decode(body, limits)
            .map(Some)
            .map_err(|source| SnapshotError::Decode {
                path: path.into(),
                source,
            })
    }
}

/// Writes a file beside its place, makes it durable, and moves it there.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), SnapshotError> {
    let failed = |attempt| {
        move |source| SnapshotError::Io {
            path: path.into(),
            attempt,
            source,
        }
    };
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(failed("placed in its folder"))?;
    let temporary = path.with_extension("snapshot.new");
    let mut file = fs::File::create(&temporary).map_err(failed("created"))?;
    file.write_all(bytes).map_err(failed("written"))?;
    file.sync_all().map_err(failed("made durable"))?;
    fs::rename(&temporary, path).map_err(failed("moved into place"))?;
    fs::File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(failed("made durable in its folder"))
}

fn encode(state: &State, out: &mut Vec<u8>) {
    put_varint(out, state.now_ms as u64);
    put_varint(out, state.next_command_offset);
    let articles = &state.articles;
    put_varint(out, articles.locations.len() as u64);
    (0..articles.locations.len()).for_each(|index| put_location(out, state, index as u32));
    put_varint(out, articles.len() as u64);
    (0..articles.len()).for_each(|index| put_article(out, state, index as u32));
    put_varint(out, articles.cell_count() as u64);
    (0..articles.cell_count()).for_each(|index| put_cell(out, articles.cell(index as u32)));
    put_varint(out, articles.kit_count() as u64);
    articles.kits().for_each(|(kit, parts)| put_kit(out, kit, parts));
    put_varint(out, state.totals.len() as u64);
    state.totals.iter().for_each(|total| put_total(out, total));
    put_varint(out, state.holds.len() as u64);
    state.holds.iter().for_each(|hold| put_hold(out, state, hold));
    put_varint(out, state.reservations.ended().count() as u64);
    state
        .reservations
        .ended()
        .for_each(|(id, status, at_ms)| put_ended(out, id, ended_code(status), at_ms));
    put_varint(out, state.commands.iter().count() as u64);
    state
        .commands
        .iter()
        .for_each(|(id, at_ms)| put_ended(out, id, 0, at_ms));
    put_varint(out, state.asked.len() as u64);
    state
        .asked
        .iter()
        .for_each(|(id, asked)| put_asked(out, *id, asked));
    put_varint(out, state.expired.len() as u64);
    state
        .expired
        .iter()
        .for_each(|(id, hold)| put_expired(out, state, id, hold));
    put_varint(out, state.waitlists.len() as u64);
    state
        .waitlists
        .iter()
        .for_each(|(article, _, waiter)| put_waiter(out, state, article, waiter));
}

fn put_total(out: &mut Vec<u8>, (customer, article, units): (&str, u32, u64)) {
    put_text(out, customer);
    put_varint(out, u64::from(article));
    put_varint(out, units);
}

fn put_hold(out: &mut Vec<u8>, state: &State, hold: &Hold) {
    put_uuid(out, hold.reservation);
    put_text(out, state.totals.customer(hold.customer));
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

fn decode(body: &[u8], limits: &Limits) -> Result<Snapshot, DecodeError> {
    let mut cursor = Cursor::new(body);
    let identity = *cursor.uuid()?.as_bytes();
    let position = Offset(cursor.varint()?);
    let mut state = State::new(limits.clone());
    state.now_ms = cursor.i64()?;
    state.next_command_offset = cursor.varint()?;
    for _ in 0..cursor.varint()? {
        take_location(&mut cursor, &mut state)?;
    }
    for _ in 0..cursor.varint()? {
        take_article(&mut cursor, &mut state)?;
    }
    for _ in 0..cursor.varint()? {
        take_cell(&mut cursor, &mut state)?;
    }
    if !state.articles.are_complete() {
        return Err(DecodeError::TooLarge);
    }
    for _ in 0..cursor.varint()? {
        take_kit(&mut cursor, &mut state)?;
    }
    for _ in 0..cursor.varint()? {
        let customer = state.totals.add_customer(cursor.text()?);
        let article = take_article_index(&mut cursor, &state)?;
        state.totals.add(customer, article, cursor.varint()?);
        state.totals.drop_customer(customer);
    }
    for _ in 0..cursor.varint()? {
        take_hold(&mut cursor, &mut state)?;
    }
    for _ in 0..cursor.varint()? {
        let (id, code) = (cursor.uuid()?, cursor.byte()?);
        let status = ended_status(code).ok_or(DecodeError::UnknownCode { code })?;
        state.reservations.set_ended(id, status, cursor.i64()?);
    }
    for _ in 0..cursor.varint()? {
        let (id, code) = (cursor.uuid()?, cursor.byte()?);
        if code != 0 {
            return Err(DecodeError::UnknownCode { code });
        }
        state.commands.remember(id, cursor.i64()?);
    }
    for _ in 0..cursor.varint()? {
        take_asked(&mut cursor, &mut state)?;
    }
    for _ in 0..cursor.varint()? {
        take_expired(&mut cursor, &mut state)?;
    }
    for _ in 0..cursor.varint()? {
        take_waiter(&mut cursor, &mut state)?;
    }
    cursor.finish()?;
    // What followed from the last events may not be logged: everything that can follow is looked at.
    (0..state.articles.len()).for_each(|article| state.touch(article as u32));
    Ok(Snapshot {
        identity,
        position,
        state,
    })
}

fn take_article_index(cursor: &mut Cursor<'_>, state: &State) -> Result<u32, DecodeError> {
    let article = cursor.u32()?;
    if (article as usize) < state.articles.len() {
        Ok(article)
    } else {
        Err(DecodeError::TooLarge)
    }
}

fn take_hold(cursor: &mut Cursor<'_>, state: &mut State) -> Result<(), DecodeError> {
    let reservation = cursor.uuid()?;
    let customer = state.totals.add_customer(cursor.text()?);
    let ttl_ms = cursor.u32()?;
    let (created_at_ms, expires_at_ms) = (cursor.i64()?, cursor.i64()?);
    let lines = take_hold_lines(cursor, state.articles.cell_count())?;
    for line in &lines {
        let cell = state.articles.cell_mut(line.cell);
        cell.reserved += u64::from(line.quantity);
        if !cell.is_sound() {
            return Err(DecodeError::TooLarge);
        }
    }
    let lines = match lines[..] {
        [line] => HoldLines::One([line]),
        _ => HoldLines::Many(lines.into()),
    };
    let index = state.holds.insert(Hold {
        reservation,
        customer,
        ttl_ms,
        created_at_ms,
        expires_at_ms,
        lines,
    });
    state.reservations.set_held(reservation, index);
    Ok(())
}

/// Section numbers of the digest; articles and the remembered ids have an order, totals and holds have none.
const ARTICLE: u64 = 1;
const TOTAL: u64 = 2;
const HOLD: u64 = 3;
const ENDED: u64 = 4;
const COMMAND: u64 = 5;
const LOCATION: u64 = 6;
const CELL: u64 = 7;
const KIT: u64 = 8;
const ASKED: u64 = 9;
const EXPIRED: u64 = 10;
const WAITER: u64 = 11;

impl State {
    /// A digest of everything that the state holds, equal for equal states on every machine.
    ///
    /// Items are digested one by one and added up, so that the order inside hash tables does not matter.
    pub fn hash(&self) -> u64 {
        let mut item = Vec::new();
        put_varint(&mut item, self.now_ms as u64);
        put_varint(&mut item, self.next_command_offset);
        let mut sum = digest(0, &item);
        let mut add = |section: u64, put: &mut dyn FnMut(&mut Vec<u8>)| {
            item.clear();
            put(&mut item);
            sum = sum.wrapping_add(digest(section, &item));
        };
        for index in 0..self.articles.len() as u32 {
            add(ARTICLE, &mut |out| {
                put_varint(out, u64::from(index));
                put_article(out, self, index);
            });
        }
        for index in 0..self.articles.locations.len() as u32 {
            add(LOCATION, &mut |out| {
                put_varint(out, u64::from(index));
                put_location(out, self, index);
            });
        }
        for index in 0..self.articles.cell_count() as u32 {
            add(CELL, &mut |out| {
                put_varint(out, u64::from(index));
                put_cell(out, self.articles.cell(index));
            });
        }
        for (kit, parts) in self.articles.kits() {
            add(KIT, &mut |out| put_kit(out, kit, parts));
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
            add(WAITER, &mut |out| {
                put_varint(out, index as u64);
                put_waiter(out, self, article, waiter);
            });
        }
        for total in self.totals.iter() {
            add(TOTAL, &mut |out| put_total(out, total));
        }
        for hold in self.holds.iter() {
            add(HOLD, &mut |out| put_hold(out, self, hold));
        }
        for (index, (id, status, at_ms)) in self.reservations.ended().enumerate() {
            add(ENDED, &mut |out| {
                put_varint(out, index as u64);
                put_ended(out, id, ended_code(status), at_ms);
            });
        }
        for (index, (id, at_ms)) in self.commands.iter().enumerate() {
            add(COMMAND, &mut |out| {
                put_varint(out, index as u64);
                put_ended(out, id, 0, at_ms);
            });
        }
        sum
    }
}

/// FNV-1a with 64 bits and a final mix, so that sums of digests spread (the mix is that of `SplitMix64`).
fn digest(section: u64, item: &[u8]) -> u64 {
    let seed = 0xcbf2_9ce4_8422_2325 ^ section;
    let hash = item.iter().fold(seed, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
