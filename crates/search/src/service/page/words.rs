//! Figures as people read them.

use crate::report::thousands;

/// `12,345`, `1.23 million`, `4.29 billion`: never more than four digits and a word for what is large.
pub(super) fn about(number: f64) -> String {
    const WORDS: [(f64, &str); 3] = [(1e12, "trillion"), (1e9, "billion"), (1e6, "million")];
    let word = WORDS.iter().find(|(size, _)| number >= *size);
    match word {
        Some((size, word)) if number % size == 0.0 => format!("{} {word}", number / size),
        Some((size, word)) => format!("{} {word}", three_digits(number / size)),
        None if number >= 100.0 || number.fract() == 0.0 => thousands(number.round() as u64),
        None => three_digits(number),
    }
}

fn three_digits(number: f64) -> String {
    match number {
        _ if number >= 100.0 => format!("{number:.0}"),
        _ if number >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

/// A share in per cent. Only nothing is 0 %, and only everything is 100 %.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0 %".to_owned();
    }
    if part >= whole {
        return "100 %".to_owned();
    }
    let share = 100.0 * part as f64 / whole as f64;
    match share {
        _ if share < 0.01 => "< 0.01 %".to_owned(),
        _ if share >= 99.99 => "> 99.99 %".to_owned(),
        // Cut, not rounded: what is not yet there is not claimed.
        _ if share < 10.0 => format!("{:.2} %", (share * 100.0).floor() / 100.0),
        _ => format!("{:.1} %", (share * 10.0).floor() / 10.0),
    }
}

/// A length of time in its two largest units.
pub(super) fn duration(seconds: f64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    if !seconds.is_finite() || seconds > 1e10 {
        return "more than a lifetime".to_owned();
    }
    if seconds < 1.0 {
        return "less than 1 s".to_owned();
    }
    let whole = seconds as u64;
    let first = UNITS.iter().position(|(size, _)| whole >= *size);
    let mut rest = whole;
    let units = UNITS.iter().skip(first.unwrap_or(3)).take(2);
    let parts = units.filter_map(|(size, name)| {
        let count = rest / size;
        rest %= size;
        (count > 0).then(|| format!("{count} {name}"))
    });
    parts.collect::<Vec<_>>().join(" ")
}

/// How long ago, in one unit.
pub(super) fn ago(seconds: f64) -> String {
    match seconds as u64 {
        0..=4 => "just now".to_owned(),
        seconds @ 5..=59 => format!("{seconds} s ago"),
        seconds @ 60..=3599 => format!("{} min ago", seconds / 60),
        seconds @ 3600..=86_399 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} d ago", seconds / 86_400),
    }
}

/// `1 seed`, `2 seeds`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(number))
}

/// A moment, in seconds since 1970, as `2026-11-23 22:05 UTC`.
pub(crate) fn moment(at: f64) -> String {
    let moment = jiff::Timestamp::from_second(at as i64);
    moment.map_or_else(
        |_| "at no time".to_owned(),
        |moment| moment.strftime("%Y-%m-%d %H:%M UTC").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_become_words() {
        let cases = [
            (0.0, "0"),
            (3.5, "3.50"),
            (999.6, "1,000"),
            (41_234.0, "41,234"),
            (2_000_000.0, "2 million"),
            (1_234_567.0, "1.23 million"),
            (123_456_789.0, "123 million"),
            (12_884_901_888.0, "12.9 billion"),
        ];
        for (number, expected) in cases {
            assert_eq!(about(number), expected);
        }
    }

    #[test]
    fn shares_promise_nothing() {
        let cases = [
            (0, 10, "0 %"),
            (0, 0, "0 %"),
            (10, 10, "100 %"),
            (1, 1_000_000, "< 0.01 %"),
            (999_999, 1_000_000, "> 99.99 %"),
            (9_998, 10_000, "99.9 %"),
            (1, 3, "33.3 %"),
            (1, 30, "3.33 %"),
        ];
        for (part, whole, expected) in cases {
            assert_eq!(percent(part, whole), expected, "{part} of {whole}");
        }
    }

    #[test]
    fn times_have_two_units() {
        let cases = [
            (0.2, "less than 1 s"),
            (59.9, "59 s"),
            (60.0, "1 min"),
            (61.0, "1 min 1 s"),
            (3_600.0, "1 h"),
            (3_605.0, "1 h"),
            (90_061.0, "1 d 1 h"),
            (f64::INFINITY, "more than a lifetime"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected);
        }
        let cases = [(2.0, "just now"), (59.0, "59 s ago"), (7_300.0, "2 h ago")];
        for (seconds, expected) in cases {
            assert_eq!(ago(seconds), expected);
        }
    }

    #[test]
    fn moments_are_dates() {
        // As `date -u -d @N` says.
        let cases = [
            (0.0, "1970-01-01 00:00 UTC"),
            (951_782_400.0, "2000-02-29 00:00 UTC"),
            (1_795_473_300.0, "2026-11-23 22:35 UTC"),
            (4_102_444_799.0, "2099-12-31 23:59 UTC"),
        ];
        for (at, expected) in cases {
            assert_eq!(moment(at), expected);
        }
    }
}
