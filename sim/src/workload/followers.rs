//! Strict reads by the replica of the node that is asked, whoever leads: of registers, of keys that expire, and of all
//! keys of inserts or all registers. They are the reads of other workloads but for who answers, and so are their
//! judges.

use futures::future::BoxFuture;

use super::{
    contract::{Turn, Workload},
    expiring::Expiring,
    keys::{INSERT_PREFIX, REGISTER_PREFIX, TTL_PREFIX},
    settings::{Settings, Weights},
};
use crate::{client::Caller, history::Call, judge::Judge};

#[derive(Clone, Copy)]
enum Choice {
    /// Read a key.
    Get,
    /// Read all keys of inserts, or all registers.
    Scan,
}

struct Followers {
    registers: u64,
    has_expiring: bool,
    has_inserts: bool,
    weights: Weights<Choice>,
    scans: u64,
}

pub(super) fn of(settings: &mut Settings<'_>) -> Box<dyn Workload> {
    let weights =
        settings.weights([("follower_get", Choice::Get), ("follower_scan", Choice::Scan)]);
    Box::new(Followers {
        registers: settings.keys(),
        has_expiring: Expiring::of(settings).weight() > 0,
        has_inserts: settings.weight("insert") > 0,
        scans: settings.weight("follower_scan"),
        weights,
    })
}

impl Workload for Followers {
    fn weight(&self) -> u64 {
        self.weights.total()
    }

    fn step<'a>(&'a self, caller: &'a mut Caller, turn: Turn) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            match self.weights.at(turn.fall) {
                Choice::Get => {
                    let expiring = self.has_expiring && caller.random() & 1 > 0;
                    let prefix = if expiring { TTL_PREFIX } else { REGISTER_PREFIX };
                    let key = format!("{prefix}{}", turn.register % self.registers);
                    caller.call_follower(&key, Call::Read).await;
                }
                Choice::Scan if self.has_inserts && caller.random() & 1 > 0 => {
                    caller.call_follower(INSERT_PREFIX, Call::Scan).await;
                }
                Choice::Scan => {
                    caller.call_follower(REGISTER_PREFIX, Call::ReadAll).await;
                }
            }
        })
    }

    fn judges(&self) -> &'static [Judge] {
        match (self.scans > 0, self.has_inserts) {
            (false, _) => &[],
            (true, false) => &[Judge::ReadAll],
            (true, true) => &[Judge::ReadAll, Judge::Moment],
        }
    }
}
