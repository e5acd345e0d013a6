//! `bramble provision`: every node becomes what the cluster file says, all of them at once.

mod reboot;
mod swarm;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Context as _;
use bramble_cluster::spec::{Cluster, Node};
use bramble_provision::{Mode, Plan, Secret, Summary};

use crate::agent::Agent;
use crate::context::Context;
use crate::failure::Usage;
use crate::plan::{self, Keys, Part};
use crate::remote::Remote;
use crate::report::Report;
use crate::state::{State, public_half};
use crate::text::count;

/// Bring the nodes to what the cluster file says.
///
/// Every node is looked at and only what differs is changed, so it can be run again at any time: after a change of the
/// cluster file, after a failure, or just to see that all is well.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bramble provision --check --diff
  bramble provision
  bramble provision --limit worker3,worker4
  bramble provision --forks 5
  bramble provision --from engine --no-reboot")]
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
    /// Leave out what comes before this part.
    #[arg(long, value_name = "PART", value_enum, default_value_t = Part::System)]
    from: Part,
    /// How many nodes to work on at a time [default: all].
    #[arg(long, value_name = "N")]
    forks: Option<NonZeroUsize>,
    /// Reboot no node, whatever the cluster file says; those that need it are named.
    #[arg(long)]
    no_reboot: bool,
    /// Print a JSON object per event, the summary last.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    program: Program,
}

/// What is copied to the nodes.
#[derive(Debug, clap::Args)]
pub(crate) struct Program {
    /// The program that runs on the nodes: a static aarch64 build of bramble-node [default: bramble-node-aarch64,
    /// beside bramble itself].
    #[arg(long, value_name = "PATH", env = "BRAMBLE_NODE_BINARY")]
    node_binary: Option<PathBuf>,
}

pub(crate) fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    let order = Order {
        limit: &args.limit,
        from: args.from,
        mode: Mode {
            check: args.check,
            diff: args.diff,
        },
        forks: args.forks.map_or(usize::MAX, NonZeroUsize::get),
        reboot: !args.no_reboot,
        json: args.json,
        program: &args.program,
    };
    let report = carry_out(context, &order)?;
    match report.finish(args.check) {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}

/// What is to be done, and where.
pub(crate) struct Order<'a> {
    /// Only these nodes; all where there are none.
    pub(crate) limit: &'a [String],
    /// Leave out what comes before.
    pub(crate) from: Part,
    pub(crate) mode: Mode,
    /// How many nodes to work on at a time.
    pub(crate) forks: usize,
    /// Whether nodes may be rebooted, as far as the cluster file lets.
    pub(crate) reboot: bool,
    pub(crate) json: bool,
    pub(crate) program: &'a Program,
}

/// Does it. That a node failed is in the report.
pub(crate) fn carry_out(context: &Context, order: &Order) -> anyhow::Result<Report> {
    let cluster = context.cluster()?;
    let nodes = limited(&cluster, order.limit)?;
    let keys = read_keys(context, &cluster)?;
    let agent = Agent::read(&node_binary(order.program)?)?;
    let remote = Remote::open(context, &cluster)?;
    let names: Vec<_> = nodes.iter().map(|node| node.name.clone()).collect();
    let report = Report::new(&names, order.json);
    let run = Run {
        cluster: &cluster,
        remote: &remote,
        agent: &agent,
        report: &report,
        mode: order.mode,
        forks: order.forks,
    };

    let base = |node: &Node| plan::base(&cluster, node, &keys, order.from);
    let plans: Vec<Plan> = nodes.iter().map(|node| base(node)).collect();
    report.intent(&intent(&plans));
    let summaries = report.stage("base", || run.on_all(&plans));
    let mut based: Vec<Based> = nodes.iter().copied().zip(summaries).collect();
    if order.from <= Part::Reboot {
        run.reboot(&mut based, order.reboot, base);
    }
    run.swarm(&based);
    Ok(report)
}

/// What is about to be looked at: `8 nodes: system 4, access 6, storage 9, engine 8`.
fn intent(plans: &[Plan]) -> String {
    let most = plans.iter().max_by_key(|plan| plan.stages.len());
    let stages = most.iter().flat_map(|plan| &plan.stages);
    let parts: Vec<_> = stages
        .map(|stage| format!("{} {}", stage.name, stage.steps.len()))
        .collect();
    let parts = match parts.is_empty() {
        true => String::new(),
        false => format!("resources of {}; ", parts.join(", ")),
    };
    format!("{}: {parts}then the swarm", count(plans.len(), "node"))
}

/// The program for the nodes: the one that was named, or what lies beside this one.
pub(crate) fn node_binary(program: &Program) -> anyhow::Result<PathBuf> {
    match &program.node_binary {
        Some(path) => Ok(path.clone()),
        None => {
            let bramble = std::env::current_exe().context("cannot tell where bramble is")?;
            Ok(bramble.with_file_name("bramble-node-aarch64"))
        }
    }
}

/// What all stages need.
pub(crate) struct Run<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) remote: &'a Remote,
    pub(crate) agent: &'a Agent,
    pub(crate) report: &'a Report,
    pub(crate) mode: Mode,
    pub(crate) forks: usize,
}

/// A node and how its last plan ended; `None` if it was not carried out.
type Based<'a> = (&'a Node, Option<Summary>);

impl Run<'_> {
    /// Applies each plan on its node, as many at a time as were asked for. A node that fails is reported, and does not
    /// stop the others.
    pub(crate) fn on_all(&self, plans: &[Plan]) -> Vec<Option<Summary>> {
        self.on_a_few(self.forks, plans)
    }

    /// As [`Run::on_all`], `at_once` at a time.
    fn on_a_few(&self, at_once: usize, plans: &[Plan]) -> Vec<Option<Summary>> {
        let jobs: Vec<_> = plans.iter().map(|plan| (plan, OnceLock::new())).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some((plan, summary)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                summary.get_or_init(|| self.on_one(plan));
            }
        };
        thread::scope(|scope| {
            for _ in 0..at_once.min(plans.len()) {
                scope.spawn(work);
            }
        });
        let done = jobs.into_iter();
        done.map(|(_, summary)| summary.into_inner().flatten())
            .collect()
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

fn read_keys(context: &Context, cluster: &Cluster) -> anyhow::Result<Keys> {
    let state: State = context.state(cluster)?;
    let read = |path: PathBuf| {
        std::fs::read_to_string(&path).map_err(|error| {
            Usage::new(format!("cannot read the key {}: {error}", path.display()))
                .help("make the cluster's keys with `bramble keys`, or name another directory with --state DIR")
        })
    };
    let public = |path: PathBuf| Ok::<_, Usage>(read(public_half(&path))?.trim().to_owned());
    let tailscale = match &cluster.tailscale {
        None => None,
        Some(tailscale) => Some(auth_key(&context.beside(&tailscale.auth_key_file))?),
    };
    Ok(Keys {
        operator: public(state.operator_key())?,
        cluster: public(state.cluster_key())?,
        cluster_private: Secret::new(read(state.cluster_key())?),
        tailscale,
    })
}

/// The key with which nodes enter the Tailscale network.
fn auth_key(path: &Path) -> Result<Secret, Usage> {
    let failed = |why: &dyn std::fmt::Display| {
        Usage::new(format!(
            "cannot use the Tailscale key {}: {why}",
            path.display()
        ))
        .help("make a reusable auth key in Tailscale's admin console, and put it into that file")
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    match text.trim() {
        key if key.starts_with("tskey-") && !key.contains(char::is_whitespace) => {
            Ok(Secret::new(key))
        }
        _ => Err(failed(&"it does not begin with `tskey-`")),
    }
}
