//! Nodes with outdated routes.

use quintet_server::{
    ids::{Generation, NodeId, SYSTEM_RANGE},
    storage::format::descriptor::Descriptor,
};

use super::Cluster;
use crate::{dice::Dice, trace};

impl Cluster {
    /// One node takes an old state for true: one range that holds all data. Whether there is one that
    /// can: which.
    pub fn forget_routes(&self, dice: &mut Dice) -> Option<NodeId> {
        let nodes: Vec<_> = self
            .machines
            .iter()
            .filter_map(|(node, machine)| {
                let running = machine.lock().running.lock().clone();
                Some((*node, running.filter(|node_state| node_state.cluster().is_some())?))
            })
            .collect();
        let (node, node_state) = dice.pick(&nodes)?;
        let ranges = node_state.router().routes().all();
        let data: Vec<_> = ranges.iter().filter(|range| range.range != SYSTEM_RANGE).collect();
        let (chosen, first) = (dice.pick(&data)?, data.first()?);
        trace::event("fault", format_args!("{node} takes {} for the only one", chosen.range));
        let old = Descriptor {
            start: first.start.clone(),
            end: Vec::new(),
            generation: Generation(0),
            ..(**chosen).clone()
        };
        let system = ranges.iter().filter(|range| range.range == SYSTEM_RANGE);
        let system = system.map(|range| (**range).clone());
        node_state.router().routes().replace(system.chain([old]));
        Some(node)
    }
}
