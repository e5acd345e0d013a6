//! `cargo xtask vm logs`: what machines wrote to their consoles.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bramble_lab::Attached;

use crate::output;

/// What a console's log is called after its machine.
const SUFFIX: &str = ".console.log";

/// How often to look for more.
const INTERVAL: Duration = Duration::from_millis(250);

/// Show what machines wrote to their consoles
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask vm logs
  cargo xtask vm logs worker3 --lines 200
  cargo xtask vm logs --follow

Journals are in the machines: cargo xtask vm ssh worker3 -- sudo journalctl --follow")]
pub(super) struct Args {
    /// Whose [default: all machines']
    machines: Vec<String>,
    /// Go on with what they write, until the lab ends
    #[arg(long, short)]
    follow: bool,
    /// How many of the last lines of each
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    lines: usize,
}

pub(super) fn run(lab: &Attached, args: &Args) -> Result<()> {
    let (_, logs) = lab.place()?;
    let known = machines(&logs)?;
    for machine in &args.machines {
        ensure!(
            known.contains(machine),
            "there is no machine {machine}, only {}",
            known.join(", ")
        );
    }
    let mut tails: BTreeMap<String, Tail> = BTreeMap::new();
    let mut begun = false;
    loop {
        // One may be added while we look.
        let wanted = match args.machines.is_empty() {
            true => machines(&logs)?,
            false => args.machines.clone(),
        };
        let several = wanted.len() > 1;
        for machine in wanted {
            let tail = tails.entry(machine.clone()).or_default();
            let mut lines = tail.more(&logs.join(format!("{machine}{SUFFIX}")))?;
            if !begun {
                lines.drain(..lines.len().saturating_sub(args.lines));
            }
            for line in lines {
                match several {
                    true => println!("{machine:<12} {line}"),
                    false => println!("{line}"),
                }
            }
        }
        if !args.follow || !output::is_read() || (begun && lab.place().is_err()) {
            return Ok(());
        }
        begun = true;
        thread::sleep(INTERVAL);
    }
}

/// The machines that have a console's log.
fn machines(logs: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(logs).with_context(|| format!("cannot list {}", logs.display()))?;
    let names = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        Some(name.strip_suffix(SUFFIX)?.to_owned())
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    if names.is_empty() {
        bail!("the lab has no machines");
    }
    Ok(names)
}

/// How much of a log has been read.
#[derive(Default)]
struct Tail {
    read: u64,
    /// The beginning of a line whose end is yet to come.
    begun: Vec<u8>,
}

impl Tail {
    /// The whole lines that have come.
    fn more(&mut self, log: &Path) -> Result<Vec<String>> {
        let mut file = File::open(log).with_context(|| format!("cannot read {}", log.display()))?;
        file.seek(SeekFrom::Start(self.read))?;
        self.read += file.read_to_end(&mut self.begun)? as u64;
        let Some(end) = self.begun.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        let rest = self.begun.split_off(end + 1);
        let whole = std::mem::replace(&mut self.begun, rest);
        let lines = String::from_utf8_lossy(&whole);
        Ok(lines
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_once() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let log = dir.path().join("worker1.console.log");
        let mut tail = Tail::default();
        for (written, expected) in [
            ("one\r\ntw", vec!["one"]),
            ("one\r\ntw", vec![]),
            ("one\r\ntwo\nthree\n", vec!["two", "three"]),
        ] {
            fs::write(&log, written)?;
            assert_eq!(tail.more(&log)?, expected, "{written:?}");
        }
        assert_eq!(machines(dir.path())?, ["worker1"]);
        assert!(machines(&dir.path().join("elsewhere")).is_err());
        Ok(())
    }
}
