//! Unary calls of one client, over the same links as everything else.
//!
//! madsim carries a call in about a millisecond, whatever is cut. So the client's end holds the request
//! until it would have arrived, then asks, and holds the answer until that would be back: the same delays,
//! losses, cuts and resets as on a stream ([`super::shaper`]). As there, what was sent on a connection that
//! stands arrives in the end, also where whoever asked has given up; and who gives up before there is a
//! connection has said nothing.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::sleep_until;

use super::{
    links::{Net, host},
    map::Host,
    travel::{Fate, pause_after_cut_us},
};
use crate::{
    client::unary::{Broken, Wire},
    dice::Dice,
    trace,
};

/// The calls of a client.
pub struct Calls {
    net: Arc<Net>,
    me: Host,
    state: Arc<Mutex<State>>,
}

struct State {
    dice: Dice,
    /// Nodes to which there is a connection, and how often it had been broken when it was made.
    connected: BTreeMap<Host, u64>,
}

impl Calls {
    /// Of a client, by its number.
    pub fn new(net: Arc<Net>, client: u64, seed: u64) -> Calls {
        let state = State { dice: Dice::new(seed, 0), connected: BTreeMap::new() };
        Calls { net, me: Host::Client(client), state: Arc::new(Mutex::new(state)) }
    }

    fn way(&self, node: &str) -> Option<Way> {
        let node = host(node.parse().ok()?)?;
        Some(Way { net: self.net.clone(), me: self.me, node, state: self.state.clone() })
    }
}

impl Wire for Calls {
    fn there(
        &self,
        node: &str,
        bytes: usize,
        given_up: Arc<AtomicBool>,
    ) -> BoxFuture<'static, Result<(), Broken>> {
        let way = self.way(node);
        Box::pin(async move {
            let Some(way) = way else { return Ok(()) };
            way.connect(&given_up).await?;
            way.pass(way.me, way.node, bytes).await
        })
    }

    fn back(&self, node: &str, bytes: usize) -> BoxFuture<'static, Result<(), Broken>> {
        let way = self.way(node);
        Box::pin(async move {
            let Some(way) = way else { return Ok(()) };
            way.pass(way.node, way.me, bytes).await
        })
    }
}

/// Between this client and a node.
struct Way {
    net: Arc<Net>,
    me: Host,
    node: Host,
    state: Arc<Mutex<State>>,
}

impl Way {
    fn is_clear(&self, from: Host, to: Host) -> bool {
        self.net.is_clear(from, to)
    }

    /// How often the connection that there is had been broken when it was made.
    fn connected(&self) -> Option<u64> {
        self.state.lock().connected.get(&self.node).copied()
    }

    /// The connection is lost: whatever is under way on it as well.
    fn reset(&self, of: u64) {
        let mut state = self.state.lock();
        if state.connected.get(&self.node) == Some(&of) {
            state.connected.remove(&self.node);
        }
    }

    /// Waits until there is a connection, which takes a round trip, and that both directions are clear.
    async fn connect(&self, given_up: &AtomicBool) -> Result<(), Broken> {
        let breaks = || self.net.breaks(self.me, self.node);
        if self.connected().is_some_and(|made| made == breaks()) {
            return Ok(());
        }
        let takes = {
            let mut state = self.state.lock();
            let link = self.net.link(self.me, self.node);
            link.latency_us(&mut state.dice) + link.latency_us(&mut state.dice)
        };
        let at_us = self.net.now_us() + takes;
        sleep_until(self.net.instant(at_us)).await;
        self.until(|| {
            self.is_clear(self.me, self.node) && self.is_clear(self.node, self.me)
                || given_up.load(Ordering::Relaxed)
        })
        .await;
        if given_up.load(Ordering::Relaxed) {
            return Err(Broken::NotSent);
        }
        self.state.lock().connected.insert(self.node, breaks());
        Ok(())
    }

    /// A message travels one way.
    async fn pass(&self, from: Host, to: Host, bytes: usize) -> Result<(), Broken> {
        let Some(made) = self.connected() else { return Err(Broken::Reset) };
        let fate = {
            let mut state = self.state.lock();
            self.net.travel(&mut state.dice, from, to, bytes)
        };
        let (mut at_us, breaks) = match fate {
            Fate::Arrives(at_us) | Fate::Late { at_us, .. } => (at_us, false),
            Fate::Breaks(at_us) => (at_us, !self.net.is_mended()),
        };
        loop {
            sleep_until(self.net.instant(at_us)).await;
            if breaks || self.net.breaks(from, to) > made {
                trace::event("fault", format_args!("{from:?} to {to:?}: a call broke"));
                self.reset(made);
                return Err(Broken::Reset);
            }
            if self.is_clear(from, to) {
                return Ok(());
            }
            let since_us = self.net.now_us();
            let is_over = || self.is_clear(from, to) || self.net.breaks(from, to) > made;
            self.until(is_over).await;
            let now_us = self.net.now_us();
            let pause = pause_after_cut_us(&mut self.state.lock().dice, now_us - since_us);
            at_us = now_us + pause;
        }
    }

    /// Waits until something is so, which is looked at whenever links change.
    async fn until(&self, is_so: impl Fn() -> bool) {
        let line = Listed { number: self.net.line(), net: self.net.clone() };
        poll_fn(|cx| {
            line.net.wakes(line.number, cx.waker());
            if is_so() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// A line among those that are woken, until it is dropped.
struct Listed {
    number: u64,
    net: Arc<Net>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.net.ends(self.number);
    }
}
