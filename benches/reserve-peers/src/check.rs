//! That a peer does the work at all: it sells a scarce article out, to the last unit, while everybody clicks twice.

use anyhow::ensure;

use crate::measured::Answers;
use crate::peer::{Peer, Place};
use crate::plan::counted;
use crate::work::{SCARCE_UNITS, Workload};

/// Reservations that are sent, each of them twice; so there are twice as many shoppers as units.
const SENT: u64 = 4 * SCARCE_UNITS as u64;

/// In flight at once.
const IN_FLIGHT: usize = 128;

/// Lets everybody in. That units taken are units granted, and none below zero, is looked at after every cell.
pub fn sells_out(place: &Place, peer: Peer) -> anyhow::Result<()> {
    let cell = counted(Workload::Scarce, 1, IN_FLIGHT, SENT);
    let found = place.run(peer, &cell)?.measured.answers;
    let units = u64::from(SCARCE_UNITS);
    let expected = Answers {
        granted: units,
        existed: units,
        sold_out: SENT - 2 * units,
    };
    // Its statement looks for the reservation in the snapshot that it began with, so a second click that overlaps the
    // first may hear that nothing is left; a client would ask again.
    let told_sold_out = if matches!(peer, Peer::PostgresOn | Peer::PostgresOff) {
        units - found.existed.min(units)
    } else {
        0
    };
    let allowed = Answers {
        existed: expected.existed - told_sold_out,
        sold_out: expected.sold_out + told_sold_out,
        ..expected
    };
    ensure!(
        found == allowed,
        "{peer}: selling out came to {found:?}, expected is {expected:?}"
    );
    Ok(())
}
