//! A node that is killed at a named point of its own code.

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use quintet_server::ids::NodeId;
use tokio::time::timeout;

use super::striking::Striking;
use crate::scenario::points;

/// How long a point waits for somebody to pass it.
const ARMED_FOR: Duration = Duration::from_secs(4);

/// What a kill at each point is counted under.
static COUNTED: LazyLock<BTreeMap<&str, String>> = LazyLock::new(|| {
    points::names().map(|name| (name, format!("failpoint-kill {name}"))).collect()
});

/// One node is killed as it passes a point.
pub(super) async fn kill(striking: &mut Striking) {
    let given = striking.strike.fault.points.clone();
    let all = if given.is_empty() { points::names().map(str::to_owned).collect() } else { given };
    let Some(point) = striking.dice.pick(&all) else { return };
    let Some(victim) = victim(striking) else { return };
    let fired = striking.cluster.arm(&point, victim);
    let Ok(Ok(node)) = timeout(ARMED_FOR, fired).await else {
        // Nobody came by, or the run heals.
        striking.cluster.disarm_abandoned();
        return;
    };
    if let Some(counted) = COUNTED.get(point.as_str()) {
        striking.begins_as(counted, &[node], &format!("is killed at {point}"));
    }
    striking.last().await;
    striking.cluster.restart(node);
    striking.ends();
}

/// Whom to wait for: `Some(None)` is whoever comes first, which is every second time where the scenario
/// does not say.
fn victim(striking: &mut Striking) -> Option<Option<NodeId>> {
    let fault = &striking.strike.fault;
    let is_open = fault.node.is_none() && fault.who.is_none();
    if is_open && striking.dice.one_in(2) {
        return Some(None);
    }
    let nodes = striking.cluster.nodes();
    striking.victim(&nodes).map(Some)
}
