//! Reserve, commit and release in a program that embeds the engine: no server, no second system.
//!
//! ```text
//! cargo run --release --no-default-features --features commerce --example reserve -- /tmp/shop
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Duration;

use doorbuster::commerce::inventory::{Inventory, InventoryOptions, Line, Outcome};
use doorbuster::log::{Log, LogOptions};
use uuid::Uuid;

/// How long a shopper may take to pay.
const TIME_TO_PAY: Duration = Duration::from_mins(10);

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "shop-data".to_owned());
    let log = Log::open(&folder, LogOptions::default())?;
    let inventory = Inventory::open(&log, InventoryOptions::default())?;

    // Every answer below is durable before it is returned. Run this twice: the stock adds up.
    inventory.receive(Uuid::now_v7(), "console", 3)?;
    inventory.set_policy(Uuid::now_v7(), "console", Some(2))?;

    let cart = || vec![Line::new("console".to_owned(), 1)];
    let reservation = Uuid::now_v7();
    println!(
        "first click:  {:?}",
        inventory.reserve(reservation, "ann", cart(), TIME_TO_PAY)?
    );
    println!(
        "second click: {:?}",
        inventory.reserve(reservation, "ann", cart(), TIME_TO_PAY)?
    );
    println!("paid:         {:?}", inventory.commit(reservation)?);

    let change_of_mind = Uuid::now_v7();
    match inventory.reserve(change_of_mind, "bob", cart(), TIME_TO_PAY)? {
        Outcome::Reserved { expires_at_ms, .. } => {
            println!("held for bob until {expires_at_ms} ms");
            println!("given back:   {:?}", inventory.release(change_of_mind)?);
        }
        refusal => println!("bob was refused: {refusal:?}"),
    }

    println!("stock:        {:?}", inventory.stock("console").wait()?);
    inventory.close();
    log.close()?;
    Ok(())
}
