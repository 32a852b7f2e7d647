//! More work than usual.

use super::striking::Striking;

/// Clients ask for `factor` times as much as otherwise.
pub(super) async fn burst(striking: &mut Striking) {
    let factor = striking.strike.fault.factor.unwrap_or(1);
    striking.begins(&[], &format!("clients ask for {factor} times as much"));
    let more = striking.crowd.more(factor.saturating_sub(1));
    striking.last().await;
    drop(more);
    striking.ends();
}
