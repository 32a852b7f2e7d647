//! The async runtime as openraft sees it: Tokio in production, madsim's Tokio in the simulation,
//! with a watch channel of our own (see [`super::watch`]). Timers and random draws are traced.

use std::{
    fmt,
    future::Future,
    ops::{Add, AddAssign, Sub, SubAssign},
    panic::{RefUnwindSafe, UnwindSafe},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use openraft::{AsyncRuntime, OptionalSend};
use openraft_rt::{
    Mpsc, MpscReceiver, MpscSender, MpscWeakSender, OneshotSender, SendError, TryRecvError,
    instant, mutex, oneshot,
};
use tokio::sync::mpsc;

use super::watch::Watch;
use crate::{time::local, trace};

/// Tokio, or madsim's Tokio.
#[derive(Debug)]
pub struct Runtime;

/// A point of the monotonic clock.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub struct Instant(local::Instant);

impl Instant {
    /// The same point for those who do not see openraft.
    pub(crate) fn local(self) -> local::Instant {
        self.0
    }
}

impl UnwindSafe for Instant {}
impl RefUnwindSafe for Instant {}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Instant(self.0 + rhs)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, rhs: Duration) {
        self.0 += rhs;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Instant(self.0.checked_sub(rhs).unwrap_or(self.0))
    }
}

impl Sub<Self> for Instant {
    type Output = Duration;
    fn sub(self, rhs: Self) -> Duration {
        self.0.saturating_duration_since(rhs.0)
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, rhs: Duration) {
        *self = *self - rhs;
    }
}

impl instant::Instant for Instant {
    fn now() -> Self {
        Instant(local::Instant::now())
    }
}

/// openraft's random numbers.
#[cfg(not(madsim))]
type Rng = rand::rngs::ThreadRng;
#[cfg(madsim)]
type Rng = rand::rngs::SmallRng;

impl AsyncRuntime for Runtime {
    type JoinError = tokio::task::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = tokio::task::JoinHandle<T>;
    type Sleep = local::Sleep;
    type Instant = Instant;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = Timeout<T>;
    type ThreadLocalRng = Rng;
    type Mpsc = TokioMpsc;
    type Watch = Watch;
    type Oneshot = TokioOneshot;
    type Mutex<T: OptionalSend + 'static> = TokioMutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        tokio::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        trace::event("timer", format_args!("raft sleeps {duration:?}"));
        local::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        trace::event("timer", format_args!("raft sleeps until {:?}", deadline.0));
        local::sleep_until(deadline.0)
    }

    fn timeout<R, F>(duration: Duration, future: F) -> Self::Timeout<R, F>
    where
        F: Future<Output = R> + OptionalSend,
    {
        Timeout::new(future, local::sleep(duration))
    }

    fn timeout_at<R, F>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F>
    where
        F: Future<Output = R> + OptionalSend,
    {
        Timeout::new(future, local::sleep_until(deadline.0))
    }

    fn is_panic(error: &Self::JoinError) -> bool {
        error.is_panic()
    }

    #[cfg(not(madsim))]
    fn thread_rng() -> Self::ThreadLocalRng {
        rand::rng()
    }

    #[cfg(madsim)]
    fn thread_rng() -> Self::ThreadLocalRng {
        let seed: u64 = madsim::rand::random();
        trace::event("random", format_args!("raft draws {seed:016x}"));
        rand::SeedableRng::seed_from_u64(seed)
    }

    fn new(_threads: usize) -> Self {
        Runtime
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        futures::executor::block_on(future)
    }
}

/// A future with a time limit. madsim's own has no name and no deadline.
pub struct Timeout<T> {
    future: Pin<Box<T>>,
    sleep: Pin<Box<local::Sleep>>,
}

/// The time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadline has elapsed")
    }
}

impl<T> Timeout<T> {
    fn new(future: T, sleep: local::Sleep) -> Self {
        Timeout { future: Box::pin(future), sleep: Box::pin(sleep) }
    }
}

impl<T: Future> Future for Timeout<T> {
    type Output = Result<T::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        self.sleep.as_mut().poll(context).map(|()| Err(Elapsed))
    }
}

/// Tokio's bounded channel.
#[derive(Debug)]
pub struct TokioMpsc;

/// Sends into a [`TokioMpsc`] channel.
pub struct MpscTx<T>(mpsc::Sender<T>);

/// Receives from a [`TokioMpsc`] channel.
pub struct MpscRx<T>(mpsc::Receiver<T>);

/// A sender that does not keep the channel open.
pub struct MpscWeak<T>(mpsc::WeakSender<T>);

impl<T> Clone for MpscTx<T> {
    fn clone(&self) -> Self {
        MpscTx(self.0.clone())
    }
}

impl<T> Clone for MpscWeak<T> {
    fn clone(&self) -> Self {
        MpscWeak(self.0.clone())
    }
}

impl Mpsc for TokioMpsc {
    type Sender<T: OptionalSend> = MpscTx<T>;
    type Receiver<T: OptionalSend> = MpscRx<T>;
    type WeakSender<T: OptionalSend> = MpscWeak<T>;

    fn channel<T: OptionalSend>(buffer: usize) -> (MpscTx<T>, MpscRx<T>) {
        let (tx, rx) = mpsc::channel(buffer);
        (MpscTx(tx), MpscRx(rx))
    }
}

impl<T: OptionalSend> MpscSender<TokioMpsc, T> for MpscTx<T> {
    async fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.0.send(message).await.map_err(|error| SendError(error.0))
    }

    fn downgrade(&self) -> MpscWeak<T> {
        MpscWeak(self.0.downgrade())
    }
}

impl<T: OptionalSend> MpscReceiver<T> for MpscRx<T> {
    fn recv(&mut self) -> impl Future<Output = Option<T>> + OptionalSend {
        self.0.recv()
    }

    fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.0.try_recv().map_err(|error| match error {
            mpsc::error::TryRecvError::Empty => TryRecvError::Empty,
            mpsc::error::TryRecvError::Disconnected => TryRecvError::Disconnected,
        })
    }
}

impl<T: OptionalSend> MpscWeakSender<TokioMpsc, T> for MpscWeak<T> {
    fn upgrade(&self) -> Option<MpscTx<T>> {
        self.0.upgrade().map(MpscTx)
    }
}

/// Tokio's channel for one value.
#[derive(Debug)]
pub struct TokioOneshot;

/// Sends into a [`TokioOneshot`] channel.
pub struct OneshotTx<T>(tokio::sync::oneshot::Sender<T>);

impl oneshot::Oneshot for TokioOneshot {
    type Sender<T: OptionalSend> = OneshotTx<T>;
    type Receiver<T: OptionalSend> = tokio::sync::oneshot::Receiver<T>;
    type ReceiverError = tokio::sync::oneshot::error::RecvError;

    fn channel<T: OptionalSend>() -> (OneshotTx<T>, Self::Receiver<T>) {
        let (tx, rx) = tokio::sync::oneshot::channel();
        (OneshotTx(tx), rx)
    }
}

impl<T: OptionalSend> OneshotSender<T> for OneshotTx<T> {
    fn send(self, value: T) -> Result<(), T> {
        self.0.send(value)
    }
}

/// Tokio's async mutex.
pub struct TokioMutex<T>(tokio::sync::Mutex<T>);

impl<T: OptionalSend + 'static> mutex::Mutex<T> for TokioMutex<T> {
    type Guard<'a> = tokio::sync::MutexGuard<'a, T>;

    fn new(value: T) -> Self {
        TokioMutex(tokio::sync::Mutex::new(value))
    }

    fn lock(&self) -> impl Future<Output = Self::Guard<'_>> + OptionalSend {
        self.0.lock()
    }
}
