//! `flake.nix`, evaluated by Nix without the network.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::CommandFactory;
use serde_json::Value;

use super::steps::Outcome;
use crate::doctor::find;
use crate::{Verb, project};

/// The program that evaluates, and Debian's package of it.
const PROGRAM: &str = "nix-instantiate";
const PACKAGE: &str = "nix-bin";

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
