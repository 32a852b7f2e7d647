//! The set of time servers as operators change it: on three nodes, on all again, under load and faults. Which nodes is
//! drawn, those that are away among them; what can't be is refused. The judge of the oracle sees every run.

use std::collections::BTreeSet;

use futures::future::BoxFuture;

use super::{
    contract::{Turn, Workload},
    settings::Settings,
};
use crate::client::Caller;

struct TimeServers {
    place: u64,
    /// Nodes of the cluster, from 1 on.
    nodes: u64,
}

pub(super) fn of(settings: &mut Settings<'_>) -> Box<dyn Workload> {
    Box::new(TimeServers {
        place: settings.weight("place_time_servers"),
        nodes: settings.number_or("placed_on_nodes", 5),
    })
}

impl TimeServers {
    /// Of four draws three are of three nodes, one of all.
    fn draw(&self, caller: &Caller, turn: Turn) -> BTreeSet<u64> {
        let wanted = if turn.random.is_multiple_of(4) { 0 } else { 3 };
        let mut nodes = BTreeSet::new();
        while nodes.len() < wanted {
            nodes.insert(caller.between(1, self.nodes));
        }
        nodes
    }
}

impl Workload for TimeServers {
    fn weight(&self) -> u64 {
        self.place
    }

    fn step<'a>(&'a self, caller: &'a mut Caller, turn: Turn) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let nodes: Vec<_> = self.draw(caller, turn).into_iter().collect();
            caller.place_time_servers(&nodes).await;
        })
    }
}
