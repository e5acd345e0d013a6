//! Every fault, and how it is felt.

use std::time::Duration;

use anyhow::Result;
use bramble_lab::{Direction, Fault, Impairment};

use super::felt::{is_answered, is_in_the_future, nobody_answers, round_trip, seconds};
use super::{VICTIM, WITNESS};
use crate::household;

/// A fault, and how it is felt.
pub(super) struct Row {
    /// Whom it befalls.
    pub(super) machine: &'static str,
    pub(super) fault: Fault,
    /// Who is asked about it.
    pub(super) asked: &'static str,
    /// What: a command.
    pub(super) question: &'static str,
    /// Whether the answer shows it.
    pub(super) felt: fn(&str) -> bool,
}

fn row(fault: Fault, asked: &'static str, question: &'static str, felt: fn(&str) -> bool) -> Row {
    Row {
        machine: VICTIM,
        fault,
        asked,
        question,
        felt,
    }
}

pub(super) const PING_ONCE: &str = "busybox ping -c 1 -W 2 MANAGER";
const PING: &str = "busybox ping -c 3 -W 2 MANAGER";
const PING_VICTIM: &str = "busybox ping -c 3 -W 2 VICTIM";
const WRITE: &str = "dd if=/dev/zero of=/var/tmp/felt bs=100k count=5 oflag=direct conv=fsync 2>&1; rm -f /var/tmp/felt";

/// What of the messages that reached it was damaged, by the kernel's own count.
const DAMAGED: &str = "count() { awk '/^Icmp: [0-9]/ { print $4 }' /proc/net/snmp; }; before=$(count); \
    busybox ping -c 10 -W 1 MANAGER; echo damaged $(( $(count) - before ))";

pub(super) fn rows() -> Result<Vec<Row>> {
    let link = |direction, impairment| Fault::Link {
        direction,
        impairment,
    };
    let whole = Impairment::default();
    let latency = Duration::from_millis(300);
    let late = Impairment { latency, ..whole };
    let second = Duration::from_secs(1);
    let unsteady = Impairment {
        latency: second,
        jitter: second,
        ..whole
    };
    let lossy = Impairment {
        loss: "50%".parse()?,
        ..whole
    };
    let damaging = Impairment {
        corruption: "100%".parse()?,
        ..whole
    };
    let doubling = Impairment {
        duplication: "100%".parse()?,
        ..whole
    };
    let narrow = Impairment {
        rate: Some("64kbit".parse()?),
        ..whole
    };
    let apart = Fault::Apart {
        from: "manager1".to_owned(),
    };
    let slow = Fault::DiskSlow {
        bytes_per_second: 100_000,
    };
    let mut rows = vec![
        row(Fault::cut(), VICTIM, PING, nobody_answers),
        row(
            link(Direction::To, whole_cut()),
            VICTIM,
            PING,
            nobody_answers,
        ),
        row(
            link(Direction::From, whole_cut()),
            VICTIM,
            PING,
            nobody_answers,
        ),
        // There and back again.
        row(link(Direction::Both, late), VICTIM, PING, |it| {
            round_trip(it).0 >= 600.0
        }),
        row(
            link(Direction::Both, unsteady),
            VICTIM,
            "busybox ping -c 8 -W 9 MANAGER",
            |it| round_trip(it).1 - round_trip(it).0 >= 500.0,
        ),
        row(
            link(Direction::Both, lossy),
            VICTIM,
            "busybox ping -c 12 -W 1 MANAGER",
            |it| !is_answered(it),
        ),
        row(link(Direction::To, damaging), VICTIM, DAMAGED, |it| {
            !it.contains("damaged 0")
        }),
        row(link(Direction::To, doubling), VICTIM, PING, |it| {
            it.contains("DUP!")
        }),
        // 1442 bytes, there and back again, take 360 ms.
        row(
            link(Direction::Both, narrow),
            VICTIM,
            "busybox ping -c 3 -W 5 -s 1400 MANAGER",
            |it| round_trip(it).0 >= 300.0,
        ),
        row(
            apart,
            VICTIM,
            "busybox ping -c 3 -W 2 MANAGER; busybox ping -c 3 -W 2 WITNESS",
            |it| nobody_answers(it) && is_answered(it),
        ),
        row(
            Fault::Unplugged,
            VICTIM,
            "cat /sys/class/net/eth0/carrier 2>&1",
            |it| it.trim() == "0",
        ),
        row(Fault::Frozen, WITNESS, PING_VICTIM, nobody_answers),
        row(
            Fault::ClockJump { seconds: 7200 },
            VICTIM,
            "date +%s",
            is_in_the_future,
        ),
        row(slow, VICTIM, WRITE, |it| seconds(it) >= 3.0),
        row(Fault::DiskFull, VICTIM, WRITE, |it| {
            it.contains("No space left")
        }),
        row(Fault::DiskReadOnly, VICTIM, WRITE, |it| {
            it.contains("Read-only")
        }),
        row(Fault::PowerCut, WITNESS, PING_VICTIM, nobody_answers),
    ];
    rows.push(Row {
        machine: household::NAME,
        ..row(
            Fault::cut(),
            VICTIM,
            "busybox ping -c 3 -W 2 NAS",
            nobody_answers,
        )
    });
    Ok(rows)
}

fn whole_cut() -> Impairment {
    Impairment {
        cut: true,
        ..Impairment::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_can_be_asked_for() {
        assert!(rows().is_ok());
    }
}
