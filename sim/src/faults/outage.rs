//! A node that is away longer than the log is kept.

use std::time::Duration;

use quintet_server::ids::NodeId;
use tokio::time::{Instant, sleep};

use super::striking::Striking;

/// For how long after its return a node is watched: does it install a raft snapshot?
const WATCHED: Duration = Duration::from_secs(3);
const LOOK_PAUSE: Duration = Duration::from_millis(1);
/// Outages of one node in a row.
const OUTAGES: usize = 2;

/// One node is killed and stays away, twice in a row.
pub(super) async fn long(striking: &mut Striking) {
    let Some(victim) = striking.single() else { return };
    striking.begins(&[victim], "is away for long, twice in a row");
    let (least, most) = striking.strike.fault.down_s();
    for outage in 1..=OUTAGES {
        striking.cluster.kill(victim);
        let down = striking.dice.seconds(least, most);
        sleep(down).await;
        striking.cluster.restart(victim);
        // Not the last one: some must be installed in peace, or none may be counted.
        watch_installation(striking, victim, outage < OUTAGES).await;
    }
    striking.ends();
}

/// Watches a node that is back. While it installs a raft snapshot it may be killed again; otherwise it
/// is left alone for a while.
async fn watch_installation(striking: &mut Striking, node: NodeId, may_kill: bool) {
    let until = Instant::now() + WATCHED;
    while Instant::now() < until {
        if may_kill && striking.cluster.is_installing(node) {
            if !striking.dice.one_in(4) {
                sleep(Duration::from_micros(striking.dice.between(0, 20_000))).await;
                striking.cluster.kill(node);
                sleep(striking.dice.seconds(0.1, 0.5)).await;
                striking.cluster.restart(node);
            }
            return;
        }
        sleep(LOOK_PAUSE).await;
    }
}
