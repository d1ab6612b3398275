//! Which shard decides a command: the one place that knows, for every door that is not a shard's own topic.
//!
//! An article belongs to the shard that Kafka's default partitioner picks for its group, so that a producer that
//! keys its commands by group meets the same shard. Commands that name only a reservation go to every shard, in the
//! caller's order; only the one that knows the reservation does anything.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use uuid::Uuid;

use super::{
    Answer, AsOf, Command, HoldsPage, Inventory, Ledger, LedgerEntry, Outcome, RecoverError, ReservationView,
    StockView, StopCause, Stopped,
};

/// Ends the group in an article's name: `tv/55` and `tv/65` are decided by one shard, so that a cart can hold both.
/// A name without it is a group of its own.
pub const GROUP_SEPARATOR: char = '/';

/// Why a command reached no shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unroutable {
    /// A cart, or a kit, whose articles are decided by different shards.
    #[error(
        "articles {first:?} and {second:?} are decided by different shards; give articles that share a cart a \
         common group, the part of the name before {GROUP_SEPARATOR:?}"
    )]
    CartAcrossShards {
        /// The first article of the cart.
        first: String,
        /// The first article that another shard decides.
        second: String,
    },
}

/// What became of one command.
pub type Routed = Result<Outcome, Unroutable>;

/// All shards of a service, behind one handle; cheap to clone.
#[derive(Clone, Debug)]
pub struct Router {
    shards: Arc<[Inventory]>,
}

/// Where a command is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Shard(usize),
    /// Wherever the reservation is known.
    EveryShard,
}

impl Router {
    /// A router over `shards`, in the order of their partitions. Without any, every command is answered as by a
    /// shard that was closed.
    pub fn new(shards: impl Into<Arc<[Inventory]>>) -> Router {
        Router {
            shards: shards.into(),
        }
    }

    /// Sends commands to their shards. Commands of one call and of later calls are decided in order where they
    /// concern the same article or reservation.
    pub fn submit(&self, commands: Vec<Command>) -> Submitted {
        let submitted = self.post(commands);
        self.wake();
        submitted
    }

    /// Sends commands as [`Router::submit`] does, and blocks until all their outcomes are durable.
    pub fn submit_batch(&self, commands: Vec<Command>) -> Result<Vec<Routed>, Stopped> {
        let submitted = self.post(commands);
        self.decide_here();
        self.complete_here();
        submitted.wait()
    }

    /// The units of an article, as far as they are durable.
    pub fn stock(&self, sku: &str) -> Answer<Option<StockView>> {
        let answer = self.post_stock(sku);
        self.wake();
        answer
    }

    /// Where a reservation stands, as far as that is durable.
    pub fn reservation(&self, reservation: Uuid) -> Found {
        let found = self.post_reservation(reservation);
        self.wake();
        found
    }

    /// The units of an article as they were, offsets being those of its shard; see [`Inventory::stock_as_of`].
    pub fn stock_as_of(&self, sku: &str, as_of: AsOf) -> Result<Option<StockView>, RecoverError> {
        match self.shards.get(self.shard_of(sku)) {
            Some(shard) => shard.stock_as_of(sku, as_of),
            None => Ok(None),
        }
    }

    /// Every movement of an article, offsets being those of its shard; see [`Inventory::ledger`].
    pub fn ledger(
        &self,
        sku: &str,
        as_of: AsOf,
        visit: impl FnMut(LedgerEntry),
    ) -> Result<Ledger, RecoverError> {
        match self.shards.get(self.shard_of(sku)) {
            Some(shard) => shard.ledger(sku, as_of, visit),
            None => Ok(Ledger::new(sku)),
        }
    }

    /// Live holds of one shard, as [`Inventory::live_page`] gives them; `None` if there is no such shard. The caller
    /// bounds how many wait.
    pub fn live_page(&self, shard: usize, from: u32, count_max: usize) -> Option<Answer<HoldsPage>> {
        let shard = self.shards.get(shard)?;
        let answer = shard.post_live_page(from, count_max);
        shard.wake();
        Some(answer)
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// Why a shard takes no commands, if so.
    pub fn stopped(&self) -> Option<Stopped> {
        self.shards.iter().find_map(Inventory::stopped)
    }

    /// Queues commands for the calling thread to decide by [`Router::decide_here`], which must follow.
    pub(in crate::commerce) fn post(&self, commands: Vec<Command>) -> Submitted {
        if self.shards.is_empty() {
            let closed = Stopped::new(StopCause::Closed);
            return Submitted(Parts::Whole(Answer::ready(Err(closed))));
        }
        if let [shard] = &*self.shards {
            return Submitted(Parts::Whole(shard.post_many(commands)));
        }
        let mut shares: Vec<Vec<Command>> = self.shards.iter().map(|_| Vec::new()).collect();
        let places = commands
            .into_iter()
            .map(|command| {
                let place = self.place(&command)?;
                match place {
                    Place::Shard(shard) => shares[shard].push(command),
                    Place::EveryShard => shares.iter_mut().for_each(|share| share.push(command.clone())),
                }
                Ok(place)
            })
            .collect();
        let shares = self
            .shards
            .iter()
            .zip(shares)
            .map(|(shard, commands)| {
                if commands.is_empty() {
                    Share::Here(Vec::new())
                } else {
                    Share::OnItsWay(shard.post_many(commands))
                }
            })
            .collect();
        Submitted(Parts::Shares { places, shares })
    }

    /// Queues a read for the calling thread, as [`Router::post`] does. The caller bounds how many wait.
    pub(in crate::commerce) fn post_stock(&self, sku: &str) -> Answer<Option<StockView>> {
        match self.shards.get(self.shard_of(sku)) {
            Some(shard) => shard.post_stock(sku),
            None => Answer::ready(Ok(None)),
        }
    }

    /// Queues a read for the calling thread, as [`Router::post`] does. The caller bounds how many wait.
    pub(in crate::commerce) fn post_reservation(&self, reservation: Uuid) -> Found {
        let asked = self.shards.iter().rev();
        Found(asked.map(|shard| shard.post_reservation(reservation)).collect())
    }

    /// Decides what is queued on the calling thread, or leaves that to whoever is deciding. The caller then owes a
    /// [`Router::complete_here`].
    pub(in crate::commerce) fn decide_here(&self) {
        self.shards.iter().for_each(Inventory::decide_here);
    }

    /// Blocks until what was decided is durable and answered, unless another thread has taken that over.
    pub(in crate::commerce) fn complete_here(&self) {
        self.shards.iter().for_each(Inventory::complete_here);
    }

    fn wake(&self) {
        self.shards.iter().for_each(Inventory::wake);
    }

    fn place(&self, command: &Command) -> Result<Place, Unroutable> {
        match command {
            Command::Receive { sku, .. }
            | Command::Announce { sku, .. }
            | Command::Transfer { sku, .. }
            | Command::Return { sku, .. }
            | Command::SetPolicy { sku, .. }
            | Command::OpenSale { sku, .. }
            | Command::CloseSale { sku, .. }
            | Command::Ship { sku, .. }
            | Command::JoinWaitlist { sku, .. } => Ok(Place::Shard(self.shard_of(sku))),
            Command::Adjust(adjust) => Ok(Place::Shard(self.shard_of(&adjust.sku))),
            Command::CancelAllocated(cancel) => Ok(Place::Shard(self.shard_of(&cancel.sku))),
            Command::Reserve { lines, .. } => self.place_together(lines.iter().map(|line| &*line.sku)),
            Command::DefineKit { sku, parts, .. } => {
                let parts = parts.iter().map(|part| &*part.sku);
                self.place_together(std::iter::once(&**sku).chain(parts))
            }
            // Locations are known to every shard.
            Command::SetLocation { .. }
            | Command::Extend { .. }
            | Command::Commit { .. }
            | Command::Release { .. }
            | Command::LeaveWaitlist { .. } => Ok(Place::EveryShard),
        }
    }

    fn place_together<'a>(&self, mut skus: impl Iterator<Item = &'a str>) -> Result<Place, Unroutable> {
        let Some(first) = skus.next() else {
            // Refused wherever it goes; the refusal is remembered there.
            return Ok(Place::Shard(0));
        };
        let shard = self.shard_of(first);
        match skus.find(|sku| self.shard_of(sku) != shard) {
            None => Ok(Place::Shard(shard)),
            Some(second) => Err(Unroutable::CartAcrossShards {
                first: first.to_owned(),
                second: second.to_owned(),
            }),
        }
    }

    fn shard_of(&self, sku: &str) -> usize {
        let group = sku.split(GROUP_SEPARATOR).next().unwrap_or(sku);
        partition_of(group.as_bytes(), self.shards.len())
    }
}

/// The partition that Kafka's default partitioner gives a key.
fn partition_of(key: &[u8], partitions: usize) -> usize {
    (murmur2(key) & 0x7fff_ffff) as usize % partitions.max(1)
}

/// Kafka's `MurmurHash2` (`org.apache.kafka.common.utils.Utils.murmur2`).
fn murmur2(key: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let mut hash = SEED ^ key.len() as u32;
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        let last = rest
            .iter()
            .rev()
            .fold(0, |last, &byte| last << 8 | u32::from(byte));
        hash = (hash ^ last).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 15
}

/// Commands on their way: a future of one [`Routed`] for each, in their order.
#[derive(Debug)]
#[must_use = "the commands' outcomes are known only once this resolves"]
pub struct Submitted(Parts);

#[derive(Debug)]
enum Parts {
    Whole(Answer<Vec<Outcome>>),
    Shares {
        places: Vec<Result<Place, Unroutable>>,
        shares: Vec<Share>,
    },
}

/// The part of the commands that went to one shard.
#[derive(Debug)]
enum Share {
    OnItsWay(Answer<Vec<Outcome>>),
    Here(Vec<Outcome>),
}

impl Submitted {
    /// Blocks until all outcomes are durable.
    pub fn wait(self) -> Result<Vec<Routed>, Stopped> {
        match self.0 {
            Parts::Whole(answer) => Ok(answer.wait()?.into_iter().map(Ok).collect()),
            Parts::Shares { places, mut shares } => {
                for share in &mut shares {
                    if let Share::OnItsWay(answer) = std::mem::replace(share, Share::Here(Vec::new())) {
                        *share = Share::Here(answer.wait()?);
                    }
                }
                Ok(gather(places, &mut shares))
            }
        }
    }
}

impl Future for Submitted {
    type Output = Result<Vec<Routed>, Stopped>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Parts::Whole(answer) => {
                let outcomes = ready!(Pin::new(answer).poll(context))?;
                Poll::Ready(Ok(outcomes.into_iter().map(Ok).collect()))
            }
            Parts::Shares { places, shares } => {
                for share in shares.iter_mut() {
                    if let Share::OnItsWay(answer) = share {
                        *share = Share::Here(ready!(Pin::new(answer).poll(context))?);
                    }
                }
                Poll::Ready(Ok(gather(std::mem::take(places), shares)))
            }
        }
    }
}

/// Puts the shards' outcomes into the order of the commands.
fn gather(places: Vec<Result<Place, Unroutable>>, shares: &mut [Share]) -> Vec<Routed> {
    let mut outcomes: Vec<_> = shares
        .iter_mut()
        .map(|share| match share {
            Share::Here(outcomes) => std::mem::take(outcomes).into_iter(),
            Share::OnItsWay(_) => Vec::new().into_iter(),
        })
        .collect();
    let mut next = |place| match place {
        Place::Shard(shard) => outcomes.get_mut(shard).and_then(Iterator::next),
        Place::EveryShard => outcomes
            .iter_mut()
            .filter_map(Iterator::next)
            .reduce(|first, other| match (&first, &other) {
                (Outcome::UnknownReservation, _)
                // Every shard must know a location: one that did not take it needs another try.
                | (Outcome::LocationSet { .. } | Outcome::Exists { .. }, Outcome::Throttled { .. }) => other,
                _ => first,
            }),
    };
    places
        .into_iter()
        .map(|place| Ok(next(place?).unwrap_or(Outcome::UnknownReservation)))
        .collect()
}

/// A reservation that is looked for: a future of where it stands.
#[derive(Debug)]
#[must_use = "the reservation is known only once this resolves"]
pub struct Found(Vec<Answer<Option<ReservationView>>>);

impl Future for Found {
    type Output = Result<Option<ReservationView>, Stopped>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        while let Some(answer) = self.0.last_mut() {
            let found = ready!(Pin::new(answer).poll(context))?;
            if found.is_some() {
                return Poll::Ready(Ok(found));
            }
            self.0.pop();
        }
        Poll::Ready(Ok(None))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::commerce::inventory::{Degrees, InventoryOptions, Line, Point};
    use crate::commerce::store::MemoryStore;

    #[test]
    fn the_hash_is_that_of_kafkas_partitioner() {
        // From UtilsTest.testMurmur2 of Apache Kafka.
        for (key, expected) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), expected, "{key}");
        }
        assert_eq!(partition_of(b"abc", 0), 0);
    }

    fn router(shards: usize) -> Router {
        let open = |_| Inventory::open_store(MemoryStore::new(), InventoryOptions::default()).unwrap();
        Router::new((0..shards).map(open).collect::<Vec<_>>())
    }

    fn wait<T>(future: impl Future<Output = T>) -> T {
        let mut future = Box::pin(future);
        loop {
            match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(output) => return output,
                Poll::Pending => std::thread::yield_now(),
            }
        }
    }

    fn receive(n: u128, sku: &str) -> Command {
        Command::receive(Uuid::from_u128(n), sku, 5)
    }

    fn reserve(n: u128, skus: &[&str]) -> Command {
        let lines = skus.iter().map(|&sku| Line::new(sku, 1)).collect();
        Command::reserve(Uuid::from_u128(n), "c", lines, 60_000)
    }

    fn commit(n: u128) -> Command {
        Command::commit(Uuid::from_u128(n))
    }

    #[test]
    fn every_number_of_shards_gives_the_same_outcomes() {
        for shards in [1, 3, 16] {
            let router = router(shards);
            let mut commands = Vec::new();
            for n in 0..20 {
                let sku = format!("sku-{n}");
                commands.extend([receive(100 + n, &sku), reserve(n, &[&sku]), commit(n), commit(n)]);
            }
            commands.extend([commit(99), reserve(50, &[])]);
            let outcomes = router.submit_batch(commands).unwrap();
            for (n, of_one) in outcomes[..80].chunks(4).enumerate() {
                assert!(
                    matches!(of_one[0], Ok(Outcome::Received { .. })),
                    "{n}: {of_one:?}"
                );
                assert!(
                    matches!(of_one[1], Ok(Outcome::Reserved { .. })),
                    "{n}: {of_one:?}"
                );
                assert_eq!(
                    of_one[2..],
                    [Ok(Outcome::Committed), Ok(Outcome::AlreadyCommitted)]
                );
            }
            assert_eq!(outcomes[80], Ok(Outcome::UnknownReservation));
            assert!(matches!(outcomes[81], Ok(Outcome::Invalid { .. })));
            assert_eq!(outcomes.len(), 82);
            for n in 0..20 {
                let stock = wait(router.stock(&format!("sku-{n}"))).unwrap().unwrap();
                assert_eq!((stock.received, stock.allocated), (5, 1));
                let found = wait(router.reservation(Uuid::from_u128(n))).unwrap();
                assert_eq!(found, Some(ReservationView::Committed));
            }
            assert_eq!(wait(router.reservation(Uuid::from_u128(99))).unwrap(), None);
            assert_eq!(wait(router.submit(Vec::new())).unwrap(), Vec::new());
        }
    }

    #[test]
    fn a_cart_needs_one_shard_and_a_group_gives_it() {
        let router = router(16);
        let commands = vec![
            receive(1, "tv/55"),
            receive(2, "tv/65"),
            receive(3, "radio"),
            reserve(10, &["tv/55", "tv/65"]),
            reserve(11, &["tv/55", "tv/65", "radio"]),
        ];
        let outcomes = wait(router.submit(commands)).unwrap();
        assert!(
            matches!(outcomes[3], Ok(Outcome::Reserved { .. })),
            "{outcomes:?}"
        );
        assert_eq!(
            outcomes[4],
            Err(Unroutable::CartAcrossShards {
                first: "tv/55".into(),
                second: "radio".into()
            })
        );
        assert_eq!(wait(router.stock("radio")).unwrap().unwrap().reserved, 0);
    }

    #[test]
    fn what_is_posted_is_decided_and_answered_by_the_caller() {
        for shards in [1, 3] {
            let router = router(shards);
            let mut outcomes = Box::pin(router.post(vec![receive(1, "tv"), reserve(2, &["tv"])]));
            let mut stock = Box::pin(router.post_stock("tv"));
            router.decide_here();
            router.complete_here();
            // Whoever had the seat, both answers come.
            let outcomes = wait(&mut outcomes).unwrap();
            assert!(matches!(outcomes[1], Ok(Outcome::Reserved { .. })));
            assert_eq!(wait(&mut stock).unwrap().unwrap().reserved, 1);
        }
    }

    #[test]
    fn without_shards_every_command_is_answered_as_by_a_closed_one() {
        let router = router(0);
        for commands in [vec![receive(1, "tv")], vec![commit(1)], Vec::new()] {
            assert!(matches!(
                *router.submit_batch(commands).unwrap_err().cause,
                StopCause::Closed
            ));
        }
        assert_eq!(wait(router.stock("tv")).unwrap(), None);
    }

    #[test]
    fn a_location_that_one_shard_did_not_take_is_asked_for_again() {
        let set = || Outcome::LocationSet {
            location: "north".into(),
            point: Point {
                latitude: Degrees(1),
                longitude: Degrees(2),
            },
        };
        let exists = || Outcome::Exists { expires_at_ms: None };
        let throttled = || Outcome::Throttled { retry_after_ms: 100 };
        let told = |of_each: [Outcome; 2]| {
            let mut shares = of_each.map(|outcome| Share::Here(vec![outcome]));
            gather(vec![Ok(Place::EveryShard)], &mut shares)
                .remove(0)
                .unwrap()
        };
        assert_eq!(told([set(), throttled()]), throttled());
        assert_eq!(told([exists(), throttled()]), throttled());
        assert_eq!(told([throttled(), set()]), throttled());
        assert_eq!(told([set(), set()]), set());
        // Where only one shard knows the reservation, the others say nothing of it.
        assert_eq!(told([Outcome::Committed, throttled()]), Outcome::Committed);
        assert_eq!(
            told([Outcome::UnknownReservation, Outcome::Committed]),
            Outcome::Committed
        );
    }

    #[test]
    fn a_closed_shard_answers_that_it_stopped() {
        let router = router(2);
        assert!(router.stopped().is_none());
        router.shards[1].close();
        assert!(router.stopped().is_some());
        assert!(wait(router.submit(vec![commit(1)])).is_err());
        assert!(wait(router.reservation(Uuid::from_u128(1))).is_err());
    }
}
