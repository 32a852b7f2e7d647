//! Writes a thousand records in batches, then reads them in order, in both directions.
//!
//! ```text
//! cargo run --example scan -- 127.0.0.1:7001
//! ```

use futures::TryStreamExt;
use quintet_client::{Client, ScanOptions};

const RECORDS: usize = 1_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let node = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7001".to_owned());
    run(&Client::connect([node]).await?).await
}

pub(crate) async fn run(client: &Client) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let items: Vec<(String, String)> = (0..RECORDS)
        .map(|index| (format!("example/scan/{index:05}"), format!("record {index}")))
        .collect();
    for batch in items.chunks(100) {
        // each item has a result of its own
        for result in client.batch_put(batch.iter().map(|(key, value)| (key, value))).await {
            result?;
        }
    }

    // pages are fetched as the stream is read, and all show the same moment
    let mut records = client.scan(ScanOptions::prefix("example/scan/"));
    let mut count = 0;
    while let Some(record) = records.try_next().await? {
        assert_eq!(record.value, items[count].1.as_bytes());
        count += 1;
    }
    assert_eq!(count, RECORDS);
    if let Some(at) = records.at() {
        println!("{count} records at version {at}");
    }

    let last = client.scan(ScanOptions::prefix("example/scan/")).reverse().limit(3).keys_only();
    for record in last.try_collect::<Vec<_>>().await? {
        println!("from the end: {}", String::from_utf8_lossy(&record.key));
    }

    let some = ScanOptions::range("example/scan/00010".."example/scan/00013");
    for record in client.scan(some).try_collect::<Vec<_>>().await? {
        println!("{}", String::from_utf8_lossy(&record.value));
    }
    Ok(())
}
