//! What an operator does with a cluster that works: looks at it, brings it back, changes its keys, takes a node out.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{EIGHT_PI, THREE};
use crate::operator::{Files, Operator};
use crate::scenario::{On, Rehearsal, Scenario, Stock, When};
use crate::{life, pipeline};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "day-to-day",
    shows: "status, exec, drift, rekey, forget and stack say what is, and do what they say",
    when: When::Nightly,
    cluster: EIGHT_PI,
    nodes: THREE,
    stock: Stock::None,
    measured: Some(348),
    expects: &[],
    on: On::Cluster(run),
};

const MANAGER: &str = "manager1";

/// How long a node has to follow what its manager was told.
const SOON: Duration = Duration::from_secs(60);

/// The node that is tampered with, and that leaves.
const NODE: &str = "worker2";

fn run(rehearsal: &mut Rehearsal) -> Result<()> {
    let report = rehearsal.report;
    report.stage("status", |_| status(rehearsal))?;
    report.stage("exec", |_| exec(rehearsal))?;
    report.stage("drift", |_| drift(rehearsal))?;
    report.stage("routing mesh", |_| routing_mesh(rehearsal))?;
    report.stage("rekey", |_| rekey(rehearsal))?;
    report.stage("forget", |_| forget(rehearsal))?;
    report.stage("stack", |_| stack(rehearsal))?;
    let programs = &rehearsal.bench.programs;
    pipeline::provision_again(report, rehearsal.operator, programs)?;
    rehearsal.search().map(drop)
}

/// Every node answers, is in the swarm and has its mounts, and it is told which service runs where.
fn status(rehearsal: &Rehearsal) -> Result<()> {
    let Rehearsal {
        operator, cluster, ..
    } = *rehearsal;
    let status: Value = serde_json::from_str(&operator.bramble(&["status", "--json"])?)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let exports = cluster.nas.as_ref().map_or(0, |nas| nas.exports.len());
    for node in &cluster.nodes {
        let name = node.name.as_str();
        let nodes = list(&status["nodes"]);
        let found = nodes.iter().find(|found| found["name"] == name);
        let found = found.with_context(|| format!("no {name} in {status:#}"))?;
        let (facts, address) = (&found["facts"], node.ip.to_string());
        ensure!(
            facts["hostname"] == name
                && found["ip"] == address.as_str()
                && list(&facts["nfs"]).len() == exports
                && list(&facts["addresses"])
                    .iter()
                    .any(|one| one.to_string().contains(&address)),
            "{name} is {found:#}"
        );
        let members = list(&status["swarm"]["members"]);
        let member = members.iter().find(|member| member["hostname"] == name);
        ensure!(
            member.is_some_and(|member| member["state"] == "ready"),
            "{name} is no member that is ready: {members:#?}"
        );
    }
    let services = list(&status["swarm"]["services"]);
    let miner = services
        .iter()
        .find(|service| service["name"] == "seeds_miner")
        .context("no miners")?;
    for worker in cluster.workers() {
        let runs =
            |task: &Value| task["node"] == worker.name.as_str() && task["state"] == "running";
        ensure!(
            list(&miner["tasks"]).iter().any(runs),
            "no miner runs on {}: {miner:#}",
            worker.name
        );
    }
    // The same for people, and a look at services alone.
    let table = operator.bramble(&["status"])?;
    ensure!(table.contains("seeds_miner"), "no services in\n{table}");
    let alone: Value = serde_json::from_str(&operator.bramble(&["stack", "ls", "--json"])?)?;
    ensure!(
        list(&alone).len() == services.len(),
        "`stack ls` shows {alone:#}"
    );
    Ok(())
}

/// Every node runs the command, and one that fails fails the whole.
fn exec(rehearsal: &Rehearsal) -> Result<()> {
    let Rehearsal {
        operator, cluster, ..
    } = *rehearsal;
    let said = operator.bramble(&["exec", "--", "uname", "-n"])?;
    for node in &cluster.nodes {
        let is_it = |line: &str| {
            let parts = line
                .split_once('|')
                .map(|(node, said)| (node.trim(), said.trim()));
            parts == Some((&node.name, &node.name))
        };
        ensure!(said.lines().any(is_it), "{} is silent:\n{said}", node.name);
    }
    let only_there = format!("test $(uname -n) = {NODE}");
    operator.bramble(&["exec", "--limit", NODE, "--", &only_there])?;
    fails(operator, &["exec", "--", &only_there])?;
    Ok(())
}

/// What somebody did by hand is shown, brought back, and shown no more.
fn drift(rehearsal: &Rehearsal) -> Result<()> {
    const TAMPER: &str = "sudo rm /shared && sudo sed -i s/localhost/nowhere/ /etc/docker/daemon.json && \
        sudo sed -i s/192.168.1.2/192.168.1.9/ /etc/hosts && sudo systemctl disable --quiet docker.service";
    let operator = rehearsal.operator;
    let program = rehearsal.bench.programs.node.display().to_string();
    let look = ["drift", "--json", "--node-binary", &program];
    operator.bramble(&look)?;
    operator.look(NODE, &["sh", "-c", TAMPER])?;

    let drifted = fails(operator, &look)?;
    for id in [
        "/shared",
        "/etc/docker/daemon.json",
        "/etc/hosts",
        "docker.service",
    ] {
        let tells = |line: &str| {
            let event: Value = serde_json::from_str(line).unwrap_or_default();
            event["node"] == NODE
                && event["outcome"] == "would-change"
                && event["id"].as_str().is_some_and(|found| found.contains(id))
        };
        ensure!(drifted.lines().any(tells), "nothing of {id} in\n{drifted}");
    }
    operator.bramble(&[
        "provision",
        "--json",
        "--limit",
        NODE,
        "--node-binary",
        &program,
    ])?;
    operator.bramble(&look).map(drop)
}

/// The swarm does without its mesh when the cluster file says so, and has one again when it does not.
fn routing_mesh(rehearsal: &Rehearsal) -> Result<()> {
    let Rehearsal {
        operator,
        place,
        bench,
        lab,
        ..
    } = rehearsal;
    let file = place.files().cluster();
    let with = fs::read_to_string(&file)?;
    let without = with.replacen("[docker]", "[docker]\nrouting_mesh = false", 1);
    ensure!(with != without, "no [docker] in\n{with}");

    let program = bench.programs.node.display().to_string();
    let node = lab.guest(NODE);
    for (text, on_node) in [
        (without, "! docker network inspect ingress"),
        (with, "docker network inspect ingress"),
    ] {
        fs::write(&file, text)?;
        let drifted = fails(operator, &["drift", "--json", "--node-binary", &program])?;
        ensure!(drifted.contains("routing mesh"), "no mesh in\n{drifted}");
        operator.bramble(&["provision", "--json", "--node-binary", &program])?;
        operator.bramble(&["drift", "--json", "--node-binary", &program])?;
        node.until(on_node, SOON)?;
    }
    Ok(())
}

/// New keys open all nodes, and the old one none.
fn rekey(rehearsal: &Rehearsal) -> Result<()> {
    let Rehearsal {
        operator,
        cluster,
        place,
        bench,
        ..
    } = *rehearsal;
    let key = place.scratch.join("old-key");
    fs::copy(place.files().state().join("operator_ed25519"), &key)?;
    for node in &cluster.nodes {
        let opened = try_key(&place.files(), &key, &node.name)?;
        ensure!(opened.status.success(), "{}: {opened:?}", node.name);
    }
    let program = bench.programs.node.display().to_string();
    operator.bramble(&["rekey", "--json", "--node-binary", &program])?;
    for node in &cluster.nodes {
        operator.look(&node.name, &["true"])?;
        let refused = try_key(&place.files(), &key, &node.name)?;
        ensure!(
            String::from_utf8_lossy(&refused.stderr).contains("Permission denied"),
            "the old key still opens {}: {refused:?}",
            node.name
        );
    }
    Ok(())
}

/// Logs in with a key and nothing else, over no connection that is there already.
fn try_key(files: &Files, key: &Path, node: &str) -> Result<Output> {
    let options = [
        "ControlPath=none",
        "IdentitiesOnly=yes",
        "BatchMode=yes",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "User=pi",
    ];
    let mut ssh = Command::new("ssh");
    ssh.arg("-F").arg(files.ssh_config()).arg("-i").arg(key);
    for option in options {
        ssh.args(["-o", option]);
    }
    let output = ssh.args([node, "true"]).stdin(Stdio::null()).output();
    output.context("cannot run ssh")
}

/// A node leaves in good order, and is let in again.
fn forget(rehearsal: &Rehearsal) -> Result<()> {
    let Rehearsal {
        operator,
        cluster,
        bench,
        ..
    } = *rehearsal;
    let is_member = || -> Result<bool> {
        let status: Value = serde_json::from_str(&operator.bramble(&["status", "--json"])?)?;
        let members = status["swarm"]["members"].as_array().context("members")?;
        Ok(members.iter().any(|member| member["hostname"] == NODE))
    };
    operator.bramble(&["forget", NODE, "--check"])?;
    ensure!(is_member()?, "--check took it out");
    operator.bramble(&["forget", NODE])?;
    ensure!(!is_member()?, "it is still a member");
    let again = operator.bramble(&["forget", NODE])?;
    ensure!(again.contains("nothing to do"), "the second time: {again}");

    let program = bench.programs.node.display().to_string();
    operator.bramble(&["provision", "--json", "--node-binary", &program])?;
    life::until_whole(operator, cluster)
}

/// A stack is removed, and deployed again.
fn stack(rehearsal: &Rehearsal) -> Result<()> {
    let Rehearsal {
        operator,
        cluster,
        bench,
        ..
    } = *rehearsal;
    fails(operator, &["stack", "rm", "seed"])?;
    // As if an earlier removal had been cut off when no network had been removed yet.
    let services = "docker service ls --quiet --filter label=com.docker.stack.namespace=seeds";
    let cut_off = format!("sudo -n docker service rm $(sudo -n {services})");
    operator.bramble(&["exec", "--limit", MANAGER, "--", &cut_off])?;
    operator.bramble(&["stack", "rm", "seeds"])?;
    fails(operator, &["stack", "rm", "seeds"])?;
    let left = operator.bramble(&["stack", "ls"])?;
    ensure!(
        !left.contains("seeds_") && left.contains("registry_"),
        "there is left\n{left}"
    );
    let images = bench.programs.images.display().to_string();
    operator.bramble(&["stack", "deploy", "seeds", "--images", &images])?;
    life::until_whole(operator, cluster)
}

/// What `bramble` says to standard output when it fails, as it should.
fn fails(operator: &Operator, words: &[&str]) -> Result<String> {
    let mut said = String::new();
    let outcome = operator.follow(words, |line| {
        said += line;
        said.push('\n');
    });
    operator.alarm().check()?;
    ensure!(
        outcome.is_err(),
        "`bramble {}` should have failed, and said\n{said}",
        words.join(" ")
    );
    Ok(said)
}
