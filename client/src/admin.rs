//! Forming a cluster and looking after it: calls that one node answers for itself, each on a connection
//! of its own.
//!
//! They do not travel on sessions, so that they work also at a node that takes none: no cluster is formed yet,
//! or its directory is empty. The pool's nodes are asked in turn, the preferred one first, until one answers.
//! Only the request to form a cluster is never repeated at another node, because two nodes could both believe
//! that they were asked first; where its outcome is unknown the error says so.

use std::time::Duration;

use quintet_proto::v1::{self, admin_client::AdminClient};
use tonic::transport::Channel;

use crate::{
    client::Client, connection::open_channel, deadline::timeout_ms, error::Error, types::IntoBytes,
};

impl Client {
    /// Nodes, ranges and leaders, as one node sees them.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::DeadlineExceeded`] if no node answered.
    pub async fn status(&self) -> Result<v1::StatusResponse, Error> {
        self.ask_any(move |mut admin| async move { admin.status(v1::StatusRequest {}).await }).await
    }

    /// Moves all leaders off a node and keeps them away until [`undrain`](Self::undrain). The result says how
    /// many ranges the node still leads because no other node can. Waits for half of the call's deadline. A node
    /// that can't be reached leads nothing after an election, and is told of the drain when it is back.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if there is no such node.
    pub async fn drain(&self, node: u64) -> Result<v1::DrainResponse, Error> {
        let timeout_ms = timeout_ms(self.caller.timeout / 2);
        let request = v1::DrainRequest { node_id: node, undo: false, timeout_ms };
        self.ask_any(move |mut admin| async move { admin.drain(request).await }).await
    }

    /// Lets leaders come back to a node that was drained.
    ///
    /// # Errors
    /// As [`drain`](Self::drain), and [`Error::Unavailable`] if it can't be reached.
    pub async fn undrain(&self, node: u64) -> Result<v1::DrainResponse, Error> {
        let request = v1::DrainRequest { node_id: node, undo: true, timeout_ms: 0 };
        self.ask_any(move |mut admin| async move { admin.drain(request).await }).await
    }

    /// Sets for how long versions of the keys with a prefix are kept once they were overwritten or removed or have
    /// expired, in this client's keyspace; `None` takes the setting back. Of the prefixes of a key the longest counts.
    /// It counts within ten seconds; what was collected by then stays so.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for what is out of bounds, or one setting too many.
    pub async fn set_retention(
        &self,
        prefix: impl IntoBytes,
        retention: Option<Duration>,
    ) -> Result<(), Error> {
        let seconds = match retention.map(|retention| u32::try_from(retention.as_secs())) {
            None => 0,
            Some(Ok(seconds @ 1..)) => seconds,
            Some(_) => {
                let text = "the retention is below a second or out of all bounds".to_owned();
                return Err(Error::InvalidArgument(text));
            }
        };
        let request = v1::SetRetentionRequest {
            keyspace: self.caller.keyspace.to_string(),
            prefix: prefix.into_bytes(),
            retention_s: seconds,
            timeout_ms: timeout_ms(self.caller.timeout / 2),
        };
        self.ask_any(move |mut admin| {
            let request = request.clone();
            async move { admin.set_retention(request).await }
        })
        .await?;
        Ok(())
    }

    /// Has time servers on some nodes alone, an odd number of those that hold voters of the system range, or on all of
    /// these where none is named. For the time that a room is lost: those that are left bear one more loss then. The
    /// set changes within seconds ([`status`](Self::status) shows it).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for nodes that can't be named, or of which no majority is up.
    pub async fn place_time_servers(&self, nodes: &[u64]) -> Result<(), Error> {
        let timeout_ms = timeout_ms(self.caller.timeout / 2);
        let request = v1::PlaceTimeServersRequest { node_ids: nodes.to_vec(), timeout_ms };
        self.ask_any(move |mut admin| {
            let request = request.clone();
            async move { admin.place_time_servers(request).await }
        })
        .await?;
        Ok(())
    }

    /// Begins time anew without the time servers that are lost for good, where too few are left for rounds: above all
    /// that the other nodes know. Whose time server is named must never come back with that data directory, and is
    /// turned away where it does. With none named nothing is done, and the answer says what is lost.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] where time is not lost, a server that is named answers, or one that does not is not
    /// named; [`Error::Unavailable`] where the system range has no leader.
    pub async fn recover_time(&self, lost: &[u64]) -> Result<v1::RecoverTimeResponse, Error> {
        let timeout_ms = timeout_ms(self.caller.timeout / 2);
        let request = v1::RecoverTimeRequest { lost: lost.to_vec(), timeout_ms };
        self.ask_any(move |mut admin| {
            let request = request.clone();
            async move { admin.recover_time(request).await }
        })
        .await
    }

    /// The retentions that are set, and that of all other keys, as one node has them.
    ///
    /// # Errors
    /// As [`status`](Self::status).
    pub async fn list_retention(&self) -> Result<v1::ListRetentionResponse, Error> {
        self.ask_any(move |mut admin| async move {
            admin.list_retention(v1::ListRetentionRequest {}).await
        })
        .await
    }

    /// Takes a node back that lost its disk and runs with an empty directory: the node gets a new replica of
    /// every range in the place of each that it had. Returns after half of the call's deadline, or earlier once
    /// all is done, and says how far it got. Call it again until nothing is left: it goes on where it stopped.
    ///
    /// # Errors
    /// [`Error::NodeNotEmpty`] if the node has not lost its disk, [`Error::InvalidArgument`] if it is no
    /// member, [`Error::Unavailable`] if it can't be reached.
    pub async fn replace_node(&self, node: u64) -> Result<v1::ReplaceNodeResponse, Error> {
        let timeout_ms = timeout_ms(self.caller.timeout / 2);
        let request = v1::ReplaceNodeRequest { node_id: node, timeout_ms };
        self.ask_any(move |mut admin| async move { admin.replace_node(request).await }).await
    }

    /// The range that holds a key, with its leader and why it is there, as one node sees it.
    ///
    /// # Errors
    /// As [`status`](Self::status), and [`Error::InvalidArgument`] for a key that is empty or too long.
    pub async fn locate(&self, key: impl IntoBytes) -> Result<v1::RangeStatus, Error> {
        let request =
            v1::LocateRequest { keyspace: self.caller.keyspace.to_string(), key: key.into_bytes() };
        let found = self
            .ask_any(move |mut admin| {
                let request = request.clone();
                async move { admin.locate(request).await }
            })
            .await?;
        found.range.ok_or_else(|| Error::Protocol("an answer without a range".to_owned()))
    }

    /// Checksums of the replicas of one node, the first that answers; `range` 0 means all its ranges. To ask a
    /// certain node, give the client that node alone.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::DeadlineExceeded`] if no node answered,
    /// [`Error::Overloaded`] while it takes another checksum.
    pub async fn checksum(&self, range: u64) -> Result<v1::ChecksumResponse, Error> {
        let request = v1::ChecksumRequest { range_id: range };
        self.ask_any(move |mut admin| async move { admin.checksum(request).await }).await
    }

    /// The replica of a range on one node, the first that answers, with its last errors. To ask a certain node,
    /// give the client that node alone.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the node knows no such range, [`Error::Unavailable`] or
    /// [`Error::DeadlineExceeded`] if no node answered.
    pub async fn debug_range(&self, range: u64) -> Result<v1::DebugRangeResponse, Error> {
        let request = v1::DebugRangeRequest { range_id: range };
        self.ask_any(move |mut admin| async move { admin.debug_range(request).await }).await
    }

    /// What the system range holds: nodes, descriptors of ranges, settings. Answered from the replica of one
    /// node, the first that answers, as far as it has applied them. To ask a certain node, give the client that
    /// node alone.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::DeadlineExceeded`] if no node answered.
    pub async fn registry(&self) -> Result<v1::RegistryResponse, Error> {
        self.ask_any(move |mut admin| async move { admin.registry(v1::RegistryRequest {}).await })
            .await
    }

    /// Forms the cluster once `nodes` nodes know each other (0 means five), with the server's default number
    /// of ranges.
    ///
    /// # Errors
    /// As [`form_cluster`](Self::form_cluster).
    pub async fn init_cluster(&self, nodes: u32) -> Result<v1::InitClusterResponse, Error> {
        self.form_cluster(v1::InitClusterRequest { nodes, ..Default::default() }).await
    }

    /// Forms the cluster. The request says how many nodes it has, into how many ranges the keys are divided,
    /// and at which keys.
    ///
    /// # Errors
    /// [`Error::AlreadyInitialized`] if a cluster was formed before. After an error for which
    /// [`Error::maybe_committed`] is true the cluster may have been formed.
    pub async fn form_cluster(
        &self,
        request: v1::InitClusterRequest,
    ) -> Result<v1::InitClusterResponse, Error> {
        let pool = &self.caller.attachment.pool;
        let init = async {
            let channel = self.any_channel().await?;
            let mut admin = AdminClient::new(channel);
            // not repeated at another node: two requests could both believe to be the first
            admin.init_cluster(request).await.map_err(|status| {
                let error = Error::from_status(&status);
                // the connection broke: nobody said whether it was done
                let broken = status.details().is_empty()
                    && matches!(error, Error::Unavailable(_) | Error::DeadlineExceeded(_));
                let definite = status.code() == tonic::Code::FailedPrecondition;
                if broken && !definite { error.to_unknown_outcome() } else { error }
            })
        };
        match tokio::time::timeout(self.caller.timeout, init).await {
            Ok(result) => {
                pool.forget_failures();
                Ok(result?.into_inner())
            }
            Err(_) => {
                let text =
                    format!("`cluster init` was not answered within {:?}", self.caller.timeout);
                Err(Error::UnknownOutcome(text))
            }
        }
    }

    /// Asks the nodes in turn, on a connection of its own each, until one answers.
    async fn ask_any<T, Asked>(
        &self,
        ask: impl Fn(AdminClient<Channel>) -> Asked,
    ) -> Result<T, Error>
    where
        Asked: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        let pool = &self.caller.attachment.pool;
        let rounds = async {
            let mut last = Error::Unavailable("no node is known".to_owned());
            for address in pool.addresses() {
                let answer = async {
                    let channel = open_channel(&address, pool.connect_timeout()).await?;
                    let admin = AdminClient::new(channel);
                    ask(admin).await.map_err(|status| Error::from_status(&status))
                };
                match answer.await {
                    Ok(answer) => return Ok(answer.into_inner()),
                    Err(error @ Error::Unavailable(_)) => last = error,
                    Err(error) => return Err(error),
                }
            }
            Err(last)
        };
        tokio::time::timeout(self.caller.timeout, rounds).await.unwrap_or_else(|_| {
            Err(Error::DeadlineExceeded(format!(
                "no node answered within {:?}",
                self.caller.timeout
            )))
        })
    }

    /// A channel to the first node that can be connected to.
    async fn any_channel(&self) -> Result<Channel, Error> {
        let pool = &self.caller.attachment.pool;
        let mut last = Error::Unavailable("no node is known".to_owned());
        for address in pool.addresses() {
            match open_channel(&address, pool.connect_timeout()).await {
                Ok(channel) => return Ok(channel),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls can be made from a task of their own.
    #[test]
    fn calls_can_be_spawned() {
        fn is_send<T: Send>(_: &impl FnOnce(Client) -> T) {}
        is_send(&|client: Client| async move { drop(client.status().await) });
        is_send(&|client: Client| async move { drop(client.locate("k").await) });
        is_send(&|client: Client| async move { drop(client.set_retention("k", None).await) });
    }
}
