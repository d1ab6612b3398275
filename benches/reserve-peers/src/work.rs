//! The work, the same for every peer: who reserves what, under a fresh id.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};
use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

/// Articles that have units.
pub const ARTICLES: u32 = 10_000;

/// One more article, with few units: for selling out.
pub const SCARCE: u32 = ARTICLES;

/// Units of every article but the scarce one: more than any run takes.
pub const UNITS: u32 = 1_000_000_000;

/// Units of the scarce article.
pub const SCARCE_UNITS: u32 = 5_000;

/// Customers that reservations are spread over.
pub const CUSTOMERS: u32 = 100_000;

/// Most units of an article for one customer: checked every time, and reached by nobody.
pub const LIMIT_PER_CUSTOMER: u32 = 1_000_000;

/// Holds last longer than any run. 1 hour, in milliseconds.
pub const HOLD_MS: u32 = 60 * 60 * 1_000;

/// Draws of articles that are made beforehand, so that the generator does not spend its time on them.
const DRAWS: usize = 1 << 20;

/// Every run draws the same articles.
const SEED: u64 = 7;

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// One article that everybody wants.
    Hot,
    /// 10,000 articles, drawn by Zipf's law with exponent 1.0.
    Zipf,
    /// The scarce article, each reservation sent twice: for checking a peer, not for measuring it.
    Scarce,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Workload::Hot => "hot",
            Workload::Zipf => "zipf",
            Workload::Scarce => "scarce",
        })
    }
}

/// One unit of one article for one customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The reservation's id, which makes a repeat harmless.
    pub id: Uuid,
    /// Number of the customer.
    pub customer: u32,
    /// Number of the article.
    pub article: u32,
}

/// Name of an article.
pub fn sku(article: u32) -> String {
    format!("sku-{article}")
}

/// Name of a customer.
pub fn customer(number: u32) -> String {
    format!("customer-{number}")
}

/// Names of everything, made once.
#[derive(Debug)]
pub struct Names {
    skus: Vec<String>,
    customers: Vec<String>,
}

impl Names {
    /// All names.
    pub fn new() -> Names {
        Names {
            skus: (0..=SCARCE).map(sku).collect(),
            customers: (0..CUSTOMERS).map(customer).collect(),
        }
    }

    /// Name of the article.
    pub fn sku(&self, reservation: &Reservation) -> &str {
        &self.skus[reservation.article as usize]
    }

    /// Name of the customer.
    pub fn customer(&self, reservation: &Reservation) -> &str {
        &self.customers[reservation.customer as usize]
    }
}

/// An endless crowd.
#[derive(Debug)]
pub struct Shoppers {
    workload: Workload,
    random: SmallRng,
    draws: Vec<u16>,
    next_draw: usize,
    /// The reservation that is sent once more.
    again: Option<Reservation>,
}

impl Shoppers {
    /// The crowd of a workload.
    pub fn new(workload: Workload) -> anyhow::Result<Shoppers> {
        let mut random = SmallRng::seed_from_u64(SEED);
        let draws = if workload == Workload::Zipf {
            let zipf = Zipf::new(f64::from(ARTICLES), 1.0).context("Zipf's law")?;
            (0..DRAWS).map(|_| zipf.sample(&mut random) as u16 - 1).collect()
        } else {
            Vec::new()
        };
        // Ids must differ between runs on one store, articles need not.
        let clock = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("the clock")?;
        Ok(Shoppers {
            workload,
            random: SmallRng::seed_from_u64(clock.as_nanos() as u64),
            draws,
            next_draw: 0,
            again: None,
        })
    }

    /// What the next shopper wants.
    pub fn next(&mut self) -> Reservation {
        if let Some(reservation) = self.again.take() {
            return reservation;
        }
        let article = match self.workload {
            Workload::Hot => 0,
            Workload::Scarce => SCARCE,
            Workload::Zipf => {
                self.next_draw = (self.next_draw + 1) % self.draws.len();
                u32::from(self.draws[self.next_draw])
            }
        };
        let reservation = Reservation {
            id: self.fresh_id(),
            customer: self.random.random_range(0..CUSTOMERS),
            article,
        };
        if self.workload == Workload::Scarce {
            self.again = Some(reservation);
        }
        reservation
    }

    /// Fills `call` with the next reservations.
    pub fn fill(&mut self, call: &mut Vec<Reservation>, count: usize) {
        call.clear();
        call.extend((0..count).map(|_| self.next()));
    }

    /// A `UUIDv7` of this moment.
    fn fresh_id(&mut self) -> Uuid {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&self.random.random::<u64>().to_le_bytes());
        bytes[8..].copy_from_slice(&self.random.random::<u16>().to_le_bytes());
        Builder::from_unix_timestamp_millis(since.as_millis() as u64, &bytes).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_draws_stay_within_the_articles_and_prefer_the_first() {
        let mut shoppers = Shoppers::new(Workload::Zipf).unwrap();
        let mut counts = vec![0_u32; ARTICLES as usize];
        for _ in 0..200_000 {
            counts[shoppers.next().article as usize] += 1;
        }
        // The first article has 1 / H(10,000) = 10.2 % of the draws, the second half of that.
        assert!((19_000..22_000).contains(&counts[0]), "{}", counts[0]);
        assert!((9_000..11_500).contains(&counts[1]), "{}", counts[1]);
    }

    #[test]
    fn scarce_reservations_come_twice_and_others_once() {
        let mut scarce = Shoppers::new(Workload::Scarce).unwrap();
        let (first, again, next) = (scarce.next(), scarce.next(), scarce.next());
        assert_eq!(first, again);
        assert_ne!(first.id, next.id);
        let mut hot = Shoppers::new(Workload::Hot).unwrap();
        let (first, second) = (hot.next(), hot.next());
        assert_ne!(first.id, second.id);
        assert_eq!((first.article, second.article), (0, 0));
        assert_eq!(first.id.get_version_num(), 7);
    }
}
