//! `bramble rekey`: new keys for the operator and the nodes, and an end to the old ones.
//!
//! New keys are let in beside the old ones first, on every node; only when all of them do are the old ones revoked.
//! Each step is seen from what is in the state directory, so that a run that was cut off is completed by the next one.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use bramble_cluster::spec::{Cluster, Node};
use bramble_provision::resource::{AuthorizedKeys, RevokedKeys};
use bramble_provision::{Mode, Plan, Resource, Stage};

use crate::agent::{self, Agent};
use crate::context::Context;
use crate::keys;
use crate::plan;
use crate::provision::{Program, Run, node_binary};
use crate::remote::Remote;
use crate::report::Report;
use crate::state::{State, private_dir, public_half, read_public};

/// Give the operator and the nodes new keys, and revoke the old ones.
///
/// All nodes must answer: one that was left out would let nobody in any more. The tokens to join the swarm change too.
/// Host keys stay, being what the cards were flashed with. Run it again if it was interrupted.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bramble rekey
  bramble rekey --json")]
pub(crate) struct Args {
    /// Print a JSON object per event, the summary last.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    program: Program,
}

/// Where keys lie that are to come, and those that are to go.
struct Places {
    state: State,
    next: State,
    old: State,
}

pub(crate) fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    let cluster = context.cluster()?;
    let state = context.state(&cluster)?;
    let places = Places {
        next: State::at(state.dir().join("next")),
        old: State::at(state.dir().join("old")),
        state,
    };
    let agent = Agent::read(&node_binary(&args.program)?)?;
    let names: Vec<_> = cluster.nodes.iter().map(|node| node.name.clone()).collect();
    let report = Report::new(&names, args.json);
    let remote = Remote::open(context, &cluster)?;
    let run = Run {
        cluster: &cluster,
        remote: &remote,
        agent: &agent,
        report: &report,
        mode: Mode::default(),
    };
    let done = renew(&run, &places, context);
    let well = report.finish(false);
    done?;
    Ok(match well {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn renew(run: &Run, places: &Places, context: &Context) -> anyhow::Result<()> {
    let cluster = run.cluster;
    if !places.old.dir().exists() {
        private_dir(places.next.dir())?;
        keys::make_shared(cluster, &places.next)?;
        on_every_node(run, "new keys", |node| {
            letting_in(cluster, node, &places.next)
        })?;
        places.exchange()?;
        places
            .state
            .write_ssh_files(cluster, context.ssh_config.as_deref())?;
    }
    for node in &cluster.nodes {
        // A connection that is there proves nothing about the new key.
        run.remote.disconnect(&node.name);
        run.remote
            .output(&node.name, "true", b"")
            .with_context(|| {
                format!(
                    "the new key does not let in to {}; the old keys are in {}, and still do",
                    node.name,
                    places.old.dir().display()
                )
            })?;
    }
    on_every_node(run, "old keys", |node| {
        shutting_out(cluster, node, &places.old)
    })?;
    let (manager, _) = agent::manager(run.remote, cluster)?;
    for role in ["worker", "manager"] {
        let rotate = format!("sudo -n docker swarm join-token --rotate --quiet {role} >/dev/null");
        run.remote.output(manager, &rotate, b"")?;
    }
    let dir = places.old.dir();
    fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))
}

/// Applies to all nodes what must hold on all of them before anything else is done.
fn on_every_node(
    run: &Run,
    stage: &str,
    plan: impl Fn(&Node) -> anyhow::Result<Plan>,
) -> anyhow::Result<()> {
    let plans = run.cluster.nodes.iter().map(plan);
    let plans = plans.collect::<anyhow::Result<Vec<_>>>()?;
    let summaries = run.report.stage(stage, || run.on_all(plans));
    if summaries.contains(&None) {
        bail!(
            "not all nodes have been reached, so the old keys stay good everywhere; run it again when they answer"
        );
    }
    Ok(())
}

/// The new keys let in beside those that do already.
fn letting_in(cluster: &Cluster, node: &Node, next: &State) -> anyhow::Result<Plan> {
    let user = cluster.access.user.clone();
    let mut resources = vec![Resource::AuthorizedKeys(AuthorizedKeys {
        user,
        keys: public_keys(next)?,
    })];
    let private = next.cluster_key();
    let private = fs::read_to_string(&private)
        .with_context(|| format!("cannot read {}", private.display()))?;
    let public = read_public(&public_half(&next.cluster_key()))?.to_openssh()?;
    resources.extend(plan::nodes_own_keys(cluster, &private, &public));
    Ok(staged(node, "new keys", resources))
}

/// The old keys let nobody in any more.
fn shutting_out(cluster: &Cluster, node: &Node, old: &State) -> anyhow::Result<Plan> {
    let revoked = RevokedKeys {
        user: cluster.access.user.clone(),
        keys: public_keys(old)?,
    };
    Ok(staged(node, "old keys", [Resource::RevokedKeys(revoked)]))
}

fn staged(node: &Node, stage: &str, resources: impl IntoIterator<Item = Resource>) -> Plan {
    Plan {
        node: node.name.clone(),
        stages: vec![Stage::new(stage, resources)],
    }
}

fn public_keys(state: &State) -> anyhow::Result<Vec<String>> {
    let keys = [state.operator_key(), state.cluster_key()];
    keys.iter()
        .map(|key| Ok(read_public(&public_half(key))?.to_openssh()?))
        .collect()
}

impl Places {
    /// Puts the new keys into the place of those in use, which are kept as the old ones.
    fn exchange(&self) -> anyhow::Result<()> {
        private_dir(self.old.dir())?;
        for (from, to) in [(&self.state, &self.old), (&self.next, &self.state)] {
            for (from, to) in files(from).into_iter().zip(files(to)) {
                fs::rename(&from, &to).with_context(|| {
                    format!("cannot move {} to {}", from.display(), to.display())
                })?;
            }
        }
        let next = self.next.dir();
        fs::remove_dir(next).with_context(|| format!("cannot remove {}", next.display()))
    }
}

fn files(state: &State) -> [PathBuf; 4] {
    let (operator, cluster) = (state.operator_key(), state.cluster_key());
    [
        public_half(&operator),
        operator,
        public_half(&cluster),
        cluster,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_change_places() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| State::at(dir.path().join(name));
        let places = Places {
            state: State::at(dir.path().to_owned()),
            next: at("next"),
            old: at("old"),
        };
        private_dir(places.next.dir()).unwrap();
        for (state, text) in [(&places.state, "in use"), (&places.next, "new")] {
            for file in files(state) {
                fs::write(file, text).unwrap();
            }
        }
        places.exchange().unwrap();
        for (state, text) in [(&places.state, "new"), (&places.old, "in use")] {
            for file in files(state) {
                assert_eq!(
                    fs::read_to_string(&file).unwrap(),
                    text,
                    "{}",
                    file.display()
                );
            }
        }
        assert!(!places.next.dir().exists());
    }
}
