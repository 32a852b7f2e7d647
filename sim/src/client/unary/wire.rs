//! How the messages of unary calls travel, where that is simulated: by `sim/src/net/calls.rs`.

use std::sync::{Arc, atomic::AtomicBool};

use futures::future::BoxFuture;

/// Why a message did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// There never was a connection: nothing was said.
    NotSent,
    /// The connection broke.
    Reset,
}

/// How the messages of unary calls travel between a client and a node, where that is simulated.
pub trait Wire: Send + Sync {
    /// A request goes to a node, unless whoever asks has given up before there was a connection.
    fn there(
        &self,
        node: &str,
        bytes: usize,
        given_up: Arc<AtomicBool>,
    ) -> BoxFuture<'static, Result<(), Broken>>;

    /// An answer, or a page of one, comes back from a node.
    fn back(&self, node: &str, bytes: usize) -> BoxFuture<'static, Result<(), Broken>>;
}
