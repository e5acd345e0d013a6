//! The ARM64 program, run here by QEMU: does it find what every other program finds?

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::steps::Outcome;
use crate::{cross, doctor};

/// Ranges with the digests that are known of them; the native program is held to the same file by a test.
pub(crate) const DIGESTS: &str = "fixtures/worlds/axiom-verge.digests.json";
const WORLD: &str = "fixtures/worlds/axiom-verge.toml";

/// QEMU's emulation of single programs.
pub(crate) fn emulator() -> Option<&'static str> {
    ["qemu-aarch64-static", "qemu-aarch64"]
        .into_iter()
        .find(|name| doctor::find(name).is_some())
}

pub(super) fn run() -> Result<Outcome> {
    let Some(emulator) = emulator() else {
        return Ok(Outcome::Skipped("there is no qemu-aarch64".to_owned()));
    };
    let Some(choice) = cross::native_or_debian() else {
        return Ok(Outcome::Skipped(
            "no Rust compiler here has the standard library for ARM64".to_owned(),
        ));
    };
    let program = cross::build(&choice)?.search;
    let text =
        std::fs::read_to_string(DIGESTS).with_context(|| format!("cannot read {DIGESTS}"))?;
    let known: Vec<Value> = serde_json::from_str(&text).context(DIGESTS)?;
    if known.is_empty() {
        bail!("{DIGESTS} names no ranges");
    }
    for range in &known {
        check(emulator, &program, range)?;
    }
    println!("{} ranges, all as known", known.len());
    Ok(Outcome::Done)
}

fn check(emulator: &str, program: &Path, known: &Value) -> Result<()> {
    let text = |key: &str| known[key].to_string().trim_matches('"').to_owned();
    let mut command = Command::new(emulator);
    command
        .arg(program)
        .args(["run", "--world", WORLD, "--json"]);
    for option in ["fill", "rng", "level", "start", "len"] {
        command.arg(format!("--{option}={}", text(option)));
    }
    let output = command.output().context("cannot start the emulator")?;
    if !output.status.success() {
        bail!(
            "{command:?} failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let report: Value = serde_json::from_slice(&output.stdout).context("its report")?;
    let found = &report["levels"][0];
    for key in ["digest", "audit"] {
        if found[key] != known[key] {
            bail!(
                "{command:?}: {key} is {}, and should be {}",
                found[key],
                known[key]
            );
        }
    }
    Ok(())
}
