//! Connections to the gRPC ports: how many there may be, and how long one may say nothing.
//!
//! Anybody may connect, and a connection costs a file descriptor of the process that RocksDB needs its
//! own of. So there is a bound, below what the system gives the process ([`Bounds::of_process`]), and
//! strangers are told from clients by their first words: until the first [`PREFACE_BYTES`] are there a
//! connection is a *stranger*. Strangers have [`PATIENCE`] and a bound of their own, at which the one
//! that has been silent for longest goes: a flood of silent connections keeps no client out, whose first
//! words come at once.
//!
//! What has said its first words is looked after by HTTP/2's own pings. At the bound of all connections
//! the newest is closed at once; clients go to another node.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, task::AtomicWaker};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tonic::transport::server::Connected;

use crate::{
    api::{line::Line, outgoing::Arrival},
    ops::metrics::{ConnectionMetrics, Metrics},
    time::local::{Instant, Sleep, sleep},
};

/// Length of the words with which every HTTP/2 client begins.
const PREFACE_BYTES: usize = 24;
/// How long a connection may take for them.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections of clients, where the system allows that many.
const CLIENTS_MAX: usize = 8_192;
/// Connections of other nodes.
const PEERS_MAX: usize = 1_024;
/// Connections of one port that have not said their first words.
const STRANGERS_MAX: usize = 512;
/// Pause after an error of `accept`, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two lines of the log about refused connections.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// How many connections the ports take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) clients: usize,
    pub(super) peers: usize,
}

impl Bounds {
    /// Takes as many open files as the system gives this process, and leaves RocksDB its part.
    pub(super) fn of_process() -> Bounds {
        let files = open_files_max();
        let bounds = Bounds {
            clients: CLIENTS_MAX.min(files / 2).max(1),
            peers: PEERS_MAX.min(files / 8).max(1),
        };
        if bounds.clients < CLIENTS_MAX {
            tracing::warn!(
                files,
                connections = bounds.clients,
                "the system allows the node few open files, so it takes few connections: raise the \
                 limit (ulimit -n, LimitNOFILE)"
            );
        }
        bounds
    }
}

/// Raises this process's limit of open files as far as it may; the limit then.
fn open_files_max() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls take a pointer to a live `rlimit` and touch nothing else of ours.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return 1_024;
        }
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) == 0 {
            limit = raised;
        }
    }
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

/// One connection that has not said its first words.
#[derive(Default)]
struct Stranger {
    /// It said them, or is closed.
    done: AtomicBool,
    /// Its place is wanted.
    evicted: AtomicBool,
    waker: AtomicWaker,
}

/// Accepts what connects to a port, within bounds.
struct Door {
    listener: TcpListener,
    what: &'static str,
    places: Arc<Semaphore>,
    /// In the order in which they came.
    strangers: VecDeque<Arc<Stranger>>,
    /// How long one may take for its first words.
    patience: Duration,
    figures: ConnectionMetrics,
    complained: Option<Instant>,
}

/// The connections of a port; never ends.
pub(super) fn incoming(
    listener: TcpListener,
    what: &'static str,
    most: usize,
    metrics: &Metrics,
) -> impl Stream<Item = io::Result<Guest>> + use<> {
    let door = Door::new(listener, what, most, PATIENCE, metrics);
    futures::stream::unfold(door, |mut door| async move {
        let guest = door.next().await;
        Some((Ok(guest), door))
    })
}

impl Door {
    fn new(
        listener: TcpListener,
        what: &'static str,
        most: usize,
        patience: Duration,
        metrics: &Metrics,
    ) -> Door {
        let figures = metrics.connections.of(what);
        figures.limit.set(most as u64);
        Door {
            listener,
            what,
            places: Arc::new(Semaphore::new(most)),
            strangers: VecDeque::new(),
            patience,
            figures,
            complained: None,
        }
    }

    async fn next(&mut self) -> Guest {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(port = self.what, %error, "a connection can't be accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            self.make_room();
            let Ok(place) = self.places.clone().try_acquire_owned() else {
                self.figures.refused.inc();
                self.complain("all its connections are taken: the newest are closed");
                continue;
            };
            // Without it answers wait for more of them; the connection works all the same.
            stream.set_nodelay(true).ok();
            let stranger = Arc::new(Stranger::default());
            self.strangers.push_back(stranger.clone());
            self.figures.open.inc();
            return Guest {
                stream,
                greeting: Some(Greeting { bytes: 0, patience: Box::pin(sleep(self.patience)) }),
                stranger,
                line: Line::new(),
                figures: self.figures.clone(),
                _place: place,
            };
        }
    }

    /// Lets the stranger go that came first, where there are too many.
    fn make_room(&mut self) {
        if self.strangers.len() < STRANGERS_MAX {
            return;
        }
        self.strangers.retain(|stranger| !stranger.done.load(Ordering::Acquire));
        if self.strangers.len() < STRANGERS_MAX {
            return;
        }
        if let Some(first) = self.strangers.pop_front() {
            first.evicted.store(true, Ordering::Release);
            first.waker.wake();
            self.figures.refused.inc();
            self.complain("too many connections say nothing: the oldest of them are closed");
        }
    }

    fn complain(&mut self, why: &str) {
        let now = Instant::now();
        if self.complained.is_none_or(|last| now >= last + COMPLAINT_INTERVAL) {
            self.complained = Some(now);
            tracing::warn!(port = self.what, "{why}");
        }
    }
}

/// What is awaited of a stranger.
struct Greeting {
    bytes: usize,
    patience: Pin<Box<Sleep>>,
}

/// A connection that was let in.
pub(super) struct Guest {
    stream: TcpStream,
    /// `None` once its first words are there.
    greeting: Option<Greeting>,
    stranger: Arc<Stranger>,
    /// What its answers share.
    line: Arc<Line>,
    figures: ConnectionMetrics,
    _place: OwnedSemaphorePermit,
}

impl Guest {
    fn note_written(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.line.written(*bytes);
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.stranger.done.store(true, Ordering::Release);
        self.line.close();
        self.figures.open.dec();
    }
}

impl Connected for Guest {
    type ConnectInfo = Arrival;

    fn connect_info(&self) -> Arrival {
        Arrival { line: self.line.clone(), tcp: self.stream.connect_info() }
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(greeting) = &mut this.greeting else {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        };
        this.stranger.waker.register(cx.waker());
        if this.stranger.evicted.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if greeting.patience.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        greeting.bytes += buf.filled().len() - before;
        if greeting.bytes >= PREFACE_BYTES {
            this.greeting = None;
            this.stranger.done.store(true, Ordering::Release);
        }
        read
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.note_written(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bytes);
        this.note_written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn port() -> (TcpListener, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        (listener, address)
    }

    #[tokio::test]
    async fn the_stranger_that_came_first_makes_room() {
        let (listener, address) = port().await;
        let metrics = Metrics::new();
        let mut door = Door::new(listener, "test", 10 * STRANGERS_MAX, PATIENCE, &metrics);
        let mut clients = Vec::new();
        let mut guests = Vec::new();
        for _ in 0..STRANGERS_MAX {
            clients.push(TcpStream::connect(address).await.expect("connected"));
            guests.push(door.next().await);
        }
        // The second one says its first words, and is no stranger any more.
        clients[1].write_all(&[b'x'; PREFACE_BYTES]).await.expect("sent");
        let mut words = [0; PREFACE_BYTES];
        guests[1].read_exact(&mut words).await.expect("read");
        for _ in 0..2 {
            clients.push(TcpStream::connect(address).await.expect("connected"));
            guests.push(door.next().await);
        }
        assert_eq!(metrics.connections.of("test").refused.get(), 1);
        let gone = guests[0].read(&mut words).await.expect_err("closed");
        assert_eq!(gone.kind(), io::ErrorKind::ConnectionAborted);
        clients[1].write_all(b"y").await.expect("sent");
        assert_eq!(guests[1].read(&mut words).await.expect("read"), 1, "it stays");
        assert_eq!(metrics.connections.of("test").open.get(), guests.len() as u64);
        drop(guests);
        assert_eq!(metrics.connections.of("test").open.get(), 0);
    }

    #[tokio::test]
    async fn who_says_nothing_in_time_has_to_go() {
        let (listener, address) = port().await;
        let patience = Duration::from_millis(100);
        let mut door = Door::new(listener, "test", 9, patience, &Metrics::new());
        let mut client = TcpStream::connect(address).await.expect("connected");
        let mut guest = door.next().await;
        // Not enough, and slowly.
        client.write_all(&[b'x'; PREFACE_BYTES - 1]).await.expect("sent");
        let mut words = Vec::new();
        let began = Instant::now();
        // It still waits for the rest.
        let gone = guest.read_to_end(&mut words).await.expect_err("closed");
        assert_eq!(gone.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
        assert_eq!(words.len(), PREFACE_BYTES - 1);
    }

    #[tokio::test]
    async fn at_the_bound_the_newest_is_closed_until_one_has_gone() {
        let (listener, address) = port().await;
        let metrics = Metrics::new();
        let mut door = Door::new(listener, "test", 1, PATIENCE, &metrics);
        let _first = TcpStream::connect(address).await.expect("connected");
        let guest = door.next().await;
        let mut refused = TcpStream::connect(address).await.expect("connected");
        let next = door.next();
        let mut next = std::pin::pin!(next);
        let mut nothing = [0; 1];
        tokio::select! {
            _ = &mut next => panic!("one too many"),
            read = refused.read(&mut nothing) => assert_eq!(read.expect("closed"), 0),
        }
        assert_eq!(metrics.connections.of("test").refused.get(), 1);
        drop(guest);
        let _third = TcpStream::connect(address).await.expect("connected");
        next.await;
    }
}
