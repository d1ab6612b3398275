//! The ids of one run: every command and reservation id says which shopper and step it belongs to.
//!
//! Ids are `UUIDv8` (RFC 9562, section 5.8), so that an outcome is matched without a table:
//!
//! ```text
//! custom_a, 48 bits: the run          (drawn when the run starts; the same seed twice does not collide)
//! custom_b, 12 bits: what it names    (0 a command, 1 a reservation)
//! custom_c, 62 bits: shopper << 16 | step
//! ```

use uuid::{Builder, Uuid, Version};

/// One run of the generator, 48 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RunId(u64);

/// One step of one shopper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId {
    /// The shopper's number, from 0; numbers above the population are the shop's own staff.
    pub shopper: u32,
    /// The step's number, from 0.
    pub step: u16,
}

const RUN_BITS: u32 = 48;
const COMMAND: u16 = 0;
const RESERVATION: u16 = 1;

impl RunId {
    /// A run of its own, from random bits.
    pub fn from_random(bits: u64) -> RunId {
        RunId(bits & ((1 << RUN_BITS) - 1))
    }

    /// A short name for topics, articles and customers of this run.
    pub fn name(self) -> String {
        format!("{:012x}", self.0)
    }

    /// The id of the command that a shopper sends in a step.
    pub fn command(self, step: StepId) -> Uuid {
        self.uuid(COMMAND, step)
    }

    /// The id of the reservation that a shopper asks for in a step.
    pub fn reservation(self, step: StepId) -> Uuid {
        self.uuid(RESERVATION, step)
    }

    /// The step that sent the command, unless it belongs to another run.
    pub fn step_of_command(self, id: Uuid) -> Option<StepId> {
        self.step_of(COMMAND, id)
    }

    /// The step that first asked for the reservation, unless it belongs to another run.
    pub fn step_of_reservation(self, id: Uuid) -> Option<StepId> {
        self.step_of(RESERVATION, id)
    }

    fn uuid(self, names: u16, step: StepId) -> Uuid {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&self.0.to_be_bytes()[2..]);
        bytes[6..8].copy_from_slice(&names.to_be_bytes());
        bytes[10..14].copy_from_slice(&step.shopper.to_be_bytes());
        bytes[14..].copy_from_slice(&step.step.to_be_bytes());
        Builder::from_custom_bytes(bytes).into_uuid()
    }

    fn step_of(self, names: u16, id: Uuid) -> Option<StepId> {
        let bytes = id.as_bytes();
        let shopper = u32::from_be_bytes(*bytes[10..].first_chunk()?);
        let step = StepId {
            shopper,
            step: u16::from_be_bytes(*bytes[14..].first_chunk()?),
        };
        (id.get_version() == Some(Version::Custom) && self.uuid(names, step) == id).then_some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_their_step() {
        let run = RunId::from_random(u64::MAX);
        for step in [
            StepId { shopper: 0, step: 0 },
            StepId {
                shopper: 99_999,
                step: 7,
            },
            StepId {
                shopper: u32::MAX,
                step: u16::MAX,
            },
        ] {
            assert_eq!(run.step_of_command(run.command(step)), Some(step));
            assert_eq!(run.step_of_reservation(run.reservation(step)), Some(step));
            assert_eq!(run.step_of_command(run.reservation(step)), None);
            assert_eq!(run.step_of_reservation(run.command(step)), None);
        }
    }

    #[test]
    fn ids_of_other_runs_and_strangers_are_not_ours() {
        let run = RunId::from_random(1);
        let step = StepId { shopper: 3, step: 1 };
        assert_eq!(RunId::from_random(2).step_of_command(run.command(step)), None);
        assert_eq!(run.step_of_command(Uuid::nil()), None);
        assert_eq!(run.step_of_command(Uuid::now_v7()), None);
    }

    #[test]
    fn the_id_is_a_version_8_uuid() {
        let id = RunId::from_random(0xabc).command(StepId { shopper: 1, step: 2 });
        assert_eq!(id.to_string(), "00000000-0abc-8000-8000-000000010002");
    }
}
