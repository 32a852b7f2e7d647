//! A lock that one of several contenders holds: taken if absent, renewed and given back only by the
//! version that the holder got. And what to do where the outcome of a write is unknown.
//!
//! ```text
//! cargo run --example compare_and_set -- 127.0.0.1:7001
//! ```

use quintet_client::{Client, Condition, Error, Version};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let node = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7001".to_owned());
    run(&Client::connect([node]).await?).await
}

pub(crate) async fn run(client: &Client) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    client.delete("example/lock").await?;

    let held = take(client, "anna").await?.ok_or("nobody holds the lock, so anna gets it")?;
    println!("anna holds the lock at version {held}");
    assert!(take(client, "ben").await?.is_none(), "two holders");

    let renewed = client.put_if("example/lock", "anna", Condition::Version(held)).await?;
    println!("anna renewed it: version {renewed}");
    let outdated = client.delete_if("example/lock", held).await;
    assert!(matches!(outdated, Err(Error::Conflict { .. })), "an old version gave it back");

    client.delete_if("example/lock", renewed).await?;
    println!("anna gave it back");
    assert!(take(client, "ben").await?.is_some(), "the lock is free");
    println!("ben holds it");
    Ok(())
}

/// Takes the lock under a name; `None` if it is held.
async fn take(client: &Client, name: &str) -> Result<Option<Version>, Error> {
    match client.put_if("example/lock", name, Condition::Absent).await {
        Ok(version) => Ok(Some(version)),
        Err(Error::Conflict { current, .. }) => {
            if let Some(holder) = current {
                println!("{name} must wait: {} holds it", String::from_utf8_lossy(&holder.value));
            }
            Ok(None)
        }
        // the write may have happened: the key says whether it did
        Err(error) if error.maybe_committed() => {
            let found = client.get("example/lock").await?;
            Ok(found.filter(|found| found.value == name.as_bytes()).map(|found| found.version))
        }
        Err(error) => Err(error),
    }
}
