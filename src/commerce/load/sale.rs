//! One flash sale from stocking to verdict, at any broker with a reservation engine behind it.

use super::audit::{self, Findings};
use super::driver::Driver;
use super::error::SaleError;
use super::ids::RunId;
use super::plant::Plant;
use super::progress::{Phase, Progress};
use super::scenario::Scenario;
use super::tally::Tally;

/// A sale that took place.
#[derive(Debug)]
pub struct Sold {
    /// What the generator measured.
    pub tally: Tally,
    /// What the log says.
    pub findings: Findings,
}

/// Stocks the shop at `address`, lets the crowd in, and recounts the log afterwards.
///
/// `plant` changes what was recorded before it is judged, to test the judge.
///
/// # Errors
/// When the sale could not be held to its end; a wrong result is in the findings.
pub async fn hold(
    address: &str,
    scenario: &Scenario,
    run: RunId,
    plant: Option<Plant>,
    progress: &mut (dyn FnMut(&Progress) + Send),
) -> Result<Sold, SaleError> {
    let mut driver = Driver::connect(address, scenario, run).await?;
    driver.stock().await?;
    let mut recorded = driver.sell(progress).await?;
    let elapsed = recorded.elapsed;
    progress(&recorded.tally.progress(
        Phase::Auditing,
        elapsed,
        scenario.units,
        recorded.ledger.live_holds(),
    ));
    let findings = audit::recount(address, &recorded, plant).await?;
    Ok(Sold {
        tally: recorded.tally,
        findings,
    })
}
