//! `bramble ssh`: a shell on one node.

use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::context::Context;
use crate::failure::Usage;
use crate::remote::{Remote, command_line};

/// Log in to a node, or run a command on it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bramble ssh manager1
  bramble ssh worker3 -- journalctl --unit docker --lines 20
  bramble ssh worker3 -- 'uptime; free --mebi'")]
pub(crate) struct Args {
    /// The node, by its name or an alias.
    node: String,
    /// A command and its arguments, as they are; or one word that the node's shell reads, as ssh has it.
    #[arg(last = true)]
    command: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    let cluster = context.cluster()?;
    let known = |name: &str| {
        cluster
            .nodes
            .iter()
            .any(|node| node.name == name || node.aliases.iter().any(|a| a == name))
    };
    if !known(&args.node) {
        let names: Vec<_> = cluster.nodes.iter().map(|node| &*node.name).collect();
        return Err(Usage::new(format!("there is no node {}", args.node))
            .help(format!("the cluster file has {}", names.join(", ")))
            .into());
    }
    let remote = Remote::open(context, &cluster)?;
    let mut ssh = remote.ssh();
    ssh.arg(&args.node);
    if !args.command.is_empty() {
        ssh.arg("--").arg(command_line(&args.command));
    }
    // It takes this process's place: terminal, signals and exit code are its own.
    Err(ssh.exec()).context("cannot start `ssh`; is the OpenSSH client installed?")
}
