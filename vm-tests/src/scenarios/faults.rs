//! What the lab calls a fault is one: machines feel it, and feel it no longer when it is cleared.

mod felt;
mod rows;

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bramble_lab::{Fault, Trouble};

use felt::is_answered;
use rows::{PING_ONCE, Row, rows};

use super::{EIGHT_PI, THREE};
use crate::life;
use crate::scenario::{Expects, On, Rehearsal, Scenario, Stock, When};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "faults",
    shows: "every fault is felt by the machine that it befalls, and no longer when it is cleared",
    when: When::Nightly,
    cluster: EIGHT_PI,
    nodes: THREE,
    stock: Stock::None,
    measured: Some(253),
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

fn run(rehearsal: &mut Rehearsal) -> Result<()> {
    for row in rows()? {
        let name = format!("{}: {}", row.machine, row.fault);
        let lab = rehearsal.lab.attached().clone();
        rehearsal.report.stage(&name, |_| {
            // A host that has much else to do may keep a machine waiting for a moment, as some faults do. And whom a damaged
            // frame told a wrong address of a neighbour's, hears nobody until he looks for him anew.
            life::until(rehearsal.operator, "a machine without the fault", || {
                let answer = type_in(rehearsal, VICTIM, PING_ONCE)?;
                ensure!(is_answered(&answer), "not yet heard: {answer}");
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
    several_at_once(rehearsal)?;
    the_way_in(rehearsal)
}

/// One fault of several is cleared by itself, and what a boot undoes is no longer in force after it.
fn several_at_once(rehearsal: &mut Rehearsal) -> Result<()> {
    let apart = Fault::Apart {
        from: WITNESS.to_owned(),
    };
    let slow = Fault::DiskSlow {
        bytes_per_second: 100_000,
    };
    let name = format!("{VICTIM}: {slow}, {}, {apart}", Fault::cut());
    let lab = rehearsal.lab.attached().clone();
    let in_force = |expected: &[&Fault]| -> Result<()> {
        let afflictions = lab.afflictions()?;
        let found: Vec<_> = afflictions.iter().map(|one| &one.fault).collect();
        ensure!(found == expected, "in force is {found:?}, not {expected:?}");
        Ok(())
    };
    rehearsal.report.stage(&name, |_| {
        for fault in [&slow, &Fault::cut(), &apart] {
            lab.inflict(VICTIM, fault)?;
        }
        lab.clear_one(VICTIM, &Fault::cut())?;
        in_force(&[&slow, &apart])?;

        lab.inflict(VICTIM, &Fault::PowerCut)?;
        lab.clear_one(VICTIM, &Fault::PowerCut)?;
        in_force(&[&apart])?;
        life::until_online(rehearsal, VICTIM)?;
        lab.clear(VICTIM)?;
        in_force(&[])
    })
}

fn ask(rehearsal: &Rehearsal, row: &Row) -> Result<String> {
    type_in(rehearsal, row.asked, row.question)
}

/// What a machine says to a question in which words in capitals are addresses.
fn type_in(rehearsal: &Rehearsal, machine: &str, question: &str) -> Result<String> {
    let address = |name: &str| -> Result<Ipv4Addr> {
        let mut nodes = rehearsal.cluster.nodes.iter();
        let node = nodes.find(|node| node.name == name);
        Ok(node.with_context(|| format!("no node {name}"))?.ip)
    };
    let nas = rehearsal.cluster.nas.as_ref().context("no NAS")?;
    let question = question
        .replace("MANAGER", &address("manager1")?.to_string())
        .replace("VICTIM", &address(VICTIM)?.to_string())
        .replace("WITNESS", &address(WITNESS)?.to_string())
        .replace("NAS", &nas.server.to_string());
    let lab = rehearsal.lab.attached();
    lab.type_in(machine, &format!("{question}; true"))
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
