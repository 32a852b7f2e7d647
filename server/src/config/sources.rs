//! Puts a configuration together: default, then file, then environment, then flags.
//!
//! Every source is brought into one form first, pairs of a key (`node.id`) and a value of the type
//! that [`KEYS`] says, so that an error names the key and the source, and an unknown key is
//! answered with the nearest known one. Nothing is ignored, but for what orchestrators inject into the
//! environment (`injected.rs`): a misspelt setting that is silently left at its default shows up in
//! production.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{Config, Invalid, injected};
use crate::placement::locality::Locality;

/// Begins the name of every environment variable of ours.
const PREFIX: &str = "QUINTET_";

/// Variables of ours that are no settings of a node: where clients find the cluster, what to log,
/// where the scripts keep their builds, which file to read.
const OTHER_VARIABLES: &[&str] = &[
    "QUINTET_NODES",
    "QUINTET_LOG",
    "QUINTET_CONFIG",
    // Of the scripts, which start nodes too.
    "QUINTET_BIN",
    "QUINTET_CACHE",
    "QUINTET_QUICKSTART_DIR",
    "QUINTET_SIM_BUDGET_S",
];

/// Similarity (Jaro-Winkler) from which a known name is suggested for an unknown one.
const SIMILAR: f64 = 0.75;

/// What a value has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Whole,
    Decimal,
    Text,
    /// `IP:port`.
    Address,
    /// `IP:port` or `off`.
    AddressOrOff,
    /// `host:port`.
    HostPort,
    HostPorts,
    Locality,
}

/// Every setting. A test holds it against [`Config`].
const KEYS: [(&str, Kind); 33] = [
    ("worker_threads", Kind::Whole),
    ("seeds", Kind::HostPorts),
    ("node.id", Kind::Whole),
    ("node.data_dir", Kind::Text),
    ("node.locality", Kind::Locality),
    ("listen.client", Kind::Address),
    ("listen.internal", Kind::Address),
    ("listen.http", Kind::AddressOrOff),
    ("advertise.client", Kind::HostPort),
    ("advertise.internal", Kind::HostPort),
    ("advertise.http", Kind::HostPort),
    ("raft.heartbeat_ms", Kind::Whole),
    ("raft.election_min_ms", Kind::Whole),
    ("raft.election_max_ms", Kind::Whole),
    ("raft.link_stall_ms", Kind::Whole),
    ("raft.log_retention_mb", Kind::Decimal),
    ("raft.snapshot_mb_per_s", Kind::Whole),
    ("limits.key_bytes_max", Kind::Whole),
    ("limits.value_bytes_max", Kind::Whole),
    ("limits.batch_items_max", Kind::Whole),
    ("limits.scan_page_records_max", Kind::Whole),
    ("limits.scan_page_bytes_max", Kind::Whole),
    ("limits.session_in_flight_max", Kind::Whole),
    ("limits.sessions_max", Kind::Whole),
    ("limits.watches_max", Kind::Whole),
    ("limits.requests_in_flight_max", Kind::Whole),
    ("limits.requests_in_flight_mb_max", Kind::Whole),
    ("limits.dedup_window_s", Kind::Whole),
    ("limits.version_retention_s", Kind::Whole),
    ("storage.block_cache_mb", Kind::Whole),
    ("storage.free_mb_min", Kind::Whole),
    ("wan.rooms_rtt_ms", Kind::Decimal),
    ("wan.cities_rtt_ms", Kind::Decimal),
];

/// Names of all settings, as in `node.id`.
pub fn keys() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|(key, _)| *key)
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// This environment variable.
    Environment(String),
    /// A flag on the command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Environment(variable) => write!(f, "environment variable {variable}"),
            Origin::Flag => f.write_str("command line"),
        }
    }
}

/// A valid configuration and where its values came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The result.
    pub config: Config,
    /// By key; a key that is not there has its default.
    pub origins: BTreeMap<&'static str, Origin>,
    /// What was ignored and may have been meant as a setting, a line each.
    pub warnings: Vec<String>,
}

/// Why there is no configuration. Messages say what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("cannot read the configuration file {}: {error}", path.display())]
    Read { path: PathBuf, error: std::io::Error },
    /// The file is not TOML.
    #[error("{} is not valid TOML: {error}", path.display())]
    Syntax { path: PathBuf, error: String },
    /// Nobody knows such a setting.
    #[error("unknown setting {name} ({origin}){}", hint(suggestion))]
    Unknown { name: String, origin: Origin, suggestion: Option<String> },
    /// A value is of the wrong type, out of bounds, or missing.
    #[error("{key} ({origin}): {reason}")]
    Invalid { key: &'static str, origin: Origin, reason: String },
}

fn hint(suggestion: &Option<String>) -> String {
    match suggestion {
        Some(name) => format!(": did you mean {name}?"),
        None => ": `quintet config print` lists what there is".to_owned(),
    }
}

/// See [`Config::load`].
pub(super) fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &[(String, String)],
) -> Result<Loaded, Error> {
    let mut values = Values::default();
    if let Some(path) = file {
        values.add_file(path)?;
    }
    for (variable, text) in environment {
        values.add_variable(&variable, &text)?;
    }
    for (name, text) in flags {
        values.add_text(name, text, Origin::Flag, known(name), keys())?;
    }
    values.finish()
}

/// What has been set so far; later sources replace earlier ones.
#[derive(Default)]
struct Values {
    set: BTreeMap<&'static str, (Value, Origin)>,
    warnings: Vec<String>,
}

impl Values {
    fn add_file(&mut self, path: &Path) -> Result<(), Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::Read { path: path.to_owned(), error })?;
        let table: Table = text.parse().map_err(|error: toml::de::Error| Error::Syntax {
            path: path.to_owned(),
            error: one_line(&error, &text),
        })?;
        for (name, value) in flatten(table) {
            let origin = Origin::File(path.to_owned());
            let Some((key, kind)) = known(&name) else {
                return Err(unknown(&name, origin, keys().map(str::to_owned)));
            };
            self.add(key, kind, value, origin)?;
        }
        Ok(())
    }

    fn add_variable(&mut self, variable: &str, text: &str) -> Result<(), Error> {
        if !variable.starts_with(PREFIX) || OTHER_VARIABLES.contains(&variable) {
            return Ok(());
        }
        let setting = KEYS.into_iter().find(|(key, _)| variable_of(key) == variable);
        let names =
            || keys().map(variable_of).chain(OTHER_VARIABLES.iter().copied().map(str::to_owned));
        let own_name = variable.strip_prefix(PREFIX).unwrap_or(variable);
        match injected::kind(own_name, text) {
            Some(injected::Kind::Injected) => return Ok(()),
            Some(injected::Kind::Doubtful) => {
                let hint = hint(&nearest(variable, names()));
                self.warnings.push(format!(
                    "the environment variable {variable} is ignored: it has a name that orchestrators give, \
                     and is no setting{hint}"
                ));
                return Ok(());
            }
            None => {}
        }
        self.add_text(variable, text, Origin::Environment(variable.to_owned()), setting, names())
    }

    fn add_text(
        &mut self,
        name: &str,
        text: &str,
        origin: Origin,
        setting: Option<(&'static str, Kind)>,
        names: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<(), Error> {
        let Some((key, kind)) = setting else {
            return Err(unknown(name, origin, names.into_iter().map(Into::into)));
        };
        match from_text(kind, text) {
            Ok(value) => self.add(key, kind, value, origin),
            Err(reason) => Err(Error::Invalid { key, origin, reason }),
        }
    }

    fn add(
        &mut self,
        key: &'static str,
        kind: Kind,
        value: Value,
        origin: Origin,
    ) -> Result<(), Error> {
        if let Err(reason) = check(kind, &value) {
            return Err(Error::Invalid { key, origin, reason });
        }
        self.set.insert(key, (value, origin));
        Ok(())
    }

    fn finish(self) -> Result<Loaded, Error> {
        let mut table = Table::new();
        let mut origins = BTreeMap::new();
        for (key, (value, origin)) in self.set {
            match key.split_once('.') {
                None => table.insert(key.to_owned(), value),
                Some((section, name)) => {
                    let section =
                        table.entry(section).or_insert_with(|| Value::Table(Table::new()));
                    let Value::Table(section) = section else { continue };
                    section.insert(name.to_owned(), value)
                }
            };
            origins.insert(key, origin);
        }
        let origin_of = |key| origins.get(key).cloned().unwrap_or(Origin::Default);
        // What `check` lets through fits, but for numbers beyond their field's type.
        let config: Config = table.try_into().map_err(|error: toml::de::Error| {
            let text = error.to_string();
            let key = keys().find(|key| text.contains(key)).unwrap_or("configuration");
            Error::Invalid { key, origin: origin_of(key), reason: one_line(&error, "") }
        })?;
        config.validate().map_err(|Invalid { key, reason }| Error::Invalid {
            key,
            origin: origin_of(key),
            reason,
        })?;
        Ok(Loaded { config, origins, warnings: self.warnings })
    }
}

/// `node.id` is `QUINTET_NODE_ID`.
fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

fn known(name: &str) -> Option<(&'static str, Kind)> {
    KEYS.into_iter().find(|(key, _)| *key == name)
}

fn unknown(name: &str, origin: Origin, names: impl Iterator<Item = String>) -> Error {
    Error::Unknown { name: name.to_owned(), origin, suggestion: nearest(name, names) }
}

/// The known name that is most similar to an unknown one, if any is.
fn nearest(name: &str, names: impl Iterator<Item = String>) -> Option<String> {
    names
        .map(|known| (strsim::jaro_winkler(name, &known), known))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

/// Pairs of a dotted name and a value. Settings are two levels deep; what is deeper keeps its
/// dotted name, to be refused by it. An empty section sets nothing, but its name must be known.
fn flatten(table: Table) -> Vec<(String, Value)> {
    let mut pairs = Vec::new();
    for (name, value) in table {
        let is_section = keys().any(|key| key.split_once('.').is_some_and(|(s, _)| s == name));
        match value {
            Value::Table(section) if is_section || !section.is_empty() => {
                pairs.extend(
                    section.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)),
                );
            }
            value => pairs.push((name, value)),
        }
    }
    pairs
}

/// Reads a value as environment and flags give it.
fn from_text(kind: Kind, text: &str) -> Result<Value, String> {
    let text = text.trim();
    Ok(match kind {
        Kind::Whole => {
            let number = text.replace('_', "");
            Value::Integer(number.parse().map_err(|_| format!("{text:?} is not a whole number"))?)
        }
        Kind::Decimal => {
            Value::Float(text.parse().map_err(|_| format!("{text:?} is not a number"))?)
        }
        Kind::HostPorts => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Value::Array(parts.map(|part| Value::String(part.to_owned())).collect())
        }
        Kind::Text | Kind::Address | Kind::AddressOrOff | Kind::HostPort | Kind::Locality => {
            Value::String(text.to_owned())
        }
    })
}

/// Whether a value is what its key needs.
fn check(kind: Kind, value: &Value) -> Result<(), String> {
    match (kind, value) {
        (Kind::Whole, Value::Integer(n)) if *n >= 0 => Ok(()),
        (Kind::Whole, other) => Err(format!("{other} is not a whole number from 0")),
        (Kind::Decimal, Value::Integer(n)) if *n >= 0 => Ok(()),
        (Kind::Decimal, Value::Float(n)) if n.is_finite() && *n >= 0.0 => Ok(()),
        (Kind::Decimal, other) => Err(format!("{other} is not a number from 0")),
        (Kind::HostPorts, Value::Array(items)) => {
            items.iter().try_for_each(|item| check(Kind::HostPort, item))
        }
        (Kind::HostPorts, other) => {
            Err(format!("{other} is not a list; write [\"host:port\", \"host:port\"]"))
        }
        (Kind::Text, Value::String(_)) => Ok(()),
        (Kind::Address, Value::String(text)) => check_address(text),
        (Kind::AddressOrOff, Value::String(text)) if text == "off" => Ok(()),
        (Kind::AddressOrOff, Value::String(text)) => check_address(text),
        (Kind::HostPort, Value::String(text)) => check_host_port(text),
        (Kind::Locality, Value::String(text)) if text.is_empty() => Ok(()),
        (Kind::Locality, Value::String(text)) => {
            text.parse::<Locality>().map(drop).map_err(|error| error.to_string())
        }
        (_, other) => Err(format!("{other} is not a text in quotes")),
    }
}

fn check_address(text: &str) -> Result<(), String> {
    match text.parse::<SocketAddr>() {
        Ok(_) => Ok(()),
        Err(_) if text.parse::<IpAddr>().is_ok() => {
            Err(format!("{text:?} lacks a port; write {text}:7401"))
        }
        Err(_) => Err(format!("{text:?} is no IP address with a port, such as 127.0.0.1:7401")),
    }
}

fn check_host_port(text: &str) -> Result<(), String> {
    let fault = || format!("{text:?} is no host with a port, such as db1.example.org:7402");
    let (host, port) = text.rsplit_once(':').ok_or_else(fault)?;
    let port: u16 = port.parse().map_err(|_| fault())?;
    let in_brackets = host.starts_with('[') && host.ends_with(']');
    let bare = |c: char| c.is_whitespace() || matches!(c, '/' | '@' | ':' | '[' | ']');
    if port == 0 || host.is_empty() || (!in_brackets && host.contains(bare)) {
        return Err(fault());
    }
    Ok(())
}

/// A TOML error without its drawing: the message, and the line where there is one.
fn one_line(error: &toml::de::Error, text: &str) -> String {
    let message = error.message().replace('\n', " ");
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => format!("line {}: {message}", before.matches('\n').count() + 1),
        None => message,
    }
}

/// `listen.http`: an address, or `off`.
pub(super) mod address_or_off {
    use std::net::SocketAddr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(
        address: &Option<SocketAddr>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match address {
            Some(address) => serializer.collect_str(address),
            None => serializer.serialize_str("off"),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SocketAddr>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "off" { Ok(None) } else { text.parse().map(Some).map_err(D::Error::custom) }
    }
}
