//! What tools in a machine say, read.

use std::time::{SystemTime, UNIX_EPOCH};

pub(super) fn nobody_answers(pinged: &str) -> bool {
    pinged.contains("100% packet loss")
}

pub(super) fn is_answered(pinged: &str) -> bool {
    pinged.contains(" 0% packet loss")
}

/// The shortest and the longest that busybox's ping saw, in milliseconds.
pub(super) fn round_trip(pinged: &str) -> (f64, f64) {
    let times = || {
        let (_, times) = pinged.split_once("round-trip min/avg/max = ")?;
        let mut times = times.split([' ', '/']).map(str::parse);
        Some((times.next()?.ok()?, times.nth(1)?.ok()?))
    };
    times().unwrap_or_default()
}

/// How long dd says that it took.
pub(super) fn seconds(written: &str) -> f64 {
    let seconds = || {
        let (_, took) = written.split_once(" copied, ")?;
        took.split(' ').next()?.parse().ok()
    };
    seconds().unwrap_or_default()
}

pub(super) fn is_in_the_future(date: &str) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let soon = now.unwrap_or_default().as_secs() + 3600;
    date.trim().parse::<u64>().is_ok_and(|date| date > soon)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tools_say_is_read() {
        let pinged = "3 packets transmitted, 3 packets received, 0% packet loss\n\
            round-trip min/avg/max = 601.2/650.0/702.5 ms\n";
        assert_eq!(round_trip(pinged), (601.2, 702.5));
        assert!(!nobody_answers(pinged) && is_answered(pinged));
        let lost = "1 packets transmitted, 0 packets received, 100% packet loss\n";
        assert!(nobody_answers(lost) && !is_answered(lost));
        assert_eq!(round_trip("nothing"), (0.0, 0.0));
        let written = "512000 bytes (512 kB, 500 KiB) copied, 5.02 s, 102 kB/s";
        assert_eq!(seconds(written), 5.02);
        assert!(!is_in_the_future("0") && is_in_the_future("99999999999"));
    }
}
