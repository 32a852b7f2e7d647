//! Whether what may expire is there: the one rule, for everybody who looks at versions.
//!
//! At a moment at or above its expiry a key is absent, and nothing else makes it so. Whose moment that is differs.
//! What is read of the past is judged at one moment ([`has_expired`]). Who asks for *now* has two, the range's time
//! and a clock that is ahead of it ([`life`]); what to do where they disagree is in `range/expiry.rs`.

use crate::time::Timestamp;

/// Whether something that may expire is there for those who ask now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It is.
    Alive,
    /// The range's time has passed its expiry: it is not, for anybody ever after.
    Expired,
    /// The clock has passed its expiry, the range's time has not: it is absent as soon as the
    /// range's time is moved to this moment, which has to come first.
    Expiring(Timestamp),
}

/// Whether what expires at `expires_at` is absent at a moment.
pub fn has_expired(expires_at: Option<Timestamp>, at: Timestamp) -> bool {
    expires_at.is_some_and(|expires_at| expires_at <= at)
}

/// Whether what expires at `expires_at` is there, by the range's time and a clock.
pub fn life(expires_at: Option<Timestamp>, time: Timestamp, clock: Timestamp) -> Life {
    match expires_at {
        _ if has_expired(expires_at, time) => Life::Expired,
        Some(expires_at) if has_expired(Some(expires_at), clock) => Life::Expiring(expires_at),
        _ => Life::Alive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_absent_from_its_expiry_on() {
        let end = Timestamp(9);
        let of = |time, clock| life(Some(end), Timestamp(time), Timestamp(clock));
        assert_eq!(of(8, 8), Life::Alive);
        assert_eq!(of(8, 9), Life::Expiring(end));
        assert_eq!(of(9, 9), Life::Expired);
        // The range's time decides, also for a clock that is behind it.
        assert_eq!(of(9, 1), Life::Expired);
        assert_eq!(life(None, Timestamp::MAX, Timestamp::MAX), Life::Alive);
        assert!(has_expired(Some(end), end) && !has_expired(Some(end), Timestamp(8)));
        assert!(!has_expired(None, Timestamp::MAX));
    }
}
