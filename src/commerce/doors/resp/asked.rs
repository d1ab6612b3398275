//! What a client asks: arguments to commands of the engine.

use uuid::Uuid;

use super::super::ids::{IdError, id_of};
use super::session::Session;
use crate::commerce::inventory::{Command, Line};

/// Longest command name that is looked up.
const NAME_MAX_BYTES: usize = 16;

/// One request of a client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A command whose outcome is told in this form.
    Command(Command, Form),
    /// The units of an article.
    Stock(String),
    /// Where a reservation stands.
    Reservation(Uuid),
    /// Something about the connection, answered without the engine.
    Session(Session),
}

/// How an outcome is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A status or an error; a repeated commit is no error.
    Commit,
    /// A status or an error; a repeated release is no error.
    Release,
    /// A status or an error.
    Other,
    /// Its JSON.
    Json,
}

/// Why a request is not understood. Nothing was done.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AskedError {
    #[error("unknown command '{0}'")]
    Unknown(String),
    #[error("wrong number of arguments for '{0}' command")]
    ArgumentCount(&'static str),
    #[error("{what} is not a whole number from 0 to 4294967295")]
    Number { what: &'static str },
    #[error("{what} is not UTF-8")]
    Text { what: &'static str },
    #[error(transparent)]
    Id(#[from] IdError),
    #[error("not a command in JSON: {0}")]
    Json(String),
}

/// Understands one request; `arguments` begins with the name.
pub(super) fn understand<'a>(
    mut arguments: impl ExactSizeIterator<Item = &'a [u8]>,
) -> Result<Asked, AskedError> {
    let name = arguments.next().unwrap_or_default();
    let mut capitals = [0; NAME_MAX_BYTES];
    let capitals = match capitals.get_mut(..name.len()) {
        None => return Err(unknown(name)),
        Some(capitals) => {
            capitals.copy_from_slice(name);
            capitals.make_ascii_uppercase();
            &*capitals
        }
    };
    match capitals {
        b"RESERVE" => reserve(arguments),
        b"COMMIT" => {
            let [reservation] = exactly(arguments, "commit")?;
            Ok(Asked::Command(Command::commit(id_of(reservation)?), Form::Commit))
        }
        b"RELEASE" => {
            let [reservation] = exactly(arguments, "release")?;
            let reservation = id_of(reservation)?;
            Ok(Asked::Command(Command::release(reservation), Form::Release))
        }
        b"EXTEND" => {
            let ([reservation, ttl_ms], id) = with_id(arguments, "extend")?;
            let command = Command::Extend {
                id,
                reservation: id_of(reservation)?,
                ttl_ms: number(ttl_ms, "ttl_ms")?,
            };
            Ok(Asked::Command(command, Form::Other))
        }
        b"RECEIVE" => {
            let ([sku, quantity], id) = with_id(arguments, "receive")?;
            let command = Command::receive(id, text(sku, "sku")?, number(quantity, "quantity")?);
            Ok(Asked::Command(command, Form::Other))
        }
        b"SUBMIT" => {
            let [json] = exactly(arguments, "submit")?;
            let command = Command::from_json(json).map_err(|error| AskedError::Json(error.to_string()))?;
            Ok(Asked::Command(command, Form::Json))
        }
        b"STOCK" => {
            let [sku] = exactly(arguments, "stock")?;
            Ok(Asked::Stock(text(sku, "sku")?))
        }
        b"RESERVATION" => {
            let [reservation] = exactly(arguments, "reservation")?;
            Ok(Asked::Reservation(id_of(reservation)?))
        }
        other => match Session::understand(other, arguments)? {
            Some(session) => Ok(Asked::Session(session)),
            None => Err(unknown(name)),
        },
    }
}

fn unknown(name: &[u8]) -> AskedError {
    let shown = &name[..name.len().min(128)];
    AskedError::Unknown(shown.escape_ascii().to_string())
}

fn reserve<'a>(mut arguments: impl ExactSizeIterator<Item = &'a [u8]>) -> Result<Asked, AskedError> {
    // Id, customer, time, and then pairs.
    if arguments.len() < 5 || arguments.len().is_multiple_of(2) {
        return Err(AskedError::ArgumentCount("reserve"));
    }
    let mut next = || arguments.next().unwrap_or_default();
    let reservation = id_of(next())?;
    let customer = text(next(), "customer")?;
    let ttl_ms = number(next(), "ttl_ms")?;
    let mut lines = Vec::with_capacity(arguments.len() / 2);
    while let (Some(sku), Some(quantity)) = (arguments.next(), arguments.next()) {
        lines.push(Line::new(text(sku, "sku")?, number(quantity, "quantity")?));
    }
    let command = Command::reserve(reservation, customer, lines, ttl_ms);
    Ok(Asked::Command(command, Form::Other))
}

/// As many arguments as the command `name` takes.
pub(super) fn exactly<'a, const COUNT: usize>(
    mut arguments: impl ExactSizeIterator<Item = &'a [u8]>,
    name: &'static str,
) -> Result<[&'a [u8]; COUNT], AskedError> {
    if arguments.len() != COUNT {
        return Err(AskedError::ArgumentCount(name));
    }
    Ok(std::array::from_fn(|_| arguments.next().unwrap_or_default()))
}

/// Two arguments, and a command id, which is drawn if it is not given.
fn with_id<'a>(
    mut arguments: impl ExactSizeIterator<Item = &'a [u8]>,
    name: &'static str,
) -> Result<([&'a [u8]; 2], Uuid), AskedError> {
    let (Some(first), Some(second)) = (arguments.next(), arguments.next()) else {
        return Err(AskedError::ArgumentCount(name));
    };
    let id = arguments
        .next()
        .map(id_of)
        .transpose()?
        .unwrap_or_else(Uuid::now_v7);
    if arguments.len() > 0 {
        return Err(AskedError::ArgumentCount(name));
    }
    Ok(([first, second], id))
}

fn text(argument: &[u8], what: &'static str) -> Result<String, AskedError> {
    std::str::from_utf8(argument)
        .map(str::to_owned)
        .map_err(|_| AskedError::Text { what })
}

fn number(argument: &[u8], what: &'static str) -> Result<u32, AskedError> {
    let refused = || AskedError::Number { what };
    // Rust would take a sign.
    if !argument.first().is_some_and(u8::is_ascii_digit) {
        return Err(refused());
    }
    let text = std::str::from_utf8(argument).map_err(|_| refused())?;
    text.parse().map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(line: &str) -> Result<Asked, AskedError> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        understand(words.into_iter())
    }

    #[test]
    fn every_command_of_the_engine() {
        let reservation = id_of(b"r-1").unwrap();
        let lines = vec![Line::new("tv", 1), Line::new("ps5", 2)];
        let cart = Command::reserve(reservation, "ann", lines, 900);
        assert_eq!(
            ask("reserve r-1 ann 900 tv 1 ps5 2"),
            Ok(Asked::Command(cart, Form::Other))
        );
        assert_eq!(
            ask("Commit r-1"),
            Ok(Asked::Command(Command::commit(reservation), Form::Commit))
        );
        assert_eq!(
            ask("RELEASE r-1"),
            Ok(Asked::Command(Command::release(reservation), Form::Release))
        );
        let id = id_of(b"c-9").unwrap();
        let extend = Command::Extend {
            id,
            reservation,
            ttl_ms: 7,
        };
        assert_eq!(
            ask("EXTEND r-1 7 c-9"),
            Ok(Asked::Command(extend.clone(), Form::Other))
        );
        let receive = Command::receive(id, "tv", u32::MAX);
        assert_eq!(
            ask("RECEIVE tv 4294967295 c-9"),
            Ok(Asked::Command(receive, Form::Other))
        );
        let json = String::from_utf8(extend.to_json()).unwrap();
        assert_eq!(
            ask(&format!("SUBMIT {json}")),
            Ok(Asked::Command(extend, Form::Json))
        );
        assert_eq!(ask("STOCK tv"), Ok(Asked::Stock("tv".into())));
        assert_eq!(ask("RESERVATION r-1"), Ok(Asked::Reservation(reservation)));
    }

    #[test]
    fn without_a_command_id_every_send_is_a_new_one() {
        let id = |line| match ask(line) {
            Ok(Asked::Command(command, _)) => command.id(),
            other => panic!("{other:?}"),
        };
        assert_ne!(id("RECEIVE tv 1"), id("RECEIVE tv 1"));
        assert_ne!(id("EXTEND r-1 1"), id("EXTEND r-1 1"));
    }

    #[test]
    fn mistakes_are_named() {
        for (line, expected) in [
            ("STEAL tv", "unknown command 'STEAL'"),
            (
                "A-NAME-LONGER-THAN-ANY tv",
                "unknown command 'A-NAME-LONGER-THAN-ANY'",
            ),
            ("\r\n", "unknown command '\\r\\n'"),
            ("RESERVE r c 1", "wrong number of arguments for 'reserve' command"),
            (
                "RESERVE r c 1 tv",
                "wrong number of arguments for 'reserve' command",
            ),
            (
                "RESERVE r c 1 tv 1 ps5",
                "wrong number of arguments for 'reserve' command",
            ),
            ("COMMIT", "wrong number of arguments for 'commit' command"),
            ("COMMIT a b", "wrong number of arguments for 'commit' command"),
            ("EXTEND a 1 b c", "wrong number of arguments for 'extend' command"),
            ("RECEIVE tv", "wrong number of arguments for 'receive' command"),
            (
                "RECEIVE tv -1",
                "quantity is not a whole number from 0 to 4294967295",
            ),
            (
                "RECEIVE tv +1",
                "quantity is not a whole number from 0 to 4294967295",
            ),
            (
                "RECEIVE tv 4294967296",
                "quantity is not a whole number from 0 to 4294967295",
            ),
            (
                "EXTEND r 1.5",
                "ttl_ms is not a whole number from 0 to 4294967295",
            ),
            ("COMMIT ", "an id has 1 to 64 bytes, this one has 0"),
        ] {
            assert_eq!(ask(line).unwrap_err().to_string(), expected, "{line}");
        }
        assert_eq!(
            understand([&b"STOCK"[..], b"\xff"].into_iter()),
            Err(AskedError::Text { what: "sku" })
        );
        assert!(matches!(ask("SUBMIT {}"), Err(AskedError::Json(_))));
    }
}
