//! A node's configuration: what it holds, what its defaults are, and what makes it valid.
//!
//! A setting comes from the first of: a flag, an environment variable `QUINTET_…`, the TOML file,
//! the default. `sources.rs` puts these together and refuses what it does not know. `sample.toml`
//! is the same list with the documentation that users read; a test keeps the two equal.

mod injected;
mod sources;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use quintet_proto::bounded::ITEMS_KEPT_MAX;
use serde::{Deserialize, Serialize};

pub use self::sources::{Error, Loaded, Origin, keys};
use crate::{ids::NodeId, placement::locality::Locality};

/// The longest time after which a key may be told to expire: 100 years.
pub const TTL_MS_MAX: u64 = 100 * 365 * 24 * 3600 * 1000;

/// Longest key that any node can be configured to take, so that any can be stored.
pub const KEY_BYTES_MAX: u32 = 8 << 10;

/// Most items of a `PutMany`: as many as an entry of a log.
pub const PUT_MANY_ITEMS_MAX: u32 = 1_000;

/// Most bytes of keys and values of a `PutMany`: about an entry of a log.
pub const PUT_MANY_BYTES_MAX: u32 = 1 << 20;

/// Most keys that one page of a `DeleteRange` removes.
pub const DELETE_RANGE_KEYS_MAX: u32 = 1_000;

/// The longest that versions may be kept, in seconds.
pub const RETENTION_S_MAX: u32 = 30 * 86_400;

/// The longest round trip that a node may put on a link: dialling, which takes two, has a second.
const WAN_RTT_MS_MAX: u64 = 200;

/// Everything that can be set. Field names are the keys of the TOML file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Threads that run the node's tasks; 0 chooses by the machine: [`Config::worker_threads`].
    pub worker_threads: u32,
    /// Internal addresses, `host:port`, of some other nodes: where a node asks first for the rest.
    pub seeds: Vec<String>,
    /// Who the node is.
    pub node: Node,
    /// Where it listens.
    pub listen: Listen,
    /// What it tells others to connect to.
    pub advertise: Advertise,
    /// Elections and links.
    pub raft: Raft,
    /// What it accepts.
    pub limits: Limits,
    /// How it stores.
    pub storage: Storage,
    /// How far other rooms and cities are made to be.
    pub wan: Wan,
}

/// `[node]`: who the node is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// From 1, unique in the cluster. A node keeps it for ever: one that lost its disk comes back under it.
    pub id: NodeId,
    /// Everything that the node stores is below it.
    pub data_dir: PathBuf,
    /// Its city and room.
    pub locality: Locality,
}

/// `[listen]`: addresses to bind. Port 0 takes a free one, which is then advertised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// gRPC for clients.
    pub client: SocketAddr,
    /// Other nodes of the cluster.
    pub internal: SocketAddr,
    /// `/livez`, `/readyz`, `/metrics`; `off` leaves it out.
    #[serde(with = "sources::address_or_off")]
    pub http: Option<SocketAddr>,
}

/// `[advertise]`: `host:port` that others reach the node by. Not set: what it listens on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Advertise {
    /// For clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// For the other nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal: Option<String>,
    /// For monitoring.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
}

/// `[raft]`: elections and the links that they need. The same on all nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Raft {
    /// How often a leader shows that it is there.
    pub heartbeat_ms: u64,
    /// A follower that hears no leader stands for election after twice this at the earliest, and after
    /// about twice `election_max_ms` at the latest. In between the replicas of a range stand one after the
    /// other, the one where its leader is at home first. Where the process of the leader's node has ended they
    /// do not wait.
    pub election_min_ms: u64,
    /// See `election_min_ms`. A leader that no majority answers for twice as long steps
    /// down.
    pub election_max_ms: u64,
    /// A link without an answer for this long, while one is due, is dialled again.
    pub link_stall_ms: u64,
    /// Mebibytes of entries that a range keeps for replicas that lag; one that lags more is sent a
    /// raft snapshot.
    pub log_retention_mb: f64,
    /// Mebibytes a second that the node sends of raft snapshots, of all ranges together.
    pub snapshot_mb_per_s: u32,
}

/// `[limits]`: what the node accepts; it tells clients, which enforce the same. The same on all
/// nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Longest key.
    pub key_bytes_max: u32,
    /// Longest value.
    pub value_bytes_max: u32,
    /// Items of one batch.
    pub batch_items_max: u32,
    /// Records of one page of a scan.
    pub scan_page_records_max: u32,
    /// Bytes of one page of a scan; a page has one record at least.
    pub scan_page_bytes_max: u32,
    /// Requests in flight on one session; more are refused as overloaded.
    pub session_in_flight_max: u32,
    /// Sessions of one node; more are refused as overloaded.
    pub sessions_max: u32,
    /// Watches of one node; more are refused as overloaded.
    pub watches_max: u32,
    /// Requests that a node has accepted and not answered, of all sessions, of single calls, and for
    /// other nodes; more are refused as overloaded.
    pub requests_in_flight_max: u32,
    /// Mebibytes of these requests, and as many of answers that wait to be taken.
    pub requests_in_flight_mb_max: u32,
    /// For how long request ids are remembered: within it a repetition never acts twice.
    pub dedup_window_s: u32,
    /// For how long versions that were overwritten, removed or have expired can still be read, of keys that no setting
    /// of the cluster names.
    pub version_retention_s: u32,
}

/// `[storage]`: how the node stores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// Memory for blocks read from disk, shared by both databases of the node.
    pub block_cache_mb: u32,
    /// Mebibytes of the disk that are kept free: with less the node leads nothing if others can, and
    /// refuses writes if not; with a quarter of it the log takes nothing more and the node stops.
    pub free_mb_min: u32,
}

/// `[wan]`: round trips that the node puts on its links to other rooms and cities, where one machine plays several.
/// The same on all nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wan {
    /// Milliseconds there and back between rooms of a city; 0 adds nothing.
    pub rooms_rtt_ms: f64,
    /// Milliseconds there and back between cities; 0 adds nothing.
    pub cities_rtt_ms: f64,
}

impl Default for Node {
    fn default() -> Node {
        Node { id: NodeId(0), data_dir: PathBuf::new(), locality: Locality::default() }
    }
}

impl Default for Listen {
    fn default() -> Listen {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Listen { client: local(7401), internal: local(7402), http: Some(local(7403)) }
    }
}

impl Default for Raft {
    fn default() -> Raft {
        Raft {
            heartbeat_ms: 100,
            election_min_ms: 500,
            election_max_ms: 1000,
            link_stall_ms: 800,
            log_retention_mb: 4.0,
            snapshot_mb_per_s: 64,
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            key_bytes_max: KEY_BYTES_MAX,
            value_bytes_max: 1024 * 1024,
            batch_items_max: 1000,
            scan_page_records_max: 1000,
            scan_page_bytes_max: 1024 * 1024,
            session_in_flight_max: 4096,
            sessions_max: 4096,
            watches_max: 1024,
            requests_in_flight_max: 8192,
            requests_in_flight_mb_max: 128,
            dedup_window_s: 600,
            version_retention_s: 86_400,
        }
    }
}

impl Default for Storage {
    fn default() -> Storage {
        Storage { block_cache_mb: 128, free_mb_min: 128 }
    }
}

/// A setting that is of the right type and yet can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The key, as in `limits.key_bytes_max`.
    pub key: &'static str,
    /// What is wrong and what to do.
    pub reason: String,
}

impl Config {
    /// Puts a configuration together and validates it. `environment` may hold any variables, only
    /// those named `QUINTET_…` matter; `flags` are pairs of a key, as in `node.id`, and its text.
    pub fn load(
        file: Option<&std::path::Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[(String, String)],
    ) -> Result<Loaded, Error> {
        sources::load(file, environment, flags)
    }

    /// A file with every setting at its default, each explained and commented out.
    pub fn default_toml() -> &'static str {
        include_str!("config/sample.toml")
    }

    /// Every setting as TOML. Fails where the data directory's name is not UTF-8.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// Threads for the node's tasks: as set, or as many as the machine has, four at most.
    pub fn worker_threads(&self) -> usize {
        match self.worker_threads {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()).min(4),
            n => n as usize,
        }
    }

    /// What to advertise where nothing is set: the address that was really bound.
    pub fn advertised(set: &Option<String>, bound: SocketAddr) -> String {
        set.clone().unwrap_or_else(|| bound.to_string())
    }

    /// Refuses values that contradict each other or the design's bounds.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.validate_node()?;
        self.validate_addresses()?;
        self.validate_raft()?;
        self.validate_wan()?;
        self.validate_limits()
    }

    fn validate_node(&self) -> Result<(), Invalid> {
        require(self.node.id.0 > 0, "node.id", || {
            "not set: give the node a number from 1 that no other node of the cluster ever had"
                .to_owned()
        })?;
        require(!self.node.data_dir.as_os_str().is_empty(), "node.data_dir", || {
            "not set: name a directory of the node's own for what it stores".to_owned()
        })?;
        require(self.node.locality.is_set(), "node.locality", || {
            "not set: say where the node stands, as in city=c1,room=a".to_owned()
        })?;
        within("worker_threads", self.worker_threads.into(), 0, 256)
    }

    fn validate_addresses(&self) -> Result<(), Invalid> {
        let sockets = [
            ("listen.client", Some(self.listen.client), "advertise.client", &self.advertise.client),
            (
                "listen.internal",
                Some(self.listen.internal),
                "advertise.internal",
                &self.advertise.internal,
            ),
            ("listen.http", self.listen.http, "advertise.http", &self.advertise.http),
        ];
        let mut taken = BTreeSet::new();
        for (key, listen, advertise_key, advertise) in sockets {
            let Some(listen) = listen else { continue };
            require(listen.port() == 0 || taken.insert(listen), key, || {
                format!("{listen} is used twice: each port needs an address of its own")
            })?;
            require(!listen.ip().is_unspecified() || advertise.is_some(), advertise_key, || {
                format!(
                    "not set, and nobody can connect to {listen}: set it to HOST:PORT by which others reach the node"
                )
            })?;
        }
        Ok(())
    }

    fn validate_raft(&self) -> Result<(), Invalid> {
        let raft = &self.raft;
        within("raft.heartbeat_ms", raft.heartbeat_ms, 10, 10_000)?;
        within("raft.election_min_ms", raft.election_min_ms, 3 * raft.heartbeat_ms, 60_000)?;
        within("raft.election_max_ms", raft.election_max_ms, raft.election_min_ms + 1, 120_000)?;
        within("raft.link_stall_ms", raft.link_stall_ms, 2 * raft.heartbeat_ms, 60_000)?;
        let retention = raft.log_retention_mb;
        require((0.01..=65_536.0).contains(&retention), "raft.log_retention_mb", || {
            format!("{retention} is out of bounds: set it to 0.01 at least and 65536 at most")
        })?;
        within("raft.snapshot_mb_per_s", raft.snapshot_mb_per_s.into(), 1, 16_384)
    }

    fn validate_wan(&self) -> Result<(), Invalid> {
        // A link that is answered later than this is given up before it is used.
        let most = (self.raft.link_stall_ms / 4).min(WAN_RTT_MS_MAX);
        let trips = [
            ("wan.rooms_rtt_ms", self.wan.rooms_rtt_ms),
            ("wan.cities_rtt_ms", self.wan.cities_rtt_ms),
        ];
        trips.into_iter().try_for_each(|(key, ms)| {
            require((0.0..=most as f64).contains(&ms), key, || {
                format!(
                    "{ms} is out of bounds: set it to 0 at least and {most} at most (the bound is {WAN_RTT_MS_MAX}, \
                     or a quarter of raft.link_stall_ms where that is less)"
                )
            })
        })
    }

    fn validate_limits(&self) -> Result<(), Invalid> {
        let limits = &self.limits;
        within("limits.key_bytes_max", limits.key_bytes_max.into(), 1, KEY_BYTES_MAX.into())?;
        within("limits.value_bytes_max", limits.value_bytes_max.into(), 1, 16 * 1024 * 1024)?;
        let items = ITEMS_KEPT_MAX as u64 - 1;
        within("limits.batch_items_max", limits.batch_items_max.into(), 1, items)?;
        within("limits.scan_page_records_max", limits.scan_page_records_max.into(), 1, 100_000)?;
        let page = u64::from(limits.scan_page_bytes_max);
        within("limits.scan_page_bytes_max", page, 1024, 16 * 1024 * 1024)?;
        within("limits.session_in_flight_max", limits.session_in_flight_max.into(), 1, 65_536)?;
        within("limits.sessions_max", limits.sessions_max.into(), 1, 1_000_000)?;
        within("limits.watches_max", limits.watches_max.into(), 1, 100_000)?;
        let requests = u64::from(limits.requests_in_flight_max);
        within("limits.requests_in_flight_max", requests, 1, 1_000_000)?;
        let bytes = u64::from(limits.requests_in_flight_mb_max);
        within("limits.requests_in_flight_mb_max", bytes, 1, 1024 * 1024)?;
        let window = u64::from(limits.dedup_window_s);
        within("limits.dedup_window_s", window, 10, 86_400)?;
        // A remembered refusal is answered with what stood then.
        let retention = u64::from(limits.version_retention_s);
        within("limits.version_retention_s", retention, window, RETENTION_S_MAX.into())?;
        within("storage.block_cache_mb", self.storage.block_cache_mb.into(), 1, 1024 * 1024)?;
        within("storage.free_mb_min", self.storage.free_mb_min.into(), 16, u32::MAX.into())
    }
}

impl Raft {
    /// See [`Raft::heartbeat_ms`].
    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms)
    }

    /// See [`Raft::link_stall_ms`].
    pub fn link_stall(&self) -> Duration {
        Duration::from_millis(self.link_stall_ms)
    }

    /// See [`Raft::log_retention_mb`].
    pub fn log_retention_bytes(&self) -> u64 {
        // Validated to be positive and not large.
        (self.log_retention_mb * f64::from(1 << 20)) as u64
    }

    /// See [`Raft::snapshot_mb_per_s`].
    pub fn snapshot_bytes_per_s(&self) -> u64 {
        u64::from(self.snapshot_mb_per_s) << 20
    }
}

impl Wan {
    /// See [`Wan::rooms_rtt_ms`].
    pub fn rooms_rtt(&self) -> Duration {
        Duration::from_secs_f64(self.rooms_rtt_ms / 1000.0)
    }

    /// See [`Wan::cities_rtt_ms`].
    pub fn cities_rtt(&self) -> Duration {
        Duration::from_secs_f64(self.cities_rtt_ms / 1000.0)
    }
}

impl Limits {
    /// See [`Limits::dedup_window_s`].
    pub fn dedup_window(&self) -> Duration {
        Duration::from_secs(self.dedup_window_s.into())
    }

    /// See [`Limits::requests_in_flight_mb_max`].
    pub fn requests_in_flight_bytes_max(&self) -> usize {
        (self.requests_in_flight_mb_max as usize) << 20
    }

    /// See [`Limits::version_retention_s`].
    pub fn version_retention(&self) -> Duration {
        Duration::from_secs(self.version_retention_s.into())
    }

    /// What clients are told.
    pub fn advertised(&self) -> quintet_proto::v1::Limits {
        quintet_proto::v1::Limits {
            key_bytes_max: self.key_bytes_max,
            value_bytes_max: self.value_bytes_max,
            batch_items_max: self.batch_items_max,
            scan_page_records_max: self.scan_page_records_max,
            scan_page_bytes_max: self.scan_page_bytes_max,
            session_in_flight_max: self.session_in_flight_max,
            dedup_window_ms: u64::from(self.dedup_window_s) * 1000,
            ttl_ms_max: TTL_MS_MAX,
            version_retention_ms: u64::from(self.version_retention_s) * 1000,
            put_many_items_max: PUT_MANY_ITEMS_MAX,
            put_many_bytes_max: PUT_MANY_BYTES_MAX,
            delete_range_keys_max: DELETE_RANGE_KEYS_MAX,
        }
    }
}

fn require(holds: bool, key: &'static str, reason: impl FnOnce() -> String) -> Result<(), Invalid> {
    if holds { Ok(()) } else { Err(Invalid { key, reason: reason() }) }
}

fn within(key: &'static str, value: u64, least: u64, most: u64) -> Result<(), Invalid> {
    require((least..=most).contains(&value), key, || {
        format!("{value} is out of bounds: set it to {least} at least and {most} at most")
    })
}
