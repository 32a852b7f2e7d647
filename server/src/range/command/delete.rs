//! Delete: the key is absent from then on; where it was absent, nothing is written.

use crate::{
    range::held::Current,
    storage::format::{command::Effect, request::Outcome},
};

/// What a deletion does; its condition holds.
pub(super) fn evaluate(current: &Current) -> (Effect, Outcome) {
    match &current.0 {
        Some(_) => (Effect::Delete, Outcome::Written),
        None => (Effect::Nothing, Outcome::NothingToDelete),
    }
}
