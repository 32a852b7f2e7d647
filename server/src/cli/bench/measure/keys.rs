//! The keys of all loads: `bench/` and eight hexadecimal digits; and one counter.

use bytes::Bytes;

/// What all keys of loads begin with.
pub(crate) const PREFIX: &str = "bench/";
/// The key that is incremented: a number, so that it is none of the others.
pub(crate) const COUNTER: Bytes = Bytes::from_static(b"bench/counter");

/// Spread evenly over `bench/00000000` to `bench/ffffffff`, however many there are, so that ranges which divide
/// that interval evenly are equally busy.
pub(crate) fn key(index: usize) -> Bytes {
    format!("{PREFIX}{:08x}", spread(index)).into()
}

/// Multiplication by an odd number: no two of the first 2^32 are alike (Knuth, volume 3, section 6.4).
fn spread(index: usize) -> u32 {
    (index as u32).wrapping_mul(0x9E37_79B1)
}
