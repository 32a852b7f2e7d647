//! The streams of frames that others open to this node, as the network hands them over or by way of
//! the seam [`Wire`].
//!
//! Frames carry encoded bytes, so that what shapes them need not know what they say. Without a seam,
//! which is always in production, streams are passed on as they are: no frame is touched.

use std::{net::SocketAddr, pin::Pin, sync::Arc};

use bytes::Bytes;
use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use prost::Message;
use quintet_proto::{internal::v1 as wire, v1};
use tonic::{Status, Streaming};

use crate::seams::Wire;

/// A message that is nothing but encoded bytes.
pub(crate) trait Frame: Send + 'static {
    /// A frame of bytes.
    fn new(body: Bytes) -> Self;

    /// The bytes of a frame.
    fn into_body(self) -> Bytes;
}

macro_rules! frame {
    ($type:ty) => {
        impl Frame for $type {
            fn new(body: Bytes) -> Self {
                Self { body }
            }

            fn into_body(self) -> Bytes {
                self.body
            }
        }
    };
}

frame!(wire::PeerFrame);
frame!(wire::SnapshotFrame);
frame!(v1::SessionFrame);

/// Frames that the node sends, as gRPC takes them.
pub(crate) type Outbound<F> = Pin<Box<dyn Stream<Item = Result<F, Status>> + Send>>;

/// Frames that come from whoever opened the stream.
pub(crate) enum Inbound<F> {
    /// As the network hands them over.
    Network(Box<Streaming<F>>),
    /// By way of the seam.
    Shaped(BoxStream<'static, Result<F, Status>>),
}

impl<F> Inbound<F> {
    /// The next frame; none once the other side has said all.
    pub(crate) async fn message(&mut self) -> Result<Option<F>, Status> {
        match self {
            Inbound::Network(frames) => frames.message().await,
            Inbound::Shaped(frames) => frames.next().await.transpose(),
        }
    }
}

/// Answers that a node streams to whoever has asked from an address, by way of the seam if there is one. A message that
/// does not come out as it went in ends the stream.
pub(crate) fn answers<M: Message + Default + 'static>(
    seam: Option<&Arc<dyn Wire>>,
    from: Option<SocketAddr>,
    outbound: Outbound<M>,
) -> Outbound<M> {
    let (Some(seam), Some(from)) = (seam, from) else { return outbound };
    let outbound = outbound.map(|message| message.map(|message| message.encode_to_vec().into()));
    // Who has asked has nothing more to say.
    let (inbound, outbound) = seam.attach(from, stream::empty().boxed(), outbound.boxed());
    let decode = |body: Bytes| M::decode(body).map_err(|error| Status::internal(error.to_string()));
    let outbound = outbound.map(move |body| body.and_then(decode));
    Box::pin(stream::unfold((outbound, inbound), |(mut outbound, inbound)| async move {
        Some((outbound.next().await?, (outbound, inbound)))
    }))
}

/// Both directions of a stream that was opened from an address, by way of the seam if there is one.
pub(crate) fn attach<F: Frame>(
    seam: Option<&Arc<dyn Wire>>,
    from: Option<SocketAddr>,
    inbound: Streaming<F>,
    outbound: Outbound<F>,
) -> (Inbound<F>, Outbound<F>) {
    let (Some(seam), Some(from)) = (seam, from) else {
        return (Inbound::Network(Box::new(inbound)), outbound);
    };
    let inbound = inbound.map(|frame| frame.map(Frame::into_body)).boxed();
    let outbound = outbound.map(|frame| frame.map(Frame::into_body)).boxed();
    let (inbound, outbound) = seam.attach(from, inbound, outbound);
    let inbound = inbound.map(|body| body.map(F::new)).boxed();
    let outbound = outbound.map(|body| body.map(F::new));
    (Inbound::Shaped(inbound), Box::pin(outbound))
}
