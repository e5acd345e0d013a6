//! What the lab calls a fault is one: machines feel it, and feel it no longer when it is cleared.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use bramble_lab::{Direction, Fault, Impairment, Trouble};

use super::{EIGHT_PI, THREE};
use crate::household;
use crate::life;
use crate::scenario::{Expects, On, Rehearsal, Scenario, Stock, When};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "faults",
    shows: "every fault is felt by the machine that it befalls, and no longer when it is cleared",
    when: When::Nightly,
    cluster: EIGHT_PI,
    nodes: THREE,
    stock: Stock::None,
    measured: Some(238),
    expects: &[Expects {
        machine: Some(VICTIM),
        trouble: Trouble::FailedUnit,
        text: "",
    }],
    on: On::NewMachines(run),
};

const VICTIM: &str = "worker1";

/// Whoever else is asked.
const WITNESS: &str = "worker2";

/// A fault, and how it is felt.
struct Row {
    /// Whom it befalls.
    machine: &'static str,
    fault: Fault,
    /// Who is asked about it.
    asked: &'static str,
    /// What: a command, in which words in capitals are addresses.
    question: &'static str,
    /// Whether the answer shows it.
    felt: fn(&str) -> bool,
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

const PING: &str = "busybox ping -c 3 -W 2 MANAGER";
const PING_VICTIM: &str = "busybox ping -c 3 -W 2 VICTIM";
const WRITE: &str = "dd if=/dev/zero of=/var/tmp/felt bs=100k count=5 oflag=direct conv=fsync 2>&1; rm -f /var/tmp/felt";

/// What of the messages that reached it was damaged, by the kernel's own count.
const DAMAGED: &str = "count() { awk '/^Icmp: [0-9]/ { print $4 }' /proc/net/snmp; }; before=$(count); \
    busybox ping -c 10 -W 1 MANAGER; echo damaged $(( $(count) - before ))";

fn rows() -> Result<Vec<Row>> {
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
            |it| !it.contains(" 0% packet loss"),
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
            |it| nobody_answers(it) && it.contains(" 0% packet loss"),
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

fn run(rehearsal: &mut Rehearsal) -> Result<()> {
    for row in rows()? {
        let name = format!("{}: {}", row.machine, row.fault);
        let lab = rehearsal.lab.attached().clone();
        rehearsal.report.stage(&name, |_| {
            // A host that has much else to do may keep a machine waiting for a moment, as some faults do.
            life::until(rehearsal.operator, "a machine without the fault", || {
                let answer = ask(rehearsal, &row)?;
                ensure!(!(row.felt)(&answer), "felt before it befell: {answer}");
                Ok(())
            })?;
            lab.inflict(row.machine, &row.fault)?;
            let answer = ask(rehearsal, &row)?;
            ensure!((row.felt)(&answer), "not felt: {answer}");
            lab.clear(row.machine)?;
            if row.fault == Fault::PowerCut {
                life::until_online(rehearsal, row.machine)?;
            }
            // A card that was unplugged asks for its address anew, and neighbours look for each other.
            life::until(rehearsal.operator, "the fault to be over", || {
                let answer = ask(rehearsal, &row)?;
                ensure!(!(row.felt)(&answer), "still felt: {answer}");
                Ok(())
            })
        })?;
    }
    the_way_in(rehearsal)
}

fn ask(rehearsal: &Rehearsal, row: &Row) -> Result<String> {
    let address = |name: &str| -> Result<Ipv4Addr> {
        let mut nodes = rehearsal.cluster.nodes.iter();
        let node = nodes.find(|node| node.name == name);
        Ok(node.with_context(|| format!("no node {name}"))?.ip)
    };
    let nas = rehearsal.cluster.nas.as_ref().context("no NAS")?;
    let question = row
        .question
        .replace("MANAGER", &address("manager1")?.to_string())
        .replace("VICTIM", &address(VICTIM)?.to_string())
        .replace("WITNESS", &address(WITNESS)?.to_string())
        .replace("NAS", &nas.server.to_string());
    let lab = rehearsal.lab.attached();
    lab.type_in(row.asked, &format!("{question}; true"))
}

/// The host's own link: nothing in the lab can be reached.
fn the_way_in(rehearsal: &mut Rehearsal) -> Result<()> {
    rehearsal.report.stage("gateway: link: cut", |_| {
        let lab = rehearsal.lab.attached();
        let hosts = std::fs::read_to_string(rehearsal.place.files().ssh_config())?;
        let port = hosts
            .lines()
            .find_map(|line| line.trim().strip_prefix("Port "));
        let port: u16 = port.context("no port of a node")?.parse()?;
        ensure!(greets(port), "no node greets");
        lab.inflict("gateway", &Fault::cut())?;
        ensure!(!greets(port), "a node greets through a cut");
        lab.clear("gateway")?;
        life::until(rehearsal.operator, "the way in", || {
            ensure!(greets(port), "no node greets");
            Ok(())
        })
    })
}

/// Whether an SSH server says that it is one.
fn greets(port: u16) -> bool {
    let greeting = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut greeting = [0; 4];
        stream.read_exact(&mut greeting)?;
        std::io::Result::Ok(greeting)
    };
    greeting().is_ok_and(|greeting| &greeting == b"SSH-")
}

fn nobody_answers(pinged: &str) -> bool {
    pinged.contains("100% packet loss")
}

/// The shortest and the longest that busybox's ping saw, in milliseconds.
fn round_trip(pinged: &str) -> (f64, f64) {
    let times = || {
        let (_, times) = pinged.split_once("round-trip min/avg/max = ")?;
        let mut times = times.split([' ', '/']).map(str::parse);
        Some((times.next()?.ok()?, times.nth(1)?.ok()?))
    };
    times().unwrap_or_default()
}

/// How long dd says that it took.
fn seconds(written: &str) -> f64 {
    let seconds = || {
        let (_, took) = written.split_once(" copied, ")?;
        took.split(' ').next()?.parse().ok()
    };
    seconds().unwrap_or_default()
}

fn is_in_the_future(date: &str) -> bool {
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
        assert!(!nobody_answers(pinged));
        assert_eq!(round_trip("nothing"), (0.0, 0.0));
        let written = "512000 bytes (512 kB, 500 KiB) copied, 5.02 s, 102 kB/s";
        assert_eq!(seconds(written), 5.02);
        assert!(!is_in_the_future("0") && is_in_the_future("99999999999"));
        assert!(rows().is_ok());
    }
}
