//! Instructions per seed on ARM64.
//!
//! QEMU translates programs in blocks without branches, writes down the instructions of each block when it meets it first, and a
//! line whenever one is executed. Two runs that differ in their number of seeds differ in what these seeds need, which is
//! exact and takes no ARM64 machine; how long a processor takes for it is another question.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
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
    command.args(["-d", "in_asm,exec,nochain"]);
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
    let log = BufReader::with_capacity(1 << 20, child.stderr.take().context("its log")?);
    let instructions = executed(log)?;
    let status = child.wait()?;
    match status.success() && instructions > 0 {
        true => Ok(instructions),
        false => bail!("{command:?} failed ({status}, {instructions} instructions)"),
    }
}

/// Adds up the lengths of the blocks that were executed.
fn executed(mut log: impl BufRead) -> Result<u64> {
    let mut lengths: HashMap<u64, u64> = HashMap::new();
    let (mut line, mut block, mut total) = (Vec::new(), None, 0);
    while log.read_until(b'\n', &mut line)? > 0 {
        if line.starts_with(b"IN:") {
            block = None;
        } else if line.starts_with(b"0x") {
            // An instruction: its address, a colon, and what it is. The first one's address is the block's.
            let address = number(line.get(2..).unwrap_or(&[]), b':');
            let start = *block.get_or_insert(address.unwrap_or(0));
            let length = lengths.entry(start).or_insert(0);
            *length = match address == Some(start) {
                true => 1,
                false => *length + 1,
            };
        } else if line.starts_with(b"Trace") {
            // The address stands after the first of the slashes in square brackets.
            let address = line.split(|&byte| byte == b'[').nth(1);
            let address = address.and_then(|rest| rest.split(|&byte| byte == b'/').nth(1));
            let address = address.and_then(|digits| number(digits, b'/'));
            let length = address.and_then(|address| lengths.get(&address));
            total += length.context("a block is executed that was never translated")?;
        }
        line.clear();
    }
    Ok(total)
}

/// Hexadecimal digits up to `end`.
fn number(text: &[u8], end: u8) -> Option<u64> {
    let digits = text.split(|&byte| byte == end).next()?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_count_as_often_as_they_run() {
        let log = "----------------\nIN: \n0x00000010:  d503201f  nop\n0x00000014:  d280001d  movz x29, #0\n\n\
                   Trace 0: 0x7f51 [81009331/0000000000000010/00000001/00000200] \n\
                   IN: main\n0x00000020:  d65f03c0  ret\n\n\
                   Trace 0: 0x7f52 [81009331/0000000000000020/00000001/00000200] main\n\
                   Trace 0: 0x7f51 [81009331/0000000000000010/00000001/00000200] \n";
        assert_eq!(executed(log.as_bytes()).unwrap(), 5);
        assert!(executed(&b"Trace 0: 0x7f51 [0/10/0/0]\n"[..]).is_err());
    }
}
