//! Stores this machine's list of Debian packages, name by name, and compares what is stored with
//! the list: tens of thousands of real records, a few seconds each way.
//!
//! ```text
//! cargo run --release --example package_list -- load 127.0.0.1:7001
//! cargo run --release --example package_list -- verify 127.0.0.1:7002
//! ```
//!
//! `points N` prints keys that divide the list into N equal parts, for `quintet cluster init
//! --split-points`. `verify` ends with 1 where the two differ. Any number of nodes may be named.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use futures::TryStreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use quintet_client::{Client, ScanOptions};
use tokio::time::Instant;

/// Package name to description.
type Packages = BTreeMap<String, String>;
type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Where apt keeps the lists that it downloads.
const LISTS: &str = "/var/lib/apt/lists";
/// What is installed: a few hundred packages, on every Debian.
const INSTALLED: &str = "/var/lib/dpkg/status";
const PREFIX: &str = "package/";
/// Items of a batch: one call, and one step of the progress bar.
const BATCH_ITEMS: usize = 1_000;
/// Long enough to sit out the loss of a node.
const TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let mode = arguments.next().unwrap_or_default();
    let mut nodes: Vec<_> = arguments.collect();
    if nodes.is_empty() {
        nodes.push("127.0.0.1:7001".to_owned());
    }
    if !["load", "verify", "points"].contains(&&*mode) {
        eprintln!("usage: package_list load|verify [HOST:PORT]...\n       package_list points N");
        return Ok(ExitCode::from(2));
    }
    let packages = read_packages()?;
    if mode == "points" {
        let parts = nodes.first().and_then(|number| number.parse().ok()).unwrap_or(8);
        split_points(&packages, parts).iter().for_each(|point| println!("{point}"));
        return Ok(ExitCode::SUCCESS);
    }
    let client = Client::builder().nodes(nodes).timeout(TIMEOUT).connect().await?;
    if mode == "load" {
        load(&client, &packages).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let differences = verify(&client, &packages).await?;
    Ok(if differences == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Keys that divide the packages into parts of the same size.
pub(crate) fn split_points(packages: &Packages, parts: usize) -> Vec<String> {
    let names: Vec<_> = packages.keys().collect();
    let first_of = |part: usize| names.get(part * names.len() / parts.max(1));
    let mut points: Vec<_> =
        (1..parts).filter_map(first_of).map(|name| format!("{PREFIX}{name}")).collect();
    points.dedup();
    points
}

/// Stores every package.
pub(crate) async fn load(client: &Client, packages: &Packages) -> Result<()> {
    let began = Instant::now();
    let bar = progress(packages.len(), "loading");
    let items: Vec<_> =
        packages.iter().map(|(name, text)| (format!("{PREFIX}{name}"), text)).collect();
    for batch in items.chunks(BATCH_ITEMS) {
        // Each item has a result of its own; a lost connection or leader is the library's business.
        for result in client.batch_put(batch.iter().map(|(key, text)| (key, *text))).await {
            result?;
        }
        bar.inc(batch.len() as u64);
    }
    bar.finish_and_clear();
    println!("loaded {} packages in {:.1} s", packages.len(), began.elapsed().as_secs_f64());
    Ok(())
}

/// Reads everything back and compares; returns how many differences there are.
pub(crate) async fn verify(client: &Client, packages: &Packages) -> Result<usize> {
    let began = Instant::now();
    let bar = progress(packages.len(), "reading back");
    let mut records = client.scan(ScanOptions::prefix(PREFIX));
    let (mut equal, mut different, mut unexpected) = (0, 0, 0);
    while let Some(record) = records.try_next().await? {
        let name = String::from_utf8_lossy(record.key.get(PREFIX.len()..).unwrap_or_default());
        match packages.get(&*name) {
            Some(text) if record.value == text.as_bytes() => equal += 1,
            Some(_) => different += 1,
            None => unexpected += 1,
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let missing = packages.len() - equal - different;
    println!(
        "read {} packages in {:.1} s: {equal} equal, {different} different, {missing} missing, \
         {unexpected} unexpected",
        equal + different + unexpected,
        began.elapsed().as_secs_f64()
    );
    Ok(different + missing + unexpected)
}

/// Drawn on standard error, where that is a terminal.
fn progress(length: usize, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len} {per_sec} {eta}");
    let bar = ProgressBar::new(length as u64).with_message(what);
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

/// The packages that this machine knows: apt's lists where they can be read as they are, else what
/// apt says of them, else what is installed.
fn read_packages() -> Result<Packages> {
    let mut packages = Packages::new();
    if let Ok(entries) = fs::read_dir(LISTS) {
        let mut lists: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        lists.sort();
        for list in lists.iter().filter(|list| list.to_string_lossy().ends_with("_Packages")) {
            parse(open(list)?, &mut packages)?;
        }
    }
    if packages.is_empty() {
        // The lists may be compressed; apt reads them.
        let apt = Command::new("apt-cache").arg("dumpavail").stdout(Stdio::piped()).spawn();
        if let Ok(mut apt) = apt {
            if let Some(output) = apt.stdout.take() {
                parse(BufReader::new(output), &mut packages)?;
            }
            apt.wait()?;
        }
    }
    if packages.is_empty() {
        parse(open(Path::new(INSTALLED))?, &mut packages)?;
    }
    if packages.is_empty() {
        return Err("this machine has no list of Debian packages; try `apt-get update`".into());
    }
    Ok(packages)
}

fn open(path: &Path) -> Result<BufReader<fs::File>> {
    let file = fs::File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(BufReader::new(file))
}

/// Takes name and description out of paragraphs `Field: value`, apart by empty lines, in which a
/// space begins a line that goes on with the field before. Of several versions of a package the
/// first one counts.
pub(crate) fn parse(text: impl BufRead, packages: &mut Packages) -> Result<()> {
    let (mut name, mut description) = (None::<String>, None::<String>);
    let mut in_description = false;
    for line in text.split(b'\n').chain([Ok(Vec::new())]) {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if line.trim_end().is_empty() {
            if let (Some(name), Some(description)) = (name.take(), description.take()) {
                packages.entry(name).or_insert(description);
            }
            (name, description, in_description) = (None, None, false);
        } else if let Some(more) = line.strip_prefix(' ') {
            if let (true, Some(description)) = (in_description, description.as_mut()) {
                description.push('\n');
                description.push_str(more);
            }
        } else if let Some((field, value)) = line.split_once(':') {
            in_description = matches!(field, "Description" | "Description-en");
            match field {
                "Package" => name = Some(value.trim().to_owned()),
                _ if in_description => description = Some(value.trim().to_owned()),
                _ => {}
            }
        }
    }
    Ok(())
}
