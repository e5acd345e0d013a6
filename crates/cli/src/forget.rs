//! `bramble forget`: a node leaves the swarm in good order.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use bramble_cluster::spec::Cluster;
use bramble_provision::{Member, Role, SwarmView};

use crate::agent;
use crate::context::Context;
use crate::failure::Usage;
use crate::remote::{Remote, quoted};

/// How often the swarm is asked whether the node is empty, or gone.
const INTERVAL: Duration = Duration::from_secs(2);

/// Take a node out of the swarm: its tasks move to others first.
///
/// The node may still be in the cluster file, or be taken out of it already; it may be broken or gone. What else was set
/// up on it stays as it is. Run it again if it was interrupted.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bramble forget worker7 --check
  bramble forget worker7")]
pub(crate) struct Args {
    /// The node, by its host name.
    node: String,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    check: bool,
    /// How long its tasks may take to end, in minutes.
    #[arg(long, value_name = "MINUTES", default_value_t = 5)]
    timeout: u16,
}

/// A step on the way out.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Demote,
    Drain,
    Leave,
    Remove,
}

pub(crate) fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    let cluster = context.cluster()?;
    let remote = Remote::open(context, &cluster)?;
    let (manager, view) = helper(&remote, &cluster, &args.node)?;
    let members: Vec<&Member> = view
        .members
        .iter()
        .filter(|member| member.hostname == args.node)
        .collect();
    if members.is_empty() {
        println!("{} is not in the swarm; there is nothing to do", args.node);
        return Ok(ExitCode::SUCCESS);
    }
    for member in members {
        for step in steps(member) {
            println!("{}: {}", args.node, describe(&step, member));
            if !args.check {
                take(&step, &remote, manager, member, args)?;
            }
        }
    }
    if cluster.node(&args.node).is_some() {
        println!(
            "{} is still in the cluster file: take it out there, or `bramble provision` lets it in again",
            args.node
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// A manager that is not the node itself, and how the swarm is.
fn helper<'a>(
    remote: &Remote,
    cluster: &'a Cluster,
    node: &str,
) -> anyhow::Result<(&'a str, SwarmView)> {
    let mut errors = Vec::new();
    for manager in cluster.managers().filter(|manager| manager.name != node) {
        match agent::swarm(remote, &manager.name, false) {
            Ok(view) => return Ok((&manager.name, view)),
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    if errors.is_empty() {
        let usage = Usage::new(format!(
            "{node} is the only manager, without which there is no swarm"
        ));
        return Err(usage
            .help("make another node a manager in the cluster file, and run `bramble provision` first")
            .into());
    }
    bail!("no other manager answers: {}", errors.join("; "))
}

/// What is left to do for a member.
fn steps(member: &Member) -> Vec<Step> {
    let is_there = member.state == "ready";
    [
        (member.role == Role::Manager, Step::Demote),
        (is_there, Step::Drain),
        (is_there, Step::Leave),
        (true, Step::Remove),
    ]
    .into_iter()
    .filter(|(needed, _)| *needed)
    .map(|(_, step)| step)
    .collect()
}

fn describe(step: &Step, member: &Member) -> String {
    match step {
        Step::Demote => "make it a worker".into(),
        Step::Drain => "move its tasks to other nodes".into(),
        Step::Leave => "let it leave the swarm".into(),
        Step::Remove => format!("remove it from the list of nodes ({})", member.id),
    }
}

fn take(
    step: &Step,
    remote: &Remote,
    manager: &str,
    member: &Member,
    args: &Args,
) -> anyhow::Result<()> {
    let docker = |arguments: &str| {
        let command = format!("sudo -n docker node {arguments} {}", quoted(&member.id));
        remote.output(manager, &command, b"").map(drop)
    };
    let deadline = Instant::now() + Duration::from_secs(60 * u64::from(args.timeout));
    match step {
        Step::Demote => docker("demote"),
        Step::Drain => {
            docker("update --availability drain")?;
            until(deadline, "its tasks have not ended", || {
                let view = agent::swarm(remote, manager, false)?;
                Ok(tasks_on(&view, &member.hostname) == 0)
            })
        }
        Step::Leave => {
            let left = remote.output(&member.hostname, "sudo -n docker swarm leave --force", b"");
            if let Err(error) = left {
                // It is removed all the same; should it come back, it is no member any more.
                eprintln!("note: {error:#}");
                return Ok(());
            }
            until(deadline, "the swarm still takes it for ready", || {
                let view = agent::swarm(remote, manager, false)?;
                let mut members = view.members.iter();
                Ok(!members.any(|other| other.id == member.id && other.state == "ready"))
            })
        }
        Step::Remove => docker("rm --force"),
    }
}

/// Tasks that run there, or are about to.
fn tasks_on(view: &SwarmView, node: &str) -> usize {
    let tasks = view.services.iter().flat_map(|service| &service.tasks);
    tasks
        .filter(|task| task.node == node && task.state == "running")
        .count()
}

fn until(
    deadline: Instant,
    otherwise: &str,
    mut holds: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    while !holds()? {
        if Instant::now() > deadline {
            bail!("{otherwise}; run it again to go on, with a longer --timeout if need be");
        }
        thread::sleep(INTERVAL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bramble_provision::Availability;

    use super::*;

    #[test]
    fn a_broken_node_is_only_removed() {
        let member = |role, state: &str| Member {
            id: "id".into(),
            hostname: "worker1".into(),
            address: "192.168.1.201".into(),
            role,
            availability: Availability::Active,
            state: state.into(),
            leader: false,
            labels: [].into(),
        };
        let all = [Step::Drain, Step::Leave, Step::Remove];
        assert_eq!(steps(&member(Role::Worker, "ready")), all);
        assert_eq!(steps(&member(Role::Worker, "down")), [Step::Remove]);
        assert_eq!(
            steps(&member(Role::Manager, "down")),
            [Step::Demote, Step::Remove]
        );
        assert_eq!(steps(&member(Role::Manager, "ready")).len(), 4);
    }
}
