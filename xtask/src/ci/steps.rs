//! What `cargo xtask ci` does, in this order: what fails fast comes first.

use std::env;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::neon;
use super::skips;
use super::tools::{DENY, NEXTEST};
use crate::doctor;
use crate::lock;
use crate::project::{cargo, log_path, run_logged};
use crate::release;
use crate::world;

/// One thing that must hold.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) run: fn() -> Result<Outcome>,
    /// It takes so long that it is only worth it when everything else has passed.
    pub(super) last: bool,
}

/// How a step that did not fail went.
#[derive(Debug)]
pub(super) enum Outcome {
    Done,
    /// It could not be done here, and why.
    Skipped(String),
}

const fn step(name: &'static str, what: &'static str, run: fn() -> Result<Outcome>) -> Step {
    Step {
        name,
        what,
        run,
        last: false,
    }
}

pub(super) const STEPS: &[Step] = &[
    step("fmt", "the code is formatted", fmt),
    step("doctor", "this machine has what the rest needs", doctor),
    step("lock", "bramble.lock has what builds ask for", lock),
    step("clippy", "no lint has anything to say", clippy),
    step("deny", "licences, sources and versions are as agreed", deny),
    step("advisories", "no dependency has a known hole", advisories),
    step("tests", "unit, snapshot and property tests", tests),
    step("doctests", "the examples in the docs work", doctests),
    step("docs", "the docs build without a warning", docs),
    step(
        "flake",
        "flake.nix evaluates and offers what is there",
        super::flake::check,
    ),
    step("world", "the world file is what its facts give", world),
    step(
        "neon",
        "the ARM64 program finds what others find",
        neon::run,
    ),
    Step {
        name: "release",
        what: "what is handed out is the same when it is built elsewhere",
        run: release,
        last: true,
    },
    Step {
        name: "vm-test",
        what: "the rehearsal: a cluster of emulated machines",
        run: vm_test,
        last: true,
    },
    Step {
        name: "containers",
        what: "the same machines, and the search service, in containers of a Docker engine",
        run: super::containers::run,
        last: true,
    },
];

fn fmt() -> Result<Outcome> {
    logged("fmt", cargo().args(["fmt", "--all", "--check"]))
}

fn doctor() -> Result<Outcome> {
    doctor::ensure(doctor::Scope::Ci, doctor::fix_is_implied())?;
    Ok(Outcome::Done)
}

fn lock() -> Result<Outcome> {
    lock::check()?;
    Ok(Outcome::Done)
}

fn clippy() -> Result<Outcome> {
    let mut command = cargo();
    command.args(["clippy", "--workspace", "--all-targets", "--locked"]);
    logged("clippy", command.args(["--", "-D", "warnings"]))
}

fn deny() -> Result<Outcome> {
    let mut command = Command::new(DENY.find_or_install()?);
    command.args(["--locked", "check"]);
    logged("deny", command.args(["bans", "licenses", "sources"]))
}

/// Fetching is apart from checking, because being offline is no reason to fail.
fn advisories() -> Result<Outcome> {
    let deny = DENY.find_or_install()?;
    let log = log_path("ci-advisories-fetch")?;
    let mut fetch = Command::new("timeout");
    fetch.arg("120").arg(&deny).args(["fetch", "db"]);
    if run_logged(&mut fetch, &log).is_err() {
        return Ok(Outcome::Skipped(format!(
            "the advisory database cannot be reached, see {}",
            log.display()
        )));
    }
    let mut check = Command::new(deny);
    check.args(["--locked", "--offline", "check", "advisories"]);
    logged("advisories", &mut check)
}

fn tests() -> Result<Outcome> {
    let mut command = cargo();
    command.env("PATH", NEXTEST.on_path()?);
    command.args(["nextest", "run", "--workspace", "--locked"]);
    logged("tests", command.args(["--profile", "ci"]))?;
    skips::tell()?;
    Ok(Outcome::Done)
}

fn doctests() -> Result<Outcome> {
    logged(
        "doctests",
        cargo().args(["test", "--doc", "--workspace", "--locked"]),
    )
}

/// With what is private, too: those who read these docs work on the code.
fn docs() -> Result<Outcome> {
    let mut command = cargo();
    command.env("RUSTDOCFLAGS", "-D warnings");
    command.args(["doc", "--workspace", "--no-deps", "--locked"]);
    logged("docs", command.arg("--document-private-items"))
}

fn world() -> Result<Outcome> {
    world::run(true)?;
    Ok(Outcome::Done)
}

/// The image of a card is built twice every night.
fn release() -> Result<Outcome> {
    match release::check_without_card()? {
        true => Ok(Outcome::Done),
        false => Ok(Outcome::Skipped(
            "there are changes that no commit has, so they cannot be checked out elsewhere"
                .to_owned(),
        )),
    }
}

/// In a process of its own, with its own live view: what a newcomer calls, and no less.
fn vm_test() -> Result<Outcome> {
    let xtask = env::current_exe().context("cannot find this very program")?;
    let status = Command::new(xtask).arg("vm-test").status()?;
    match status.success() {
        true => Ok(Outcome::Done),
        false => bail!("the rehearsal failed ({status})"),
    }
}

fn logged(name: &str, command: &mut Command) -> Result<Outcome> {
    run_logged(command, &log_path(&format!("ci-{name}"))?)?;
    Ok(Outcome::Done)
}
