//! Who reaches whom.

use quintet_server::ids::NodeId;

use super::Cluster;
use crate::trace;

impl Cluster {
    /// Lets nothing to a node or from it through.
    pub fn cut_off(&self, node: NodeId) {
        trace::event("fault", format_args!("cut off {node}"));
        if let Some(machine) = self.machines.get(&node) {
            madsim::net::NetSim::current().clog_node(machine.lock().handle.id());
        }
    }

    /// Undoes [`Cluster::cut_off`].
    pub fn mend(&self, node: NodeId) {
        trace::event("fault", format_args!("mend {node}"));
        if let Some(machine) = self.machines.get(&node) {
            madsim::net::NetSim::current().unclog_node(machine.lock().handle.id());
        }
    }

    /// Undoes whatever faults have left behind: starts what is down, mends what is cut.
    pub fn mend_all(&self) {
        self.disarm_all();
        self.end_rates();
        self.mend_disks();
        for node in self.nodes() {
            self.restart(node);
            self.mend(node);
        }
    }
}
