//! Commands about the connection and the server, which client libraries send by themselves.

use super::asked::{AskedError, exactly};
use crate::resp::write;

/// Something that is answered without the engine.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Session {
    /// An answer that is the same for every connection, in RESP.
    Fixed(Vec<u8>),
    /// The version of the protocol, if it is to change.
    Hello(Option<Protocol>),
    /// The number of the connection.
    ClientId,
    /// Facts about the server.
    Info,
    /// The names of all commands, or what can be said about them.
    Command(About),
    /// Settings that match none or some of these patterns.
    ConfigGet(Vec<String>),
    /// The connection as if it were new.
    Reset,
    /// The end of the connection.
    Quit,
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

/// What is asked about commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    All,
    Count,
    Names,
    Docs,
}

/// A command as `COMMAND` describes it: name, arity with the name counted (negative for a least number), the first
/// argument that is a key (0 for none), and a line for `redis-cli`.
struct Described {
    name: &'static str,
    arity: i64,
    key: i64,
    writes: bool,
    summary: &'static str,
}

const fn described(
    name: &'static str,
    arity: i64,
    key: i64,
    writes: bool,
    summary: &'static str,
) -> Described {
    Described {
        name,
        arity,
        key,
        writes,
        summary,
    }
}

const COMMANDS: [Described; 18] = [
    described(
        "reserve",
        -6,
        1,
        true,
        "Holds a cart: id customer ttl_ms sku quantity [sku quantity ...]",
    ),
    described("commit", 2, 1, true, "Sells the units of a hold"),
    described("release", 2, 1, true, "Gives the units of a hold back"),
    described(
        "extend",
        -3,
        1,
        true,
        "Lets a hold last longer: id ttl_ms [command-id]",
    ),
    described(
        "receive",
        -3,
        1,
        true,
        "Adds units to an article: sku quantity [command-id]",
    ),
    described("submit", 2, 0, true, "Takes any command as JSON"),
    described("stock", 2, 1, false, "The units of an article"),
    described("reservation", 2, 1, false, "Where a reservation stands"),
    described("ping", -1, 0, false, "Answers"),
    described("echo", 2, 0, false, "Answers with its argument"),
    described("hello", -1, 0, false, "Chooses the version of the protocol"),
    described("client", -2, 0, false, "About the connection"),
    described("command", -1, 0, false, "About the commands"),
    described("config", -2, 0, false, "Reads settings"),
    described("info", -1, 0, false, "Facts about the server"),
    described("select", 2, 0, false, "Chooses database 0, the only one"),
    described("reset", 1, 0, false, "The connection as if it were new"),
    described("quit", 1, 0, false, "Ends the connection"),
];

/// Settings of Redis that tools look at, with what is true here: every answer is on stable storage.
const SETTINGS: [(&str, &str); 5] = [
    ("save", ""),
    ("appendonly", "yes"),
    ("appendfsync", "always"),
    ("databases", "1"),
    ("maxmemory", "0"),
];

impl Session {
    /// Understands the command `name`, which is in capitals; none if there is no such command.
    pub(super) fn understand<'a>(
        name: &[u8],
        mut arguments: impl ExactSizeIterator<Item = &'a [u8]>,
    ) -> Result<Option<Session>, AskedError> {
        let session = match name {
            b"PING" => match arguments.len() {
                0 => Session::ok("PONG"),
                _ => Session::bulk(exactly::<1>(arguments, "ping")?[0]),
            },
            b"ECHO" => Session::bulk(exactly::<1>(arguments, "echo")?[0]),
            b"HELLO" => hello(arguments),
            b"AUTH" => {
                Session::error("ERR AUTH called without any password configured: this door asks for none")
            }
            b"CLIENT" => client(arguments),
            b"COMMAND" => match capitals(arguments.next()).as_slice() {
                b"" => Session::Command(About::All),
                b"COUNT" => Session::Command(About::Count),
                b"LIST" => Session::Command(About::Names),
                b"DOCS" => Session::Command(About::Docs),
                b"INFO" if arguments.len() == 0 => Session::Command(About::All),
                _ => Session::error("ERR unknown subcommand of COMMAND, try COUNT, LIST, DOCS or INFO"),
            },
            b"CONFIG" => match capitals(arguments.next()).as_slice() {
                b"GET" => {
                    let patterns =
                        arguments.map(|pattern| String::from_utf8_lossy(pattern).to_ascii_lowercase());
                    Session::ConfigGet(patterns.collect())
                }
                b"RESETSTAT" => Session::ok("OK"),
                _ => Session::error("ERR settings are made when the daemon is started"),
            },
            b"INFO" => Session::Info,
            b"SELECT" => match exactly::<1>(arguments, "select")? {
                [b"0"] => Session::ok("OK"),
                _ => Session::error("ERR DB index is out of range"),
            },
            b"RESET" => Session::Reset,
            b"QUIT" => Session::Quit,
            _ => return Ok(None),
        };
        Ok(Some(session))
    }

    fn ok(text: &str) -> Session {
        Session::fixed(|reply| write::status(reply, text))
    }

    fn error(text: &str) -> Session {
        Session::fixed(|reply| write::error(reply, text))
    }

    fn bulk(bytes: &[u8]) -> Session {
        Session::fixed(|reply| write::bulk(reply, bytes))
    }

    fn fixed(write: impl FnOnce(&mut Vec<u8>)) -> Session {
        let mut reply = Vec::new();
        write(&mut reply);
        Session::Fixed(reply)
    }
}

/// The first bytes of an argument in capitals; empty if there is none.
fn capitals(argument: Option<&[u8]>) -> Vec<u8> {
    let argument = argument.unwrap_or_default();
    argument[..argument.len().min(32)].to_ascii_uppercase()
}

/// `HELLO [2 | 3 [AUTH name password] [SETNAME name]]`
fn hello<'a>(mut arguments: impl Iterator<Item = &'a [u8]>) -> Session {
    let protocol = match arguments.next() {
        None => None,
        Some(b"2") => Some(Protocol::Resp2),
        Some(b"3") => Some(Protocol::Resp3),
        Some(_) => return Session::error("NOPROTO unsupported protocol version"),
    };
    while let Some(option) = arguments.next() {
        match capitals(Some(option)).as_slice() {
            b"SETNAME" if arguments.next().is_some() => {}
            b"AUTH" => {
                return Session::error(
                    "ERR AUTH called without any password configured: this door asks for none",
                );
            }
            _ => return Session::error("ERR syntax error in HELLO"),
        }
    }
    Session::Hello(protocol)
}

fn client<'a>(mut arguments: impl Iterator<Item = &'a [u8]>) -> Session {
    match capitals(arguments.next()).as_slice() {
        b"ID" => Session::ClientId,
        b"SETINFO" | b"SETNAME" | b"NO-EVICT" | b"NO-TOUCH" => Session::ok("OK"),
        b"GETNAME" => Session::bulk(b""),
        _ => Session::error("ERR unknown subcommand of CLIENT, try ID, SETINFO, SETNAME or GETNAME"),
    }
}

/// Answers `HELLO`.
pub(super) fn write_hello(reply: &mut Vec<u8>, protocol: Protocol, connection: u64) {
    let is_resp3 = protocol == Protocol::Resp3;
    write::map(reply, is_resp3, 7);
    for (name, value) in [
        ("server", "doorbuster"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("mode", "standalone"),
        ("role", "master"),
    ] {
        write::bulk(reply, name.as_bytes());
        write::bulk(reply, value.as_bytes());
    }
    write::bulk(reply, b"proto");
    write::integer(reply, if is_resp3 { 3 } else { 2 });
    write::bulk(reply, b"id");
    write::integer(reply, connection.cast_signed());
    write::bulk(reply, b"modules");
    write::array(reply, 0);
}

/// Answers `INFO`.
pub(super) fn write_info(reply: &mut Vec<u8>, connections: usize) {
    let text = format!(
        "# Server\r\nserver_name:doorbuster\r\ndoorbuster_version:{}\r\nredis_mode:standalone\r\nprocess_id:{}\r\n\
         \r\n# Clients\r\nconnected_clients:{connections}\r\n\r\n# Persistence\r\naof_enabled:1\r\n",
        env!("CARGO_PKG_VERSION"),
        std::process::id(),
    );
    write::bulk(reply, text.as_bytes());
}

/// Answers `COMMAND` and its subcommands.
pub(super) fn write_commands(reply: &mut Vec<u8>, about: About, protocol: Protocol) {
    match about {
        About::Count => write::integer(reply, COMMANDS.len() as i64),
        About::Names => {
            write::array(reply, COMMANDS.len());
            for command in &COMMANDS {
                write::bulk(reply, command.name.as_bytes());
            }
        }
        About::All => {
            write::array(reply, COMMANDS.len());
            for command in &COMMANDS {
                write::array(reply, 6);
                write::bulk(reply, command.name.as_bytes());
                write::integer(reply, command.arity);
                write::array(reply, 1);
                write::status(reply, if command.writes { "write" } else { "readonly" });
                write::integer(reply, command.key);
                write::integer(reply, command.key);
                write::integer(reply, command.key);
            }
        }
        About::Docs => {
            let is_resp3 = protocol == Protocol::Resp3;
            write::map(reply, is_resp3, COMMANDS.len());
            for command in &COMMANDS {
                write::bulk(reply, command.name.as_bytes());
                write::map(reply, is_resp3, 1);
                write::bulk(reply, b"summary");
                write::bulk(reply, command.summary.as_bytes());
            }
        }
    }
}

/// Answers `CONFIG GET`: a pattern is a name, or `*`, or a beginning and `*`.
pub(super) fn write_settings(reply: &mut Vec<u8>, patterns: &[String], protocol: Protocol) {
    let is_asked = |name: &str| {
        patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        })
    };
    let asked = SETTINGS.iter().filter(|(name, _)| is_asked(name));
    write::map(reply, protocol == Protocol::Resp3, asked.clone().count());
    for (name, value) in asked {
        write::bulk(reply, name.as_bytes());
        write::bulk(reply, value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(line: &str) -> Option<Session> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        Session::understand(words[0], words[1..].iter().copied()).unwrap()
    }

    #[track_caller]
    fn check(line: &str, reply: &str) {
        assert_eq!(
            ask(line),
            Some(Session::Fixed(reply.as_bytes().to_vec())),
            "{line}"
        );
    }

    #[test]
    fn what_client_libraries_send() {
        check("PING", "+PONG\r\n");
        check("PING hi", "$2\r\nhi\r\n");
        check("ECHO hi", "$2\r\nhi\r\n");
        check("SELECT 0", "+OK\r\n");
        check("SELECT 1", "-ERR DB index is out of range\r\n");
        check("CLIENT SETINFO lib-name redis-py", "+OK\r\n");
        check("CLIENT setname shop", "+OK\r\n");
        check("HELLO 4", "-NOPROTO unsupported protocol version\r\n");
        assert_eq!(ask("HELLO"), Some(Session::Hello(None)));
        assert_eq!(
            ask("HELLO 3 SETNAME shop"),
            Some(Session::Hello(Some(Protocol::Resp3)))
        );
        assert!(matches!(
            ask("HELLO 3 AUTH default secret"),
            Some(Session::Fixed(_))
        ));
        assert_eq!(ask("CLIENT ID"), Some(Session::ClientId));
        assert_eq!(ask("COMMAND DOCS"), Some(Session::Command(About::Docs)));
        assert_eq!(ask("COMMAND docs reserve"), Some(Session::Command(About::Docs)));
        assert_eq!(ask("COMMAND"), Some(Session::Command(About::All)));
        assert_eq!(ask("INFO server"), Some(Session::Info));
        assert_eq!(ask("QUIT"), Some(Session::Quit));
        assert_eq!(ask("GET"), None);
    }

    #[test]
    fn settings_by_name_and_pattern() {
        let settings = |patterns: &[&str]| {
            let mut reply = Vec::new();
            let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
            write_settings(&mut reply, &patterns, Protocol::Resp2);
            String::from_utf8(reply).unwrap()
        };
        assert_eq!(settings(&["save"]), "*2\r\n$4\r\nsave\r\n$0\r\n\r\n");
        assert_eq!(
            settings(&["appendonl*"]),
            "*2\r\n$10\r\nappendonly\r\n$3\r\nyes\r\n"
        );
        assert_eq!(settings(&["nothing"]), "*0\r\n");
        assert!(settings(&["*"]).starts_with("*10\r\n"));
    }
}
