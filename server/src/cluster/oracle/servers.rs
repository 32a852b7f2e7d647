//! Which node each time server is on, and how quickly it answers.
//!
//! A time server is named by the data directory that it keeps its record in, which every node tells of itself with its
//! addresses: a node that lost its disk is another server. A round first asks as many servers as make a majority,
//! the quickest ones; the others only where one of these does not answer in time. That is half of the messages.
//!
//! Nothing that must be right rests on any of this.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    ids::NodeId,
    storage::format::node::AddressRecord,
    time::{
        Usual,
        local::Instant,
        oracle::{Config, ServerId},
    },
};

/// A server that owes as many answers is asked nothing more.
const UNANSWERED_MAX: usize = 16;
/// What a server is taken to need that was not asked yet.
const USUAL_AT_FIRST: Duration = Duration::from_millis(5);
/// How long an answer may take before others are asked, at least and at most.
const LATE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(4)..=Duration::from_millis(150);

#[derive(Clone, Copy, Debug)]
struct Server {
    node: NodeId,
    /// How long its answers take.
    usual: Usual,
    unanswered: usize,
    /// Since when it owes an answer.
    silent_since: Option<Instant>,
}

/// The time servers as a proposer sees them.
#[derive(Debug, Default)]
pub(super) struct Servers(BTreeMap<ServerId, Server>);

impl Servers {
    /// Takes over who is a member, and on which node, as the address book has it.
    pub(super) fn refresh(&mut self, config: &Config, book: &[AddressRecord]) {
        self.0.retain(|id, _| config.members.contains(id));
        for at in book {
            let id = ServerId(at.directory);
            if !config.members.contains(&id) {
                continue;
            }
            let new = Server {
                node: at.node,
                usual: Usual::new(USUAL_AT_FIRST),
                unanswered: 0,
                silent_since: None,
            };
            self.0.entry(id).or_insert(new).node = at.node;
        }
    }

    /// The node that a server is on, where that is known.
    pub(super) fn node(&self, id: ServerId) -> Option<NodeId> {
        self.0.get(&id).map(|server| server.node)
    }

    /// Whether a server may be asked one thing more; where it may, it is.
    pub(super) fn ask(&mut self, id: ServerId, now: Instant) -> bool {
        let Some(server) = self.0.get_mut(&id) else { return false };
        if server.unanswered >= UNANSWERED_MAX {
            return false;
        }
        server.unanswered += 1;
        server.silent_since.get_or_insert(now);
        true
    }

    /// A server that was asked then has answered.
    pub(super) fn answered(&mut self, id: ServerId, asked: Instant, now: Instant) {
        let Some(server) = self.0.get_mut(&id) else { return };
        let took = now.saturating_duration_since(asked).min(*LATE.end());
        server.usual.took(took);
        server.unanswered = server.unanswered.saturating_sub(1);
        server.silent_since = (server.unanswered > 0).then_some(now);
    }

    /// What a server was asked is not answered any more.
    pub(super) fn lost(&mut self, id: ServerId, now: Instant) {
        let Some(server) = self.0.get_mut(&id) else { return };
        server.usual.fails(*LATE.end());
        server.unanswered = server.unanswered.saturating_sub(1);
        server.silent_since = (server.unanswered > 0).then_some(now);
    }

    /// Those of `of` that are asked first: as many as make a majority, the quickest ones.
    pub(super) fn first(&self, of: &[ServerId], majority: usize, now: Instant) -> Vec<ServerId> {
        let mut known: Vec<_> = of.iter().filter_map(|id| Some((*id, self.0.get(id)?))).collect();
        known.sort_by_key(|(id, server)| (server.is_late(now), server.usual, *id));
        known.into_iter().take(majority).map(|(id, _)| id).collect()
    }

    /// After how long others are asked, where these are asked first.
    pub(super) fn late_after(&self, first: &[ServerId]) -> Duration {
        let asked = first.iter().filter_map(|id| self.0.get(id));
        asked.map(Server::late_after).max().unwrap_or(*LATE.start())
    }
}

impl Server {
    fn late_after(&self) -> Duration {
        self.usual.late_after(&LATE)
    }

    fn is_late(&self, now: Instant) -> bool {
        let silent = self.silent_since.map(|since| now.saturating_duration_since(since));
        silent.is_some_and(|silent| silent > self.late_after())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::oracle::Epoch;

    const MS: Duration = Duration::from_millis(1);

    fn of(ids: &[u64]) -> Vec<ServerId> {
        ids.iter().map(|id| ServerId(*id)).collect()
    }

    /// Servers 11 to 15 on the nodes 1 to 5.
    fn servers() -> Servers {
        let config =
            Config { epoch: Epoch(1), members: of(&[11, 12, 13, 14, 15]).into_iter().collect() };
        let at =
            |node| AddressRecord { node: NodeId(node), directory: node + 10, ..Default::default() };
        let mut servers = Servers::default();
        servers.refresh(&config, &(1..=6).map(at).collect::<Vec<_>>());
        servers
    }

    #[test]
    fn the_quickest_are_asked_first_and_who_is_silent_last() {
        let (mut servers, now) = (servers(), Instant::now());
        let all = of(&[11, 12, 13, 14, 15]);
        for (id, took) in [(11, 30), (12, 1), (13, 2), (14, 1), (15, 1)] {
            for _ in 0..100 {
                assert!(servers.ask(ServerId(id), now));
                servers.answered(ServerId(id), now, now + took * MS);
            }
        }
        assert_eq!(servers.first(&all, 3, now), of(&[12, 14, 15]));
        assert_eq!(servers.first(&of(&[11, 13]), 3, now), of(&[13, 11]));
        assert!(servers.ask(ServerId(14), now));
        let later = now + 50 * MS;
        assert_eq!(servers.first(&all, 3, later), of(&[12, 15, 13]));
        servers.answered(ServerId(14), now, now + MS);
        servers.lost(ServerId(12), now);
        assert_eq!(servers.first(&all, 3, later), of(&[14, 15, 13]));
        assert!(servers.late_after(&of(&[13])) < 10 * MS);
        assert!(servers.late_after(&of(&[13, 11])) > 100 * MS);
    }

    #[test]
    fn a_silent_server_is_not_asked_without_end() {
        let (mut servers, now) = (servers(), Instant::now());
        let asked = (0..100).filter(|_| servers.ask(ServerId(11), now)).count();
        assert_eq!(asked, UNANSWERED_MAX);
        servers.lost(ServerId(11), now);
        assert!(servers.ask(ServerId(11), now));
        assert!(!servers.ask(ServerId(99), now), "a stranger");
        assert_eq!(
            (servers.node(ServerId(12)), servers.node(ServerId(16))),
            (Some(NodeId(2)), None)
        );
    }
}
