//! The local cluster of `quintet dev`, as files and processes. `dev` makes it; other commands find it here.
//!
//! ```text
//! DIR/cluster.toml       localities and ports, chosen once; the WAN between them    plan.rs
//! DIR/lock               held while nodes are started or stopped    lock.rs
//! DIR/node-N/node.toml   configuration; written where missing, so that it may be edited
//! DIR/node-N/pid         process id; trusted only if that process works in DIR/node-N    process.rs
//! DIR/node-N/log         standard output and error, appended
//! DIR/node-N/data        what the node stores
//! STATE/quintet/dev/*    directories of clusters, where other commands look    registry.rs
//! ```
//!
//! Nothing here talks to a node: what a cluster says of itself is asked by `dev/` and by the other commands,
//! through the client library.

pub(super) mod lock;
pub(super) mod plan;
pub(super) mod process;
pub(super) mod registry;
