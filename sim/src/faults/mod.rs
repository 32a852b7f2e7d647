//! What goes wrong: one task per strike of the plan, one file per family of faults. What they have in common is in
//! `striking.rs`.
//!
//! A strike may be aborted wherever it is, when the run begins to heal: what it leaves behind
//! ([`Cluster::mend_all`]) is mended then.

mod clock;
mod cut;
mod disk;
mod disk_loss;
mod failpoint;
mod kill;
mod link;
mod load;
mod operator;
mod outage;
mod partial;
mod pause;
mod placing;
mod striking;
mod time_loss;

use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

pub use self::striking::Fired;
use self::striking::Striking;
use crate::{cluster::Cluster, crowd::Crowd, dice::Dice, plan::Strike, scenario::Kind};

/// Waits for the moment of a strike, and lets it happen.
pub(crate) async fn strike(
    cluster: Arc<Cluster>,
    crowd: Arc<Crowd>,
    fired: Fired,
    began: Instant,
    strike: Strike,
) {
    sleep_until(began + strike.at).await;
    let dice = Dice::new(strike.seed, 0);
    let mut striking = Striking { cluster, crowd, fired, strike, dice };
    match striking.strike.fault.kind {
        Kind::NodeKill => kill::node(&mut striking).await,
        Kind::RollingRestart => kill::rolling(&mut striking).await,
        Kind::PowerLoss => kill::power(&mut striking).await,
        Kind::RoomLoss => kill::room(&mut striking).await,
        Kind::CityLoss => kill::city(&mut striking).await,
        Kind::MajorityLoss => kill::majority(&mut striking).await,
        Kind::LongOutage => outage::long(&mut striking).await,
        Kind::DiskLoss => disk_loss::lose(&mut striking).await,
        Kind::TimeLoss => time_loss::lose(&mut striking).await,
        Kind::LeaderCut => cut::leader(&mut striking).await,
        Kind::Drain => operator::drain(&mut striking).await,
        Kind::LeaderTransfer => operator::transfer(&mut striking).await,
        Kind::StaleRoutes => operator::stale_routes(&mut striking),
        Kind::Burst => load::burst(&mut striking).await,

        Kind::NodePause => pause::node(&mut striking).await,
        Kind::NodeCut => cut::node(&mut striking).await,
        Kind::OneWayCut => cut::one_way(&mut striking).await,
        Kind::CityCut => cut::city(&mut striking).await,
        Kind::RoomCut => cut::room(&mut striking).await,
        Kind::MinorityCut => cut::minority(&mut striking).await,
        Kind::RingCut => cut::ring(&mut striking).await,
        Kind::LonelyLeader => partial::lonely_leader(&mut striking).await,
        Kind::HalfSeenHome => partial::half_seen_home(&mut striking).await,
        Kind::SuccessorUnseen => partial::successor_unseen(&mut striking).await,
        Kind::TimeOnBothSides => partial::time_on_both_sides(&mut striking).await,
        Kind::LinkFlap => link::flap(&mut striking).await,
        Kind::LinkSlow => link::slow(&mut striking).await,
        Kind::StreamBreaks => link::break_streams(&mut striking),
        Kind::FailpointKill => failpoint::kill(&mut striking).await,
        Kind::ClockJump => clock::jump(&mut striking),
        Kind::ClockLeap => clock::leap(&mut striking).await,
        Kind::ClocksApart => clock::apart(&mut striking).await,
        Kind::CityClocks => clock::city(&mut striking).await,
        Kind::ClockRate => clock::rate(&mut striking).await,
        Kind::SyncFailure => disk::fail_sync(&mut striking).await,
        Kind::DiskSlow => disk::slow(&mut striking).await,
        Kind::DiskFull => disk::fill(&mut striking).await,
        Kind::DiskNearlyFull => disk::nearly_fill(&mut striking).await,
        Kind::DiskHang => disk::hang(&mut striking).await,
        Kind::GatewayCut => cut::gateway(&mut striking).await,
        Kind::BitRot => disk::rot(&mut striking).await,
    }
}
