//! `flake.nix`, evaluated by Nix without the network.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::CommandFactory;
use serde_json::Value;

use super::steps::Outcome;
use crate::doctor::{REQUIREMENTS, Scope, find};
use crate::{Verb, project};

/// The program that evaluates, and Debian's package of it.
const PROGRAM: &str = "nix-instantiate";
const PACKAGE: &str = "nix-bin";

/// The flake's tools that bring what doctor asks for, by the name of the requirement.
const TOOLS: &[(&str, &str)] = &[
    ("QEMU system emulator for ARM64", "qemu"),
    ("QEMU disk tool", "qemu"),
    ("QEMU user emulator for ARM64", "qemu-aarch64-static"),
    ("arch-test", "arch-test"),
    ("mmdebstrap", "mmdebstrap"),
    ("OpenSSL's program", "openssl"),
    ("e2fsprogs", "e2fsprogs"),
    ("libarchive for mke2fs", "e2fsprogs"),
    ("OpenSSH client", "openssh"),
    ("C compiler", "gcc"),
    ("C cross-compiler for ARM64", "aarch64-linux-gnu-gcc"),
    ("Rust for ARM64", "rustc for arm64"),
    ("Redis", "redis"),
    ("sshfs", "sshfs"),
    ("sshd", "openssh"),
    ("container registry", "docker-registry"),
    ("dnsmasq", "dnsmasq"),
    ("dosfstools", "dosfstools"),
    ("mtools", "mtools"),
    ("sfdisk", "util-linux"),
    ("Chromium and its driver", "chromedriver"),
    ("pip", "python3"),
];

/// What no package brings, since it is the machine that has to be set up.
const BY_THE_MACHINE: [&str; 3] = [
    "ARM64 programs handed to QEMU (binfmt_misc)",
    "newuidmap",
    "user ids to map (newuidmap, /etc/subuid)",
];

/// Parses and evaluates it with a stand-in for nixpkgs, and sees that it offers what is there.
pub(super) fn check() -> Result<Outcome> {
    if find(PROGRAM).is_none() && !install() {
        let why = format!("{PROGRAM} is not installed, and the package {PACKAGE} cannot be");
        return Ok(Outcome::Skipped(why));
    }
    let mut nix = Command::new(PROGRAM);
    nix.current_dir(project::root());
    nix.args(["--eval", "--strict", "--json", ".ci/flake-check.nix"]);
    // Without a store of its own it would want to make /nix.
    let state = tempfile::tempdir()?;
    nix.env("NIX_STATE_DIR", state.path())
        .env("NIX_CONF_DIR", state.path());
    let output = nix.output().context("cannot run nix-instantiate")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("flake.nix does not evaluate:\n{}", said.trim());
    }
    let offered: Value = serde_json::from_slice(&output.stdout)?;
    check_verbs(&offered["apps"]["x86_64-linux"])?;
    check_tools(&offered["tools"])?;
    Ok(Outcome::Done)
}

/// What the flake runs must be a verb here.
fn check_verbs(apps: &Value) -> Result<()> {
    let command = Verb::command();
    let verbs: BTreeSet<&str> = command
        .get_subcommands()
        .map(clap::Command::get_name)
        .collect();
    let apps = apps.as_object().context("the flake offers no apps")?;
    let unknown: Vec<&str> = apps
        .keys()
        .map(String::as_str)
        .filter(|app| !verbs.contains(app))
        .collect();
    match unknown.is_empty() {
        true => Ok(()),
        false => bail!(
            "flake.nix offers what is no verb of cargo xtask: {}",
            unknown.join(", ")
        ),
    }
}

/// What doctor asks for in CI must be among the flake's tools.
fn check_tools(tools: &Value) -> Result<()> {
    let tools: Vec<&str> = tools
        .as_array()
        .context("the flake's shell has no tools")?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let brought = |name: &str| {
        let tool = TOOLS.iter().find(|(requirement, _)| *requirement == name);
        tool.is_some_and(|(_, tool)| tools.contains(tool))
    };
    let lacking: Vec<&str> = REQUIREMENTS
        .iter()
        .filter(|requirement| requirement.scope <= Scope::Ci)
        .map(|requirement| requirement.name)
        .filter(|name| !BY_THE_MACHINE.contains(name) && !brought(name))
        .collect();
    match lacking.is_empty() {
        true => Ok(()),
        false => bail!(
            "flake.nix has no tool for what `cargo xtask doctor` asks for: {}; add it there, and to TOOLS in {}",
            lacking.join(", "),
            file!()
        ),
    }
}

fn install() -> bool {
    let mut apt = Command::new("apt-get");
    apt.args(["install", "--yes", "--no-install-recommends", PACKAGE]);
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let installed = nix::unistd::Uid::effective().is_root()
        && apt.status().is_ok_and(|status| status.success());
    installed && find(PROGRAM).is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_doctor_asks_for_is_among_the_tools() {
        let all: Vec<&str> = TOOLS.iter().map(|(_, tool)| *tool).collect();
        check_tools(&json!(all)).unwrap();
        let without: Vec<&&str> = all.iter().filter(|tool| **tool != "openssh").collect();
        let error = check_tools(&json!(without)).unwrap_err().to_string();
        assert!(error.contains("OpenSSH client, sshd;"), "{error}");
        assert!(check_tools(&Value::Null).is_err());
        // A name that doctor no longer has would hold nothing.
        let names = TOOLS.iter().map(|(name, _)| name).chain(&BY_THE_MACHINE);
        for name in names {
            assert!(REQUIREMENTS.iter().any(|it| it.name == *name), "{name}");
        }
    }

    #[test]
    fn what_the_flake_runs_exists() {
        check_verbs(&json!({ "doctor": "", "vm-test": "" })).unwrap();
        let error = check_verbs(&json!({ "doctor": "", "fly": "" }))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "flake.nix offers what is no verb of cargo xtask: fly"
        );
        assert!(check_verbs(&Value::Null).is_err());
    }
}
