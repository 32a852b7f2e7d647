//! Loads many records through a batch writer, with a progress bar, and reads some of them back.
//!
//! The writer keeps some thousand puts under way and bounds the memory that they take; `write` waits
//! only while the bounds are reached. Each record is a write of its own: one that fails does not stop
//! the others, and at the end the writer says which were not written, and of which nobody knows.
//!
//! ```text
//! cargo run --release --example bulk_load -- 127.0.0.1:7001 100000
//! ```

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use quintet_client::{BatchWriter, Client};
use tokio::time::Instant;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Records between two looks at the progress.
const STEP: u64 = 256;
/// Long enough to sit out the loss of a node.
const TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let node = arguments.next().unwrap_or_else(|| "127.0.0.1:7001".to_owned());
    let records = arguments.next().map_or(Ok(100_000), |number| number.parse())?;
    run(&Client::builder().nodes([node]).timeout(TIMEOUT).connect().await?, records).await
}

pub(crate) async fn run(client: &Client, records: u64) -> Result<(), Failure> {
    let began = Instant::now();
    let bar = progress_bar(records);
    let writer = client.batch_writer().in_flight_max(4_096).bytes_max(16 << 20).start()?;
    for index in 0..records {
        writer.write(key(index), format!("record {index}")).await;
        if index % STEP == 0 {
            show(&bar, &writer);
        }
    }
    // everything accepted so far has an outcome after this
    writer.flush().await;
    show(&bar, &writer);
    let summary = writer.finish().await;
    bar.finish_and_clear();

    for failure in &summary.failures {
        eprintln!("not written: {:?}: {}", failure.key, failure.error);
    }
    for unknown in &summary.unknown_outcomes {
        eprintln!("written or not, read it: {:?}: {}", unknown.key, unknown.error);
    }
    if !summary.is_complete() {
        return Err(format!("{} failed, {} unknown", summary.failed, summary.unknown).into());
    }
    println!(
        "wrote {} records, {} bytes, in {:.1} s",
        summary.written,
        summary.bytes,
        began.elapsed().as_secs_f64()
    );

    for index in [0, records / 2, records.saturating_sub(1)] {
        let found = client.get(key(index)).await?.ok_or("a record is missing")?;
        assert_eq!(found.value, format!("record {index}"));
    }
    Ok(())
}

fn key(index: u64) -> String {
    format!("example/bulk/{index:09}")
}

fn show(bar: &ProgressBar, writer: &BatchWriter) {
    let progress = writer.progress();
    bar.set_position(progress.acknowledged);
    if progress.failed + progress.unknown > 0 {
        bar.set_message(format!("{} failed, {} unknown", progress.failed, progress.unknown));
    }
}

/// Drawn on standard error, where that is a terminal.
fn progress_bar(records: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("loading [{bar:40}] {pos}/{len} {per_sec} {eta} {msg}");
    let bar = ProgressBar::new(records);
    style.map_or(bar.clone(), |style| bar.with_style(style))
}
