//! A shop at a distance: reservations through a daemon, from many threads over one connection.
//!
//! ```sh
//! cargo run -- serve --resp 127.0.0.1:6380
//! cargo run --example reserve_remotely -- 127.0.0.1:6380
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use doorbuster::client::{Client, ClientError, ClientOptions};
use doorbuster::commerce::inventory::{Line, Outcome};
use uuid::Uuid;

const HOLD: Duration = Duration::from_mins(10);

fn main() -> Result<(), ClientError> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:6380".to_owned());
    let client = Client::connect(&address, ClientOptions::default())?;
    let sku = format!("tv-{}", Uuid::now_v7().simple());
    client.receive(Uuid::now_v7(), &*sku, 5).wait()?;

    // Eight shoppers at once want one each of five: their calls share the connection and the daemon's appends.
    let sold = std::thread::scope(|scope| {
        let shoppers: Vec<_> = (0..8)
            .map(|shopper| {
                let (client, sku) = (client.clone(), &sku);
                scope.spawn(move || buy(&client, &format!("c-{shopper}"), sku))
            })
            .collect();
        let sold = shoppers.into_iter().filter_map(|shopper| shopper.join().ok());
        sold.filter(|sold| matches!(sold, Ok(true))).count()
    });
    println!("{sold} of 8 shoppers got one");
    if let Some(stock) = client.stock(&sku).wait()? {
        println!("{} sold, {} left", stock.allocated, stock.sellable);
    }
    Ok(())
}

/// Reserves, pays, and commits.
fn buy(client: &Client, customer: &str, sku: &str) -> Result<bool, ClientError> {
    // Drawn before the first send: whatever happens on the way, the same id is the same order.
    let order = Uuid::now_v7();
    let outcome = client
        .reserve(order, customer, vec![Line::new(sku, 1)], HOLD)
        .wait()?;
    if !outcome.is_granted() {
        println!("{customer}: {outcome:?}");
        return Ok(false);
    }
    Ok(client.commit(order).wait()? == Outcome::Committed)
}
