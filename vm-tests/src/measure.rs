//! What machines cost: time until they answer, memory and CPU time, by how many there are.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bramble_lab::{Event, Fault, Happened, Waiting, guest};
use serde::Serialize;

use crate::household;
use crate::report::Report;
use crate::runner::{self, Options, Standing};
use crate::scenario::{Bench, On, Scenario, Stock, When};

/// Longest wait for machines that boot all at once.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// Nothing that must hold, but machines to look at.
const LAB: Scenario = Scenario {
    name: "bench-lab",
    shows: "nothing",
    when: When::Nightly,
    cluster: "fixtures/clusters/eight-pi.toml",
    nodes: 8,
    stock: Stock::None,
    measured: None,
    expects: &[],
    on: On::Nothing(|_, _| Ok(())),
};

/// What some nodes took that were cloned all at once, beside a household.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Clones {
    /// How many nodes.
    pub nodes: usize,
    /// Seconds from the lab's start until the first node answered.
    pub first: f64,
    /// ... and until all did.
    pub all: f64,
    /// The host's memory that all QEMUs use then, in MiB; what is shared counts once.
    pub memory: f64,
    /// CPU time of all QEMUs until then, in seconds.
    pub cpu: f64,
}

/// What nodes took to boot from their disks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Boots {
    /// How many at once.
    pub nodes: usize,
    /// Seconds from power on until all answered.
    pub all: f64,
    /// CPU time of all QEMUs meanwhile, in seconds.
    pub cpu: f64,
}

/// Clones `nodes` nodes, and then boots one of them alone and, if `boot_all`, all of them at once.
///
/// # Errors
/// When machines do not come up.
pub fn measure(
    bench: &Bench,
    options: &Options,
    nodes: usize,
    boot_all: bool,
) -> Result<(Clones, Vec<Boots>)> {
    let report = Report::new(&format!("{nodes} nodes"));
    let options = Options {
        nodes: Some(nodes),
        ..options.clone()
    };
    let mut stands = runner::stand_up(&LAB, &report, bench, &options)?;
    runner::come_online(&report, &mut stands)?;
    let usage = stands.lab.attached().usage()?;
    let online = online(&stands.place.logs.join("events.jsonl"))?;
    let clones = Clones {
        nodes,
        first: online.first().copied().unwrap_or_default(),
        all: online.last().copied().unwrap_or_default(),
        memory: mebibytes(usage.memory),
        cpu: seconds(usage.cpu),
    };
    let names: Vec<String> = stands
        .cluster
        .nodes
        .iter()
        .map(|node| node.name.clone())
        .collect();
    let mut boots = Vec::new();
    if boot_all {
        for several in [&names[names.len() - 1..], &names[..]] {
            let name = format!("boot of {}", several.len());
            boots.push(report.stage(&name, |_| boot(&mut stands, several))?);
        }
    }
    stands.lab.down()?;
    Ok((clones, boots))
}

/// Cuts the power of machines, and switches them on again at once.
fn boot(stands: &mut Standing, names: &[String]) -> Result<Boots> {
    for name in names {
        stands.lab.attached().inflict(name, &Fault::PowerCut)?;
    }
    let (begin, before) = (Instant::now(), stands.lab.attached().usage()?.cpu);
    for name in names {
        stands.lab.attached().power_on(name)?;
    }
    stands.lab.wait(&Waiting::online(names, PATIENCE), |_| {})?;
    Ok(Boots {
        nodes: names.len(),
        all: begin.elapsed().as_secs_f64(),
        cpu: seconds(stands.lab.attached().usage()?.cpu - before),
    })
}

/// When nodes were online, in seconds since the lab's start, in order.
fn online(events: &Path) -> Result<Vec<f64>> {
    let text =
        fs::read_to_string(events).with_context(|| format!("cannot read {}", events.display()))?;
    let mut times = Vec::new();
    for line in text.lines() {
        let event: Event = serde_json::from_str(line)?;
        let says_so = matches!(&event.what, Happened::Says { text } if text == guest::ONLINE);
        if says_so && event.machine.as_deref() != Some(household::NAME) {
            times.push(seconds(event.at));
        }
    }
    Ok(times)
}

fn seconds(milliseconds: u64) -> f64 {
    Duration::from_millis(milliseconds).as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 KiB")]
fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}

/// The line through points that is nearest to them, by least squares: its value at 0, and its slope. `None` for fewer
/// than two places.
pub fn line(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if spread == 0.0 || points.is_empty() {
        return None;
    }
    let slope = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum::<f64>()
        / spread;
    Some((y - slope * x, slope))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_through_its_points() {
        let points = [(2.0, 7.0), (4.0, 11.0), (8.0, 19.0)];
        let (at_zero, slope) = line(&points).expect("a line");
        assert!((at_zero - 3.0).abs() < 1e-9 && (slope - 2.0).abs() < 1e-9);
        assert_eq!(line(&points[..1]), None);
        assert_eq!(line(&[]), None);
    }

    #[test]
    fn nodes_are_timed_by_what_they_say() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("events.jsonl");
        let says = |at, machine: &str, text: &str| {
            serde_json::to_string(&Event {
                at,
                machine: Some(machine.to_owned()),
                what: Happened::Says {
                    text: text.to_owned(),
                },
            })
        };
        let lines = [
            says(900, household::NAME, guest::ONLINE)?,
            says(1500, "worker1", guest::ONLINE)?,
            says(1600, "worker1", "something else")?,
            says(2500, "manager1", guest::ONLINE)?,
        ];
        fs::write(&path, lines.join("\n"))?;
        assert_eq!(online(&path)?, [1.5, 2.5]);
        Ok(())
    }
}
