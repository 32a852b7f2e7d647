//! The nodes that a client knows, and the session that it uses.
//!
//! One node is preferred, and kept while it answers. When its stream breaks, or it says that it can do nothing,
//! the next one becomes preferred. A request whose range is known to be led by another node goes there instead,
//! once a session to it is up (`routes.rs`). Sessions are opened when a call needs one, by one task per session
//! (never one per call), and a node that failed is left alone for a growing pause. While no session is up,
//! another node is tried every [`HEAD_START`], so that a node that swallows packets costs no more than that.
//!
//! Bounds: [`NODES_MAX`] nodes, configured and learnt together; one session and one task per node. What is
//! known of each is in `pool/state.rs`.

mod state;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use quintet_proto::v1;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};
use tonic::codec::Streaming;

pub(crate) use self::state::NODES_MAX;
use self::state::{Node, Phase, State};
use crate::{
    connection::{self, Dialed},
    error::Error,
    nearness::Locality,
    retry::Pacer,
    routes::{Place, Routes, Span},
    session::{Lane, Session},
    time::ClusterClock,
    types::{ClusterInfo, Limits},
};

/// How long a dial has before the next node is dialled beside it.
const HEAD_START: Duration = Duration::from_millis(200);

/// Durations of the connection layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) connect_timeout: Duration,
    pub(crate) stall_timeout: Duration,
}

#[derive(Debug)]
pub(crate) struct Pool {
    settings: Settings,
    pub(crate) clock: Arc<ClusterClock>,
    pub(crate) pacer: Pacer,
    /// Who leads what, by index of the node.
    pub(crate) routes: Routes,
    state: Mutex<State>,
    /// A dial succeeded or failed.
    changed: Notify,
    this: Weak<Pool>,
}

impl Pool {
    pub(crate) fn new(
        addresses: Vec<String>,
        locality: Option<Locality>,
        settings: Settings,
        pacer: Pacer,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            settings,
            clock: Arc::default(),
            pacer,
            routes: Routes::default(),
            state: Mutex::new(State::new(addresses, locality)),
            changed: Notify::new(),
            this: this.clone(),
        })
    }

    pub(crate) fn info(&self) -> Option<ClusterInfo> {
        self.state.lock().info.clone()
    }

    /// What the node in use accepts.
    pub(crate) fn limits(&self) -> Option<Limits> {
        self.state.lock().info.as_ref().map(|info| info.limits)
    }

    /// Addresses, the preferred one first.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let state = self.state.lock();
        let order = state.order().into_iter();
        order.filter_map(|index| Some(state.nodes.get(index)?.address.clone())).collect()
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.settings.connect_timeout
    }

    /// A live session, of the preferred node if possible; waits until there is one.
    ///
    /// Fails only where every node refuses this client for good.
    pub(crate) async fn session(&self) -> Result<Arc<Session>, Error> {
        if let Some(session) = self.state.lock().live() {
            return Ok(session);
        }
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // registers at once: what changes after the look below must not be missed
            changed.as_mut().enable();
            let wait = {
                let mut state = self.state.lock();
                if let Some(session) = self.find(&mut state) {
                    return Ok(session);
                }
                if let Some(refusal) = state.refusal() {
                    return Err(refusal);
                }
                self.dial_next(&mut state)
            };
            // either outcome is a reason to look again
            drop(tokio::time::timeout(wait, changed).await);
        }
    }

    /// The session of the node that leads a place's range, where that is known and the session is up;
    /// else that of any node, while the leader's is dialled.
    pub(crate) async fn session_for(
        &self,
        keyspace: &str,
        place: Place<'_>,
    ) -> Result<Arc<Session>, Error> {
        if let Some(index) = self.routes.find(keyspace, place) {
            let mut state = self.state.lock();
            if let Some(session) = state.ready(index) {
                return Ok(session);
            }
            if state.is_dialable(index, Instant::now()) {
                self.dial(&mut state, index);
            }
        }
        self.session().await
    }

    /// A session for what any replica may answer: of the nodes that are as near as the one in use each in turn, where
    /// its session is up; it is dialled where not.
    pub(crate) async fn session_near(&self) -> Result<Arc<Session>, Error> {
        let in_use = self.session().await?;
        let mut state = self.state.lock();
        let Some(index) = state.next_near(in_use.node) else { return Ok(in_use) };
        if let Some(session) = state.ready(index) {
            return Ok(session);
        }
        if state.is_dialable(index, Instant::now()) {
            self.dial(&mut state, index);
        }
        Ok(in_use)
    }

    /// A node told who leads a range.
    fn learn(&self, route: v1::Route) {
        let node = self.state.lock().index_of(&route.leader_address);
        if let Some(node) = node {
            let v1::Route { keyspace, start, end, range_id, generation, .. } = route;
            self.routes.learn(&keyspace, Span { start, end, range_id, generation }, node);
        }
    }

    /// The node of this session could do nothing for a request; `hint` may be the address of one
    /// that can. `reaches_nobody`: it can't reach that one itself.
    pub(crate) fn misrouted(
        &self,
        session: &Session,
        keyspace: &str,
        place: Place<'_>,
        hint: &str,
        reaches_nobody: bool,
    ) {
        let mut state = self.state.lock();
        let better =
            Some(hint).filter(|hint| !hint.is_empty()).and_then(|hint| state.index_of(hint));
        match better {
            Some(node) => self.routes.redirect(keyspace, place, node),
            None => self.routes.forget(keyspace, place),
        }
        // A node that does not reach the leader names it; until that one is found, another may reach it.
        let is_up = better.is_some_and(|node| state.ready(node).is_some());
        let Some(node) = better.filter(|_| is_up || !reaches_nobody) else {
            if state.preferred == session.node {
                state.prefer_next();
            }
            return;
        };
        // Without a route the next try goes to the preferred node: that it should not be this one.
        if self.routes.find(keyspace, place).is_none() && state.preferred == session.node {
            state.preferred = node;
            state.current = None;
        }
    }

    /// What the nodes that are not up answered last, for people; empty if none is to blame.
    pub(crate) fn last_errors(&self) -> String {
        let state = self.state.lock();
        let describe = |node: &Node| match (&node.phase, &node.last_error) {
            (Phase::Ready { .. } | Phase::Idle, _) => None,
            (_, Some(error)) => Some(error.to_string()),
            (_, None) => Some(format!("{}: no answer yet", node.address)),
        };
        state.nodes.iter().filter_map(describe).collect::<Vec<_>>().join("; ")
    }

    /// Something happened that makes old refusals worthless: every node may be dialled at once.
    pub(crate) fn forget_failures(&self) {
        for node in &mut self.state.lock().nodes {
            if matches!(node.phase, Phase::Down { .. }) {
                node.phase = Phase::Idle;
                node.failures = 0;
                node.last_error = None;
            }
        }
    }

    /// The session of the preferred node, or else of any, while the preferred one is dialled.
    fn find(&self, state: &mut State) -> Option<Arc<Session>> {
        if let Some(session) = state.live() {
            return Some(session);
        }
        let preferred = state.preferred;
        if state.is_dialable(preferred, Instant::now()) {
            self.dial(state, preferred);
        }
        let session = state.order().into_iter().find_map(|index| state.ready(index))?;
        if session.node == state.preferred {
            state.current = Some(Arc::clone(&session));
        }
        Some(session)
    }

    /// Dials the first node that may be, unless one that is being dialled still has its head start;
    /// says how long to wait before another look.
    fn dial_next(&self, state: &mut State) -> Duration {
        let now = Instant::now();
        let dialing = state.nodes.iter().any(|node| matches!(node.phase, Phase::Dialing { .. }));
        let head_start = state.last_dial.map(|at| (at + HEAD_START).saturating_duration_since(now));
        if dialing && let Some(left) = head_start.filter(|left| !left.is_zero()) {
            return left;
        }
        let dialable = state.order().into_iter().find(|index| state.is_dialable(*index, now));
        if let Some(index) = dialable {
            self.dial(state, index);
            return HEAD_START;
        }
        let pause = |node: &Node| match node.phase {
            Phase::Down { until } => Some(until.saturating_duration_since(now)),
            _ => None,
        };
        let shortest = state.nodes.iter().filter_map(pause).min();
        // a dial under way reports by itself
        shortest.unwrap_or(self.settings.connect_timeout).max(Duration::from_millis(1))
    }

    /// Starts the task that dials a node and then reads its stream.
    fn dial(&self, state: &mut State, index: usize) {
        let (cluster_id, incarnation) = state.identity.clone().unwrap_or_default();
        let Some(node) = state.nodes.get_mut(index) else { return };
        let (stop, stopped) = oneshot::channel();
        node.phase = Phase::Dialing { _stop: stop };
        let hello = v1::SessionHello { cluster_id, incarnation };
        let task = Dial {
            pool: self.this.clone(),
            index,
            address: node.address.clone(),
            clock: Arc::clone(&self.clock),
            settings: self.settings,
        };
        state.last_dial = Some(Instant::now());
        drop(tokio::spawn(task.run(hello, stopped)));
    }

    /// Takes a fresh stream into use, if it leads to the right cluster.
    fn established(
        &self,
        index: usize,
        lane: Arc<Lane>,
        welcome: v1::SessionWelcome,
        stop: oneshot::Sender<()>,
    ) -> Result<Arc<Session>, Error> {
        let limits = Limits::from_wire(welcome.limits);
        let mut state = self.state.lock();
        let address = state.nodes.get(index).map(|node| node.address.clone()).unwrap_or_default();
        match &state.identity {
            Some((id, incarnation))
                if !welcome.cluster_id.is_empty()
                    && (*id != welcome.cluster_id || *incarnation != welcome.incarnation) =>
            {
                return Err(Error::WrongCluster(format!(
                    "{address} belongs to cluster {} incarnation {}, this client to {id} \
                     incarnation {incarnation}",
                    welcome.cluster_id, welcome.incarnation
                )));
            }
            None if !welcome.cluster_id.is_empty() => {
                state.identity = Some((welcome.cluster_id.clone(), welcome.incarnation));
            }
            _ => {}
        }
        let origin_room = *state.origin_room.get_or_insert(welcome.room);
        let session = Arc::new(Session::new(index, lane, limits, origin_room, welcome.incarnation));
        state.info = Some(ClusterInfo {
            cluster_id: welcome.cluster_id,
            incarnation: welcome.incarnation,
            node_id: welcome.node_id,
            room: welcome.room,
            address,
            limits,
        });
        if let Some(node) = state.nodes.get_mut(index) {
            node.phase = Phase::Ready { session: Arc::clone(&session), _stop: stop };
            node.failures = 0;
            node.last_error = None;
            node.id = welcome.node_id;
        }
        let is_first = !std::mem::replace(&mut state.met, true);
        state.meet(welcome.nodes);
        if is_first && let Some(near) = state.nearest(&self.pacer) {
            state.preferred = near;
        }
        if state.preferred == index || state.live().is_none() {
            state.preferred = index;
            state.current = Some(Arc::clone(&session));
        }
        drop(state);
        self.changed.notify_waiters();
        Ok(session)
    }

    /// A dial failed or a stream ended.
    fn failed(&self, index: usize, error: Error) {
        let mut state = self.state.lock();
        if let Some(node) = state.nodes.get_mut(index) {
            tracing::debug!(address = node.address, %error, "session lost");
            node.failures = node.failures.saturating_add(1);
            node.phase = Phase::Down { until: Instant::now() + self.pacer.pause(node.failures) };
            node.last_error = Some(error);
        }
        if state.preferred == index {
            state.prefer_next();
        }
        drop(state);
        self.changed.notify_waiters();
    }
}

/// The task that opens one session and reads it. It holds no strong reference to the pool, so that
/// dropping the last client ends it.
struct Dial {
    pool: Weak<Pool>,
    index: usize,
    address: String,
    clock: Arc<ClusterClock>,
    settings: Settings,
}

impl Dial {
    async fn run(self, hello: v1::SessionHello, mut stopped: oneshot::Receiver<()>) {
        let dialed = tokio::select! {
            biased;
            _ = &mut stopped => return,
            dialed = connection::dial(
                &self.address, hello, &self.clock, self.settings.connect_timeout,
            ) => dialed,
        };
        let error = match dialed.and_then(|dialed| self.hand_over(dialed)) {
            Ok((session, incoming, stopped)) => {
                let stall = self.settings.stall_timeout;
                // The node forwards what this client asks: going to the leader saves a hop.
                let follow = |route: v1::Route| {
                    if let Some(pool) = self.pool.upgrade() {
                        pool.learn(route);
                    }
                };
                let read =
                    connection::read(&session, incoming, &self.clock, stall, stopped, follow);
                match read.await {
                    Error::Unavailable(text) => {
                        Error::Unavailable(format!("{}: {text}", self.address))
                    }
                    error => error,
                }
            }
            Err(error) => error,
        };
        if let Some(pool) = self.pool.upgrade() {
            pool.failed(self.index, error);
        }
    }

    #[expect(clippy::type_complexity, reason = "used once, by the line that takes it apart")]
    fn hand_over(
        &self,
        dialed: Dialed,
    ) -> Result<(Arc<Session>, Streaming<v1::SessionFrame>, oneshot::Receiver<()>), Error> {
        let Dialed { lane, welcome, incoming } = dialed;
        let (stop, stopped) = oneshot::channel();
        let gone = || Error::Unavailable("the client was dropped".to_owned());
        let pool = self.pool.upgrade().ok_or_else(gone)?;
        let session = pool.established(self.index, lane, welcome, stop)?;
        Ok((session, incoming, stopped))
    }
}
