//! `cargo xtask vm top`: what the machines of a lab do, and what is done to them.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use bramble_lab::{Affliction, Attached, OfMachine, Usage};
use serde::Serialize;

/// Show what each machine uses of the host and of the network, and what has befallen it
///
/// On a terminal it goes on until Ctrl-C or the lab's end; elsewhere it is shown once.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask vm top
  cargo xtask vm top --interval 5s
  cargo xtask vm top --json")]
pub(super) struct Args {
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "1s")]
    interval: humantime::Duration,
    /// Show it once
    #[arg(long)]
    once: bool,
    /// Show it once, as JSON
    #[arg(long)]
    json: bool,
}

/// A machine's use in a second.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    machine: String,
    /// In percent of one of the host's processors.
    cpu_percent: f64,
    memory_mib: u64,
    frames_from_per_second: f64,
    frames_to_per_second: f64,
    bytes_from_per_second: f64,
    bytes_to_per_second: f64,
    faults: Vec<String>,
}

pub(super) fn run(lab: &Attached, args: &Args) -> Result<()> {
    let is_live = io::stdout().is_terminal() && !args.once && !args.json;
    let (mut begin, mut before) = (Instant::now(), lab.usage()?);
    loop {
        thread::sleep(args.interval.into());
        let (now, after) = (Instant::now(), lab.usage()?);
        let rows = rows(&before, &after, now - begin, &lab.afflictions()?);
        if args.json {
            println!("{}", serde_json::to_string_pretty(&rows)?);
            return Ok(());
        }
        let shown = table(&lab.name(), &after, &rows);
        if !is_live {
            print!("{shown}");
            return Ok(());
        }
        // From the top left corner on, and nothing below it.
        print!("\x1b[H\x1b[2J{shown}");
        io::stdout().flush()?;
        (begin, before) = (now, after);
    }
}

fn rows(before: &Usage, after: &Usage, time: Duration, in_force: &[Affliction]) -> Vec<Row> {
    let mut names: Vec<&String> = after.machines.keys().collect();
    names.extend(in_force.iter().map(|affliction| &affliction.machine));
    names.sort();
    names.dedup();
    let none = OfMachine::default();
    let row = |name: &String| {
        let now = after.machines.get(name).unwrap_or(&none);
        // One that was started in between began from nothing.
        let then = before.machines.get(name).unwrap_or(&none);
        #[expect(clippy::cast_precision_loss, reason = "counts of a second")]
        let rate = |count: fn(&OfMachine) -> u64| {
            let rate = count(now).saturating_sub(count(then)) as f64 / time.as_secs_f64();
            (rate * 10.0).round() / 10.0
        };
        let faults = in_force.iter().filter(|it| it.machine == *name);
        Row {
            machine: name.clone(),
            // Of a second's milliseconds.
            cpu_percent: rate(|it| it.cpu) / 10.0,
            memory_mib: now.memory / 1024,
            frames_from_per_second: rate(|it| it.frames_from),
            frames_to_per_second: rate(|it| it.frames_to),
            bytes_from_per_second: rate(|it| it.bytes_from),
            bytes_to_per_second: rate(|it| it.bytes_to),
            faults: faults.map(|it| it.fault.to_string()).collect(),
        }
    };
    names.into_iter().map(row).collect()
}

fn table(lab: &str, usage: &Usage, rows: &[Row]) -> String {
    let mut table = format!(
        "{lab}: {} MiB, {} MiB at its peak, {} s of CPU\n\n{:<12} {:>5} {:>6} {:>9} {:>9} {:>9} {:>9}  faults\n",
        usage.memory / 1024,
        usage.peak_memory / 1024,
        usage.cpu / 1000,
        "machine",
        "CPU %",
        "MiB",
        "frames/s",
        "to it",
        "KiB/s",
        "to it",
    );
    for row in rows {
        let line = format!(
            "{:<12} {:>5.0} {:>6} {:>9.0} {:>9.0} {:>9.1} {:>9.1}  {}",
            row.machine,
            row.cpu_percent,
            row.memory_mib,
            row.frames_from_per_second,
            row.frames_to_per_second,
            row.bytes_from_per_second / 1024.0,
            row.bytes_to_per_second / 1024.0,
            row.faults.join(", ")
        );
        let _ = writeln!(table, "{}", line.trim_end());
    }
    table
}

#[cfg(test)]
mod tests {
    use bramble_lab::Fault;

    use super::*;

    #[test]
    fn rates_are_differences() {
        let usage = |cpu, frames| {
            let machine = OfMachine {
                memory: 300 << 10,
                cpu,
                frames_from: frames,
                frames_to: 2 * frames,
                bytes_from: 1024 * frames,
                bytes_to: 2048 * frames,
            };
            Usage {
                memory: 700 << 10,
                peak_memory: 900 << 10,
                cpu,
                machines: [("worker1".to_owned(), machine)].into(),
            }
        };
        let off = Affliction {
            machine: "worker2".to_owned(),
            fault: Fault::PowerCut,
            lasting: None,
        };
        let after = usage(3500, 30);
        let rows = rows(&usage(2500, 10), &after, Duration::from_secs(2), &[off]);
        assert_eq!(rows[0].cpu_percent, 50.0);
        assert_eq!(rows[0].frames_from_per_second, 10.0);
        assert_eq!(rows[1].faults, ["power cut"]);
        insta::assert_snapshot!(table("home", &after, &rows));
    }
}
