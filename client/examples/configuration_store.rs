//! Keeps the configuration of a service that several people change at the same time, and loses none
//! of their changes.
//!
//! A *lost update*: two read the same configuration, each changes another line, both write, and the
//! second write undoes the first change. Here every write names the version that its author read. If
//! somebody wrote meanwhile it is refused, tells what stands now, and the change is made to that.
//!
//! ```text
//! cargo run --example configuration_store -- 127.0.0.1:7001
//! ```

use std::collections::BTreeMap;

use futures::future::try_join_all;
use quintet_client::{Client, Condition, Error, Version, Versioned};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Lines `name=value`, by name.
type Settings = BTreeMap<String, String>;

const KEY: &str = "example/configuration";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let node = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7001".to_owned());
    run(&Client::connect([node]).await?).await
}

/// A configuration, and the condition under which it may be replaced: it is still the one that was
/// read.
struct Read {
    settings: Settings,
    unchanged: Condition,
}

impl From<Option<Versioned>> for Read {
    fn from(found: Option<Versioned>) -> Self {
        let Some(found) = found else {
            return Read { settings: Settings::new(), unchanged: Condition::Absent };
        };
        let text = String::from_utf8_lossy(&found.value).into_owned();
        let lines = text.lines().filter_map(|line| line.split_once('='));
        let settings = lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Read { settings, unchanged: Condition::Version(found.version) }
    }
}

async fn read(client: &Client) -> Result<Read, Error> {
    Ok(client.get(KEY).await?.into())
}

/// Replaces what was read; a conflict if another writer did so before.
async fn replace(client: &Client, read: &Read) -> Result<Version, Error> {
    let line = |(name, value): (&String, &String)| format!("{name}={value}\n");
    let text: String = read.settings.iter().map(line).collect();
    client.put_if(KEY, text, read.unchanged).await
}

/// Sets one line and keeps all others, also those that change meanwhile. Returns how often it was refused.
async fn set(client: &Client, name: &str, value: &str) -> Result<u32, Error> {
    let mut read = read(client).await?;
    let mut refused = 0;
    loop {
        read.settings.insert(name.to_owned(), value.to_owned());
        match replace(client, &read).await {
            Ok(_) => return Ok(refused),
            Err(Error::Conflict { current, .. }) => {
                refused += 1;
                read = current.into();
            }
            Err(error) => return Err(error),
        }
    }
}

pub(crate) async fn run(client: &Client) -> Result<(), Failure> {
    client.delete(KEY).await?;
    set(client, "log", "info").await?;

    // two authors begin with the same configuration
    let (mut anna, mut ben) = (read(client).await?, read(client).await?);
    anna.settings.insert("log".to_owned(), "debug".to_owned());
    ben.settings.insert("workers".to_owned(), "8".to_owned());
    let version = replace(client, &anna).await?;
    println!("anna's change is version {version}");
    let Err(Error::Conflict { current, version: stands }) = replace(client, &ben).await else {
        return Err("ben's write undid anna's change".into());
    };
    assert_eq!(stands, version);
    println!("ben's write is refused: version {stands} stands");

    // ben makes his change to what stands now
    let mut ben = Read::from(current);
    ben.settings.insert("workers".to_owned(), "8".to_owned());
    replace(client, &ben).await?;

    // and many at once: each is refused as often as others are quicker, none is lost
    let names: Vec<_> = (0..10).map(|number| format!("feature-{number}")).collect();
    let refused = try_join_all(names.iter().map(|name| set(client, name, "on"))).await?;
    println!("{} changes, {} refused and retried", names.len(), refused.iter().sum::<u32>());

    let settings = read(client).await?.settings;
    let is = |name: &str, value: &str| settings.get(name).is_some_and(|stands| stands == value);
    assert!(is("log", "debug") && is("workers", "8"), "an update was lost: {settings:?}");
    assert!(names.iter().all(|name| is(name, "on")), "an update was lost: {settings:?}");
    Ok(())
}
