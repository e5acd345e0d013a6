//! `bramble exec`: one command on all nodes.

use std::io::{Write, stdout};
use std::process::ExitCode;
use std::thread;

use crate::context::Context;
use crate::provision::limited;
use crate::remote::{Remote, command_line};

/// Run a command on all nodes at once, each line of output with its node's name before it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bramble exec -- uptime
  bramble exec --limit worker1,worker2 -- sudo systemctl restart docker
  bramble exec -- sh -c 'vcgencmd measure_temp | cut -d= -f2'")]
pub(crate) struct Args {
    /// Only these nodes.
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    limit: Vec<String>,
    /// The command and its arguments, as they are; or one word that the nodes' shells read, as ssh has it.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    let cluster = context.cluster()?;
    let nodes = limited(&cluster, &args.limit)?;
    let remote = Remote::open(context, &cluster)?;
    // Both kinds of output, in the order in which they come.
    let command = format!("exec 2>&1; {}", command_line(&args.command));
    let width = nodes.iter().map(|node| node.name.len()).max().unwrap_or(0);

    let on = |node: &str| match remote.run(node, &command, &b""[..], |line| {
        say(node, width, line);
        Ok(())
    }) {
        Ok(ended) if ended.code == 0 => true,
        Ok(ended) => {
            say(node, width, &format!("exit code {}", ended.code));
            false
        }
        Err(error) => {
            format!("{error:#}")
                .lines()
                .for_each(|line| say(node, width, line));
            false
        }
    };
    let well = thread::scope(|scope| {
        let on = &on;
        let running: Vec<_> = nodes
            .iter()
            .map(|node| scope.spawn(move || on(&node.name)))
            .collect();
        running
            .into_iter()
            .map(|node| node.join().unwrap_or(false))
            .fold(true, |all, one| all & one)
    });
    Ok(if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn say(node: &str, width: usize, line: &str) {
    // Nobody reads any more: the command goes on all the same.
    writeln!(stdout().lock(), "{node:width$} | {line}").ok();
}
