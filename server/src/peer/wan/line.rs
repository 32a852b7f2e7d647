//! A delay line: one direction of a connection, in which each byte is under way for the same time.
//!
//! One half reads pieces and notes when each is due, the other waits and writes them. They are one task, which ends as
//! a whole. A line takes in while it waits to hand out, so it has no bandwidth of its own: it holds what can be
//! under way, and where the receiver takes nothing, or that is not enough, the sender waits as it does in TCP.

use std::{io, pin::pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};

use super::timer::Timer;
use crate::time::local::{Instant, timeout};

/// Bytes under way: a gigabyte a second for 15 ms.
const BYTES_MAX: usize = 16 << 20;
/// What a piece counts for beside its bytes, so that small ones are bounded too.
const PIECE_BYTES: usize = 128;
/// Memory is taken in blocks, which pieces share. They leave in their order, so besides what is under way two blocks
/// are held at most.
const BLOCK_BYTES: usize = 64 << 10;
/// With less left of a block a new one is begun.
const READ_BYTES_MIN: usize = 4 << 10;
/// Once one end has closed, for how long what is left may take, beside its time under way.
pub(super) const LINGER: Duration = Duration::from_secs(10);

/// Bytes under way; none are the end.
struct Piece {
    due: Instant,
    bytes: Bytes,
    /// Its part of the room, given back when it is written.
    _held: OwnedSemaphorePermit,
}

/// Hands on what is sent, each byte this much later, until the sender has closed or the receiver takes no more. Then
/// the receiver is told the end.
pub(super) async fn carry(
    from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    one_way: Duration,
    timer: Timer,
) {
    // Bounded by the room that each piece holds.
    let (under_way, due) = mpsc::unbounded_channel();
    let given = {
        let mut gives = pin!(give(due, &mut to, &timer));
        tokio::select! {
            given = &mut gives => given,
            () = take(from, under_way, one_way) => {
                timeout(one_way + LINGER, gives).await.unwrap_or_else(|late| Err(late.into()))
            }
        }
    };
    if let Err(error) = given {
        tracing::debug!(%error, "a delayed connection was cut");
    }
    // Who has gone need not be told.
    to.shutdown().await.ok();
}

/// Reads to the end. An error is one: the connection is of no use any more.
async fn take(
    mut from: impl AsyncRead + Unpin,
    under_way: mpsc::UnboundedSender<Piece>,
    one_way: Duration,
) {
    let room = Arc::new(Semaphore::new(BYTES_MAX));
    let mut block = BytesMut::new();
    loop {
        if block.capacity() < READ_BYTES_MIN {
            block = BytesMut::with_capacity(BLOCK_BYTES);
        }
        let read = from.read_buf(&mut block).await.unwrap_or(0);
        let due = Instant::now() + one_way;
        let bytes = block.split().freeze();
        // A piece is a block at most.
        let counts = u32::try_from(bytes.len() + PIECE_BYTES).unwrap_or(u32::MAX);
        let Ok(held) = room.clone().acquire_many_owned(counts).await else { return };
        if under_way.send(Piece { due, bytes, _held: held }).is_err() || read == 0 {
            return;
        }
    }
}

/// Writes each piece when it is due.
async fn give(
    mut due: mpsc::UnboundedReceiver<Piece>,
    to: &mut (impl AsyncWrite + Unpin),
    timer: &Timer,
) -> io::Result<()> {
    while let Some(piece) = due.recv().await {
        timer.sleep_until(piece.due).await?;
        to.write_all(&piece.bytes).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use tokio::io::duplex;

    use super::*;
    use crate::time::local::sleep;

    const MS: Duration = Duration::from_millis(1);

    fn timer() -> Timer {
        Timer::new().expect("a timer")
    }

    #[tokio::test]
    async fn bytes_keep_their_order_and_none_comes_early() {
        let (mut sender, from) = duplex(4 << 10);
        let (to, mut receiver) = duplex(4 << 10);
        let one_way = 3 * MS;
        tokio::spawn(carry(from, to, one_way, timer()));
        let sends = async move {
            let mut sent = Vec::new();
            for n in 0..500_u32 {
                sent.push(Instant::now());
                sender.write_all(&n.to_be_bytes()).await.expect("taken");
                if n % 7 == 0 {
                    sleep(MS).await;
                }
            }
            sent
        };
        let receives = async move {
            let mut received = Vec::new();
            for n in 0..500_u32 {
                assert_eq!(receiver.read_u32().await.expect("sent"), n);
                received.push(Instant::now());
            }
            assert_eq!(receiver.read(&mut [0; 1]).await.expect("the end"), 0);
            received
        };
        let (sent, received) = tokio::join!(sends, receives);
        for (sent, received) in sent.into_iter().zip(received) {
            assert!(received - sent >= one_way, "{:?}", received - sent);
        }
    }

    #[tokio::test]
    async fn more_than_fits_arrives_whole_with_the_end_behind_it() {
        let (mut sender, from) = duplex(64 << 10);
        let (to, mut receiver) = duplex(64 << 10);
        tokio::spawn(carry(from, to, 5 * MS, timer()));
        let byte = |n: usize| (n % 251) as u8;
        let all: Vec<u8> = (0..3 * BYTES_MAX).map(byte).collect();
        let sent = all.clone();
        tokio::spawn(async move {
            sender.write_all(&sent).await.expect("taken");
            sender.shutdown().await.expect("closed");
        });
        let mut received = Vec::new();
        receiver.read_to_end(&mut received).await.expect("to the end");
        assert!(received == all, "{} bytes of {}", received.len(), all.len());
    }

    /// How many bytes a line takes of which nothing is due for an hour, in writes of one size.
    async fn taken(size: usize) -> usize {
        let (mut sender, from) = duplex(size);
        let (to, _receiver) = duplex(1);
        tokio::spawn(carry(from, to, Duration::from_secs(3600), timer()));
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = taken.clone();
        tokio::spawn(async move {
            let piece = vec![0; size];
            while sender.write_all(&piece).await.is_ok() {
                counted.fetch_add(size, Relaxed);
            }
        });
        // One thread: as long as either of them can go on it does so in between.
        let (mut before, mut same) = (0, 0);
        while same < 1_000 {
            tokio::task::yield_now().await;
            let now = taken.load(Relaxed);
            same = if now == before { same + 1 } else { 0 };
            before = now;
        }
        before
    }

    #[tokio::test]
    async fn what_is_under_way_is_bounded() {
        let large = taken(BLOCK_BYTES).await;
        assert!(large > BYTES_MAX / 2 && large <= BYTES_MAX + 3 * BLOCK_BYTES, "{large}");
        // One byte at a time costs what holds it.
        let small = taken(1).await;
        assert!(small <= BYTES_MAX / PIECE_BYTES + 2, "{small}");
    }

    #[tokio::test]
    async fn a_receiver_that_is_gone_ends_it() {
        let (mut sender, from) = duplex(64);
        let (to, receiver) = duplex(64);
        let line = tokio::spawn(carry(from, to, MS, timer()));
        drop(receiver);
        sender.write_all(b"to nobody").await.expect("taken");
        line.await.expect("ended");
        sender.write_all(b"more").await.expect_err("nobody takes it");
    }
}
