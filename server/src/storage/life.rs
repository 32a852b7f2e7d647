//! Whether what may expire is there: the one rule, for everybody who looks at versions.
//!
//! At a timestamp at or above its expiry a key is absent, and nothing else makes it so: no clock. Whose timestamp that
//! is, and where it comes from, is in `range/expiry.rs`.

use crate::time::Timestamp;

/// Whether what expires at `expires_at` is absent at a moment.
pub fn has_expired(expires_at: Option<Timestamp>, at: Timestamp) -> bool {
    expires_at.is_some_and(|expires_at| expires_at <= at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_absent_from_its_expiry_on() {
        let end = Timestamp(9);
        assert!(has_expired(Some(end), end) && !has_expired(Some(end), Timestamp(8)));
        assert!(!has_expired(None, Timestamp::MAX));
    }
}
