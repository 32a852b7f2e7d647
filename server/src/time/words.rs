//! Lengths of time and moments, as messages carry them and as people read them.

use std::time::Duration;

use super::Timestamp;

const US_A_DAY: u64 = 86_400_000_000;
/// Days from 0000-03-01, where the count below begins, to 2020-01-01, where cluster time does.
const DAYS_BEFORE: u64 = 737_730;
/// Days of 400 years, which repeat.
const DAYS_OF_ERA: u64 = 146_097;

/// Whole milliseconds, as answers tell how long something lasts.
pub fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whole milliseconds, as requests say how long their callers wait.
pub fn ms_u32(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// How long something that was asked for may take: what the request says, or, where that is 0, the default; never
/// longer than the bound.
pub fn patience(asked_ms: u32, default: Duration, max: Duration) -> Duration {
    match asked_ms {
        0 => default,
        ms => Duration::from_millis(ms.into()).min(max),
    }
}

/// A cluster time in UTC, as in `2026-11-24T20:14:04.120Z`; `-` for 0.
///
/// The date is counted as in Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms".
pub fn utc(time: u64) -> String {
    if time == 0 {
        return "-".to_owned();
    }
    let us = Timestamp(time).us();
    let (days, of_day) = (us / US_A_DAY + DAYS_BEFORE, us % US_A_DAY);
    let (era, of_era) = (days / DAYS_OF_ERA, days % DAYS_OF_ERA);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March.
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era + u64::from(month >= 10);
    let month = if month < 10 { month + 3 } else { month - 9 };
    let (ms, s) = (of_day / 1_000 % 1_000, of_day / 1_000_000);
    let (hour, minute, second) = (s / 3_600, s / 60 % 60, s % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// How a clock stands beside cluster time, for people: `2h 0m ahead of cluster time`, `1m 1s behind cluster time`.
pub fn beside(us: i64) -> String {
    let by = words(Duration::from_micros(us.unsigned_abs()));
    let direction = if us > 0 { "ahead of" } else { "behind" };
    format!("{by} {direction} cluster time")
}

/// For people: the two largest units, and milliseconds where it is short.
pub fn words(left: Duration) -> String {
    let (seconds, ms) = (left.as_secs(), left.subsec_millis());
    match seconds {
        0 => format!("{ms}ms"),
        1..60 => format!("{seconds}.{ms:03}s"),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_is_what_is_asked_for_within_bounds() {
        let [default, max] = [2, 60].map(Duration::from_secs);
        assert_eq!(patience(0, default, max), default);
        assert_eq!(patience(1, default, max), Duration::from_millis(1));
        assert_eq!(patience(u32::MAX, default, max), max);
        assert_eq!(ms_u32(Duration::from_micros(1_999)), 1);
        assert_eq!(ms_u32(Duration::MAX), u32::MAX);
    }

    #[test]
    fn days_of_all_kinds() {
        let shown = |seconds: u64| utc(Timestamp::from_us(seconds * 1_000_000).0);
        assert_eq!(utc(0), "-");
        assert_eq!(shown(1), "2020-01-01T00:00:01.000Z");
        // 29 February, and the day after it; the last second of a leap year.
        assert_eq!(shown(59 * 86_400), "2020-02-29T00:00:00.000Z");
        assert_eq!(shown(60 * 86_400), "2020-03-01T00:00:00.000Z");
        assert_eq!(shown(366 * 86_400 - 1), "2020-12-31T23:59:59.000Z");
        assert_eq!(shown(366 * 86_400), "2021-01-01T00:00:00.000Z");
        // `date -u -d @1795551244`
        assert_eq!(shown(1_795_551_244 - 1_577_836_800), "2026-11-24T20:14:04.000Z");
        assert_eq!(utc(Timestamp::from_us(120_999).0), "2020-01-01T00:00:00.120Z");
    }
}
