//! Durations as people write and read them: seconds of flags, times to live.

use std::time::Duration;

pub(crate) use quintet_server::time::words;

use super::exit::Failure;

/// Reads a positive number of seconds, fractions allowed: the value of a flag.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if !(0.001..=86_400.0).contains(&number) {
        return Err("not between 0.001 and 86400 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(number))
}

/// Reads what is a time: a whole number with a unit, as in `250ms`, `30s`, `5m`, `2h`, `7d`. `what` it is, for people.
pub(crate) fn parse(text: &str, what: &str) -> Result<Duration, Failure> {
    let refused = |why: &str| {
        Err(Failure::usage(format!(
            "{text:?} is no {what}: {why}; write it as in 250ms, 30s, 5m, 2h or 7d"
        )))
    };
    if text.starts_with('-') {
        return refused("it is negative");
    }
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" => return refused("it has no unit"),
        _ => return refused("it is not a whole number with a unit"),
    };
    if number.is_empty() {
        return refused("it has no number");
    }
    let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms));
    match ms {
        Some(0) => refused("it is zero"),
        Some(ms) => Ok(Duration::from_millis(ms)),
        None => refused("it is too long"),
    }
}

/// Whole seconds as [`parse`] reads them, in the largest unit of which they are a multiple: `90s`, `10m`, `1d`.
pub(crate) fn whole(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let found = units.iter().find(|(of, _)| seconds > 0 && seconds.is_multiple_of(*of));
    found.map_or(format!("{seconds}s"), |(of, unit)| format!("{}{unit}", seconds / of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_positive() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "x", "NaN", "inf", "1e9"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_read() {
        let cases = [
            ("250ms", 250),
            ("30s", 30_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
        ];
        for (text, ms) in cases {
            assert_eq!(parse(text, "time").expect(text), Duration::from_millis(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_reason() {
        let cases = [
            ("-5s", "negative"),
            ("0s", "zero"),
            ("0ms", "zero"),
            ("30", "no unit"),
            ("", "no unit"),
            ("s", "no number"),
            ("1.5s", "whole number"),
            ("5 m", "whole number"),
            ("ten", "whole number"),
            ("99999999999999999999s", "too long"),
            ("99999999999999999d", "too long"),
        ];
        for (text, why) in cases {
            let line = parse(text, "time to live").expect_err(text).line().expect("a line");
            assert!(line.starts_with("error: usage: ") && line.contains(why), "{text}: {line}");
        }
    }

    #[test]
    fn whole_seconds_are_written_as_they_are_read() {
        let cases = [(0, "0s"), (90, "90s"), (600, "10m"), (7_200, "2h"), (86_400, "1d")];
        for (seconds, text) in cases {
            assert_eq!(whole(seconds), text);
        }
    }

    #[test]
    fn words_for_what_is_left() {
        let cases = [
            (7, "7ms"),
            (12_034, "12.034s"),
            (61_900, "1m 1s"),
            (7_260_000, "2h 1m"),
            (176_400_000, "2d 1h"),
        ];
        for (ms, text) in cases {
            assert_eq!(words(Duration::from_millis(ms)), text);
        }
    }
}
