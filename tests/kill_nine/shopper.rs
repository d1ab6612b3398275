//! A crowd of shoppers as one producer: commands that race for too little stock, repeat and contradict.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::daemon::Random;
use super::lane::{Lane, Stop};
use super::ledger::PlaceIndex;

/// Articles of each shard: few, so that they sell out.
const ARTICLES: u64 = 6;
/// Customers, who meet the limit of article 0.
const CUSTOMERS: u64 = 40;
/// The most units of article 0 that a customer may have.
const LIMIT_PER_CUSTOMER: u32 = 3;
/// Reservations that later commands speak of.
const RECENT_MAX: usize = 300;

/// The shoppers of one shard.
struct Crowd {
    random: Random,
    shard: usize,
    recent: VecDeque<Value>,
    receipts: VecDeque<Value>,
}

/// Sends commands to the shards at `places` until it is stopped.
pub fn storm(lane: &Lane, places: &[PlaceIndex], mut random: Random, stop: &Stop) {
    let crowd = |(shard, _)| Crowd {
        random: random.fork(),
        shard,
        recent: VecDeque::new(),
        receipts: VecDeque::new(),
    };
    let mut crowds: Vec<Crowd> = places.iter().enumerate().map(crowd).collect();
    for (crowd, place) in crowds.iter_mut().zip(places) {
        let policy = crowd.policy();
        lane.send(*place, None, policy.to_string().as_bytes(), stop);
    }
    while !stop.is_stopped() {
        for (crowd, place) in crowds.iter_mut().zip(places) {
            for _ in 0..crowd.random.between(1, 40) {
                let command = crowd.command();
                if !lane.send(*place, None, command.as_bytes(), stop) {
                    return;
                }
            }
        }
        stop.pause(Duration::from_millis(random.between(0, 12)));
    }
}

impl Crowd {
    fn command(&mut self) -> String {
        let command = match self.random.between(0, 1_000) {
            0..30 => self.receive(),
            30..40 => self.again_from_receipts(),
            40..120 => self.again_from_recent(),
            120..270 => self.about_recent("commit"),
            270..390 => self.about_recent("release"),
            390..450 => self.extend(),
            450..460 => return "{\"type\":\"steal\"}".to_owned(),
            460..465 => self.about("commit", self.shard as u128),
            _ => self.reserve(),
        };
        command.to_string()
    }

    fn policy(&mut self) -> Value {
        let sku = self.article(0);
        json!({"type": "set_policy", "id": self.id(), "sku": sku, "limit_per_customer": LIMIT_PER_CUSTOMER})
    }

    fn receive(&mut self) -> Value {
        let number = self.random.between(0, ARTICLES);
        let quantity = self.random.between(1, 40);
        let receipt =
            json!({"type": "receive", "id": self.id(), "sku": self.article(number), "quantity": quantity});
        remember(&mut self.receipts, receipt)
    }

    fn reserve(&mut self) -> Value {
        let line = |random: &mut Random, shard| {
            // Now and then an article that nobody ever delivers.
            let articles = ARTICLES + u64::from(random.one_in(200));
            let number = random.between(0, articles);
            json!({"sku": article(shard, number), "quantity": random.between(1, 4)})
        };
        let count = self.random.between(1, 4);
        let lines: Vec<Value> = (0..count).map(|_| line(&mut self.random, self.shard)).collect();
        let customer = format!("customer-{}", self.random.between(0, CUSTOMERS));
        let ttl_ms = *self.random.pick(&[1, 20, 100, 500, 5_000, 600_000]);
        let reservation = self.id();
        let command = json!({
            "type": "reserve", "id": self.id(), "reservation": reservation, "customer": customer,
            "lines": lines, "ttl_ms": ttl_ms,
        });
        remember(&mut self.recent, command)
    }

    fn extend(&mut self) -> Value {
        let mut command = self.about_recent("extend");
        command["ttl_ms"] = json!(self.random.between(1, 20_000));
        command
    }

    fn about_recent(&mut self, kind: &str) -> Value {
        if self.recent.is_empty() {
            return self.reserve();
        }
        let index = self.random.between(0, self.recent.len() as u64) as usize;
        let mut command = json!({"type": kind, "id": self.id(), "ttl_ms": 1_000});
        command["reservation"] = self.recent[index]["reservation"].clone();
        command
    }

    fn about(&mut self, kind: &str, reservation: u128) -> Value {
        json!({"type": kind, "id": self.id(), "reservation": Uuid::from_u128(reservation)})
    }

    fn again_from_recent(&mut self) -> Value {
        let index = self.random.between(0, self.recent.len().max(1) as u64) as usize;
        self.recent.get(index).cloned().unwrap_or_else(|| self.reserve())
    }

    fn again_from_receipts(&mut self) -> Value {
        let index = self.random.between(0, self.receipts.len().max(1) as u64) as usize;
        self.receipts
            .get(index)
            .cloned()
            .unwrap_or_else(|| self.receive())
    }

    fn article(&self, number: u64) -> String {
        article(self.shard, number)
    }

    fn id(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.random.next(), self.random.next())
    }
}

fn article(shard: usize, number: u64) -> String {
    format!("article-{shard}-{number}")
}

fn remember(recent: &mut VecDeque<Value>, command: Value) -> Value {
    if recent.len() == RECENT_MAX {
        recent.pop_front();
    }
    recent.push_back(command.clone());
    command
}
