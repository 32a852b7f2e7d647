//! Reads of the newest state by the node that the client is attached to: strict ones, as [`Client::get`] is.
//!
//! The node asks the leader of the range how far it has to be, and its replica answers then. So values come from near
//! by and the leader reads none; a round trip to the leader, and one of the leader's, remain. Right after a write it
//! takes up to 20 ms more, until the node has heard that the write is committed. A node that can't leaves the read to
//! the leader.

use quintet_proto::v1::{self, session_request::Op};

use crate::{
    caller::Caller,
    client::Client,
    error::Error,
    pending::Answer,
    scan::{Scan, ScanOptions},
    types::{IntoBytes, Versioned},
};

impl Client {
    /// Reads of the newest state, by the replica of the node that the client is attached to.
    ///
    /// ```no_run
    /// # async fn example(client: quintet_client::Client) -> Result<(), quintet_client::Error> {
    /// client.put("key", "value").await?;
    /// let found = client.from_follower().get("key").await?;
    /// assert_eq!(found.map(|found| found.value), Some("value".into()));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn from_follower(&self) -> FollowerReads {
        FollowerReads { caller: self.caller.clone() }
    }
}

/// Reads of the newest state by a replica that need not lead. From [`Client::from_follower`]; cheap to clone.
#[derive(Clone, Debug)]
pub struct FollowerReads {
    caller: Caller,
}

impl FollowerReads {
    /// The newest value of a key, or `None` if there is none.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn get(&self, key: impl IntoBytes) -> Result<Option<Versioned>, Error> {
        let key = key.into_bytes();
        let get = v1::GetRequest { key, from_follower: true, ..v1::GetRequest::default() };
        match self.caller.call(Op::Get(get)).await? {
            Answer::Get(found) => Ok(Versioned::from_wire(found.state)),
            _ => Err(Error::mismatch()),
        }
    }

    /// Keys in order, as [`Client::scan`] gives them.
    pub fn scan(&self, options: ScanOptions) -> Scan {
        Scan::new(self.caller.clone(), options.by_follower())
    }
}
