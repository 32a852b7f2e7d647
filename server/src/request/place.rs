//! Where a request begins in the key space: this decides its range.

/// Where a request begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// At a stored key.
    Key(&'a [u8]),
    /// At the last key below a bound; an empty bound is the end of the key space.
    Below(&'a [u8]),
}
