//! Sells a stock of ten pieces to thirty buyers at the same time, and never sells an eleventh.
//!
//! Two ways to do it. By a *conditional write*: read how many are left, write one less on condition
//! that nobody wrote meanwhile, and on a conflict go on from what the conflict tells. By an
//! *increment*: take one, and give it back if the number fell below zero. The first never shows a
//! wrong number; the second needs one operation and no repetition, however many buyers there are.
//!
//! ```text
//! cargo run --example stock_counter -- 127.0.0.1:7001
//! ```

use futures::future::try_join_all;
use quintet_client::{Client, Condition, Error, Versioned};

const PIECES: i64 = 10;
const BUYERS: usize = 30;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let node = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7001".to_owned());
    run(&Client::connect([node]).await?).await
}

pub(crate) async fn run(client: &Client) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    client.put("example/stock", PIECES.to_string()).await?;
    let sold = try_join_all((0..BUYERS).map(|_| buy_by_condition(client))).await?;
    report(client, "by condition", &sold).await?;

    client.put("example/stock", PIECES.to_string()).await?;
    let sold = try_join_all((0..BUYERS).map(|_| buy_by_increment(client))).await?;
    report(client, "by increment", &sold).await?;
    Ok(())
}

/// Takes one piece; false if none is left.
async fn buy_by_condition(client: &Client) -> Result<bool, Error> {
    let mut found = client.get("example/stock").await?;
    loop {
        let Some(stock) = found else { return Ok(false) };
        let left = pieces(&stock)?;
        if left == 0 {
            return Ok(false);
        }
        let unchanged = Condition::Version(stock.version);
        match client.put_if("example/stock", (left - 1).to_string(), unchanged).await {
            Ok(_) => return Ok(true),
            // somebody else was quicker: go on from what stands now
            Err(Error::Conflict { current, .. }) => found = current,
            Err(error) => return Err(error),
        }
    }
}

/// Takes one piece; false if none is left.
async fn buy_by_increment(client: &Client) -> Result<bool, Error> {
    // done exactly once, whatever had to be retried on the way
    if client.increment("example/stock", -1).await?.value >= 0 {
        return Ok(true);
    }
    client.increment("example/stock", 1).await?;
    Ok(false)
}

fn pieces(stock: &Versioned) -> Result<i64, Error> {
    let text = std::str::from_utf8(&stock.value).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::NotANumber("the stock is no number".to_owned()))
}

async fn report(client: &Client, how: &str, sold: &[bool]) -> Result<(), Error> {
    let sold = sold.iter().filter(|sold| **sold).count();
    let stock = client.get("example/stock").await?;
    let left = stock.as_ref().map(pieces).transpose()?.unwrap_or(0);
    println!("{how}: {sold} of {BUYERS} buyers got one, {left} left");
    assert_eq!((sold as i64, left), (PIECES, 0), "sold what was not there");
    Ok(())
}
