//! What other nodes say in their pings: of themselves, and of the ranges that they lead.

use quintet_proto::internal::v1 as wire;

use crate::{
    cluster::{disks::DiskNews, state::NodeState},
    ids::{NodeId, RangeId},
};

/// Takes over what a node says.
pub(super) fn heard(node_state: &NodeState, from: NodeId, ping: wire::Ping) {
    node_state.heard_draining(from, ping.draining);
    node_state.heard_clock(from, ping.clock_wrong_by_us);
    let disk = DiskNews::from_wire(ping.disk(), ping.disk_free_bytes);
    node_state.heard_disk(from, disk);
    node_state.heard_reaches(from, ping.reaches);
    let router = node_state.router();
    for range in ping.ranges {
        let id = RangeId(range.range_id);
        // Only of ranges that this node knows: a peer can't make the map grow.
        if router.replica(id).is_none() && !router.routes().knows(id) {
            continue;
        }
        router.heard_leader(id, NodeId(range.leader_node), range.term);
        node_state.heard_news(range);
    }
}
