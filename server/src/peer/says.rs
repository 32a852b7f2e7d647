//! What a frame says, for the event log of a simulated run.
//!
//! A receive is matched with its send by sender, receiver and bytes: sequence numbers and the clock are in
//! them, so that two frames of a link are hardly ever equal. Decoding costs nothing where nobody keeps the
//! log: an event is formatted only then.

use std::fmt;

use bytes::Bytes;
use prost::Message;
use quintet_proto::internal::v1 as wire;

use super::Kind;

/// Messages of a frame that are told one by one.
const TOLD_MAX: usize = 6;

/// The messages of an encoded [`wire::PeerBatch`]: `[#7 append r3 (2 entries, term 5); #8 echo]`.
pub(super) struct Says<'a>(pub(super) &'a Bytes);

impl fmt::Display for Says<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(batch) = wire::PeerBatch::decode(self.0.clone()) else {
            return f.write_str("[undecodable]");
        };
        f.write_str("[")?;
        for (position, message) in batch.messages.iter().take(TOLD_MAX).enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            write!(f, "{separator}#{} ", message.seq)?;
            tell(f, message)?;
        }
        if let Some(more) = batch.messages.len().checked_sub(TOLD_MAX).filter(|more| *more > 0) {
            write!(f, "; {more} more")?;
        }
        f.write_str("]")
    }
}

fn tell(f: &mut fmt::Formatter<'_>, message: &wire::PeerMessage) -> fmt::Result {
    use wire::append_response::Result as Appended;
    let range = message.range_id;
    let term = |vote: &Option<wire::Vote>| vote.as_ref().map_or(0, |vote| vote.term);
    match &message.kind {
        Some(Kind::Append(append)) => match append.entries.len() {
            0 => write!(f, "heartbeat r{range} (term {})", term(&append.vote)),
            entries => {
                write!(f, "append r{range} ({entries} entries, term {})", term(&append.vote))
            }
        },
        Some(Kind::AppendAnswer(answer)) => match &answer.result {
            Some(Appended::Success(_) | Appended::Partial(_)) => write!(f, "appended r{range}"),
            Some(Appended::HigherVote(vote)) => {
                write!(f, "append refused r{range} (term {})", vote.term)
            }
            _ => write!(f, "append refused r{range}"),
        },
        Some(Kind::Vote(vote)) => write!(f, "vote asked r{range} (term {})", term(&vote.vote)),
        Some(Kind::PreVote(vote)) => {
            write!(f, "pre-vote asked r{range} (term {})", term(&vote.vote))
        }
        Some(Kind::VoteAnswer(answer)) => {
            let granted = if answer.granted { "granted" } else { "refused" };
            write!(f, "vote {granted} r{range} (term {})", term(&answer.vote))
        }
        Some(Kind::Failed(why)) => write!(f, "failed r{range}: {why:?}"),
        Some(kind) => write!(f, "{} r{range}", name(kind)),
        None => f.write_str("nothing"),
    }
}

fn name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Append(_) => "append",
        Kind::AppendAnswer(_) => "append answer",
        Kind::Vote(_) => "vote",
        Kind::PreVote(_) => "pre-vote",
        Kind::VoteAnswer(_) => "vote answer",
        Kind::Transfer(_) => "leader transfer",
        Kind::TransferAnswer(_) => "leader transfer answer",
        Kind::Forward(_) => "forward",
        Kind::ForwardAnswer(_) => "forward answer",
        Kind::Ping(_) => "ping",
        Kind::Pong(_) => "pong",
        Kind::Bootstrap(_) => "bootstrap",
        Kind::BootstrapAnswer(_) => "bootstrap answer",
        Kind::Failed(_) => "failed",
        Kind::Init(_) => "init",
        Kind::InitAnswer(_) => "init answer",
        Kind::Echo(_) => "echo",
        Kind::Drain(_) => "drain",
        Kind::DrainAnswer(_) => "drain answer",
        Kind::DrainFor(_) => "drain for",
        Kind::Claims(_) => "claims",
        Kind::ClaimsAnswer(_) => "claims answer",
        Kind::Enlist(_) => "enlist",
        Kind::EnlistAnswer(_) => "enlist answer",
        Kind::Replace(_) => "replace",
        Kind::ReplaceAnswer(_) => "replace answer",
        Kind::Reach(_) => "reach asked",
        Kind::ReachAnswer(_) => "reach answer",
        Kind::ReplaceReplica(_) => "replace replica",
        Kind::ReplaceReplicaAnswer(_) => "replace replica answer",
        Kind::HoldReplica(_) => "hold replica",
        Kind::HoldReplicaAnswer(_) => "hold replica answer",
        Kind::TimeTick(_) => "time tick",
        Kind::TimeTickAnswer(_) => "time tick answer",
        Kind::TimeRound(_) => "time round",
        Kind::TimeRoundAnswer(_) => "time round answer",
        Kind::TimeFence(_) => "time fence",
        Kind::TimeFenceAnswer(_) => "time fence answer",
        Kind::TimeSeed(_) => "time seed",
        Kind::TimeSeedAnswer(_) => "time seed answer",
        Kind::Closed(_) => "closed timestamps",
        Kind::ClosedAnswer(_) => "closed timestamps answer",
        Kind::ReadIndex(_) => "read index",
        Kind::ReadIndexAnswer(_) => "read index answer",
        Kind::HoldVersions(_) => "hold versions",
        Kind::HoldVersionsAnswer(_) => "hold versions answer",
        Kind::PlaceTimeServers(_) => "place time servers",
        Kind::PlaceTimeServersAnswer(_) => "place time servers answer",
        Kind::SetRetention(_) => "set retention",
        Kind::SetRetentionAnswer(_) => "set retention answer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_says_its_messages_in_order() {
        let message = |seq, kind| wire::PeerMessage {
            seq,
            range_id: 3,
            kind: Some(kind),
            ..wire::PeerMessage::default()
        };
        let vote = Some(wire::Vote { term: 5, ..wire::Vote::default() });
        let append = wire::AppendRequest {
            vote,
            entries: vec![wire::Entry::default(); 2],
            ..wire::AppendRequest::default()
        };
        let heartbeat = wire::AppendRequest { vote, ..wire::AppendRequest::default() };
        let mut messages = vec![
            message(7, Kind::Append(append)),
            message(8, Kind::Append(heartbeat)),
            message(9, Kind::Echo(wire::Echo {})),
        ];
        let told = |messages: &[wire::PeerMessage]| {
            let batch =
                wire::PeerBatch { messages: messages.to_vec(), ..wire::PeerBatch::default() };
            Says(&Bytes::from(batch.encode_to_vec())).to_string()
        };
        assert_eq!(
            told(&messages),
            "[#7 append r3 (2 entries, term 5); #8 heartbeat r3 (term 5); #9 echo r3]"
        );
        messages.extend((10..14).map(|seq| message(seq, Kind::Echo(wire::Echo {}))));
        assert!(told(&messages).ends_with("; 1 more]"), "{}", told(&messages));
        assert_eq!(Says(&Bytes::from_static(b"\xff")).to_string(), "[undecodable]");
    }
}
