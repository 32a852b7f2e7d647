//! The seam `Wire`: a task for each direction of a stream that holds frames until they arrive.
//!
//! The task owns its end of the stream: what it has taken it delivers, also where the other end is gone by then, as a
//! kernel's buffers do. How frames travel is in `travel.rs` and `line.rs`; what holds within a stream and between
//! streams, in the header of the parent module.

use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt, channel::mpsc};
use parking_lot::Mutex;
use quintet_server::seams::{Status, Wire, WireFrames};
use tokio::time::{Sleep, sleep};

use super::{
    line::Line,
    links::{Net, host},
    map::Host,
    travel::{Fate, pause_after_cut_us},
};
use crate::{dice::Dice, random::random, trace};

/// Frames that have arrived and are not taken yet.
const ARRIVED_MAX: usize = 16;

/// Shapes the streams that are opened to a node.
pub struct Shaper {
    net: Arc<Net>,
    me: Host,
}

impl Shaper {
    /// For a node.
    pub fn new(net: Arc<Net>, node: u64) -> Shaper {
        Shaper { net, me: Host::Node(node) }
    }
}

impl Wire for Shaper {
    fn attach(
        &self,
        from: SocketAddr,
        inbound: WireFrames,
        outbound: WireFrames,
    ) -> (WireFrames, WireFrames) {
        let Some(dialler) = host(from) else { return (inbound, outbound) };
        let mut dice = Dice::new(random(), 0);
        let (there, back) = (self.net.link(dialler, self.me), self.net.link(self.me, dialler));
        // A connection takes a round trip before the first frame leaves.
        let takes = there.latency_us(&mut dice) + back.latency_us(&mut dice);
        let stream = Arc::new(Mutex::new(StreamState {
            connected: Connected::At(self.net.now_us() + takes),
            is_broken: false,
            breaks: self.net.breaks(dialler, self.me),
            is_heard_out: false,
            wakers: [None, None],
        }));
        let spawn = |way: Way, frames| {
            let (arrived, out) = mpsc::channel(ARRIVED_MAX);
            let (from, to) = match way {
                Way::In => (dialler, self.me),
                Way::Out => (self.me, dialler),
            };
            let direction = Direction {
                net: self.net.clone(),
                number: self.net.line(),
                way,
                from,
                to,
                dice: Dice::new(dice.clone().roll(), way as u64),
                frames: Some(frames),
                line: Line::default(),
                arrived: Some(arrived),
                stream: stream.clone(),
                cut_since: None,
                is_over: false,
                timer: None,
            };
            tokio::spawn(direction.carry());
            out.boxed()
        };
        (spawn(Way::In, inbound), spawn(Way::Out, outbound))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// To the server.
    In,
    /// To the dialler.
    Out,
}

/// What both directions of a stream know of each other.
struct StreamState {
    connected: Connected,
    is_broken: bool,
    /// How often streams between the two had been broken when this one began.
    breaks: u64,
    /// The server has heard all that the dialler said, and that this was all.
    is_heard_out: bool,
    wakers: [Option<Waker>; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connected {
    /// Not before this moment, and not while either direction is cut.
    At(u64),
    /// It is; the first frame is on its way.
    Yes,
    /// The first frame has arrived: from now on the server may answer.
    Heard,
}

/// What is on a line.
enum What {
    Frame(Bytes),
    /// The stream ends, perhaps because it broke.
    End(Option<Status>),
}

struct Direction {
    net: Arc<Net>,
    number: u64,
    way: Way,
    from: Host,
    to: Host,
    dice: Dice,
    /// What is sent; none once that has ended or is lost.
    frames: Option<WireFrames>,
    line: Line<What>,
    /// To where it arrives; none once nobody takes it.
    arrived: Option<mpsc::Sender<Result<Bytes, Status>>>,
    stream: Arc<Mutex<StreamState>>,
    cut_since: Option<u64>,
    /// The end is on the line: what is sent now is lost.
    is_over: bool,
    timer: Option<(u64, Sleep)>,
}

impl Direction {
    async fn carry(mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    /// One look at everything; ready once the direction is done with.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.timer.is_none() {
            // The first time.
            self.net.wakes(self.number, cx.waker());
            self.stream.lock().wakers[self.way as usize] = Some(cx.waker().clone());
            self.timer = Some((0, sleep(Duration::ZERO)));
        }
        loop {
            let now_us = self.net.now_us();
            self.take_sent(cx, now_us);
            let is_clear = self.look(now_us);
            if is_clear && self.line.due_us().is_some_and(|due| due <= now_us) {
                match self.deliver(cx) {
                    Poll::Ready(()) => continue,
                    Poll::Pending => return Poll::Pending,
                }
            }
            if self.is_done() {
                return Poll::Ready(());
            }
            let wake = if is_clear { self.line.due_us() } else { self.connects_at(now_us) };
            match wake {
                Some(at) if at > now_us && self.sleep_until(cx, at).is_ready() => {}
                _ => return Poll::Pending,
            }
        }
    }

    /// Looks at the map and at the other direction; whether frames get through.
    fn look(&mut self, now_us: u64) -> bool {
        let clear = self.net.is_clear(self.from, self.to);
        let mut stream = self.stream.lock();
        if let Connected::At(at) = stream.connected
            && at <= now_us
            && self.way == Way::In
            && clear
            && self.net.is_clear(self.to, self.from)
        {
            stream.connected = Connected::Yes;
            let link = self.net.link(self.from, self.to);
            self.line.hold(now_us + link.latency_us(&mut self.dice));
        }
        if self.net.breaks(self.from, self.to) > stream.breaks {
            stream.is_broken = true;
        }
        let (connected, is_broken) = (stream.connected, stream.is_broken);
        drop(stream);
        match (self.cut_since, clear) {
            (None, false) => self.cut_since = Some(now_us),
            (Some(since), true) => {
                self.cut_since = None;
                if self.line.due_us().is_some_and(|due| due <= now_us) {
                    let pause = pause_after_cut_us(&mut self.dice, now_us - since);
                    self.line.hold(now_us + pause);
                }
            }
            _ => {}
        }
        if is_broken && !self.is_over {
            self.break_here(now_us);
        }
        if let Connected::At(_) = connected {
            // Whoever gave up by now has said nothing.
            if self.way == Way::In && self.is_over {
                self.line = Line::default();
                self.line.send(now_us, 0, What::End(None));
                return true;
            }
            return false;
        }
        clear
    }

    /// When a connection that is not there yet may be looked at again.
    fn connects_at(&self, now_us: u64) -> Option<u64> {
        match self.stream.lock().connected {
            Connected::At(at) if self.way == Way::In && at > now_us => Some(at),
            _ => None,
        }
    }

    /// The stream broke: a beginning of what is under way arrives.
    fn break_here(&mut self, now_us: u64) {
        let kept = self.dice.between(0, self.line.len() as u64);
        self.line.keep(usize::try_from(kept).unwrap_or(0));
        let at = now_us + self.net.link(self.from, self.to).latency_us(&mut self.dice);
        self.end(at, Some(Status::unavailable("the connection was reset")));
    }

    fn end(&mut self, at_us: u64, status: Option<Status>) {
        self.is_over = true;
        self.line.send(at_us, 0, What::End(status));
    }

    /// Takes what was sent, as far as there is room on the line.
    fn take_sent(&mut self, cx: &mut Context<'_>, now_us: u64) {
        if self.way == Way::Out && self.stream.lock().connected != Connected::Heard {
            return;
        }
        if self.way == Way::Out && self.arrived.as_ref().is_none_or(mpsc::Sender::is_closed) {
            // Whoever dialled has gone; the server does not know yet.
            self.arrived = None;
            self.is_over = true;
            self.line = Line::default();
        }
        while self.line.has_room() && (self.way == Way::In || self.net.takes(self.to)) {
            let Some(frames) = &mut self.frames else { return };
            match Pin::new(frames).poll_next(cx) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(frame))) if !self.is_over => self.sent(frame, now_us),
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(end) => {
                    self.frames = None;
                    if !self.is_over {
                        let link = self.net.link(self.from, self.to);
                        let at = now_us + link.latency_us(&mut self.dice);
                        self.end(at, end.and_then(Result::err));
                    }
                }
            }
        }
    }

    fn sent(&mut self, frame: Bytes, now_us: u64) {
        let bytes = frame.len();
        match self.net.travel(&mut self.dice, self.from, self.to, bytes) {
            Fate::Arrives(at) => self.line.send(at, bytes, What::Frame(frame)),
            Fate::Late { at_us, losses } => {
                let late_us = at_us - now_us;
                trace::event(
                    "fault",
                    format_args!(
                        "{:?} to {:?}: lost {losses} times, {late_us} us",
                        self.from, self.to
                    ),
                );
                self.line.send(at_us, bytes, What::Frame(frame));
            }
            Fate::Breaks(at) => {
                trace::event("fault", format_args!("{:?} to {:?}: broke", self.from, self.to));
                self.end(at, Some(Status::unavailable("the connection was reset")));
                self.tell(|stream| stream.is_broken = true);
            }
        }
    }

    /// Changes what both directions know, and wakes the other one.
    fn tell(&self, change: impl FnOnce(&mut StreamState)) {
        let mut stream = self.stream.lock();
        change(&mut stream);
        let other = stream.wakers[1 - self.way as usize].clone();
        drop(stream);
        if let Some(other) = other {
            other.wake();
        }
    }

    /// Hands the first frame over, or the end.
    fn deliver(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let room = self.arrived.as_mut().map(|arrived| arrived.poll_ready(cx));
        let is_taken = match room {
            Some(Poll::Pending) => return Poll::Pending,
            Some(Poll::Ready(Ok(()))) => true,
            Some(Poll::Ready(Err(_))) | None => false,
        };
        let Some(what) = self.line.take() else { return Poll::Ready(()) };
        if !is_taken {
            self.arrived = None;
        }
        let ends = matches!(what, What::End(_)) || (self.way == Way::In && !is_taken);
        let handed = match what {
            What::Frame(frame) => Some(Ok(frame)),
            What::End(status) => status.map(Err),
        };
        if let (Some(arrived), Some(handed)) = (&mut self.arrived, handed) {
            // There is room: it was asked for.
            arrived.try_send(handed).ok();
        }
        if ends {
            self.arrived = None;
        }
        if self.way == Way::In {
            self.tell(|stream| {
                stream.connected = Connected::Heard;
                stream.is_heard_out |= ends;
            });
        }
        Poll::Ready(())
    }

    /// Whether nothing is left to do. What the server says to a dialler that has gone is taken from it
    /// until it has heard that; then it says no more.
    fn is_done(&self) -> bool {
        match self.way {
            Way::In => self.arrived.is_none(),
            Way::Out => {
                let silent = self.frames.is_none() || self.stream.lock().is_heard_out;
                silent && self.arrived.is_none()
            }
        }
    }

    fn sleep_until(&mut self, cx: &mut Context<'_>, at_us: u64) -> Poll<()> {
        let deadline = self.net.instant(at_us);
        let Some((armed, timer)) = &mut self.timer else { return Poll::Pending };
        if *armed == at_us {
            return Poll::Pending;
        }
        // Each poll arms a timer of madsim's, which goes off whatever becomes of this one. Unlike what
        // `sleep_until` returns it may be due in less than a millisecond.
        *armed = at_us;
        let mut timer = Pin::new(timer);
        timer.as_mut().reset(deadline);
        timer.poll(cx)
    }
}

impl Drop for Direction {
    fn drop(&mut self) {
        self.net.ends(self.number);
        if self.way == Way::In {
            self.tell(|stream| stream.is_heard_out = true);
        }
    }
}
