//! Who reaches whom, and who stands still.

use std::{collections::BTreeSet, sync::Arc};

use quintet_server::ids::NodeId;

use super::Cluster;
use crate::{
    net::{
        Net,
        map::{Host, Hosts},
    },
    scenario::Network,
    trace,
};

impl Cluster {
    /// The network between all machines.
    pub fn net(&self) -> &Arc<Net> {
        &self.net
    }

    /// Puts a client, by its number, where the scenario says; the node that is near it.
    pub fn settle(&self, network: &Network, client: u64) -> NodeId {
        let node = network.client_node(client, &self.topology);
        self.net.with_map(|map| map.settle(client, node));
        NodeId(node)
    }

    /// All machines of a room.
    pub fn hosts_in_room(&self, room: &str) -> Hosts {
        Hosts::These(self.net.with_map(|map| map.hosts(|_, _, of| of == room)))
    }

    /// All machines of a city.
    pub fn hosts_in_city(&self, city: &str) -> Hosts {
        Hosts::These(self.net.with_map(|map| map.hosts(|_, of, _| of == city)))
    }

    /// The machines of the clients in the room of a node.
    pub fn clients_near(&self, node: NodeId) -> Hosts {
        let at = self.topology.nodes.iter().find(|place| place.id == node.0);
        let room = at.map_or("", |place| place.room.as_str());
        let near = |host, _: &str, of: &str| matches!(host, Host::Client(_)) && of == room;
        Hosts::These(self.net.with_map(|map| map.hosts(near)))
    }

    /// The machines of all clients.
    pub fn clients(&self) -> BTreeSet<Host> {
        self.net.with_map(|map| map.hosts(|host, _, _| matches!(host, Host::Client(_))))
    }

    /// Lets a node stand still: it does nothing, and what is sent to it waits in its sockets.
    pub fn pause(&self, node: NodeId) {
        let Some(machine) = self.machines.get(&node) else { return };
        let mut machine = machine.lock();
        if machine.is_up && !machine.is_paused {
            trace::event("fault", format_args!("pause {node}"));
            machine.is_paused = true;
            machine.pauses += 1;
            self.handle.pause(machine.handle.id());
        }
    }

    /// Lets a node that stands still go on.
    pub fn resume(&self, node: NodeId) {
        let Some(machine) = self.machines.get(&node) else { return };
        let mut machine = machine.lock();
        if std::mem::take(&mut machine.is_paused) {
            trace::event("fault", format_args!("resume {node}"));
            self.handle.resume(machine.handle.id());
        }
    }

    /// Undoes whatever faults have left behind: starts what is down, lets go on what stands still, mends
    /// what is cut or slow.
    pub fn mend_all(&self) {
        self.net.mend_all();
        self.disarm_all();
        self.set_clocks();
        self.mend_disks();
        for node in self.nodes() {
            self.restart(node);
            self.resume(node);
        }
    }
}
