//! Monotonic clocks of simulated nodes.
//!
//! A clock shows a time that is a piecewise linear function of ideal time, which is that of the
//! simulation. A deadline is a time that a clock shows: when its rate changes while something sleeps,
//! the sleeper is woken, looks at the clock and sleeps for what is left at the new rate.
//!
//! The clock is that of the node on which the current task runs; the simulation says which
//! ([`set_source`]). Who has none, and whose clock is ideal for ever, has the simulation's own.
//!
//! Its tests are in `sim/tests/simulated/clocks.rs`, which is built as the simulation is.

use std::{
    collections::BTreeMap,
    fmt,
    future::{Future, poll_fn},
    ops::{Add, AddAssign, Sub},
    pin::{Pin, pin},
    sync::{Arc, OnceLock},
    task::{Context, Poll, Waker},
    time::Duration,
};

use madsim::time::TimeHandle;
use parking_lot::Mutex;

/// The rate of an ideal clock, in parts per million.
pub const IDEAL_PPM: u64 = 1_000_000;

/// As Tokio's sleeps: none is shorter.
const SLEEP_MIN: Duration = Duration::from_millis(1);

/// Says whose clock the current task reads.
pub type Source = fn() -> Option<Arc<LocalClock>>;

static SOURCE: OnceLock<Source> = OnceLock::new();

/// Sets the source of clocks. Later calls change nothing.
pub fn set_source(source: Source) {
    SOURCE.get_or_init(|| source);
}

fn current() -> Option<Arc<LocalClock>> {
    SOURCE.get().and_then(|source| source())
}

/// A node's monotonic clock.
#[derive(Debug)]
pub struct LocalClock {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// At this ideal time …
    since: Duration,
    /// … it showed this, …
    shown: Duration,
    /// … and has run at this rate since then.
    rate_ppm: u64,
    /// Who sleeps by it, by number.
    sleepers: BTreeMap<u64, Waker>,
    sleepers_ever: u64,
}

impl LocalClock {
    /// A clock that begins with ideal time and runs at a rate of parts per million.
    pub fn new(rate_ppm: u64) -> LocalClock {
        let state = State {
            since: Duration::ZERO,
            shown: Duration::ZERO,
            rate_ppm: rate_ppm.max(1),
            sleepers: BTreeMap::new(),
            sleepers_ever: 0,
        };
        LocalClock { state: Mutex::new(state) }
    }

    /// What it shows at an ideal time, which is not before the last change of its rate.
    pub fn shows(&self, ideal: Duration) -> Duration {
        let state = self.state.lock();
        let passed = ideal.saturating_sub(state.since).as_nanos();
        state.shown + nanos(passed * u128::from(state.rate_ppm) / u128::from(IDEAL_PPM))
    }

    /// The first ideal time at which it shows `shown`, if its rate stays as it is.
    pub fn when(&self, shown: Duration) -> Duration {
        let state = self.state.lock();
        let missing = shown.saturating_sub(state.shown).as_nanos() * u128::from(IDEAL_PPM);
        state.since + nanos(missing.div_ceil(u128::from(state.rate_ppm)))
    }

    /// Runs at another rate from this ideal time on.
    pub fn set_rate(&self, ideal: Duration, rate_ppm: u64) {
        let shown = self.shows(ideal);
        let sleepers = {
            let mut state = self.state.lock();
            (state.since, state.shown, state.rate_ppm) = (ideal, shown, rate_ppm.max(1));
            std::mem::take(&mut state.sleepers)
        };
        sleepers.into_values().for_each(Waker::wake);
    }

    /// How many sleep by it.
    pub fn sleepers(&self) -> usize {
        self.state.lock().sleepers.len()
    }

    fn enter(&self, number: Option<u64>, waker: &Waker) -> u64 {
        let mut state = self.state.lock();
        let number = number.unwrap_or_else(|| {
            state.sleepers_ever += 1;
            state.sleepers_ever
        });
        state.sleepers.insert(number, waker.clone());
        number
    }

    fn leave(&self, number: u64) {
        self.state.lock().sleepers.remove(&number);
    }
}

fn nanos(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// A point of a node's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(std::time::Instant);

/// Where the simulation's instants begin.
fn beginning() -> std::time::Instant {
    let time = TimeHandle::current();
    let now = time.now_instant();
    now.checked_sub(time.elapsed()).unwrap_or(now)
}

impl Instant {
    /// What the clock of this task's node shows.
    pub fn now() -> Instant {
        match current() {
            None => Instant(TimeHandle::current().now_instant()),
            Some(clock) => Instant::shown_by(&clock),
        }
    }

    fn shown_by(clock: &LocalClock) -> Instant {
        Instant(beginning() + clock.shows(TimeHandle::current().elapsed()))
    }

    /// What has passed since then.
    pub fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(*self)
    }

    /// What passed since an earlier one; zero if it was not earlier.
    pub fn duration_since(&self, earlier: Instant) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }

    /// The same.
    pub fn saturating_duration_since(&self, earlier: Instant) -> Duration {
        self.duration_since(earlier)
    }

    /// The point `duration` earlier, if there is one.
    pub fn checked_sub(&self, duration: Duration) -> Option<Instant> {
        self.0.checked_sub(duration).map(Instant)
    }

    /// The point `duration` later, if there is one.
    pub fn checked_add(&self, duration: Duration) -> Option<Instant> {
        self.0.checked_add(duration).map(Instant)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, rhs: Duration) -> Instant {
        Instant(self.0 + rhs)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, rhs: Duration) {
        self.0 += rhs;
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;
    fn sub(self, rhs: Duration) -> Instant {
        Instant(self.0 - rhs)
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, rhs: Instant) -> Duration {
        self.duration_since(rhs)
    }
}

/// Waits until the node's clock shows a point.
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct Sleep {
    deadline: Instant,
    /// By which clock, and its number there once it waits.
    by: Option<(Arc<LocalClock>, Option<u64>)>,
    /// In ideal time, as the rate of the clock is now.
    ideal: tokio::time::Sleep,
}

/// Waits for `duration` by the node's clock.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now() + duration)
}

/// Waits until the node's clock shows a point.
pub fn sleep_until(deadline: Instant) -> Sleep {
    match current() {
        None => Sleep { deadline, by: None, ideal: tokio::time::sleep_until(deadline.0) },
        Some(clock) => {
            let deadline = deadline.max(Instant::shown_by(&clock) + SLEEP_MIN);
            let ideal = ideal_sleep(&clock, deadline);
            Sleep { deadline, by: Some((clock, None)), ideal }
        }
    }
}

fn ideal_sleep(clock: &LocalClock, deadline: Instant) -> tokio::time::Sleep {
    let beginning = beginning();
    let shown = deadline.0.saturating_duration_since(beginning);
    tokio::time::sleep_until(beginning + clock.when(shown))
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        let this = &mut *self;
        let Some((clock, number)) = &mut this.by else {
            return Pin::new(&mut this.ideal).poll(context);
        };
        loop {
            if Instant::shown_by(clock) >= deadline {
                if let Some(number) = number.take() {
                    clock.leave(number);
                }
                return Poll::Ready(());
            }
            this.ideal = ideal_sleep(clock, deadline);
            if Pin::new(&mut this.ideal).poll(context).is_pending() {
                *number = Some(clock.enter(*number, context.waker()));
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some((clock, Some(number))) = &self.by {
            clock.leave(*number);
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// The time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadline has elapsed")
    }
}

impl std::error::Error for Elapsed {}

/// Lets a future take at most `duration` by the node's clock, from now on.
pub fn timeout<F: Future>(
    duration: Duration,
    future: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> {
    let mut sleep = sleep(duration);
    async move {
        let mut future = pin!(future);
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            Pin::new(&mut sleep).poll(context).map(|()| Err(Elapsed))
        })
        .await
    }
}

/// Ticks, the first time at once.
#[derive(Debug)]
pub struct Interval {
    next: Instant,
    period: Duration,
}

/// Ticks at this interval by the node's clock.
pub fn interval(period: Duration) -> Interval {
    Interval { next: Instant::now(), period }
}

impl Interval {
    /// Waits for the next tick. May be dropped and asked for again.
    pub async fn tick(&mut self) -> Instant {
        sleep_until(self.next).await;
        let tick = self.next;
        self.next += self.period;
        tick
    }
}
