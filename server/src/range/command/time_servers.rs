//! The sets of time servers, in the system range: another one is begun, and becomes the active one
//! (`time/oracle/membership.rs`).
//!
//! Both are ordered by the log alone. They take no timestamp, so that the oracle can be mended when it gives none.

use super::outcome::Applied;
use crate::time::oracle::{Epoch, ServerId, membership::Epochs};

/// Notes the next set, unless a newer one than `after` was begun.
pub(super) fn begin(epochs: &mut Epochs, after: Epoch, members: Vec<ServerId>) -> Applied {
    if epochs.newest().epoch != after {
        return Applied::ReEvaluate;
    }
    match epochs.begin(members.into_iter().collect()) {
        Ok(_) => Applied::Done,
        Err(_) => Applied::ReEvaluate,
    }
}

/// Notes the next set, and who is lost of those before it, unless a newer one than `after` was begun.
pub(super) fn recover(
    epochs: &mut Epochs,
    after: Epoch,
    members: Vec<ServerId>,
    lost: Vec<ServerId>,
) -> Applied {
    if epochs.newest().epoch != after {
        return Applied::ReEvaluate;
    }
    match epochs.recover(members.into_iter().collect(), lost.into_iter().collect()) {
        Ok(_) => Applied::Done,
        Err(_) => Applied::ReEvaluate,
    }
}

/// Notes that a set is the active one, unless a newer one was begun.
pub(super) fn activate(epochs: &mut Epochs, epoch: Epoch) -> Applied {
    match epochs.activate(epoch) {
        Ok(()) => Applied::Done,
        Err(_) => Applied::ReEvaluate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_begun_after_the_newest_and_only_the_newest_becomes_active() {
        let mut epochs = Epochs::default();
        let one = || vec![ServerId(1)];
        assert_eq!(begin(&mut epochs, Epoch(0), Vec::new()), Applied::ReEvaluate, "nobody");
        assert_eq!(begin(&mut epochs, Epoch(0), one()), Applied::Done);
        assert_eq!(begin(&mut epochs, Epoch(0), one()), Applied::ReEvaluate, "begun already");
        assert_eq!(begin(&mut epochs, Epoch(1), one()), Applied::Done);
        assert_eq!(activate(&mut epochs, Epoch(1)), Applied::ReEvaluate, "a newer one was begun");
        assert_eq!(activate(&mut epochs, Epoch(2)), Applied::Done);
        assert_eq!((epochs.active.epoch, epochs.begun.len()), (Epoch(2), 0));
        let recovered = recover(&mut epochs, Epoch(1), vec![ServerId(2)], one());
        assert_eq!(recovered, Applied::ReEvaluate, "it is active by now");
        assert_eq!(recover(&mut epochs, Epoch(2), one(), one()), Applied::ReEvaluate, "it is lost");
        assert!(epochs.lost.is_empty());
        assert_eq!(recover(&mut epochs, Epoch(2), vec![ServerId(2)], one()), Applied::Done);
        assert_eq!((epochs.newest().epoch, epochs.lost.len()), (Epoch(3), 1));
        assert_eq!(begin(&mut epochs, Epoch(3), one()), Applied::ReEvaluate, "it is lost for good");
    }
}
