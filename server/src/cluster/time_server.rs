//! This node's time server: the machine, its record on disk, and what it answers.
//!
//! Nearly all messages are answered at once, from memory. Where the machine wants a record stored first, the message
//! waits until it is, and is given to the machine again. One task writes the records, each of which holds all that
//! those before it held: where several wait, the last one is written.
//!
//! # Invariants
//!
//! * Records reach the disk in the order in which the machine gave them out: there is one writer ([`keep`]).
//! * No lock is held across an await.
//!
//! # On a crash
//!
//! The next start begins with the record that is on disk, above whatever was promised since.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::records;
use crate::{
    ids::TimeDomain,
    observe::{self, TimeSeen},
    range::raft::log_writer::LogWriter,
    time::oracle::{
        Block, Config, ServerId,
        handle::Oracle,
        server::{Answer, Fenced, Outcome, Record, Seeded, Tick, TimeServer},
    },
};

/// The time server of a node.
pub(crate) struct TimeServerHere {
    machine: Mutex<Machine>,
    oracle: Arc<Oracle>,
    /// There is something to store.
    wanted: Notify,
    /// A record was stored.
    stored: Notify,
}

struct Machine {
    server: TimeServer,
    /// What is to be stored next.
    to_store: Option<Record>,
}

impl TimeServerHere {
    /// The time server that is named `me`, with what is on its disk. It answers once [`keep`] runs.
    pub(crate) fn start(me: ServerId, stored: Record, oracle: Arc<Oracle>) -> Arc<TimeServerHere> {
        let machine = Machine { server: TimeServer::start(me, stored), to_store: None };
        Arc::new(TimeServerHere {
            machine: Mutex::new(machine),
            oracle,
            wanted: Notify::new(),
            stored: Notify::new(),
        })
    }

    /// The set that it belongs to, as far as it knows.
    pub(crate) fn config(&self) -> Config {
        self.machine.lock().server.record().config.clone()
    }

    /// Whether it answers rounds: it belongs to the set that it knows, and is seeded.
    pub(crate) fn answers(&self) -> bool {
        let machine = self.machine.lock();
        let (me, record) = (machine.server.me(), machine.server.record());
        record.seeded && record.config.members.contains(&me)
    }

    /// A round asks.
    pub(crate) async fn tick(&self, tick: Tick) -> Answer {
        let physical = self.oracle.physical();
        self.ask(|server| server.tick(tick, physical)).await
    }

    /// Takes part in no epoch before that of a set any more.
    pub(crate) async fn fence(&self, config: &Config) -> Fenced {
        self.ask(|server| server.fence(config)).await
    }

    /// Begins to take part in the epoch of a set, above a block.
    pub(crate) async fn seed(&self, config: &Config, above: Block) -> Seeded {
        self.ask(|server| server.seed(config, above)).await
    }

    /// Gives a message to the machine until that has an answer.
    async fn ask<T>(&self, mut message: impl FnMut(&mut TimeServer) -> Outcome<T>) -> T {
        loop {
            let stored = self.stored.notified();
            tokio::pin!(stored);
            // Before the machine is asked: what is stored from then on is not missed.
            stored.as_mut().enable();
            {
                let machine = &mut *self.machine.lock();
                let (answer, record) = match message(&mut machine.server) {
                    // In the background: the bound is extended before a clock reaches it.
                    Outcome::Answer(answer) => (Some(answer), machine.server.extension()),
                    Outcome::Store(record) => (None, Some(record)),
                };
                if record.is_some() {
                    machine.to_store = record;
                    self.wanted.notify_one();
                }
                if let Some(answer) = answer {
                    let (server, clock) = (machine.server.me(), machine.server.clock());
                    observe::tell_time(|| TimeSeen::Clock { server, clock });
                    return answer;
                }
            }
            stored.await;
        }
    }
}

/// Writes the records of a time server, until the disk fails, which stops the node.
pub(crate) async fn keep(here: Arc<TimeServerHere>, writer: LogWriter) {
    loop {
        here.wanted.notified().await;
        let Some(record) = here.machine.lock().to_store.take() else { continue };
        if records::promise(&writer, TimeDomain::default(), record.clone()).await.is_err() {
            return;
        }
        here.machine.lock().server.stored(record);
        here.stored.notify_waiters();
    }
}
