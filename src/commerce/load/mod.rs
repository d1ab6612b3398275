//! Load generation: the crowd of a flash sale, and whether the shop survived it.

pub mod answer;
pub mod arrivals;
pub mod audit;
pub mod catalogue;
pub mod client;
pub mod driver;
pub mod error;
pub mod ids;
pub mod latency;
pub mod ledger;
pub mod progress;
pub mod reader;
pub mod report;
pub mod sale;
pub mod scenario;
pub mod schedule;
pub mod sender;
pub mod shopper;
pub mod tally;
