//! The stages that scenarios are made of: machines out of the box become a Docker Swarm that computes a search
//! and gets the right answer.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use bramble_cluster::spec::{Cluster, Nas, Node};
use serde::Serialize;
use serde_json::Value;

use crate::operator::{Operator, Programs};
use crate::report::{Report, Stage};

/// What is searched: every seed of a range, at each level of a world.
#[derive(Debug, Clone)]
pub struct Search {
    /// The world file.
    pub world: PathBuf,
    /// Its levels, by name.
    pub levels: Vec<String>,
    /// The engine that fills the world.
    pub fill: String,
    /// The generator it draws from.
    pub rng: String,
    /// How many seeds at each level, from seed 0 on.
    pub seeds: u64,
}

impl Search {
    /// As `bramble-search` takes it.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        for (flag, value) in [
            ("--world", self.world.display().to_string()),
            ("--fill", self.fill.clone()),
            ("--rng", self.rng.clone()),
            ("--level", self.levels.join(",")),
            ("--start", "0".to_owned()),
            ("--len", self.seeds.to_string()),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
        arguments.push("--json".to_owned());
        arguments
    }
}

/// What a search came to, on the cluster and on this machine alike.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// Per level what the search contract says, without how long it took.
    pub levels: Value,
    /// Seeds that each node computed.
    pub shares: BTreeMap<String, u64>,
}

/// Makes the machines a cluster.
///
/// # Errors
/// When a node cannot be provisioned.
pub fn provision(report: &Report, operator: &Operator, programs: &Programs) -> Result<()> {
    report.stage("provision", |stage| {
        let output = provisioned(stage, operator, programs)?;
        let counts = counts(&output)?;
        stage.note(format!(
            "{} nodes, {} changes",
            counts.len(),
            counts.values().sum::<u64>()
        ));
        Ok(())
    })
}

/// Does so again, to see that nothing is left to do.
///
/// # Errors
/// When it changes something.
pub fn provision_again(report: &Report, operator: &Operator, programs: &Programs) -> Result<()> {
    report.stage("provision again", |stage| {
        let output = provisioned(stage, operator, programs)?;
        let changed: Vec<String> = counts(&output)?
            .into_iter()
            .filter(|(_, changed)| *changed > 0)
            .map(|(node, _)| node)
            .collect();
        ensure!(
            changed.is_empty(),
            "a second run changed {}:\n{}",
            changed.join(", "),
            changes(&output)
        );
        stage.note("no changes");
        Ok(())
    })
}

fn provisioned(stage: &Stage, operator: &Operator, programs: &Programs) -> Result<String> {
    let node = programs.node.display().to_string();
    // Emulated machines that work at the same time on the same processor take a third longer than one after the other.
    let forks = thread::available_parallelism()?.to_string();
    operator.follow(
        &[
            "provision",
            "--json",
            "--node-binary",
            &node,
            "--forks",
            &forks,
        ],
        |line| note_event(stage, line),
    )
}

/// Starts the registry and fills it with the container images.
///
/// # Errors
/// When an image cannot be loaded or pushed, or the registry does not come up.
pub fn registry(report: &Report, operator: &Operator, programs: &Programs) -> Result<()> {
    let layout = |name: &str| programs.images.join(name).display().to_string();
    let images = programs.images.display().to_string();
    report.stage("registry", |_| {
        operator.bramble(&["image", "load", &layout("registry")])?;
        operator.bramble(&["stack", "deploy", "registry", "--images", &images])?;
        Ok(())
    })?;
    report.stage("images", |stage| {
        let output = operator.bramble(&[
            "image",
            "push",
            &layout("redis"),
            &layout("seed-web"),
            &layout("seed-miner"),
        ])?;
        stage.note(output.lines().last().unwrap_or_default());
        Ok(())
    })
}

/// Deploys the search service.
///
/// # Errors
/// When it does not come up.
pub fn service(report: &Report, operator: &Operator, programs: &Programs) -> Result<()> {
    let images = programs.images.display().to_string();
    // Sixteen nodes on two processors take ten minutes.
    let patience = ["--timeout", "20"];
    let deploy = ["stack", "deploy", "seeds", "--images", &images];
    report.stage("search service", |_| {
        operator.bramble(&[&deploy[..], &patience].concat())
    })?;
    Ok(())
}

/// Deploys Portainer if its images can be had here, and otherwise has Docker say whether it takes the stack. Where the
/// cluster file wants none, does nothing.
///
/// # Errors
/// When Docker does not take the stack, or it does not come up.
pub fn portainer(
    report: &Report,
    operator: &Operator,
    cluster: &Cluster,
    programs: &Programs,
) -> Result<()> {
    let Some(portainer) = &cluster.portainer else {
        return Ok(());
    };
    report.stage("portainer", |stage| {
        let layout = |name: &str| programs.images.join(name);
        let missing = PORTAINER
            .iter()
            .find(|(name, _)| !layout(name).join("oci-layout").exists());
        let Some((name, image)) = missing else {
            let [agent, portainer] = PORTAINER.map(|(name, _)| layout(name).display().to_string());
            operator.bramble(&["image", "push", &agent, &portainer])?;
            let images = programs.images.display().to_string();
            operator.bramble(&["stack", "deploy", "portainer", "--images", &images])?;
            return Ok(());
        };
        operator.bramble(&["stack", "deploy", "portainer", "--check"])?;
        let skip = format!(
            "SKIPPED: Portainer is not run, as its images are not here; Docker accepts its stack. To have it run, fetch \
             each by `skopeo copy --override-arch arm64 docker://{image}:{} oci:{}` and the like",
            portainer.tag,
            layout(name).display()
        );
        report.say(&skip);
        stage.note("SKIPPED: its images are not here; Docker accepts the stack");
        Ok(())
    })
}

/// Portainer's images: the names of their layouts here, and at Docker Hub.
const PORTAINER: [(&str, &str); 2] = [
    ("portainer-agent", "portainer/agent"),
    ("portainer-ce", "portainer/portainer-ce"),
];

/// Has the cluster compute `search`.
///
/// # Errors
/// When it does not end.
pub fn search(report: &Report, operator: &Operator, search: &Search) -> Result<Answer> {
    report.stage("search", |stage| {
        let found = ask(operator, search)?;
        stage.note(summary(&found));
        Ok(found)
    })
}

/// As [`search()`], in no stage of its own.
///
/// # Errors
/// When it does not end.
pub fn ask(operator: &Operator, search: &Search) -> Result<Answer> {
    let arguments = search.arguments();
    let words: Vec<&str> = ["search"]
        .into_iter()
        .chain(arguments.iter().map(String::as_str))
        .collect();
    answer(&operator.bramble(&words)?)
}

/// Has the cluster begin `search`, and returns the job's id.
///
/// # Errors
/// When it is not taken.
pub fn submit(operator: &Operator, search: &Search) -> Result<String> {
    let arguments = search.arguments();
    let words: Vec<&str> = ["search"]
        .into_iter()
        .chain(arguments.iter().map(String::as_str))
        .chain(["--no-wait"])
        .collect();
    let output = operator.bramble(&words)?;
    let job: Value = serde_json::from_str(&output).with_context(|| format!("no job: {output}"))?;
    let id = job["id"].as_str().context("a job without an id")?;
    Ok(id.to_owned())
}

/// Runs `search` on this machine alone.
///
/// # Errors
/// When `bramble-search` fails.
pub fn search_alone(programs: &Programs, search: &Search) -> Result<Answer> {
    let dir = tempfile::tempdir()?;
    let output = Command::new(&programs.search)
        .args(["run", "--checkpoint"])
        .arg(dir.path().join("checkpoint.json"))
        .args(search.arguments())
        .output()
        .with_context(|| format!("cannot run {}", programs.search.display()))?;
    if !output.status.success() {
        bail!(
            "`bramble-search run` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    answer(&String::from_utf8(output.stdout)?)
}

/// Holds what the cluster answered against what this machine found alone.
///
/// # Errors
/// When they differ.
pub fn compare(found: &Answer, alone: &Answer) -> Result<()> {
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    ensure!(
        found.levels == alone.levels,
        "the cluster's answer is not this machine's\n--- cluster\n{}\n--- this machine\n{}",
        pretty(&found.levels),
        pretty(&alone.levels)
    );
    Ok(())
}

/// Whether every worker took part in an answer.
///
/// # Errors
/// When one computed nothing.
pub fn shares(cluster: &Cluster, answer: &Answer) -> Result<()> {
    for worker in cluster.workers() {
        let share = answer.shares.get(&worker.name).copied().unwrap_or_default();
        ensure!(
            share > 0,
            "{} computed nothing; the shares were {:?}",
            worker.name,
            answer.shares
        );
    }
    Ok(())
}

/// Looks at the nodes with their own tools: is it really a swarm, on real NFS, with the miners on the workers?
///
/// # Errors
/// When something is not as it should be.
pub fn witness(report: &Report, operator: &Operator, cluster: &Cluster) -> Result<()> {
    report.stage("witness", |stage| {
        is_whole(operator, cluster)?;
        stage.note(format!(
            "{} Ready, {} miners on as many workers",
            cluster.nodes.len(),
            cluster.workers().count()
        ));
        Ok(())
    })
}

/// Whether every node is in the swarm, every worker has its miner, and every node its mounts.
///
/// # Errors
/// When something is missing, or a node cannot be asked.
pub fn is_whole(operator: &Operator, cluster: &Cluster) -> Result<()> {
    let manager = &cluster.first_manager().name;
    let ready = operator.look(
        manager,
        &[
            "sudo",
            "docker",
            "node",
            "ls",
            "--format",
            "{{.Hostname}} {{.Status}}",
        ],
    )?;
    for node in &cluster.nodes {
        let line = format!("{} Ready", node.name);
        ensure!(
            ready.lines().any(|found| found == line),
            "docker node ls shows no `{line}`:\n{ready}"
        );
    }

    let miners = operator.look(
        manager,
        &[
            "sudo",
            "docker",
            "service",
            "ps",
            "seeds_miner",
            "--filter",
            "desired-state=running",
            "--format",
            "{{.Node}} {{.CurrentState}}",
        ],
    )?;
    for worker in cluster.workers() {
        let line = format!("{} Running", worker.name);
        ensure!(
            miners.lines().any(|found| found.starts_with(&line)),
            "docker service ps shows no `{line}`:\n{miners}"
        );
    }

    let Some(nas) = &cluster.nas else {
        return Ok(());
    };
    thread::scope(|scope| {
        let looks: Vec<_> = cluster
            .nodes
            .iter()
            .map(|node| scope.spawn(move || mounts_all(operator, node, nas)))
            .collect();
        looks.into_iter().try_for_each(|look| {
            look.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

/// Whether a node has every export of the NAS mounted.
fn mounts_all(operator: &Operator, node: &Node, nas: &Nas) -> Result<()> {
    let mounts = operator.look(&node.name, &["mount", "-t", "nfs4"])?;
    for export in &nas.exports {
        let source = format!("{}:/{export} on ", nas.server);
        ensure!(
            mounts.contains(&source),
            "{} has no nfs4 mount of `{source}`:\n{mounts}",
            node.name
        );
    }
    Ok(())
}

/// What `run` and `search` print, without what differs from run to run.
///
/// # Errors
/// When it is none.
pub fn answer(output: &str) -> Result<Answer> {
    let mut report: Value =
        serde_json::from_str(output).with_context(|| format!("not a search's report: {output}"))?;
    for level in report["levels"]
        .as_array_mut()
        .context("a report without levels")?
    {
        let level = level.as_object_mut().context("a level that is no object")?;
        level.retain(|name, _| name != "seconds" && name != "seeds_per_second");
    }
    let shares = report["nodes"].as_object().into_iter().flatten();
    let shares = shares
        .map(|(node, share)| (node.clone(), share["seeds"].as_u64().unwrap_or_default()))
        .collect();
    Ok(Answer {
        levels: report["levels"].take(),
        shares,
    })
}

/// An answer in a line.
pub fn summary(answer: &Answer) -> String {
    let levels = answer.levels.as_array().into_iter().flatten();
    let texts = levels.map(|level| {
        format!(
            "{}: {} of {} dead, digest {}",
            level["level"].as_str().unwrap_or_default(),
            level["dead"],
            level["scanned"],
            level["digest"].as_str().unwrap_or_default()
        )
    });
    texts.collect::<Vec<_>>().join("; ")
}

fn note_event(stage: &Stage, line: &str) {
    if let Some(text) = told(line) {
        stage.note(text);
    }
}

/// What an event of `bramble provision --json` says, in a few words.
fn told(line: &str) -> Option<String> {
    let event: Value = serde_json::from_str(line).unwrap_or_default();
    let text = |name: &str| event[name].as_str().unwrap_or_default();
    match (text("event"), text("outcome")) {
        ("finished", outcome @ ("changed" | "failed")) => {
            Some(format!("{} {} {outcome}", text("node"), text("id")))
        }
        _ => None,
    }
}

/// Changes per node, from the summary that ends the output of `bramble provision --json`.
fn counts(output: &str) -> Result<BTreeMap<String, u64>> {
    let summary: Value = serde_json::from_str(output.lines().last().unwrap_or_default())
        .with_context(|| format!("no summary at the end of:\n{output}"))?;
    let nodes = summary["nodes"]
        .as_object()
        .context("a summary without nodes")?;
    let changed = |node: &Value| {
        node["changed"]
            .as_u64()
            .context("a node without a count of changes")
    };
    nodes
        .iter()
        .map(|(name, node)| Ok((name.clone(), changed(node)?)))
        .collect()
}

/// The events of `bramble provision --json` that tell of a change.
fn changes(output: &str) -> String {
    output
        .lines()
        .filter(|line| line.contains(r#""outcome":"changed""#))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared_without_their_speed() -> Result<()> {
        let (cluster, _) = Cluster::parse(
            "two.toml",
            include_str!("../../fixtures/clusters/two-pi.toml"),
        )?;
        let worker = cluster.workers().next().context("a worker")?.name.clone();
        let text = |digest: &str, seconds: f64, nodes: &str| {
            format!(
                r#"{{"version":1,"levels":[{{"level":"default","scanned":9,"dead":1,"digest":"{digest}","seconds":{seconds},"seeds_per_second":1}}]{nodes}}}"#
            )
        };
        let alone = answer(&text("00ff", 1.0, ""))?;
        let share = format!(r#","nodes":{{"{worker}":{{"seeds":9}}}}"#);
        let found = answer(&text("00ff", 2.5, &share))?;
        compare(&found, &alone)?;
        shares(&cluster, &found)?;

        let different = compare(&answer(&text("00fe", 1.0, &share))?, &alone);
        assert!(format!("{:#}", different.expect_err("another digest")).contains("00fe"));
        let idle = shares(&cluster, &answer(&text("00ff", 1.0, ""))?);
        assert!(format!("{:#}", idle.expect_err("nobody computed")).contains(&worker));
        assert_eq!(summary(&alone), "default: 1 of 9 dead, digest 00ff");
        Ok(())
    }
}
