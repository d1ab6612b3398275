//! Shoppers at the daemon's Redis door, each a thread with a connection of its own, until all is done or the daemon is
//! killed under them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, mpsc};
use std::time::Duration;

use doorbuster::commerce::inventory::Outcome;
use doorbuster::resp::{Reply, parse_reply, write};
use uuid::Uuid;

use crate::daemon::Random;
use crate::history::{Moments, Span};
use crate::shop::{Answer, Counter, Shelf, Step, answer_of};
use crate::step;

/// Shoppers at once, and commands of each.
const SHOPPERS: usize = 4;
const COMMANDS: usize = 6;

/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_mins(1);

/// Part of a history.
#[derive(Debug)]
pub struct Phase<'a> {
    pub address: &'a str,
    pub moments: &'a Moments,
    pub counter: Counter,
    /// The id of the first command; the others follow.
    pub first_id: Uuid,
}

impl Phase<'_> {
    /// Lets everybody in. Once `answers` were heard, `kill` is called, whatever is on its way.
    pub fn run(&self, random: &mut Random, answers: usize, kill: impl FnOnce()) -> Vec<Span> {
        let (barrier, heard) = (Barrier::new(SHOPPERS), AtomicUsize::new(0));
        let (enough, is_enough) = mpsc::channel();
        std::thread::scope(|scope| {
            let shoppers: Vec<_> = (0..SHOPPERS)
                .map(|shopper| {
                    let (random, enough) = (random.fork(), enough.clone());
                    let (barrier, heard) = (&barrier, &heard);
                    scope.spawn(move || {
                        let mut socket = TcpStream::connect(self.address).expect("a daemon");
                        socket.set_nodelay(true).expect("a socket");
                        socket.set_read_timeout(Some(ANSWER_MAX)).expect("a socket");
                        barrier.wait();
                        self.shop(&mut socket, shopper, random, || {
                            if heard.fetch_add(1, Ordering::SeqCst) + 1 == answers {
                                enough.send(()).expect("somebody waits");
                            }
                        })
                    })
                })
                .collect();
            drop(enough);
            // Without enough answers, everybody is done.
            if is_enough.recv().is_ok() {
                kill();
            }
            let spans = shoppers
                .into_iter()
                .map(|shopper| shopper.join().expect("no shopper panics"));
            spans.flatten().collect()
        })
    }

    fn shop(
        &self,
        socket: &mut TcpStream,
        shopper: usize,
        mut random: Random,
        heard: impl Fn(),
    ) -> Vec<Span> {
        let mut spans = Vec::new();
        for number in 0..COMMANDS {
            let wanted = match (shopper, number) {
                (0, 0) => Step::Receive { units: 3 },
                _ => step(&mut random),
            };
            let id = Uuid::from_u128(self.first_id.as_u128() + (shopper * COMMANDS + number) as u128);
            let called = self.moments.next();
            let answer = self.ask(socket, id, wanted);
            spans.push(Span {
                id,
                step: wanted,
                called,
                heard: answer.map(|answer| (answer, self.moments.next())),
            });
            if answer.is_none() {
                break;
            }
            heard();
        }
        spans
    }

    /// What the daemon says, if it says it before it dies.
    fn ask(&self, socket: &mut TcpStream, id: Uuid, wanted: Step) -> Option<Answer> {
        let mut request = Vec::new();
        write::array(&mut request, 2);
        if let Some(command) = self.counter.command(id, wanted) {
            write::bulk(&mut request, b"SUBMIT");
            write::bulk(&mut request, &command.to_json());
        } else {
            write::bulk(&mut request, b"STOCK");
            write::bulk(&mut request, self.counter.sku().as_bytes());
        }
        socket.write_all(&request).ok()?;
        let mut received = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            if let Some((reply, _)) = parse_reply(&received).expect("a reply") {
                return Some(if wanted == Step::Look {
                    shelf_of(&reply)
                } else {
                    outcome_of(&reply)
                });
            }
            match socket.read(&mut chunk) {
                Ok(0) => return None,
                Ok(count) => received.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("no answer for {ANSWER_MAX:?}")
                }
                Err(_) => return None,
            }
        }
    }
}

fn outcome_of(reply: &Reply) -> Answer {
    let Reply::Bulk(json) = reply else {
        panic!("the daemon said {reply:?}")
    };
    let outcome: Outcome = serde_json::from_slice(json).expect("an outcome");
    answer_of(&outcome)
}

fn shelf_of(reply: &Reply) -> Answer {
    let fields = match reply {
        Reply::Null => return Answer::Seen(None),
        Reply::Array(fields) => fields,
        other => panic!("the daemon said {other:?}"),
    };
    let number = |name: &str| -> u64 {
        let pairs = fields.chunks_exact(2);
        let found = pairs
            .into_iter()
            .find(|pair| pair[0] == Reply::Bulk(name.as_bytes().to_vec()));
        match found.map(|pair| &pair[1]) {
            Some(Reply::Integer(number)) => u64::try_from(*number).expect("a count"),
            other => panic!("{name} is {other:?}"),
        }
    };
    Answer::Seen(Some(Shelf {
        sellable: number("sellable"),
        held: number("reserved"),
        sold: number("allocated"),
    }))
}
