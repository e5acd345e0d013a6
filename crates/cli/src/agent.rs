//! `bramble-node` on the nodes: how it gets there, and how it is asked.

use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;

use anyhow::{Context as _, bail};
use bramble_cluster::spec::{Cluster, Node};
use bramble_provision::{Event, Facts, Mode, Plan, Summary, SwarmView};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::advice;
use crate::failure::Usage;
use crate::remote::Remote;

/// Where it lies on every node, a file per version.
const DIRECTORY: &str = "/usr/local/lib/bramble";

/// A name that leads to the version that applied last.
const CURRENT: &str = "/usr/local/lib/bramble/bramble-node";

/// What the shell on the node exits with when this version is not there yet.
const MISSING: i32 = 90;

/// A version of the agent, ready to be copied.
#[derive(Debug)]
pub(crate) struct Agent {
    program: Vec<u8>,
    sha256: String,
}

impl Agent {
    /// Reads the program, which must be one for the nodes.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let program = std::fs::read(path).map_err(|error| {
            Usage::new(format!(
                "cannot read the program for the nodes, {}: {error}",
                path.display()
            ))
            .help("name one with --node-binary PATH; `cargo xtask cross` builds it")
        })?;
        if !program.starts_with(b"\x7fELF") {
            return Err(
                Usage::new(format!("{} is no Linux program", path.display()))
                    .help("name one with --node-binary PATH; `cargo xtask cross` builds it")
                    .into(),
            );
        }
        let sha256 = Sha256::digest(&program)
            .iter()
            .fold(String::new(), |mut text, byte| {
                write!(text, "{byte:02x}").expect("a String takes all");
                text
            });
        Ok(Self { program, sha256 })
    }

    /// Applies a plan on its node; `event` hears what happens. The program is copied first where it is missing.
    ///
    /// # Errors
    /// The node cannot be reached, or the agent cannot run there. A resource that failed is in the summary.
    pub(crate) fn apply(
        &self,
        remote: &Remote,
        plan: &Plan,
        mode: Mode,
        mut event: impl FnMut(&Event),
    ) -> anyhow::Result<Summary> {
        let node = &plan.node;
        let plan = serde_json::to_vec(plan)?;
        let mut summary = None;
        let mut hear = |line: &str| {
            let heard = serde_json::from_str(line)
                .with_context(|| format!("{node} says something else than expected: {line}"))?;
            if let Event::Summary(end) = &heard {
                summary = Some(end.clone());
            }
            event(&heard);
            Ok(())
        };
        let mut ended = remote.run(node, &self.apply_command(mode), &*plan, &mut hear)?;
        if ended.code == MISSING {
            let input = self.program.chain(&*plan);
            ended = remote.run(node, &self.install_command(mode), input, &mut hear)?;
        }
        match summary {
            Some(summary) => Ok(summary),
            None if ended.errors.contains("password is required") => bail!(
                "{node}: sudo asks for a password; name a file with it by --sudo-password-file, or let the account \
                 do without one (a line `USER ALL=(ALL) NOPASSWD:ALL` in /etc/sudoers.d)"
            ),
            None => bail!(
                "{node}: the agent ended with exit code {} before the plan did: {}{}",
                ended.code,
                ended.errors,
                advice::on(&ended.errors).map_or(String::new(), |step| format!("\n{step}"))
            ),
        }
    }

    fn path(&self) -> String {
        format!("{DIRECTORY}/bramble-node-{}", &self.sha256[..12])
    }

    fn apply_command(&self, mode: Mode) -> String {
        let path = self.path();
        format!(
            "[ -x {path} ] || exit {MISSING}; exec sudo -n {path} {}",
            apply_arguments(mode)
        )
    }

    /// Program and plan arrive one after the other: `head` takes the one, and leaves the other.
    fn install_command(&self, mode: Mode) -> String {
        let (path, size, sha256) = (self.path(), self.program.len(), &self.sha256);
        let script = format!(
            "set -e; umask 022; mkdir -p {DIRECTORY}; new={path}.$$; trap \"rm -f $new\" EXIT; \
             head -c {size} >$new; echo \"{sha256}  $new\" | sha256sum --check --quiet; chmod 755 $new; \
             rm -f {CURRENT}-????????????; mv $new {path}; ln -sfn {path} {CURRENT}; \
             exec {path} {}",
            apply_arguments(mode)
        );
        format!("exec sudo -n sh -c '{script}'")
    }
}

fn apply_arguments(mode: Mode) -> &'static str {
    match (mode.check, mode.diff) {
        (false, false) => "apply",
        (false, true) => "apply --diff",
        (true, false) => "apply --check",
        (true, true) => "apply --check --diff",
    }
}

/// How a node is.
pub(crate) fn facts(remote: &Remote, node: &str) -> anyhow::Result<Facts> {
    ask(remote, node, "facts")
}

/// How the swarm is, from a manager.
pub(crate) fn swarm(remote: &Remote, manager: &str, tokens: bool) -> anyhow::Result<SwarmView> {
    ask(
        remote,
        manager,
        if tokens { "swarm --tokens" } else { "swarm" },
    )
}

/// How the swarm is, from a manager, every few seconds. Ends when the manager does not answer any more.
pub(crate) fn watch(
    remote: &Remote,
    manager: &str,
    seconds: u64,
) -> anyhow::Result<impl Iterator<Item = SwarmView>> {
    let lines = remote.lines(
        manager,
        &format!("exec sudo -n {CURRENT} swarm --every {seconds}"),
    )?;
    Ok(lines.map_while(|line| serde_json::from_str(&line.ok()?).ok()))
}

/// A manager that answers, and how the swarm is.
pub(crate) fn manager<'a>(
    remote: &Remote,
    cluster: &'a Cluster,
) -> anyhow::Result<(&'a str, SwarmView)> {
    let (node, view) = first_manager(remote, cluster.managers(), false)?;
    Ok((&node.name, view))
}

/// The first of `nodes` that manages a swarm, and how that is.
pub(crate) fn first_manager<'a>(
    remote: &Remote,
    nodes: impl IntoIterator<Item = &'a Node>,
    tokens: bool,
) -> anyhow::Result<(&'a Node, SwarmView)> {
    let mut errors = Vec::new();
    for node in nodes {
        match swarm(remote, &node.name, tokens) {
            Ok(view) => return Ok((node, view)),
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    bail!("no manager answers: {}", errors.join("; "))
}

fn ask<T: DeserializeOwned>(remote: &Remote, node: &str, question: &str) -> anyhow::Result<T> {
    let missing = format!("{node} is not provisioned yet; `bramble provision` does it");
    let command = format!("[ -x {CURRENT} ] || exit {MISSING}; exec sudo -n {CURRENT} {question}");
    let mut answer = String::new();
    let ended = remote.run(node, &command, &b""[..], |line| {
        answer.push_str(line);
        Ok(())
    })?;
    match ended.code {
        0 => serde_json::from_str(&answer).with_context(|| {
            format!("{node} has another version of bramble-node; `bramble provision` renews it")
        }),
        MISSING => bail!(missing),
        _ => bail!("{node}: {}", ended.errors),
    }
}
