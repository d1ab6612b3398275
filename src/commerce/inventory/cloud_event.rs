//! The `CloudEvents` attributes of an event, as Kafka headers (`CloudEvents` 1.0, Kafka binary binding).

use uuid::Uuid;

use super::{Event, Outcome};

/// Longest correlation or causation id that is carried through, in bytes; a longer one is dropped.
pub const TRACE_ID_MAX_BYTES: usize = 256;

/// What ties an event to the purchase that it belongs to, from the headers of its command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The `ce_correlationid` of the command, carried through unchanged.
    pub correlation: Option<Box<str>>,
    /// The `ce_id` of the command.
    pub causation: Option<Box<str>>,
}

impl Trace {
    /// Takes what matters from one header of a command's record.
    pub(super) fn take(&mut self, name: &str, value: Option<&[u8]>) {
        let place = match name {
            "ce_correlationid" => &mut self.correlation,
            "ce_id" => &mut self.causation,
            _ => return,
        };
        let text = value.and_then(|value| std::str::from_utf8(value).ok());
        *place = text
            .filter(|text| text.len() <= TRACE_ID_MAX_BYTES)
            .map(Into::into);
    }
}

/// `ce_type` of an event.
pub(super) fn event_type(outcome: &Outcome, has_reservation: bool) -> &'static str {
    match outcome {
        Outcome::Received { .. } => "doorbuster.inventory.StockReceived.v1",
        Outcome::Announced { .. } => "doorbuster.inventory.StockAnnounced.v1",
        Outcome::Adjusted { .. } => "doorbuster.inventory.StockAdjusted.v1",
        Outcome::Transferred { .. } => "doorbuster.inventory.StockTransferred.v1",
        Outcome::Returned { .. } => "doorbuster.inventory.StockReturned.v1",
        Outcome::Shipped { .. } => "doorbuster.inventory.StockShipped.v1",
        Outcome::AllocationCancelled { .. } => "doorbuster.inventory.StockAllocationCancelled.v1",
        Outcome::PolicySet { .. } => "doorbuster.inventory.StockPolicySet.v1",
        Outcome::SaleOpened { .. } => "doorbuster.inventory.SaleOpened.v1",
        Outcome::SaleClosed { .. } => "doorbuster.inventory.SaleClosed.v1",
        Outcome::LocationSet { .. } => "doorbuster.inventory.LocationSet.v1",
        Outcome::KitDefined { .. } => "doorbuster.inventory.KitDefined.v1",
        Outcome::LowStock { .. } => "doorbuster.inventory.LowStock.v1",
        Outcome::OutOfStock { .. } => "doorbuster.inventory.OutOfStock.v1",
        Outcome::BackInStock { .. } => "doorbuster.inventory.BackInStock.v1",
        Outcome::Reserved { .. } => "doorbuster.inventory.InventoryReserved.v1",
        Outcome::Extended { .. } => "doorbuster.inventory.ReservationExtended.v1",
        Outcome::Committed | Outcome::CommittedPart { .. } => "doorbuster.inventory.ReservationCommitted.v1",
        Outcome::Waiting { .. } => "doorbuster.inventory.WaitlistJoined.v1",
        Outcome::LeftWaitlist => "doorbuster.inventory.WaitlistLeft.v1",
        Outcome::Offered { .. } => "doorbuster.inventory.InventoryOffered.v1",
        Outcome::Released => "doorbuster.inventory.ReservationReleased.v1",
        Outcome::ReservationExpired => "doorbuster.inventory.ReservationExpired.v1",
        Outcome::Exists { .. } => "doorbuster.inventory.CommandRepeated.v1",
        _ if has_reservation => "doorbuster.inventory.ReservationRejected.v1",
        _ => "doorbuster.inventory.CommandRejected.v1",
    }
}

/// What an event is about when it names no reservation.
pub(super) fn article(event: &Event) -> Option<&str> {
    match &event.outcome {
        Outcome::Received { sku, .. }
        | Outcome::Announced { sku, .. }
        | Outcome::Adjusted { sku, .. }
        | Outcome::Transferred { sku, .. }
        | Outcome::Returned { sku, .. }
        | Outcome::Shipped { sku, .. }
        | Outcome::AllocationCancelled { sku, .. }
        | Outcome::PolicySet { sku, .. }
        | Outcome::SaleOpened { sku, .. }
        | Outcome::SaleClosed { sku }
        | Outcome::KitDefined { sku, .. }
        | Outcome::LowStock { sku, .. }
        | Outcome::OutOfStock { sku }
        | Outcome::BackInStock { sku, .. } => Some(sku),
        _ => None,
    }
}

/// `ce_id` of the event at `offset` of partition `partition`: a `UUIDv7` that needs no chance.
///
/// Unique within the source, since no two events of a partition share an offset, and the same in every replay.
/// The version and variant bits cover only the top of the partition number and of the offset.
pub(super) fn event_id(at_ms: i64, partition: u32, offset: u64) -> Uuid {
    let mut unique = [0; 10];
    unique[..2].copy_from_slice(&(partition as u16).to_be_bytes());
    unique[2..].copy_from_slice(&offset.to_be_bytes());
    uuid::Builder::from_unix_timestamp_millis(at_ms.max(0) as u64, &unique).into_uuid()
}

/// An instant as RFC 3339 in UTC with milliseconds, for years 0 to 9999; others are cut to that range.
pub(super) fn rfc3339(instant_ms: i64) -> String {
    /// 9999-12-31T23:59:59.999Z.
    const LAST_MS: i64 = 253_402_300_799_999;
    /// 0000-01-01T00:00:00.000Z.
    const FIRST_MS: i64 = -62_167_219_200_000;
    const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
    let instant_ms = instant_ms.clamp(FIRST_MS, LAST_MS);
    let (days, ms) = (instant_ms.div_euclid(DAY_MS), instant_ms.rem_euclid(DAY_MS));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
        ms % 1_000
    )
}

/// Year, month and day of a number of days since 1970-01-01 (Howard Hinnant, "`chrono`-Compatible Low-Level
/// Date Algorithms", `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_as_text() {
        for (instant_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_001, "2000-02-29T00:00:00.001Z"),
            (1_764_000_000_123, "2025-11-24T16:00:00.123Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z"),
            (i64::MIN, "0000-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(instant_ms), text);
        }
    }

    #[test]
    fn ids_are_version_7_and_differ() {
        let ids: std::collections::HashSet<Uuid> = (0..3)
            .flat_map(|partition| (0..1_000).map(move |offset| event_id(1_000, partition, offset)))
            .collect();
        assert_eq!(ids.len(), 3_000);
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
    }
}
