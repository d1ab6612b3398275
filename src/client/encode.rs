//! Commands as requests.

use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::decode::Told;
use crate::commerce::inventory::{CartPolicy, Command, Line};
use crate::resp::write;

/// The request of a command, and how its outcome will be told: in few bytes where the command has a form of its own,
/// else as JSON.
pub(super) fn command(command: Command) -> (Vec<u8>, Told) {
    let mut request = Vec::with_capacity(160);
    match command {
        Command::Reserve {
            id,
            reservation,
            customer,
            lines,
            ttl_ms,
            policy: CartPolicy::All,
            split: None,
        } if id == reservation && are_plain(&lines) => {
            write::array(&mut request, 4 + 2 * lines.len());
            write::bulk(&mut request, b"RESERVE");
            uuid(&mut request, reservation);
            write::bulk(&mut request, customer.as_bytes());
            number(&mut request, ttl_ms);
            for line in &lines {
                write::bulk(&mut request, line.sku.as_bytes());
                number(&mut request, line.quantity);
            }
            let told = Told::Reserve {
                customer,
                lines,
                ttl_ms,
            };
            (request, told)
        }
        Command::Commit {
            id,
            reservation,
            lines,
        } if id == reservation && lines.is_empty() => {
            simple(&mut request, b"COMMIT", reservation);
            (request, Told::Short)
        }
        Command::Release { id, reservation } if id == reservation => {
            simple(&mut request, b"RELEASE", reservation);
            (request, Told::Short)
        }
        Command::Extend {
            id,
            reservation,
            ttl_ms,
        } => {
            write::array(&mut request, 4);
            write::bulk(&mut request, b"EXTEND");
            uuid(&mut request, reservation);
            number(&mut request, ttl_ms);
            uuid(&mut request, id);
            (request, Told::Short)
        }
        other => {
            write::array(&mut request, 2);
            write::bulk(&mut request, b"SUBMIT");
            write::bulk(&mut request, &other.to_json());
            (request, Told::Json)
        }
    }
}

/// The request for the units of an article.
pub(super) fn stock(sku: &str) -> Vec<u8> {
    let mut request = Vec::new();
    write::array(&mut request, 2);
    write::bulk(&mut request, b"STOCK");
    write::bulk(&mut request, sku.as_bytes());
    request
}

/// The request for a reservation.
pub(super) fn reservation(reservation: Uuid) -> Vec<u8> {
    let mut request = Vec::new();
    simple(&mut request, b"RESERVATION", reservation);
    request
}

/// Whether a cart fits the short form, and will be held line by line as it is.
fn are_plain(lines: &[Line]) -> bool {
    let is_repeated =
        |(index, line): (usize, &Line)| lines[..index].iter().any(|other| other.sku == line.sku);
    !lines.is_empty()
        && lines.iter().all(|line| line.location.is_empty())
        && !lines.iter().enumerate().any(is_repeated)
}

fn simple(request: &mut Vec<u8>, name: &[u8], reservation: Uuid) {
    write::array(request, 2);
    write::bulk(request, name);
    uuid(request, reservation);
}

fn uuid(request: &mut Vec<u8>, id: Uuid) {
    let mut text = [0; Hyphenated::LENGTH];
    write::bulk(request, id.hyphenated().encode_lower(&mut text).as_bytes());
}

fn number(request: &mut Vec<u8>, number: u32) {
    write::bulk(request, number.to_string().as_bytes());
}
