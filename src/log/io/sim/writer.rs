//! Simulated durable writes: several in flight, completed in an order that the disk's seed chooses.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::disk::lock;
use super::fault::{Fault, FaultKind};
use super::machine::{Machine, NodeId, WriteInFlight, power_cut};
use crate::log::io::{BLOCK_SIZE_BYTES, Completion, DurableWriter, FileSlot, WritePath};

/// Durable writes on a simulated disk; dropping it ends the writes in flight.
pub(super) struct SimulatedWriter {
    machine: Arc<Mutex<Machine>>,
    /// Tells this writer's writes from those of others.
    id: u64,
    depth: usize,
    /// Attached files; a slot is empty once detached.
    slots: Mutex<Vec<Option<NodeId>>>,
}

impl SimulatedWriter {
    pub(super) fn new(machine: Arc<Mutex<Machine>>, depth: usize) -> SimulatedWriter {
        let id = {
            let mut machine = lock(&machine);
            machine.writers += 1;
            machine.writers
        };
        SimulatedWriter {
            machine,
            id,
            depth,
            slots: Mutex::new(Vec::new()),
        }
    }

    fn node(&self, slot: FileSlot) -> io::Result<NodeId> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots
            .get(slot.0 as usize)
            .copied()
            .flatten()
            .ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

impl SimulatedWriter {
    /// # Errors
    /// `InvalidInput` when the write is not aligned in memory, position and length, as `O_DIRECT` wants it;
    /// `WouldBlock` when as many writes are in flight as the writer was made for.
    fn begin(
        &self,
        slot: FileSlot,
        position: u64,
        data: Bytes,
        token: u64,
        is_synced: bool,
    ) -> io::Result<()> {
        let node = self.node(slot)?;
        let misaligned = data.as_ptr().addr() | position as usize | data.len();
        if !misaligned.is_multiple_of(BLOCK_SIZE_BYTES) || data.is_empty() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut machine = lock(&self.machine);
        let fault = machine.begin()?;
        if machine
            .in_flight
            .iter()
            .filter(|write| write.writer == self.id)
            .count()
            >= self.depth
        {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let end = position
            .checked_add(data.len() as u64)
            .ok_or(io::ErrorKind::InvalidInput)?;
        machine.reserve(node, end)?;
        let write = WriteInFlight {
            writer: self.id,
            node,
            position,
            data,
            token,
            settles: is_synced.then(|| machine.unsynced.clone()),
        };
        match fault {
            Some(fault @ (Fault::WriteError | Fault::Enospc)) => {
                Err(machine.refuse(fault, FaultKind::WriteError))
            }
            Some(Fault::TornWrite | Fault::PowerCut) => {
                machine.tear(&write);
                machine.powered = false;
                Err(power_cut())
            }
            // What is silent happens at the completion.
            None | Some(Fault::MisplacedWrite | Fault::LostFlush | Fault::ShortWrite) => {
                machine.in_flight.push(write);
                Ok(())
            }
        }
    }
}

impl fmt::Debug for SimulatedWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedWriter")
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

impl DurableWriter for SimulatedWriter {
    fn path(&self) -> WritePath {
        WritePath::Simulated
    }

    fn attach(&self, path: &Path) -> io::Result<FileSlot> {
        let node = {
            let machine = lock(&self.machine);
            machine.check_power()?;
            let node = machine.resolve(path)?;
            machine.file(node)?;
            node
        };
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.push(Some(node));
        Ok(FileSlot(slots.len() as u32 - 1))
    }

    fn detach(&self, slot: FileSlot) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = slots.get_mut(slot.0 as usize) {
            *node = None;
        }
    }

    fn submit(&self, slot: FileSlot, position: u64, data: Bytes, token: u64) -> io::Result<()> {
        self.begin(slot, position, data, token, true)
    }

    fn submit_unsynced(&self, slot: FileSlot, position: u64, data: Bytes, token: u64) -> io::Result<()> {
        self.begin(slot, position, data, token, false)
    }

    fn wait(&self, completions: &mut Vec<Completion>) -> io::Result<()> {
        let mut machine = lock(&self.machine);
        machine.check_power()?;
        let in_flight = machine
            .in_flight
            .iter()
            .filter(|write| write.writer == self.id)
            .count();
        if in_flight == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "no durable write is in flight",
            ));
        }
        let ended = if machine.slow {
            if in_flight > 1 {
                machine.fired.add(FaultKind::SlowDisk);
            }
            1
        } else {
            1 + machine.choices.below(in_flight)
        };
        for remaining in (in_flight - ended + 1..=in_flight).rev() {
            let mut fault = machine.begin()?;
            let chosen = machine.choices.below(remaining);
            let mut write = take_write(&mut machine, self.id, chosen);
            if fault == Some(Fault::ShortWrite) {
                // The rest is re-issued: another operation, which may fail.
                write = machine.write_first_half(write);
                fault = match machine.begin() {
                    Ok(fault) => fault,
                    Err(error) => {
                        machine.in_flight.push(write);
                        return Err(error);
                    }
                };
            }
            let result = machine.end_write(&write, fault);
            if !machine.powered {
                return Err(power_cut());
            }
            completions.push(Completion {
                token: write.token,
                result,
            });
        }
        Ok(())
    }
}

/// Takes the `index`-th write of a writer out of flight.
fn take_write(machine: &mut Machine, writer: u64, index: usize) -> WriteInFlight {
    let mut own = (0..machine.in_flight.len()).filter(|&i| machine.in_flight[i].writer == writer);
    let position = own.nth(index).expect("counted before");
    machine.in_flight.remove(position)
}

impl Drop for SimulatedWriter {
    fn drop(&mut self) {
        let mut machine = lock(&self.machine);
        let (own, others) = std::mem::take(&mut machine.in_flight)
            .into_iter()
            .partition(|write| write.writer == self.id);
        let own: Vec<WriteInFlight> = own;
        machine.in_flight = others;
        if !machine.powered {
            // The image of a dead machine still chooses what of them arrived.
            machine.in_flight.extend(own);
            return;
        }
        for write in own {
            if let Ok(file) = machine.file_mut(write.node) {
                file.write_durable(write.position, &write.data, || true);
            }
        }
    }
}
