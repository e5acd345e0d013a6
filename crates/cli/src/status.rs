//! `bramble status`: how the nodes are, and what runs where.

use std::io::{IsTerminal, Write, stdout};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use bramble_cluster::spec::{Cluster, Node};
use bramble_provision::{Facts, Member, Role, SwarmView};
use serde::Serialize;

use crate::agent;
use crate::context::Context;
use crate::remote::Remote;
use crate::stack::listed;
use crate::text::table;

/// Show how the nodes are, and which service runs where.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bramble status
  bramble status --watch
  bramble status --json | jq '.nodes[].facts.temperature'")]
pub(crate) struct Args {
    /// Print all that is known as JSON.
    #[arg(long)]
    json: bool,
    /// Show it again and again, until interrupted: every 5 seconds, or as often as is said. With --json, a line each.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "5",
        value_parser = clap::value_parser!(u64).range(1..))]
    watch: Option<u64>,
}

/// All that is known of the cluster.
#[derive(Debug, Serialize)]
struct Status {
    nodes: Vec<NodeStatus>,
    /// `None` where no manager answers.
    swarm: Option<SwarmView>,
}

/// A node as it is, beside what the swarm thinks of it.
#[derive(Debug, Serialize)]
struct NodeStatus {
    name: String,
    ip: String,
    /// `None` if it does not answer.
    facts: Option<Facts>,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(crate) fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    let cluster = context.cluster()?;
    let remote = Remote::open(context, &cluster)?;
    if let Some(seconds) = args.watch {
        return watch(&remote, &cluster, args.json, Duration::from_secs(seconds));
    }
    let status = ask(&remote, &cluster);
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&status)?),
        false => print!("{}", shown(&status)),
    }
    let well = status.swarm.is_some() && status.nodes.iter().all(|node| node.facts.is_some());
    Ok(if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Ends when it is interrupted, or nobody reads any more.
fn watch(
    remote: &Remote,
    cluster: &Cluster,
    json: bool,
    pause: Duration,
) -> anyhow::Result<ExitCode> {
    // Clears the screen and goes to its first place.
    let clear = match stdout().is_terminal() && !json {
        true => "\x1b[2J\x1b[H",
        false => "",
    };
    loop {
        let status = ask(remote, cluster);
        let text = match json {
            true => serde_json::to_string(&status)? + "\n",
            false => shown(&status),
        };
        let mut out = stdout().lock();
        if write!(out, "{clear}{text}")
            .and_then(|()| out.flush())
            .is_err()
        {
            return Ok(ExitCode::SUCCESS);
        }
        drop(out);
        thread::sleep(pause);
    }
}

fn ask(remote: &Remote, cluster: &Cluster) -> Status {
    let one = |node: &Node| {
        let (facts, error) = match agent::facts(remote, &node.name) {
            Ok(facts) => (Some(facts), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        NodeStatus {
            name: node.name.clone(),
            ip: node.ip.to_string(),
            facts,
            error,
        }
    };
    let nodes = thread::scope(|scope| {
        let asked: Vec<_> = cluster
            .nodes
            .iter()
            .map(|node| scope.spawn(move || one(node)))
            .collect();
        asked
            .into_iter()
            .filter_map(|node| node.join().ok())
            .collect()
    });
    // Afterwards, over the connections that are there now.
    let swarm = agent::manager(remote, cluster).ok().map(|(_, view)| view);
    Status { nodes, swarm }
}

fn shown(status: &Status) -> String {
    let header = [
        "NODE", "ADDRESS", "SWARM", "UP", "LOAD", "MEMORY", "DISK", "TEMP", "FAN", "NFS", "HEALTH",
    ];
    let mut rows = vec![header.map(String::from)];
    rows.extend(
        status
            .nodes
            .iter()
            .map(|node| row(node, status.swarm.as_ref())),
    );
    let mut text = table(&rows);
    for node in &status.nodes {
        if let Some(error) = &node.error {
            text += &format!("\n{error}\n");
        }
    }
    match &status.swarm {
        Some(swarm) if swarm.services.is_empty() => text += "\nNo services.\n",
        Some(swarm) => text += &format!("\n{}", listed(&swarm.services)),
        None => text += "\nNo manager answers: there is no swarm, or it is out of reach.\n",
    }
    text
}

fn row(node: &NodeStatus, swarm: Option<&SwarmView>) -> [String; 11] {
    let member = swarm.and_then(|swarm| {
        swarm
            .members
            .iter()
            .rfind(|member| member.hostname == node.name)
    });
    let membership = member.map_or("-".into(), membership);
    let name_and_address = [node.name.clone(), node.ip.clone(), membership];
    let rest = match &node.facts {
        None => ["-", "-", "-", "-", "-", "-", "-", "does not answer"].map(String::from),
        Some(facts) => [
            duration(facts.uptime_seconds),
            format!("{:.2}", facts.load[0]),
            used(facts.memory.total, facts.memory.available),
            used(facts.disk.total, facts.disk.available),
            facts
                .temperature
                .map_or("-".into(), |degrees| format!("{degrees:.0} °C")),
            facts
                .fan
                .as_ref()
                .map_or("-".into(), |fan| format!("{}/{}", fan.speed, fan.fastest)),
            facts.nfs.len().to_string(),
            health(facts),
        ],
    };
    let mut cells = name_and_address.into_iter().chain(rest);
    std::array::from_fn(|_| cells.next().unwrap_or_default())
}

fn membership(member: &Member) -> String {
    let role = match (member.role, member.leader) {
        (Role::Manager, true) => "leader",
        (Role::Manager, false) => "manager",
        (Role::Worker, _) => "worker",
    };
    match &*member.state {
        "ready" => role.into(),
        state => format!("{role}, {state}"),
    }
}

fn health(facts: &Facts) -> String {
    let mut troubles: Vec<String> = facts.throttling.clone().unwrap_or_default();
    if facts.docker.is_none() {
        troubles.push("no Docker".into());
    }
    if troubles.is_empty() {
        "ok".into()
    } else {
        troubles.join("; ")
    }
}

/// How much of it is in use, in percent.
fn used(total: u64, available: u64) -> String {
    match total {
        0 => "-".into(),
        total => format!("{} %", (total - available.min(total)) * 100 / total),
    }
}

fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours) {
        (0, 0) => format!("{minutes} min"),
        (0, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use bramble_provision::{Availability, Fan, Memory, Space};

    use super::*;

    #[test]
    fn a_cluster_in_a_table() {
        let facts = Facts {
            agent: "0.1.0".into(),
            hostname: "manager1".into(),
            boot_id: "b".into(),
            kernel: "6.12".into(),
            model: Some("Raspberry Pi 4 Model B".into()),
            addresses: vec![],
            uptime_seconds: 93_784,
            cpus: 4,
            load: [0.42, 0.3, 0.2],
            temperature: Some(48.3),
            fan: Some(Fan {
                speed: 2,
                fastest: 4,
            }),
            throttling: Some(vec!["under-voltage, earlier".into()]),
            memory: Memory {
                total: 1000,
                available: 750,
            },
            disk: Space {
                total: 0,
                available: 0,
            },
            nfs: vec![],
            docker: None,
        };
        let member = Member {
            id: "1".into(),
            hostname: "manager1".into(),
            address: "192.168.1.200".into(),
            role: Role::Manager,
            availability: Availability::Active,
            state: "ready".into(),
            leader: true,
            labels: [].into(),
        };
        let gone = Member {
            hostname: "worker1".into(),
            role: Role::Worker,
            leader: false,
            state: "down".into(),
            ..member.clone()
        };
        let status = Status {
            nodes: vec![
                NodeStatus {
                    name: "manager1".into(),
                    ip: "192.168.1.200".into(),
                    facts: Some(facts),
                    error: None,
                },
                NodeStatus {
                    name: "worker1".into(),
                    ip: "192.168.1.201".into(),
                    facts: None,
                    error: Some("cannot reach worker1: timed out".into()),
                },
            ],
            swarm: Some(SwarmView {
                cluster: "c".into(),
                tokens: None,
                members: vec![member, gone],
                services: vec![],
            }),
        };
        insta::assert_snapshot!(shown(&status));
    }
}
