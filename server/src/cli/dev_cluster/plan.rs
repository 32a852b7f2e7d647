//! What a local cluster consists of: localities, ports, files. Chosen once, kept in `cluster.toml`. How far its rooms
//! and cities are made to be is there too, and may be changed while no node runs; nodes are told at their start.
//!
//! Nothing in the directory says where it is, so that it can be moved, renamed and copied: a node's data is
//! in `node-N/data` of the directory that `dev` was given, which the node is told at its start (`process.rs`).
//! A `node.toml` that says otherwise, as one of the user's, or one that an earlier `dev` wrote, is refused
//! unless it means just that.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use anyhow::Context;
use quintet_server::{config::Wan, placement::locality::Locality, ports};
use serde::{Deserialize, Serialize};

use crate::cli::{exit::Failure, output::program};

/// Where a node's data is, below the node's own directory.
pub(super) const DATA_DIR: &str = "data";
/// Nodes of a cluster where nobody says how many.
pub(crate) const NODES_DEFAULT: u64 = 5;
/// The round trips of `--wan`: those that the product is made for.
const WAN: Wan = Wan { rooms_rtt_ms: 1.0, cities_rtt_ms: 30.0 };
/// Ports that a node listens on.
const PORTS_A_NODE: u16 = 3;

/// One node of the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) locality: Locality,
    pub(crate) client: SocketAddr,
    pub(crate) internal: SocketAddr,
    pub(crate) http: SocketAddr,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    nodes: Vec<Node>,
    /// Not there: nodes reach each other at once, unless their own configurations say otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wan: Option<Wan>,
}

/// A local cluster: a directory and the plan in it.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    dir: PathBuf,
    plan: Plan,
}

impl Cluster {
    /// The cluster of a directory that holds one.
    pub(crate) fn open(dir: &Path) -> Result<Cluster, Failure> {
        let file = dir.join("cluster.toml");
        let text = fs::read_to_string(&file).map_err(|error| {
            Failure::usage(format!(
                "there is no dev cluster in {} (cannot read {}: {error})",
                dir.display(),
                file.display()
            ))
        })?;
        let plan = toml::from_str(&text).map_err(|error: toml::de::Error| {
            Failure::usage(format!("{} is damaged: {}", file.display(), error.message()))
        })?;
        let dir = dir
            .canonicalize()
            .with_context(|| format!("cannot find the real path of {}", dir.display()))?;
        Ok(Cluster { dir, plan })
    }

    /// The cluster of a directory, made where there is none. Every node has its configuration
    /// afterwards. `base_port` only matters for a new cluster, `nodes` must fit an old one.
    pub(crate) fn open_or_create(
        dir: &Path,
        base_port: u16,
        nodes: Option<u64>,
    ) -> Result<Cluster, Failure> {
        let cluster = match dir.join("cluster.toml").exists() {
            true => Cluster::open(dir)?,
            false => Cluster::create(dir, base_port, nodes.unwrap_or(NODES_DEFAULT))?,
        };
        let there = cluster.plan.nodes.len() as u64;
        if nodes.is_some_and(|nodes| nodes != there) {
            return Err(Failure::usage(format!(
                "the cluster in {} has {there} nodes; leave --nodes out or name another directory",
                dir.display()
            )));
        }
        cluster.write_configs()?;
        for node in &cluster.plan.nodes {
            cluster.check_data_dir(node.id)?;
        }
        Ok(cluster)
    }

    fn create(dir: &Path, base_port: u16, nodes: u64) -> Result<Cluster, Failure> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let mut entries =
            fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
        if entries.next().is_some() {
            return Err(Failure::usage(format!(
                "{} is not empty and holds no dev cluster; name another directory with --dir",
                dir.display()
            )));
        }
        let count = u16::try_from(nodes).unwrap_or(u16::MAX).saturating_mul(PORTS_A_NODE);
        let ports = match base_port {
            0 => ports::free(count).map_err(|error| {
                Failure::internal(format!("{error}; name some with --base-port"))
            })?,
            first => consecutive_ports(first, count)?,
        };
        plan(nodes, &ports)?.write(dir)?;
        Cluster::open(dir)
    }

    /// How far rooms and cities are made to be; none where nodes reach each other at once.
    pub(crate) fn wan(&self) -> Option<&Wan> {
        self.plan.wan.as_ref()
    }

    /// Puts the default round trips between rooms and between cities, or takes them away. Those that are there
    /// stay, as they may have been changed by hand. Nodes learn it at their start, so none may run.
    pub(crate) fn set_wan(&mut self, wanted: bool, runs: bool) -> Result<(), Failure> {
        if wanted == self.plan.wan.is_some() {
            return Ok(());
        }
        if runs {
            return Err(Failure::usage(format!(
                "the cluster in {dir} runs {} a WAN between its nodes: end it with `{} dev stop --dir {dir}`, \
                 then start it {}",
                if wanted { "without" } else { "with" },
                program(),
                if wanted { "with --wan" } else { "with --wan=off" },
                dir = self.dir.display(),
            )));
        }
        self.plan.wan = wanted.then_some(WAN);
        self.plan.write(&self.dir)
    }

    /// Directory of everything, absolute.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// In the order of their ids.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.plan.nodes
    }

    /// Where clients connect.
    pub(crate) fn client_addresses(&self) -> Vec<String> {
        self.plan.nodes.iter().map(|node| node.client.to_string()).collect()
    }

    pub(crate) fn config_path(&self, id: u64) -> PathBuf {
        self.node_dir(id).join("node.toml")
    }

    pub(crate) fn log_path(&self, id: u64) -> PathBuf {
        self.node_dir(id).join("log")
    }

    pub(crate) fn pid_path(&self, id: u64) -> PathBuf {
        self.node_dir(id).join("pid")
    }

    pub(super) fn node_dir(&self, id: u64) -> PathBuf {
        self.dir.join(format!("node-{id}"))
    }

    /// Refuses a configuration that has the node's data elsewhere than below this directory. What an
    /// earlier `dev` wrote names the place where the directory was then.
    fn check_data_dir(&self, id: u64) -> Result<(), Failure> {
        let Some(named) = named_data_dir(&self.config_path(id)) else { return Ok(()) };
        let mine = self.node_dir(id).join(DATA_DIR);
        let written_by_dev = named.ends_with(format!("node-{id}/{DATA_DIR}"));
        if named == mine || (written_by_dev && (mine.exists() || !named.exists())) {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "{} has node.data_dir = {:?}, which is not below the directory of the cluster: take the line \
             out; data that is to be kept belongs in {}",
            self.config_path(id).display(),
            named,
            mine.display()
        )))
    }

    /// Writes the configuration of every node that has none.
    fn write_configs(&self) -> Result<(), Failure> {
        for node in &self.plan.nodes {
            let path = self.config_path(node.id);
            if !path.exists() {
                fs::create_dir_all(self.node_dir(node.id))
                    .with_context(|| format!("cannot create {}", path.display()))?;
                write_atomically(&path, &self.config_of(node)?)?;
            }
        }
        Ok(())
    }

    fn config_of(&self, node: &Node) -> Result<String, Failure> {
        let others = self.plan.nodes.iter().filter(|other| other.id != node.id);
        let seeds: Vec<_> = others.map(|other| other.internal.to_string()).collect();
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let config = serde_json::json!({
            // All nodes share one machine.
            "worker_threads": if cores < 8 { 1 } else { 2 },
            "seeds": seeds,
            "node": { "id": node.id, "locality": node.locality },
            "listen": { "client": node.client, "internal": node.internal, "http": node.http },
            "storage": { "block_cache_mb": 32 },
        });
        let text = toml::to_string(&config).context("cannot write the configuration")?;
        Ok(format!(
            "# Made by `quintet dev`, kept if it exists. `quintet config print` lists all settings.\n\
             # The data is in {DATA_DIR}/ beside this file, wherever that is: `dev` says so.\n\
             \n{text}"
        ))
    }
}

impl Plan {
    /// Writes it into the directory of its cluster.
    fn write(&self, dir: &Path) -> Result<(), Failure> {
        let text = toml::to_string(self).context("cannot write the plan")?;
        let text = format!(
            "# Made by `quintet dev`: nodes and ports, chosen once. [wan], where it is there, counts for all nodes\n\
             # from their next start on; `--wan` and `--wan=off` write and remove it.\n\
             \n{text}"
        );
        write_atomically(&dir.join("cluster.toml"), &text)
    }
}

/// Two cities, three rooms: 2-2-1 for five nodes, one each for three.
fn plan(nodes: u64, ports: &[u16]) -> Result<Plan, Failure> {
    let rooms: &[(&str, &str)] = match nodes {
        1 => &[("c1", "a")],
        3 => &[("c1", "a"), ("c1", "b"), ("c2", "c")],
        _ => &[("c1", "a"), ("c1", "a"), ("c1", "b"), ("c1", "b"), ("c2", "c")],
    };
    let ports = ports.chunks_exact(usize::from(PORTS_A_NODE));
    let mut planned = Vec::new();
    for (id, ((city, room), ports)) in (1..).zip(rooms.iter().zip(ports)) {
        let &[client, internal, http] = ports else { continue };
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        planned.push(Node {
            id,
            locality: Locality::new(city, room).context("a locality of ours")?,
            client: at(client),
            internal: at(internal),
            http: at(http),
        });
    }
    Ok(Plan { nodes: planned, wan: None })
}

fn consecutive_ports(first: u16, count: u16) -> Result<Vec<u16>, Failure> {
    if first.checked_add(count).is_none() {
        return Err(Failure::usage(format!(
            "--base-port {first} leaves no room for {count} ports; take {} at most",
            u16::MAX - count
        )));
    }
    let ports = first..first + count;
    match ports.clone().find(|port| ports::bind(*port).is_none()) {
        None => Ok(ports.collect()),
        Some(taken) => Err(Failure::usage(format!(
            "port {taken} is in use; take another --base-port, or leave it out for free ports"
        ))),
    }
}

impl Node {
    /// A port of the node that somebody listens on.
    pub(super) fn taken(&self) -> Option<SocketAddr> {
        let ports = [self.client, self.internal, self.http];
        ports.into_iter().find(|address| TcpListener::bind(address).is_err())
    }
}

/// The data directory that a node's configuration names. A file that can't be read is the node's to refuse.
fn named_data_dir(config: &Path) -> Option<PathBuf> {
    let table: toml::Table = fs::read_to_string(config).ok()?.parse().ok()?;
    table.get("node")?.get("data_dir")?.as_str().map(PathBuf::from)
}

/// Writes a file so that nobody ever reads half of it.
pub(super) fn write_atomically(path: &Path, text: &str) -> Result<(), Failure> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use quintet_server::config::Config;

    use super::*;

    #[test]
    fn a_new_cluster_has_valid_configurations_and_keeps_them() {
        let temp = tempfile::tempdir().expect("a directory");
        let dir = temp.path().join("new");
        let cluster = Cluster::open_or_create(&dir, 0, None).expect("created");
        let mut ports = BTreeSet::new();
        let mut rooms = Vec::new();
        for node in cluster.nodes() {
            let path = cluster.config_path(node.id);
            let data = [("node.data_dir".to_owned(), DATA_DIR.to_owned())];
            let config = Config::load(Some(&path), [], &data).expect("valid").config;
            assert_eq!(config.node.id.0, node.id);
            assert_eq!(config.listen.client, node.client);
            assert_eq!(config.seeds.len(), 4);
            assert!(!config.seeds.contains(&node.internal.to_string()));
            let text = fs::read_to_string(&path).expect("read");
            let place = cluster.dir().to_str().expect("UTF-8");
            assert!(!text.contains(place), "it can be moved: {text}");
            ports.extend([node.client.port(), node.internal.port(), node.http.port()]);
            rooms.push(config.node.locality.to_string());
        }
        assert_eq!(ports.len(), 15);
        assert_eq!(
            rooms,
            [
                "city=c1,room=a",
                "city=c1,room=a",
                "city=c1,room=b",
                "city=c1,room=b",
                "city=c2,room=c"
            ]
        );

        // A second time: the same plan, and what the user changed stays.
        fs::write(cluster.config_path(2), "# mine").expect("written");
        let again = Cluster::open_or_create(&dir, 0, Some(5)).expect("opened");
        assert_eq!(again.plan, cluster.plan);
        assert_eq!(fs::read_to_string(again.config_path(2)).expect("read"), "# mine");
        let failure = Cluster::open_or_create(&dir, 0, Some(3)).expect_err("has five");
        assert!(failure.to_string().contains("has 5 nodes"), "{failure}");
    }

    #[test]
    fn a_wan_is_kept_and_switched_while_no_node_runs() {
        let temp = tempfile::tempdir().expect("a directory");
        let dir = temp.path().join("c");
        let open = || Cluster::open_or_create(&dir, 0, Some(3)).expect("opened");
        let mut cluster = open();
        assert_eq!(cluster.wan(), None);
        let failure = cluster.set_wan(true, true).expect_err("its nodes know of none");
        assert!(failure.to_string().contains("dev stop --dir"), "{failure}");
        assert_eq!(open().wan(), None);
        cluster.set_wan(true, false).expect("written");
        assert_eq!(open().wan(), Some(&WAN));
        open().set_wan(true, true).expect("it is so already");

        // Other distances, by hand.
        let path = dir.join("cluster.toml");
        let text = fs::read_to_string(&path).expect("read");
        fs::write(&path, text.replace("30.0", "80.0")).expect("written");
        let mut cluster = open();
        cluster.set_wan(true, false).expect("it is so already");
        assert_eq!(open().wan(), Some(&Wan { cities_rtt_ms: 80.0, ..WAN }));
        assert_eq!(open().nodes(), cluster.nodes());

        let failure = cluster.set_wan(false, true).expect_err("its nodes delay");
        assert!(failure.to_string().contains("--wan=off"), "{failure}");
        cluster.set_wan(false, false).expect("written");
        assert_eq!(open().wan(), None);
    }

    #[test]
    fn strange_directories_are_refused() {
        let temp = tempfile::tempdir().expect("a directory");
        fs::write(temp.path().join("precious"), "x").expect("written");
        let failure = Cluster::open_or_create(temp.path(), 0, None).expect_err("not empty");
        assert!(failure.to_string().contains("is not empty"), "{failure}");
        let failure = Cluster::open(temp.path()).expect_err("none there");
        assert!(failure.to_string().contains("there is no dev cluster in"), "{failure}");
        fs::write(temp.path().join("cluster.toml"), "nodes = 1").expect("written");
        let failure = Cluster::open(temp.path()).expect_err("damaged");
        assert!(failure.to_string().contains("is damaged"), "{failure}");
    }

    #[test]
    fn a_configuration_that_has_its_data_elsewhere_is_refused() {
        let temp = tempfile::tempdir().expect("a directory");
        let open = |dir: &str| Cluster::open_or_create(&temp.path().join(dir), 0, Some(1));
        let cluster = open("here").expect("created");
        let write = |data: &Path| {
            let text = format!("[node]\nid = 1\ndata_dir = {data:?}\n");
            fs::write(cluster.config_path(1), text).expect("written");
        };
        let mine = cluster.node_dir(1).join(DATA_DIR);
        write(&mine);
        open("here").expect("it is what would be taken anyway");
        let elsewhere = temp.path().join("fast-disk");
        write(&elsewhere);
        let failure = open("here").expect_err("not below the directory");
        assert!(failure.to_string().contains("node.data_dir"), "{failure}");

        // An earlier `dev` named the place where the directory was.
        let before = temp.path().join("before/node-1").join(DATA_DIR);
        write(&before);
        open("here").expect("nothing is anywhere: it begins below the directory");
        fs::create_dir_all(&before).expect("created");
        let failure = open("here").expect_err("its data is only there");
        assert!(failure.to_string().contains("before/node-1/data"), "{failure}");
        fs::create_dir_all(&mine).expect("created");
        open("here").expect("a copy has its own data");
    }

    #[test]
    fn ports_in_use_and_ports_beyond_the_last_are_refused() {
        let holder = ports::bind(0).expect("a port");
        let taken = holder.local_addr().expect("bound").port();
        let failure = consecutive_ports(taken, 1).expect_err("taken");
        assert!(failure.to_string().contains(&format!("port {taken} is in use")), "{failure}");
        let failure = consecutive_ports(65_530, 15).expect_err("beyond");
        assert!(failure.to_string().contains("take 65520 at most"), "{failure}");
    }
}
