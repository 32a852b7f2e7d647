//! Only with [`Bug::NaiveTimeServer`](crate::planted::Bug): one node's clock gives all timestamps.
//!
//! The careless hand: "one server that everybody asks has the same time for all". The first node is that server; where
//! it is away there is no time.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::{
    cluster::state::NodeState,
    observe::{self, TimeSeen},
    peer::ask::TimeRound,
    time::oracle::{Block, Config, ServerId, handle::Asked},
};

/// Answers those who ask for a round, in its place.
pub(super) async fn run(node_state: Arc<NodeState>, mut queue: mpsc::Receiver<Asked>) {
    let mut ticket = 0;
    while let Some(Asked { answer, .. }) = queue.recv().await {
        ticket += 1;
        observe::tell_time(|| TimeSeen::Asked { ticket });
        let node_state = node_state.clone();
        tokio::spawn(async move {
            let Some(block) = time(&node_state).await else { return };
            node_state.host().oracle.known().raise(block);
            observe::tell_time(|| TimeSeen::Answered { ticket, block });
            // Who waited may have given up.
            answer.send(block).ok();
        });
    }
}

async fn time(node_state: &Arc<NodeState>) -> Option<Block> {
    let peers = node_state.peers();
    let first = peers.book().all().into_iter().map(|at| at.node).min()?;
    if first != peers.me() {
        return peers.ask(first, None, TimeRound).await.ok().flatten();
    }
    let block = node_state.host().oracle.by_own_clock();
    let server = ServerId::default();
    let config = Config { members: [server].into(), ..Config::default() };
    observe::tell_time(|| TimeSeen::Clock { server, clock: block });
    observe::tell_time(|| TimeSeen::Issued { config, block });
    Some(block)
}
