//! Into which ranges a new cluster divides the key space: the system range, and ranges of data that
//! begin and end at *split points*, keys of the keyspace `default`. The last range of data goes on to
//! the end of the key space.

use crate::{
    ids::{KeyspaceId, RangeId, SYSTEM_RANGE},
    storage::keys,
};

/// Ranges of data where nobody says how many.
pub const RANGES_DEFAULT: u32 = 8;
/// Ranges of data that a cluster may begin with.
pub const RANGES_MAX: u32 = 1_000;

/// The span of a range: its stored keys from `start` (inclusive) to `end` (exclusive; empty is the
/// end of the key space).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Which range.
    pub range: RangeId,
    /// First stored key.
    pub start: Vec<u8>,
    /// End of the stored keys.
    pub end: Vec<u8>,
}

/// The spans of a new cluster: the system range's, then those of data. `ranges` 0 takes as many as
/// the points make, or [`RANGES_DEFAULT`] without points. `Err` says what is wrong with the request.
pub fn spans(
    ranges: u32,
    points: &[impl AsRef<[u8]>],
    key_max: usize,
) -> Result<Vec<Span>, String> {
    let points: Vec<&[u8]> = points.iter().map(AsRef::as_ref).collect();
    let made = u32::try_from(points.len()).unwrap_or(u32::MAX).saturating_add(1);
    let wanted = match (ranges, points.is_empty()) {
        (0, true) => RANGES_DEFAULT,
        (0, false) => made,
        (wanted, _) => wanted,
    };
    if wanted > RANGES_MAX {
        return Err(format!("{wanted} ranges are too many to begin with: {RANGES_MAX} at most"));
    }
    if !points.is_empty() && wanted != made {
        return Err(format!(
            "{} split points make {made} ranges, not {wanted}: give one point less than ranges",
            points.len()
        ));
    }
    for (index, point) in points.iter().enumerate() {
        if point.is_empty() || point.len() > key_max {
            let length = point.len();
            return Err(format!(
                "split point {index} has {length} bytes: a key has 1 to {key_max}"
            ));
        }
        if index > 0 && points.get(index - 1).is_some_and(|before| before >= point) {
            return Err(format!("split point {index} is not above the one before it: sort them"));
        }
    }
    let even = if points.is_empty() { even_points(wanted) } else { Vec::new() };
    let points = if points.is_empty() { even.iter().map(Vec::as_slice).collect() } else { points };
    let mut starts = vec![Vec::new(), keys::keyspace_start(KeyspaceId::DEFAULT)];
    starts.extend(points.iter().map(|point| keys::encode(KeyspaceId::DEFAULT, point).to_vec()));
    let mut ends: Vec<_> = starts.iter().skip(1).cloned().collect();
    ends.push(Vec::new());
    let ids = (SYSTEM_RANGE.0..).map(RangeId);
    Ok(ids
        .zip(starts.into_iter().zip(ends))
        .map(|(range, (start, end))| Span { range, start, end })
        .collect())
}

/// Points that divide keys evenly by their first two bytes.
fn even_points(ranges: u32) -> Vec<Vec<u8>> {
    let points = (1..ranges).map(|index| {
        let share = u64::from(index) * 0x1_0000 / u64::from(ranges);
        u16::try_from(share).unwrap_or(u16::MAX).to_be_bytes().to_vec()
    });
    points.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &[&[u8]] = &[];

    fn tile(spans: &[Span]) {
        assert_eq!(spans.first().map(|span| span.start.clone()), Some(Vec::new()));
        assert_eq!(spans.last().map(|span| span.end.clone()), Some(Vec::new()));
        for pair in spans.windows(2) {
            assert_eq!(pair[0].end, pair[1].start);
            assert!(pair[0].start < pair[1].start);
            assert_eq!(pair[0].range.0 + 1, pair[1].range.0);
        }
    }

    #[test]
    fn spans_tile_the_key_space() {
        for ranges in [0, 1, 2, 8, 100, RANGES_MAX] {
            let spans = spans(ranges, NONE, 8192).expect("valid");
            let wanted = if ranges == 0 { RANGES_DEFAULT } else { ranges };
            assert_eq!(spans.len() as u32, wanted + 1);
            tile(&spans);
        }
        let by_points = spans(0, &["b", "b\0", "c"], 8192).expect("valid");
        assert_eq!(by_points.len(), 5);
        tile(&by_points);
        // A point is the first key of the range behind it.
        let point = keys::encode(KeyspaceId::DEFAULT, b"b\0");
        assert_eq!(by_points[3].start, point);
    }

    #[test]
    fn says_what_is_wrong() {
        let refused = |ranges, points: &[&str], why: &str| {
            let error = spans(ranges, points, 4).expect_err(why);
            assert!(error.contains(why), "{error}");
        };
        refused(RANGES_MAX + 1, &[], "too many");
        refused(8, &["a"], "make 2 ranges");
        refused(0, &["b", "a"], "sort them");
        refused(0, &["a", "a"], "sort them");
        refused(0, &[""], "has 0 bytes");
        refused(0, &["aaaaa"], "has 5 bytes");
    }
}
