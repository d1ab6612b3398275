//! The bounded queue in front of a shard's writer thread.

use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;

use uuid::Uuid;

use super::answer::Sender;
use super::shard::{StopCause, Stopped};
use super::{
    Adjust, CancelAllocated, Command, CommandRecord, HoldsPage, Line, Outcome, ReservationView, Split,
    StockView,
};

/// Most commands that wait for a decision. 131,072: at 500,000 a second the last waits a quarter of a second,
/// and with about 250 bytes each they take 33 MB. Larger commands count for several.
pub const QUEUED_COMMANDS_MAX: usize = 1 << 17;

/// Bytes of names for which a command counts once more: carts of the largest size, from a client that means harm,
/// take no more memory than ordinary ones.
pub(in crate::commerce) const COUNTED_SIZE_BYTES: usize = 256;

/// What the writer thread is asked to do.
#[derive(Debug)]
pub(super) enum Request {
    One {
        command: Command,
        sender: Sender<Outcome>,
    },
    Many {
        commands: Vec<Command>,
        sender: Sender<Vec<Outcome>>,
    },
    Topic {
        commands: Vec<CommandRecord>,
    },
    Stock {
        sku: String,
        sender: Sender<Option<StockView>>,
    },
    Reservation {
        reservation: Uuid,
        sender: Sender<Option<ReservationView>>,
    },
    Page {
        from: u32,
        count_max: usize,
        sender: Sender<HoldsPage>,
    },
    Hash {
        sender: Sender<u64>,
    },
    NextCommandOffset {
        sender: Sender<u64>,
    },
}

impl Request {
    /// The share of the queue that the request takes.
    fn weight(&self) -> usize {
        match self {
            Request::One { command, .. } => weight_of(command),
            Request::Many { commands, .. } => commands.iter().map(weight_of).sum::<usize>().max(1),
            Request::Topic { commands } => {
                let weights = commands
                    .iter()
                    .map(|record| record.command.as_ref().map_or(1, weight_of));
                weights.sum::<usize>().max(1)
            }
            _ => 1,
        }
    }

    /// Answers that the shard stopped.
    pub(super) fn stop(self, stopped: &Stopped) {
        match self {
            Request::One { sender, .. } => sender.send(Err(stopped.clone())),
            Request::Many { sender, .. } => sender.send(Err(stopped.clone())),
            Request::Topic { .. } => {}
            Request::Stock { sender, .. } => sender.send(Err(stopped.clone())),
            Request::Reservation { sender, .. } => sender.send(Err(stopped.clone())),
            Request::Page { sender, .. } => sender.send(Err(stopped.clone())),
            Request::Hash { sender } | Request::NextCommandOffset { sender } => {
                sender.send(Err(stopped.clone()));
            }
        }
    }
}

/// The share of the queue that a command takes: 1, and more for what it keeps on the heap.
pub(in crate::commerce) fn weight_of(command: &Command) -> usize {
    let size_bytes = match command {
        Command::Receive { sku, location, .. }
        | Command::Announce { sku, location, .. }
        | Command::Return { sku, location, .. }
        | Command::SetPolicy { sku, location, .. }
        | Command::Ship { sku, location, .. } => sku.len() + location.len(),
        Command::Adjust(command) => {
            let Adjust {
                sku,
                location,
                reason,
                ..
            } = &**command;
            sku.len() + location.len() + reason.len()
        }
        Command::Transfer { sku, from, to, .. } => sku.len() + from.len() + to.len(),
        Command::CancelAllocated(command) => {
            let CancelAllocated {
                sku,
                location,
                customer,
                ..
            } = &**command;
            sku.len() + location.len() + customer.as_ref().map_or(0, String::len)
        }
        Command::OpenSale { sku, .. } | Command::CloseSale { sku, .. } => sku.len(),
        Command::SetLocation { location, .. } => location.len(),
        Command::DefineKit { sku, parts, .. } => {
            let names: usize = parts.iter().map(|part| part.sku.len()).sum();
            sku.len() + names + size_of_val(&parts[..])
        }
        Command::Reserve {
            customer,
            lines,
            split,
            ..
        } => customer.len() + size_of_lines(lines) + split.as_deref().map_or(0, size_of_split),
        Command::Commit { lines, .. } => size_of_lines(lines),
        Command::JoinWaitlist { customer, sku, .. } => customer.len() + sku.len(),
        Command::Extend { .. } | Command::Release { .. } | Command::LeaveWaitlist { .. } => 0,
    };
    1 + size_bytes / COUNTED_SIZE_BYTES
}

fn size_of_lines(lines: &[Line]) -> usize {
    let names = lines.iter().map(|line| line.sku.len() + line.location.len());
    names.sum::<usize>() + size_of_val(lines)
}

fn size_of_split(split: &Split) -> usize {
    match split {
        Split::Fixed { locations } => {
            locations.iter().map(String::len).sum::<usize>() + size_of_val(&locations[..])
        }
        Split::Nearest { .. } | Split::MostStock => size_of::<Split>(),
    }
}

/// Why a request was not queued; if there was no room, the request comes back.
#[derive(Debug)]
pub(super) enum NotQueued {
    Full(Box<Request>),
    Stopped(Stopped),
}

/// A queue with many senders and one receiver.
#[derive(Debug)]
pub(super) struct Queue {
    content: Mutex<Content>,
    /// Notified when the receiver took everything.
    drained: Condvar,
    receiver: OnceLock<Thread>,
    weight_max: usize,
}

#[derive(Debug, Default)]
struct Content {
    requests: Vec<Request>,
    weight: usize,
    /// Set once nothing more is accepted.
    stopped: Option<Stopped>,
}

impl Queue {
    pub(super) fn new(weight_max: usize) -> Self {
        Queue {
            content: Mutex::new(Content::default()),
            drained: Condvar::new(),
            receiver: OnceLock::new(),
            weight_max,
        }
    }

    /// Makes the calling thread the receiver, which every push wakes.
    pub(super) fn receive_here(&self) {
        // A second receiver would be a fault of the shard, which starts one thread.
        let first = self.receiver.set(std::thread::current()).is_ok();
        debug_assert!(first, "a queue has one receiver");
    }

    /// Queues a request, unless the queue is full. A request larger than the whole queue fits an empty one.
    pub(super) fn push(&self, request: Request) -> Result<(), NotQueued> {
        if self.post(request)? {
            self.wake();
        }
        Ok(())
    }

    /// Queues a request as [`Queue::push`] does, but leaves it to the caller to wake the receiver. Tells whether
    /// nothing waited before: only then is there a need.
    pub(super) fn post(&self, request: Request) -> Result<bool, NotQueued> {
        let content = self.lock();
        if let Some(stopped) = &content.stopped {
            return Err(NotQueued::Stopped(stopped.clone()));
        }
        let weight = request.weight();
        if content.weight > 0 && content.weight + weight > self.weight_max {
            return Err(NotQueued::Full(Box::new(request)));
        }
        Ok(put(content, request, weight))
    }

    /// Queues a request even if the queue is full, and leaves it to the caller to wake the receiver.
    pub(super) fn post_always(&self, request: Request) -> Result<(), Stopped> {
        let content = self.lock();
        if let Some(stopped) = &content.stopped {
            return Err(stopped.clone());
        }
        let weight = request.weight();
        put(content, request, weight);
        Ok(())
    }

    /// Wakes the receiver, which then looks for what is queued.
    pub(super) fn wake(&self) {
        if let Some(receiver) = self.receiver.get() {
            receiver.unpark();
        }
    }

    /// Queues a request, waiting for room.
    pub(super) fn push_waiting(&self, request: Request) -> Result<(), Stopped> {
        let weight = request.weight();
        let mut content = self.lock();
        loop {
            if let Some(stopped) = &content.stopped {
                return Err(stopped.clone());
            }
            if content.weight == 0 || content.weight + weight <= self.weight_max {
                if put(content, request, weight) {
                    self.wake();
                }
                return Ok(());
            }
            content = self.drained.wait(content).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Moves all queued requests into `requests`, which must be empty.
    pub(super) fn drain(&self, requests: &mut Vec<Request>) {
        debug_assert!(requests.is_empty(), "requests of the last drain are done");
        let mut content = self.lock();
        if content.requests.is_empty() {
            return;
        }
        std::mem::swap(&mut content.requests, requests);
        content.weight = 0;
        drop(content);
        self.drained.notify_all();
    }

    /// Accepts nothing more; what is queued is still received.
    pub(super) fn close(&self) {
        self.stop(&Stopped::new(StopCause::Closed));
    }

    /// Accepts nothing more, for this reason.
    pub(super) fn stop(&self, stopped: &Stopped) {
        self.lock().stopped.get_or_insert_with(|| stopped.clone());
        self.drained.notify_all();
        self.wake();
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().requests.is_empty()
    }

    /// Why nothing more is accepted, if so.
    pub(super) fn stopped(&self) -> Option<Stopped> {
        self.lock().stopped.clone()
    }

    /// No code panics while it holds the lock, so a poisoned one is whole.
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds a request; tells whether it is the first. The receiver drains before it parks, so only that one has to wake
/// it.
fn put(mut content: MutexGuard<'_, Content>, request: Request, weight: usize) -> bool {
    content.weight += weight;
    content.requests.push(request);
    content.requests.len() == 1
}

#[cfg(test)]
mod tests {
    use super::super::answer::Answer;
    use super::super::{InvalidReason, Trace};
    use super::*;

    fn topic(commands: Vec<Result<Command, InvalidReason>>) -> Request {
        let record = |command| CommandRecord {
            offset: 0,
            command,
            trace: Trace::default(),
        };
        Request::Topic {
            commands: commands.into_iter().map(record).collect(),
        }
    }

    fn cart(lines: usize, name_size_bytes: usize) -> Command {
        let line = || Line::new("s".repeat(name_size_bytes), 1);
        Command::reserve(Uuid::nil(), "c", (0..lines).map(|_| line()).collect(), 1)
    }

    #[test]
    fn memory_is_what_fills_the_queue() {
        let queue = Queue::new(100);
        let small = || topic(vec![Ok(cart(1, 10)), Err(InvalidReason::Malformed)]);
        for _ in 0..49 {
            queue.push(small()).unwrap();
        }
        // One command as large as a record may be takes the place of thousands.
        let large = || topic(vec![Ok(cart(1, 1024 * 1024))]);
        assert!(matches!(queue.push(large()), Err(NotQueued::Full(_))));
        queue.push(small()).unwrap();
        assert!(matches!(queue.push(small()), Err(NotQueued::Full(_))));

        let queue = Queue::new(100);
        queue.push(large()).unwrap();
        assert!(matches!(queue.push(small()), Err(NotQueued::Full(_))));
        queue.drain(&mut Vec::new());
        let (sender, _answer) = Answer::new();
        let commands = vec![cart(1_000, 1)];
        queue.push(Request::Many { commands, sender }).unwrap();
        let (sender, _answer) = Answer::new();
        let command = cart(1, 1);
        let refused = queue.push(Request::One { command, sender });
        assert!(matches!(refused, Err(NotQueued::Full(_))));
    }
}
