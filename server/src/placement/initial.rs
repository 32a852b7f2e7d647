//! Into which ranges a new cluster divides the key space: the system range, and ranges of data that
//! begin and end at *split points*, keys of the keyspace `default`. The last range of data goes on to
//! the end of the key space. What that means in stored keys is said in `cluster/plan.rs`.

/// Ranges of data where nobody says how many.
pub const RANGES_DEFAULT: u32 = 8;
/// Ranges of data that a cluster may begin with.
pub const RANGES_MAX: u32 = 1_000;

/// The user keys at which the ranges of data divide, one less than there are ranges. `ranges` 0 takes as many as
/// the points make, or [`RANGES_DEFAULT`] without points. `Err` says what is wrong with the request.
pub fn split_points(
    ranges: u32,
    points: &[impl AsRef<[u8]>],
    key_max: usize,
) -> Result<Vec<Vec<u8>>, String> {
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
    Ok(match points.is_empty() {
        true => even_points(wanted),
        false => points.into_iter().map(<[u8]>::to_vec).collect(),
    })
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

    #[test]
    fn points_rise_and_are_one_less_than_ranges() {
        for ranges in [0, 1, 2, 8, 100, RANGES_MAX] {
            let points = split_points(ranges, NONE, 8192).expect("valid");
            let wanted = if ranges == 0 { RANGES_DEFAULT } else { ranges };
            assert_eq!(points.len() as u32 + 1, wanted);
            assert!(points.is_sorted_by(|before, after| before < after), "{ranges}");
        }
        let given = split_points(0, &["b", "b\0", "c"], 8192).expect("valid");
        assert_eq!(given, [b"b".to_vec(), b"b\0".to_vec(), b"c".to_vec()]);
    }

    #[test]
    fn says_what_is_wrong() {
        let refused = |ranges, points: &[&str], why: &str| {
            let error = split_points(ranges, points, 4).expect_err(why);
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
