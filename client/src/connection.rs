//! One dial of one node: connect, hello, welcome, then read until the stream ends.
//!
//! The reader also watches for a half-open stream: where something is pending and nothing at all was
//! received for the stall limit, the stream is given up. Everything that was sent on it then has an
//! unknown fate, and its callers go on elsewhere, as a later attempt.

use std::{sync::Arc, time::Duration};

use prost::Message;
use quintet_proto::v1::{self, kv_client::KvClient};
use tokio::{sync::oneshot, time::Instant};
use tonic::{
    codec::Streaming,
    transport::{Channel, Endpoint},
};

use crate::{
    error::Error,
    session::{Frames, Lane, Session},
    time::ClusterClock,
};

/// Largest frame that is accepted: a page of a scan and whatever the server put beside it.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// HTTP/2 windows: what may be on its way here on a stream and on a connection.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Ticks per stall limit. A stall is noticed at most two ticks after the limit: a small part of it, for it adds up
/// where one node after the other says nothing.
const STALL_TICKS: u32 = 16;
/// Timers are no finer.
const TICK_MIN: Duration = Duration::from_millis(1);

/// A stream past its welcome.
pub(crate) struct Dialed {
    pub(crate) lane: Arc<Lane>,
    pub(crate) welcome: v1::SessionWelcome,
    pub(crate) incoming: Streaming<v1::SessionFrame>,
}

/// Opens a gRPC channel to a node.
pub(crate) async fn open_channel(address: &str, timeout: Duration) -> Result<Channel, Error> {
    let uri =
        if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(uri)
        .map_err(|error| Error::InvalidArgument(format!("address {address}: {error}")))?
        .connect_timeout(timeout)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    endpoint.connect().await.map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        Error::Unavailable(format!("{address}: {error}{}", cause.unwrap_or_default()))
    })
}

/// Connects, says hello and waits for the welcome, all within `timeout`.
pub(crate) async fn dial(
    address: &str,
    hello: v1::SessionHello,
    clock: &ClusterClock,
    timeout: Duration,
) -> Result<Dialed, Error> {
    let greeted = tokio::time::timeout(timeout, async {
        let channel = open_channel(address, timeout).await?;
        let mut client = KvClient::new(channel).max_decoding_message_size(FRAME_BYTES_MAX);
        let lane = Arc::new(Lane::default());
        let outgoing = Frames::new(hello, Arc::clone(&lane));
        let mut incoming = match client.session(outgoing).await {
            Ok(response) => response.into_inner(),
            Err(status) => return Err(Error::from_status(&status)),
        };
        let first = match incoming.message().await {
            Ok(Some(frame)) => decode(frame)?,
            Ok(None) => {
                return Err(Error::Unavailable(format!("{address} ended the session at once")));
            }
            Err(status) => return Err(Error::from_status(&status)),
        };
        clock.observe(first.cluster_time);
        let refusal = first.responses.into_iter().find_map(|response| match response.result {
            Some(v1::session_response::Result::Error(error)) => Some(error),
            _ => None,
        });
        match (first.welcome, refusal) {
            (Some(welcome), _) => Ok(Dialed { lane, welcome, incoming }),
            (None, Some(error)) => Err(Error::from_wire(error)),
            (None, None) => Err(Error::Protocol(format!("{address} did not say welcome"))),
        }
    });
    match greeted.await {
        Ok(result) => result,
        Err(_) => Err(Error::Unavailable(format!("{address} did not answer within {timeout:?}"))),
    }
}

/// Reads until the stream ends, fails or stalls, or until `stop` is dropped; closes the session and
/// says why.
pub(crate) async fn read(
    session: &Session,
    mut incoming: Streaming<v1::SessionFrame>,
    clock: &ClusterClock,
    stall: Duration,
    mut stop: oneshot::Receiver<()>,
    on_route: impl Fn(v1::Route),
) -> Error {
    let tick = (stall / STALL_TICKS).max(TICK_MIN);
    let mut next_tick = Instant::now() + tick;
    let mut received = false;
    // for how many ticks in a row something was pending and nothing had come since the one before
    let mut quiet = Duration::ZERO;
    let reason = loop {
        tokio::select! {
            biased;
            _ = &mut stop => break Error::Unavailable("the client was dropped".to_owned()),
            message = incoming.message() => match message.map_err(|e| Error::from_status(&e)) {
                Ok(Some(frame)) => match decode(frame) {
                    Ok(responses) => {
                        received = true;
                        clock.observe(responses.cluster_time);
                        responses.routes.into_iter().for_each(&on_route);
                        session.deliver(responses.responses);
                    }
                    Err(error) => break error,
                },
                Ok(None) => break Error::Unavailable("the node ended the session".to_owned()),
                Err(error) => break error,
            },
            () = tokio::time::sleep_until(next_tick) => {
                next_tick = Instant::now() + tick;
                let waits = session.has_pending() && !std::mem::take(&mut received);
                quiet = if waits { quiet + tick } else { Duration::ZERO };
                received = false;
                if quiet > stall {
                    break Error::Unavailable(format!("the node said nothing for {stall:?}"));
                }
            }
        }
    };
    session.close();
    reason
}

fn decode(frame: v1::SessionFrame) -> Result<v1::SessionResponses, Error> {
    v1::SessionResponses::decode(frame.body)
        .map_err(|error| Error::Protocol(format!("a frame could not be decoded: {error}")))
}
