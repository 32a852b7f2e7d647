//! The links of a run: one map of who reaches whom, which all lines look at.
//!
//! Whatever changes what gets through (a rule, the end of one, streams that break) wakes all lines, and each looks
//! again. A line that ends takes its waker away.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    task::Waker,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    map::{Host, Map, Rule},
    travel::{Fate, Link},
};
use crate::{
    dice::Dice,
    scenario::{Network, Topology},
    trace,
};

/// The network of a run.
pub struct Net {
    /// When simulated time began.
    base: Instant,
    state: Mutex<State>,
    /// Lines that look again when something changes.
    lines: Mutex<BTreeMap<u64, Waker>>,
}

struct State {
    map: Map,
    /// When a link has sent all that it was given.
    free_us: BTreeMap<(Host, Host), u64>,
    /// How often all streams of a machine were broken.
    breaks: BTreeMap<Host, u64>,
    /// Machines that take nothing: their windows are shut.
    shut: BTreeSet<Host>,
    lines_made: u64,
}

impl Net {
    /// A network in which nothing is cut.
    pub fn new(network: &Network, topology: &Topology) -> Net {
        let state = State {
            map: Map::new(network, topology),
            free_us: BTreeMap::new(),
            breaks: BTreeMap::new(),
            shut: BTreeSet::new(),
            lines_made: 0,
        };
        let base = Instant::now() - madsim::time::TimeHandle::current().elapsed();
        Net { base, state: Mutex::new(state), lines: Mutex::default() }
    }

    /// Simulated time in microseconds.
    pub(super) fn now_us(&self) -> u64 {
        let elapsed = madsim::time::TimeHandle::current().elapsed();
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
    }

    /// A moment as timers know it.
    pub(super) fn instant(&self, us: u64) -> Instant {
        self.base + Duration::from_micros(us)
    }

    /// Looks at the map, or changes it without anything being cut or mended.
    pub fn with_map<T>(&self, look: impl FnOnce(&mut Map) -> T) -> T {
        look(&mut self.state.lock().map)
    }

    /// Lets rules hold; what is returned ends them.
    pub fn add(&self, rules: Vec<Rule>) -> u64 {
        trace::event("fault", format_args!("network: {rules:?}"));
        let added = self.state.lock().map.add(rules);
        self.wake_all();
        added
    }

    /// Ends rules.
    pub fn remove(&self, rules: u64) {
        trace::event("fault", format_args!("network: rule {rules} ends"));
        self.state.lock().map.remove(rules);
        self.wake_all();
    }

    /// Ends all rules.
    pub fn mend_all(&self) {
        trace::event("fault", format_args!("network: all rules end"));
        self.state.lock().map.clear();
        self.wake_all();
    }

    /// Breaks all streams that begin or end at some machines.
    pub fn break_streams(&self, of: &BTreeSet<Host>) {
        trace::event("fault", format_args!("network: streams of {of:?} break"));
        let mut state = self.state.lock();
        for host in of {
            *state.breaks.entry(*host).or_default() += 1;
        }
        drop(state);
        self.wake_all();
    }

    /// A machine takes nothing of what nodes have to say, or does again: flow control holds it up where it is made.
    pub fn set_takes(&self, host: Host, takes: bool) {
        trace::event("network", format_args!("{host:?} takes what comes: {takes}"));
        let mut state = self.state.lock();
        match takes {
            true => state.shut.remove(&host),
            false => state.shut.insert(host),
        };
        drop(state);
        self.wake_all();
    }

    /// Whether a machine takes what nodes have to say.
    pub(super) fn takes(&self, host: Host) -> bool {
        !self.state.lock().shut.contains(&host)
    }

    /// How often streams between two machines were broken.
    pub(super) fn breaks(&self, one: Host, other: Host) -> u64 {
        let state = self.state.lock();
        let of = |host| state.breaks.get(&host).copied().unwrap_or_default();
        of(one) + of(other)
    }

    /// Whether everything is mended.
    pub(super) fn is_mended(&self) -> bool {
        self.state.lock().map.is_mended()
    }

    /// Whether frames get through.
    pub(super) fn is_clear(&self, from: Host, to: Host) -> bool {
        self.state.lock().map.is_clear(from, to)
    }

    /// The link between two machines, as it is at the moment.
    pub(super) fn link(&self, from: Host, to: Host) -> Link {
        self.state.lock().map.link(from, to)
    }

    /// What becomes of a frame that is sent now.
    pub(super) fn travel(&self, dice: &mut Dice, from: Host, to: Host, bytes: usize) -> Fate {
        let now_us = self.now_us();
        let mut state = self.state.lock();
        let link = state.map.link(from, to);
        let free_us = state.free_us.entry((from, to)).or_default();
        link.travel(dice, now_us, free_us, bytes)
    }

    /// A number for a line that is to be woken when something changes.
    pub(super) fn line(&self) -> u64 {
        let mut state = self.state.lock();
        state.lines_made += 1;
        state.lines_made
    }

    pub(super) fn wakes(&self, line: u64, waker: &Waker) {
        let replaced = self.lines.lock().insert(line, waker.clone());
        drop(replaced);
    }

    pub(super) fn ends(&self, line: u64) {
        let removed = self.lines.lock().remove(&line);
        drop(removed);
    }

    fn wake_all(&self) {
        let lines: Vec<Waker> = self.lines.lock().values().cloned().collect();
        lines.into_iter().for_each(Waker::wake);
    }
}

/// Whose machine has an address.
pub(super) fn host(address: SocketAddr) -> Option<Host> {
    let IpAddr::V4(ip) = address.ip() else { return None };
    match ip.octets() {
        [10, 0, 0, node] => Some(Host::Node(node.into())),
        [10, 0, 1, client] => Some(Host::Client(u64::from(client).checked_sub(1)?)),
        _ => None,
    }
}
