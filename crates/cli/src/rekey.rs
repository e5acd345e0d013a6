//! `bramble rekey`: new keys for the operator and the nodes, and an end to the old ones.
//!
//! New keys are let in beside the old ones first, on every node; only when all of them do are the old ones revoked.
//! Until then a node is known by either host key. Each step is seen from what is in the state directory, so that a run
//! that was cut off is completed by the next one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use bramble_cluster::spec::{Cluster, Node};
use bramble_provision::resource::{AuthorizedKeys, Content, File, Notice, Notified, RevokedKeys};
use bramble_provision::{Mode, Plan, Resource, Secret, Stage};

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
/// All nodes must answer: one that was left out would let nobody in any more. Their host keys and the tokens to join
/// the swarm change too, so a card that was flashed before and is used later must be flashed anew. Run it again if it
/// was interrupted.
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
        next: state.next(),
        old: state.old(),
        state,
    };
    if places.are_exchanging() {
        places.exchange()?;
    }
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
        forks: usize::MAX,
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
        keys::make_all(cluster, &places.next)?;
        let include = context.ssh_config.as_deref();
        places.state.write_ssh_files(cluster, include)?;
        on_every_node(run, "new keys", |node| {
            letting_in(cluster, node, &places.next)
        })?;
        places.exchange()?;
        places.state.write_ssh_files(cluster, include)?;
    }
    for node in &cluster.nodes {
        // A connection that is there proves nothing about new keys, neither ours nor the node's.
        run.remote.disconnect(&node.name);
        run.remote
            .output(&node.name, "true", b"")
            .with_context(|| {
                format!(
                    "with the new keys, {} cannot be reached; the old ones are in {}, and still let in",
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
    let summaries = run.report.stage(stage, || run.on_all(&plans));
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
    let (private, public) = pair(&next.cluster_key())?;
    resources.extend(plan::nodes_own_keys(cluster, &private, &public));
    let (private, public) = pair(&next.host_key(&node.name))?;
    resources.extend(host_key(&private, &public));
    Ok(staged(node, "new keys", resources))
}

/// What the node proves itself with.
fn host_key(private: &str, public: &str) -> [Resource; 3] {
    let file = |name: &str, content, mode| {
        Resource::File(File {
            path: format!("/etc/ssh/{name}"),
            content,
            mode,
            owner: None,
            notifies: Some(Notice::SshReload),
        })
    };
    let private = Content::Secret(Secret::new(private));
    let public = Content::Text(format!("{}\n", public.trim_end()));
    [
        file("ssh_host_ed25519_key", private, 0o600),
        file("ssh_host_ed25519_key.pub", public, 0o644),
        Resource::Notified(Notified {
            notice: Notice::SshReload,
        }),
    ]
}

/// Both halves, as text.
fn pair(private: &Path) -> anyhow::Result<(String, String)> {
    let public = read_public(&public_half(private))?.to_openssh()?;
    let private = fs::read_to_string(private)
        .with_context(|| format!("cannot read {}", private.display()))?;
    Ok((private, public))
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
    /// Whether a run was cut off in the middle of [`Places::exchange`].
    fn are_exchanging(&self) -> bool {
        self.old.dir().exists() && self.next.dir().exists()
    }

    /// Puts the new keys into the place of those in use, which are kept as the old ones. May be cut off and done again.
    fn exchange(&self) -> anyhow::Result<()> {
        private_dir(self.old.dir())?;
        for ((used, next), old) in files(&self.state)
            .into_iter()
            .zip(files(&self.next))
            .zip(files(&self.old))
        {
            // What is not there any more has moved already.
            if next.exists() {
                if !old.exists() {
                    rename(&used, &old)?;
                }
                rename(&next, &used)?;
            }
        }
        let next = self.next.dir();
        fs::remove_dir(next).with_context(|| format!("cannot remove {}", next.display()))
    }
}

fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::rename(from, to)
        .with_context(|| format!("cannot move {} to {}", from.display(), to.display()))
}

/// What a set of keys consists of.
fn files(state: &State) -> [PathBuf; 5] {
    let (operator, cluster) = (state.operator_key(), state.cluster_key());
    [
        public_half(&operator),
        operator,
        public_half(&cluster),
        cluster,
        state.host_key_dir(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Places in `dir`, with every file of both sets.
    fn places(dir: &Path) -> Places {
        let state = State::at(dir.to_owned());
        let places = Places {
            next: state.next(),
            old: state.old(),
            state,
        };
        private_dir(places.next.dir()).unwrap();
        for (state, text) in [(&places.state, "in use"), (&places.next, "new")] {
            for file in files(state) {
                fs::write(file, text).unwrap();
            }
        }
        places
    }

    fn assert_exchanged(places: &Places) {
        for (state, text) in [(&places.state, "new"), (&places.old, "in use")] {
            for file in files(state) {
                let found = fs::read_to_string(&file).unwrap();
                assert_eq!(found, text, "{}", file.display());
            }
        }
        assert!(!places.next.dir().exists() && !places.are_exchanging());
    }

    #[test]
    fn keys_change_places() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        assert!(!places.are_exchanging());
        places.exchange().unwrap();
        assert_exchanged(&places);
    }

    /// Wherever the power goes: between any two moves.
    #[test]
    fn an_exchange_that_was_cut_off_is_completed() {
        for moves in 0..=2 * files(&State::at("/".into())).len() {
            let dir = tempfile::tempdir().unwrap();
            let places = places(dir.path());
            private_dir(places.old.dir()).unwrap();
            let (used, next, old) = (
                files(&places.state),
                files(&places.next),
                files(&places.old),
            );
            for done in 0..moves {
                let (from, to) = match done % 2 {
                    0 => (&used, &old),
                    _ => (&next, &used),
                };
                rename(&from[done / 2], &to[done / 2]).unwrap();
            }
            assert!(places.are_exchanging());
            places.exchange().unwrap();
            assert_exchanged(&places);
        }
    }

    #[test]
    fn a_new_host_key_is_in_use_at_once() {
        insta::assert_yaml_snapshot!(host_key(
            "the private half\n",
            "ssh-ed25519 AAAA root@worker1"
        ));
    }
}
