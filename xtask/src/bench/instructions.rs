//! Instructions per seed on ARM64.
//!
//! QEMU writes a line for every instruction that it executes one at a time. Two runs that differ in their number of seeds differ in
//! as many lines as these seeds need instructions, which is exact and takes no ARM64 machine; how long a processor takes
//! for them is another question.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::ci::neon::emulator;
use crate::cross;

/// What is counted: the two searches that the project is about, then the others.
const SEARCHES: [(&str, &str); 6] = [
    ("guarded", "dotnet"),
    ("ladder", "pcg32"),
    ("guarded", "pcg32"),
    ("forward", "dotnet"),
    ("shuffle", "dotnet"),
    ("assumed", "dotnet"),
];
const FEW: u64 = 256;
const MANY: u64 = 1280;

/// Eight Pi 4s: cores, clock, and instructions that a Cortex-A72 completes in a cycle on code such as this. The last is an
/// assumption, and the least certain one.
const CORES: f64 = 32.0;
const HERTZ: f64 = 1.5e9;
const PER_CYCLE: f64 = 1.2;

pub(super) fn run() -> Result<()> {
    let emulator = emulator().context("there is no qemu-aarch64: install qemu-user-static")?;
    let program = cross::build(&cross::choose(false)?)?.search;
    println!(
        "\nARM64, counted by {emulator}; estimate for the whole space of one level on eight Pi 4s, 32 cores at 1.5 GHz,"
    );
    println!("at {PER_CYCLE} instructions a cycle (assumed, not measured)");
    println!(
        "{:8} {:7} {:>18} {:>10}",
        "fill", "rng", "instructions/seed", "minutes"
    );
    for (fill, rng) in SEARCHES {
        let count = |seeds| count(emulator, &program, fill, rng, seeds);
        let each = (count(MANY)? - count(FEW)?) as f64 / (MANY - FEW) as f64;
        // Under `dotnet` half of the seeds have the draws of the other half.
        let computed = if rng == "dotnet" { 31 } else { 32 };
        let minutes = each * f64::from(computed).exp2() / (CORES * HERTZ * PER_CYCLE) / 60.0;
        println!("{fill:8} {rng:7} {each:>18.0} {minutes:>10.1}");
    }
    Ok(())
}

fn count(emulator: &str, program: &Path, fill: &str, rng: &str, seeds: u64) -> Result<u64> {
    let mut command = Command::new(emulator);
    command.args(["-one-insn-per-tb", "-d", "exec,nochain"]);
    command
        .arg(program)
        .arg("run")
        .arg("--world")
        .arg(super::world());
    command.args(["--level=default", "--threads=1", "--json"]);
    command.args([
        format!("--fill={fill}"),
        format!("--rng={rng}"),
        format!("--len={seeds}"),
    ]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start the emulator")?;
    let mut log = BufReader::with_capacity(1 << 20, child.stderr.take().context("its log")?);
    let (mut line, mut instructions) = (Vec::new(), 0);
    while log.read_until(b'\n', &mut line)? > 0 {
        instructions += u64::from(line.starts_with(b"Trace"));
        line.clear();
    }
    let status = child.wait()?;
    match status.success() && instructions > 0 {
        true => Ok(instructions),
        false => bail!("{command:?} failed ({status}, {instructions} instructions)"),
    }
}
