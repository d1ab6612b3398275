//! Load generation: the crowd of a flash sale, and whether the shop survived it.
//!
//! [`sale::hold`] stocks a shop at any broker with a reservation engine behind it, lets a crowd in, and
//! judges the log afterwards.
//!
//! | part | what it is |
//! |---|---|
//! | [`arrivals`], [`shopper`], [`catalogue`] | who comes when, does what, wants what: pure functions of the seed |
//! | [`ids`] | ids that tell which shopper and step they belong to |
//! | [`schedule`], [`sender`], [`reader`], [`driver`] | the open loop: what is due is sent, answers bring about what follows |
//! | [`ledger`], [`tally`], [`latency`], [`health`], [`progress`] | what the generator was told and measured |
//! | [`audit`] | what the log says, against what the generator was told |
//! | [`plant`] | faults for the judge to find |
//! | [`report`] | the verdict and the numbers, as JSON and as a table |
//! | [`client`] | a Kafka client of its own, which knows nothing of the broker in this crate |
//!
//! Latency is counted from the moment a shopper meant to act. A late answer never delays the next shopper, and
//! a generator that cannot keep its own schedule says so in the report.

pub mod answer;
pub mod arrivals;
pub mod audit;
pub mod catalogue;
pub mod client;
pub mod driver;
pub mod error;
pub mod health;
pub mod ids;
pub mod latency;
pub mod ledger;
pub mod plant;
pub mod progress;
pub mod reader;
pub mod report;
pub mod sale;
pub mod scenario;
pub mod schedule;
pub mod sender;
pub mod shopper;
pub mod tally;
