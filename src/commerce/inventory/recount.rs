//! The audit of one shard's two partitions, read from the log.

use super::recovery::{READ_MAX_BYTES, RecoverError, for_each_event};
use super::{Audit, AuditReport, commands_in};
use crate::commerce::store::EventStore;
use crate::log::batch;

/// Recounts a shard from all durable records of its commands and events.
///
/// Read the events of a shard that is at rest: a command whose outcome is still on its way counts as lost.
pub fn recount<S: EventStore>(commands: &S, events: &S) -> Result<AuditReport, RecoverError> {
    let mut audit = Audit::new();
    let mut next = commands.start();
    while next < commands.end() {
        let before = next;
        for run in commands.read(next, READ_MAX_BYTES)? {
            for found in batch::batches(&run) {
                let (header, bytes) = found.map_err(|source| RecoverError::Batch { offset: next, source })?;
                for record in commands_in(&header, &bytes) {
                    audit.command(record.offset, record.command.as_ref().ok());
                }
                next = next.max(header.next_offset());
            }
        }
        if next == before {
            break;
        }
    }
    for_each_event(events, events.start(), |_, event| {
        audit.event(&event);
        Ok(())
    })?;
    Ok(audit.report())
}
