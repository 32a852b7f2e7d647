//! Finds the cluster: from `--node`, from `QUINTET_NODES`, or a running `dev` cluster.

use std::time::Duration;

use quintet_client::Client;

use super::{dev_cluster::registry, duration::seconds, exit::Failure};

/// Flags of every command that talks to a cluster.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Client address of a node; repeatable. Without it a running `quintet dev` cluster is used
    #[arg(
        long = "node",
        id = "node",
        value_name = "HOST:PORT",
        env = "QUINTET_NODES",
        value_delimiter = ','
    )]
    nodes: Vec<String>,
    /// How long an operation may take, retries included
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) timeout: Duration,
}

impl Args {
    /// Client addresses of the cluster.
    pub(crate) fn addresses(&self) -> Result<Vec<String>, Failure> {
        let named: Vec<_> = self.nodes.iter().filter(|node| !node.trim().is_empty()).collect();
        if named.is_empty() {
            return registry::find_running().map(|cluster| cluster.client_addresses());
        }
        named.into_iter().map(|node| address(node)).collect()
    }

    /// A client of the cluster.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        connect(self.addresses()?, self.timeout).await
    }
}

/// A client of the cluster that these nodes belong to.
pub(crate) async fn connect(nodes: Vec<String>, timeout: Duration) -> Result<Client, Failure> {
    Ok(Client::builder().nodes(nodes).timeout(timeout).connect().await?)
}

fn address(node: &str) -> Result<String, Failure> {
    let node = node.trim();
    let port = node.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_none() || node.contains('/') {
        return Err(Failure::usage(format!(
            "{node:?} is no address of a node; write HOST:PORT, as in 127.0.0.1:7401"
        )));
    }
    Ok(node.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        let nodes = |nodes: &[&str]| Args {
            nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
            timeout: Duration::from_secs(1),
        };
        assert_eq!(
            nodes(&[" a:1", "", "[::1]:2 "]).addresses().expect("valid"),
            ["a:1", "[::1]:2"]
        );
        for wrong in ["a", "a:", "a:x", "http://a:1", "a:70000"] {
            let failure = nodes(&[wrong]).addresses().expect_err(wrong);
            assert_eq!(failure.exit, crate::cli::exit::Exit::Usage);
        }
    }
}
