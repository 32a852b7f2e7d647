//! A connection to a node that is made to be far away: dialled here, and carried by two delay lines.
//!
//! A dial takes a round trip, whether it is answered or refused, as it would over that distance: how fast nodes notice
//! that a process has ended (`departures.rs`) depends on it.

use std::{io, pin::pin, time::Duration};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{DuplexStream, split},
    net::TcpStream,
};
use tonic::transport::{Channel, Endpoint, Error};

use super::{
    line::{LINGER, carry},
    timer::Timer,
};
use crate::time::local::{Instant, timeout};

/// Bytes between gRPC and the delay lines, each way; those under way are the lines'.
const NEAR_BYTES: usize = 256 << 10;

/// Connects to a node that is this far away.
pub(super) async fn connect(endpoint: &Endpoint, one_way: Duration) -> Result<Channel, Error> {
    let dialler = tower::service_fn(move |uri: Uri| async move {
        let near = dial(uri, one_way).await?;
        Ok::<_, io::Error>(TokioIo::new(near))
    });
    endpoint.connect_with_connector(dialler).await
}

/// The near end of a new connection.
async fn dial(uri: Uri, one_way: Duration) -> io::Result<DuplexStream> {
    let authority = uri.authority().ok_or(io::ErrorKind::InvalidInput)?;
    let (forth, back) = (Timer::new()?, Timer::new()?);
    let begun = Instant::now();
    let dialled = TcpStream::connect(authority.as_str()).await;
    forth.sleep_until(begun + 2 * one_way).await?;
    let far = dialled?;
    far.set_nodelay(true)?;
    let (mine, near) = tokio::io::duplex(NEAR_BYTES);
    tokio::spawn(relay(near, far, one_way, forth, back));
    Ok(mine)
}

/// Hands on what both ends send, until both have closed. Once one direction is over the other has a time to come
/// to its end: a connection that this node has closed must not keep the socket to a process that stands still.
async fn relay(near: DuplexStream, far: TcpStream, one_way: Duration, forth: Timer, back: Timer) {
    let (from_near, to_near) = split(near);
    let (from_far, to_far) = far.into_split();
    let mut forth = pin!(carry(from_near, to_far, one_way, forth));
    let mut back = pin!(carry(from_far, to_near, one_way, back));
    tokio::select! {
        () = &mut forth => timeout(LINGER, back).await.ok(),
        () = &mut back => timeout(LINGER, forth).await.ok(),
    };
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::peer::departures::is_refusal;

    const ONE_WAY: Duration = Duration::from_millis(15);

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        (listener, address)
    }

    async fn dialled(address: SocketAddr) -> io::Result<DuplexStream> {
        dial(format!("http://{address}").parse().expect("an address"), ONE_WAY).await
    }

    #[tokio::test]
    async fn a_dial_takes_a_round_trip_answered_or_refused() {
        let (listener, address) = listener().await;
        let begun = Instant::now();
        dialled(address).await.expect("connected");
        assert!(begun.elapsed() >= 2 * ONE_WAY, "{:?}", begun.elapsed());
        drop(listener);
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let begun = Instant::now();
        let error = connect(&endpoint, ONE_WAY).await.expect_err("nobody listens");
        assert!(begun.elapsed() >= 2 * ONE_WAY, "{:?}", begun.elapsed());
        assert!(is_refusal(&error), "{error:?}");
    }

    #[tokio::test]
    async fn either_end_may_close_and_still_be_told_something() {
        let (listener, address) = listener().await;
        let mut near = dialled(address).await.expect("connected");
        let (mut far, _) = listener.accept().await.expect("accepted");
        let begun = Instant::now();
        near.write_all(b"question").await.expect("sent");
        near.shutdown().await.expect("closed");
        let mut text = String::new();
        far.read_to_string(&mut text).await.expect("all of it");
        assert_eq!(text, "question");
        assert!(begun.elapsed() >= ONE_WAY, "{:?}", begun.elapsed());
        far.write_all(b"answer").await.expect("sent");
        drop(far);
        let mut text = String::new();
        near.read_to_string(&mut text).await.expect("all of it");
        assert_eq!(text, "answer");
        assert!(begun.elapsed() >= 2 * ONE_WAY, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn the_far_end_is_told_that_the_near_one_is_gone() {
        let (listener, address) = listener().await;
        let near = dialled(address).await.expect("connected");
        let (mut far, _) = listener.accept().await.expect("accepted");
        drop(near);
        assert_eq!(far.read(&mut [0; 1]).await.expect("the end"), 0);
    }

    async fn echo() -> SocketAddr {
        let (listener, address) = listener().await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            stream.set_nodelay(true).expect("set");
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await.ok();
        });
        address
    }

    /// Above, the quickest of many is looked at: a busy machine delays any one of them.
    #[tokio::test]
    async fn a_round_trip_is_hardly_longer_than_set() {
        for (trip_ms, times) in [(1, 200), (30, 20)] {
            let trip = Duration::from_millis(trip_ms);
            let uri = format!("http://{}", echo().await).parse().expect("an address");
            let mut near = dial(uri, trip / 2).await.expect("connected");
            let mut took = Vec::new();
            for _ in 0..times {
                let asked = Instant::now();
                near.write_all(b"x").await.expect("sent");
                near.read_exact(&mut [0; 1]).await.expect("answered");
                took.push(asked.elapsed());
            }
            took.sort();
            let quickest = took[0];
            assert!(quickest >= trip && quickest < trip.mul_f64(1.2), "{took:?}");
        }
    }
}
