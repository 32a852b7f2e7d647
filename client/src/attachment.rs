//! A client's attachment to its cluster: what all clones of a [`Client`](crate::Client) share, and all scans,
//! deletions and writers that were made from them.
//!
//! It holds the pool of nodes, with the routes, the clock and the pauses that belong to them, and the ids of
//! requests. It knows neither keyspace nor timeout: those differ from clone to clone (`caller.rs`). When the
//! last holder drops it, the pool's tasks end (`pool.rs`).

use std::{sync::Arc, time::Duration};

use crate::{error::Error, gathering::Gathering, pool::Pool, request_ids::RequestIds};

#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) pool: Arc<Pool>,
    pub(crate) request_ids: RequestIds,
    pub(crate) gathering: Gathering,
}

impl Attachment {
    /// Waits for the first session. Nodes without a cluster will do, because a client has to ask them to form
    /// one.
    pub(crate) async fn attach(&self, timeout: Duration) -> Result<(), Error> {
        match tokio::time::timeout(timeout, self.pool.session()).await {
            Ok(Ok(_) | Err(Error::NotInitialized(_) | Error::EmptyNode(_))) => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::Unavailable(format!(
                "no node answered within {timeout:?}: {}",
                self.pool.last_errors()
            ))),
        }
    }
}
