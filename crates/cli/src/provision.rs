//! `bramble provision`: every node becomes what the cluster file says, all of them at once.

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::Context as _;
use bramble_cluster::spec::{Cluster, Node, Role};
use bramble_provision::{
    Event, LocalSwarm, Member, Mode, Outcome, Plan, Resource, Secret, Summary, Verdict,
};

use crate::agent::{self, Agent};
use crate::context::Context;
use crate::failure::Usage;
use crate::plan::{self, Keys};
use crate::remote::Remote;
use crate::report::Report;
use crate::state::{State, public_half};

/// Bring the nodes to what the cluster file says.
///
/// Every node is looked at and only what differs is changed, so it can be run again at any time: after a change of the
/// cluster file, after a failure, or just to see that all is well.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bramble provision --check --diff
  bramble provision
  bramble provision --limit worker3,worker4")]
pub(crate) struct Args {
    /// Say what would change, and change nothing.
    #[arg(long)]
    check: bool,
    /// Show how files change.
    #[arg(long)]
    diff: bool,
    /// Only these nodes.
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    limit: Vec<String>,
    /// Print a JSON object per event, the summary last.
    #[arg(long)]
    json: bool,
    /// The program that runs on the nodes: a static aarch64 build of bramble-node [default: bramble-node-aarch64,
    /// beside bramble itself].
    #[arg(long, value_name = "PATH", env = "BRAMBLE_NODE_BINARY")]
    node_binary: Option<PathBuf>,
}

pub(crate) fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    let cluster = context.cluster()?;
    let nodes = limited(&cluster, &args.limit)?;
    let keys = read_keys(&context.state(&cluster)?)?;
    let agent = Agent::read(&node_binary(args)?)?;
    let remote = Remote::open(context, &cluster)?;
    let names: Vec<_> = nodes.iter().map(|node| node.name.clone()).collect();
    let report = Report::new(&names, args.json);
    let mode = Mode {
        check: args.check,
        diff: args.diff,
    };
    let run = Run {
        cluster: &cluster,
        remote: &remote,
        agent: &agent,
        report: &report,
        mode,
    };

    let based = report.stage("base", || {
        run.on_all(
            nodes
                .iter()
                .map(|node| plan::base(&cluster, node, &keys))
                .collect(),
        )
    });
    run.swarm(&nodes.iter().copied().zip(based).collect::<Vec<_>>());

    match report.finish(args.check) {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}

fn node_binary(args: &Args) -> anyhow::Result<PathBuf> {
    match &args.node_binary {
        Some(path) => Ok(path.clone()),
        None => {
            let bramble = std::env::current_exe().context("cannot tell where bramble is")?;
            Ok(bramble.with_file_name("bramble-node-aarch64"))
        }
    }
}

/// What all stages need.
struct Run<'a> {
    cluster: &'a Cluster,
    remote: &'a Remote,
    agent: &'a Agent,
    report: &'a Report,
    mode: Mode,
}

/// A node and how its last plan ended; `None` if it was not carried out.
type Based<'a> = (&'a Node, Option<Summary>);

impl Run<'_> {
    /// Applies each plan on its node, all at once. A node that fails is reported, and does not stop the others.
    fn on_all(&self, plans: Vec<Plan>) -> Vec<Option<Summary>> {
        thread::scope(|scope| {
            let running: Vec<_> = plans
                .iter()
                .map(|plan| scope.spawn(move || self.on_one(plan)))
                .collect();
            running
                .into_iter()
                .map(|node| node.join().ok().flatten())
                .collect()
        })
    }

    fn on_one(&self, plan: &Plan) -> Option<Summary> {
        let hear = |event: &_| self.report.event(&plan.node, event);
        match self.agent.apply(self.remote, plan, self.mode, hear) {
            Ok(summary) => (summary.failed == 0).then_some(summary),
            Err(error) => {
                self.report.failure(&plan.node, &error);
                None
            }
        }
    }

    /// Makes one swarm of all nodes that got this far.
    fn swarm(&self, based: &[Based]) {
        let alive: Vec<&Based> = based
            .iter()
            .filter(|(_, summary)| summary.is_some())
            .collect();
        if self.mode.check {
            self.foresee(&alive);
        }
        let Some(manager) = self.report.stage("swarm init", || self.manager(based)) else {
            return;
        };
        if self.is_settled(&alive) {
            return;
        }
        let tokens = !self.mode.check && alive.iter().any(|based| !is_active(based));
        let view = match agent::swarm(self.remote, &manager.name, tokens) {
            Ok(view) => view,
            Err(error) => return self.report.failure(&manager.name, &error),
        };
        let others = alive.iter().filter(|(node, _)| node.name != manager.name);
        let joining = others.filter(|based| match self.mode.check {
            true => is_active(based) && !is_member(based, &view.members),
            false => !is_member(based, &view.members),
        });
        // Managers one by one: each changes the quorum of the others.
        let (managers, workers): (Vec<&Node>, Vec<&Node>) = joining
            .map(|(node, _)| *node)
            .partition(|node| node.role == Role::Manager);
        let join = |nodes: &[&Node]| {
            self.on_all(
                nodes
                    .iter()
                    .map(|node| plan::join(node, &[manager], &view))
                    .collect(),
            );
        };
        self.report.stage("swarm join", || {
            managers.chunks(1).for_each(join);
            join(&workers);
        });
        let stands = |(node, summary): &Based| {
            !self.report.has_failed(&node.name)
                && (!self.mode.check || swarm_of(summary).is_some_and(LocalSwarm::is_active))
        };
        let members: Vec<_> = alive
            .iter()
            .filter(|based| stands(based))
            .map(|(node, _)| *node)
            .collect();
        if !members.is_empty() {
            let plan = plan::members(manager, &members);
            self.report.stage("swarm members", || self.on_one(&plan));
        }
    }

    /// Whether what a manager told with its summary shows all nodes in their places, so that nobody need be asked.
    fn is_settled(&self, alive: &[&Based]) -> bool {
        let Some(members) = alive.iter().find_map(|based| known_members(based)) else {
            return false;
        };
        let wanted: Vec<_> = alive.iter().map(|(node, _)| plan::member(node)).collect();
        let settled = alive.iter().all(|based| is_member(based, members))
            && wanted
                .iter()
                .all(|member| member.verdict(members) == Verdict::Satisfied);
        if settled {
            for ((node, _), member) in alive.iter().zip(wanted) {
                let event = Event::Finished {
                    stage: "members".into(),
                    id: Resource::SwarmNode(member).title(),
                    outcome: Outcome::Satisfied,
                    milliseconds: 0,
                };
                self.report.event(&node.name, &event);
            }
        }
        settled
    }

    /// What a check can say of nodes that are in no swarm, where nobody can let them in yet.
    fn foresee(&self, alive: &[&Based]) {
        for (node, _) in alive.iter().filter(|based| !is_active(based)) {
            let event = Event::Finished {
                stage: "swarm".into(),
                id: "swarm member".into(),
                outcome: Outcome::WouldChange {
                    reason: "it is in no swarm".into(),
                    diff: None,
                },
                milliseconds: 0,
            };
            self.report.event(&node.name, &event);
        }
    }

    /// A manager of the swarm: one that is already, or else the first of the cluster file, which founds it.
    fn manager<'n>(&'n self, based: &[Based<'n>]) -> Option<&'n Node> {
        let manages = |(_, summary): &&Based| {
            swarm_of(summary).is_some_and(|swarm| swarm.is_active() && swarm.manager)
        };
        if let Some((node, _)) = based.iter().find(manages) {
            return Some(node);
        }
        let first = self.cluster.first_manager();
        match based.iter().find(|(node, _)| node.name == first.name) {
            // It was not to be touched, so the swarm must be there already.
            None => Some(first),
            Some(_) if self.mode.check => None,
            // Failed, and said so.
            Some((_, None)) => None,
            Some((node, Some(_))) => self.on_one(&plan::init(node)).map(|_| *node),
        }
    }
}

fn swarm_of(summary: &Option<Summary>) -> Option<&LocalSwarm> {
    summary.as_ref()?.swarm.as_ref()
}

fn is_active((_, summary): &Based) -> bool {
    swarm_of(summary).is_some_and(LocalSwarm::is_active)
}

/// Whether the node is one of `members`: by its id, or where that is not known by its name, under which a swarm knows
/// one ready node only.
fn is_member((node, summary): &Based, members: &[Member]) -> bool {
    let is = |swarm: &LocalSwarm, member: &Member| match &*swarm.id {
        "" => member.hostname == node.name && member.state == "ready",
        id => member.id == id,
    };
    swarm_of(summary)
        .is_some_and(|swarm| swarm.is_active() && members.iter().any(|member| is(swarm, member)))
}

fn known_members<'a>((_, summary): &'a Based) -> Option<&'a [Member]> {
    summary.as_ref()?.members.as_deref()
}

/// The nodes of that name, or all.
pub(crate) fn limited<'a>(cluster: &'a Cluster, limit: &[String]) -> anyhow::Result<Vec<&'a Node>> {
    if limit.is_empty() {
        return Ok(cluster.nodes.iter().collect());
    }
    limit
        .iter()
        .map(|name| {
            let known = || {
                cluster
                    .nodes
                    .iter()
                    .map(|node| &*node.name)
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            cluster.node(name).ok_or_else(|| {
                Usage::new(format!("there is no node {name} in the cluster file"))
                    .help(format!("it has {}", known()))
                    .into()
            })
        })
        .collect()
}

fn read_keys(state: &State) -> anyhow::Result<Keys> {
    let read = |path: PathBuf| {
        std::fs::read_to_string(&path).map_err(|error| {
            Usage::new(format!("cannot read the key {}: {error}", path.display()))
                .help("make the cluster's keys with `bramble keys`, or name another directory with --state DIR")
        })
    };
    let public = |path: PathBuf| Ok::<_, Usage>(read(public_half(&path))?.trim().to_owned());
    Ok(Keys {
        operator: public(state.operator_key())?,
        cluster: public(state.cluster_key())?,
        cluster_private: Secret::new(read(state.cluster_key())?),
    })
}
