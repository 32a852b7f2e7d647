//! How a leadership is ended from outside: openraft (0.10.0-alpha.37) has no word for it.
//!
//! A leader is asked for its vote as a candidate of the next term would ask with the leader's permission
//! (`VoteRequest::leadership_transfer`), and its followers are told of a transfer of leadership to nobody: both let
//! the leadership go. When that is done, and why it is safe, is in `range/check_quorum.rs`.

use openraft::raft::{TransferLeaderRequest, VoteRequest};
use quintet_proto::internal::v1 as net;

use super::{group::Group, progress::Vote, types, wire};
use crate::storage::format::raft::Position;

/// The replica of a transfer of leadership that is to nobody: the leader lets its followers go.
const NOBODY: u64 = 0;

impl Group {
    /// Asks this replica for its vote, with its own permission where it leads. Whether it was granted: then it leads
    /// no more.
    pub async fn ask_vote_for(&self, candidate: Vote, last: Option<Position>) -> bool {
        let mut request = VoteRequest::new(types::vote(candidate), last.map(types::log_id));
        request.leadership_transfer = true;
        self.raft.vote(request).await.is_ok_and(|answer| answer.vote_granted)
    }

    /// Lets the leader go whom this replica follows, as if it had said so itself. Returns the vote for it.
    pub async fn release_leader(&self, last: Option<Position>) -> Vote {
        let vote = self.vote();
        // A group that has failed follows nobody.
        self.raft.handle_transfer_leader(released(vote, last)).await.ok();
        vote
    }
}

/// What a leader tells its followers when it lets them go.
pub fn release(led: Vote, last: Option<Position>) -> net::TransferRequest {
    wire::transfer_out(&released(led, last))
}

fn released(led: Vote, last: Option<Position>) -> TransferLeaderRequest<types::TypeConfig> {
    TransferLeaderRequest::new(types::vote(led), NOBODY, last.map(types::log_id))
}
