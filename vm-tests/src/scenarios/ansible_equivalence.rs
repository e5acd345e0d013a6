//! bramble and Ansible make the same of a machine.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{BY_HAND, THREE};
use crate::ansible::{self, Ansible};
use crate::operator::Operator;
use crate::pipeline;
use crate::scenario::{On, Rehearsal, Scenario, Stock, When};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "ansible-equivalence",
    shows: "what Ansible provisions, bramble finds nothing to change in, and the other way round",
    when: When::Nightly,
    cluster: BY_HAND,
    nodes: THREE,
    stock: Stock::All,
    measured: Some(1557),
    expects: &[],
    on: On::NewMachines(run),
};

/// Who provisions whom: the exported playbook, bramble, and the playbook that was written by hand.
const BY_EXPORT: &str = "manager1";
const BY_BRAMBLE: &str = "worker1";
const BY_HAND_WRITTEN: &str = "worker2";

/// Has a node what Ansible's modules for Docker need of those that it manages. bramble needs nothing there.
const MANAGED: &[&str] = &[
    "sudo",
    "apt-get",
    "install",
    "--quiet",
    "--yes",
    "python3-docker",
];

/// What the playbook that was written by hand does not set, as its author says: names and passwords by hand, the registry
/// and the swarm after it. The nodes' key has another name there, Docker does not wait for the mounts, and the kernel
/// needs to be told nothing on a Raspberry Pi OS of 2021.
const LEFT_TO_HANDS: [&str; 9] = [
    "hostname",
    "kernel command line",
    "file /home/pi/.ssh/id_ed25519",
    "file /home/pi/.ssh/id_ed25519.pub",
    "file /etc/systemd/system/docker.service.d/bramble-shared.conf",
    "settings in /etc/docker/daemon.json",
    "swarm member",
    "member worker2",
    "reboot",
];

/// Nor does it know of the program that bramble has start containers.
const MISSING: &str = "not installed: crun";

fn run(rehearsal: &mut Rehearsal) -> Result<()> {
    let Rehearsal {
        report,
        operator,
        bench,
        place,
        ..
    } = *rehearsal;
    let ansible = report.stage("ansible", |_| Ansible::get())?;
    let files = place.files();
    let out = place.scratch.join("rendered");
    operator.bramble(&["render", "--out", &out.display().to_string()])?;
    let (inventory, playbook) = ansible::rendered(&out);
    let play = |playbook: &Path, arguments: &[&str], log: &str| {
        let log = place.logs.join(log);
        ansible.play(&files, &inventory, playbook, arguments, &log)
    };

    report.stage("by the exported playbook", |stage| {
        let recap = play(&playbook, &["--limit", BY_EXPORT], "ansible-exported.log")?;
        stage.note(format!("{BY_EXPORT}: {} changed", recap[BY_EXPORT].changed));
        anyhow::Ok(())
    })?;
    report.stage("bramble finds no drift", |stage| {
        let drifted = drift(operator, bench, BY_EXPORT)?;
        ensure!(drifted.is_empty(), "{BY_EXPORT} has drifted: {drifted:?}");
        stage.note(format!("{BY_EXPORT}: nothing"));
        Ok(())
    })?;

    report.stage("by bramble", |_| {
        let node = bench.programs.node.display().to_string();
        let limit = ["--limit", BY_BRAMBLE, "--node-binary", &node];
        operator.bramble(&[&["provision", "--json"], &limit[..]].concat())
    })?;
    report.stage("ansible finds no change", |stage| {
        operator.look(BY_BRAMBLE, MANAGED)?;
        let both = format!("{BY_EXPORT},{BY_BRAMBLE}");
        let check = ["--check", "--diff", "--limit", &both];
        let recap = play(&playbook, &check, "ansible-check.log")?;
        for host in [BY_BRAMBLE, BY_EXPORT] {
            let counts = recap
                .get(host)
                .with_context(|| format!("no {host} in {recap:?}"))?;
            ensure!(
                counts.changed == 0,
                "Ansible would change {} things on {host}; ansible-check.log says which",
                counts.changed
            );
            stage.note(format!("{host}: {} ok, 0 changed", counts.ok));
        }
        Ok(())
    })?;

    report.stage("by the playbook written by hand", |stage| {
        let dir = place.scratch.join("by-hand");
        lay_out(rehearsal, &dir, &out)?;
        let recap = play(
            &dir.join("by-hand.yml"),
            &["--limit", BY_HAND_WRITTEN],
            "ansible-by-hand.log",
        )?;
        let changed = recap[BY_HAND_WRITTEN].changed;
        stage.note(format!("{BY_HAND_WRITTEN}: {changed} changed"));
        Ok(())
    })?;
    report.stage("bramble finds what it left", |stage| {
        let drifted = drift(operator, bench, BY_HAND_WRITTEN)?;
        let more: Vec<&Drift> = drifted.iter().filter(|it| !it.is_left_to_hands()).collect();
        ensure!(more.is_empty(), "the playbook had set {more:?}");
        let ids: Vec<&str> = drifted.iter().map(|it| it.id.as_str()).collect();
        stage.note(ids.join(", "));
        Ok(())
    })?;
    pipeline::provision(report, operator, &bench.programs)?;
    pipeline::provision_again(report, operator, &bench.programs)
}

/// What `bramble drift` shows of a resource.
#[derive(Debug, PartialEq, Eq)]
struct Drift {
    /// The resource's title.
    id: String,
    reason: String,
}

impl Drift {
    fn is_left_to_hands(&self) -> bool {
        let id = self.id.as_str();
        LEFT_TO_HANDS.contains(&id) || (id == "packages" && self.reason == MISSING)
    }
}

/// What `bramble drift` shows on a node.
fn drift(operator: &Operator, bench: &crate::scenario::Bench, node: &str) -> Result<Vec<Drift>> {
    let program = bench.programs.node.display().to_string();
    let mut found = Found::default();
    let outcome = operator.follow(
        &[
            "drift",
            "--limit",
            node,
            "--json",
            "--node-binary",
            &program,
        ],
        |line| found.take(line),
    );
    match (found.ended, outcome) {
        // It fails where something has drifted, which is for the caller to judge.
        (true, _) => Ok(found.drifted),
        (false, Err(error)) => Err(error),
        (false, Ok(_)) => bail!("`bramble drift` says nothing of how it ended on {node}"),
    }
}

/// What `bramble drift` has said so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    drifted: Vec<Drift>,
    /// It has looked at everything.
    ended: bool,
}

impl Found {
    fn take(&mut self, line: &str) {
        let event: Value = serde_json::from_str(line).unwrap_or_default();
        if event["outcome"] == "would-change" {
            let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            self.drifted.push(Drift {
                id: text("id"),
                reason: text("reason"),
            });
        }
        self.ended |= event["event"] == "end" && event["failed"] == 0;
    }
}

/// The playbook that was written by hand, and what it says lies beside it.
fn lay_out(rehearsal: &Rehearsal, dir: &Path, rendered: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    let state = rehearsal.place.files().state();
    for (from, to) in [
        (state.join("operator_ed25519.pub"), "id_rsa.pub"),
        (state.join("cluster_ed25519"), "pi_rsa"),
        (state.join("cluster_ed25519.pub"), "pi_rsa.pub"),
        (rendered.join("hosts"), "hosts-list.txt"),
    ] {
        fs::copy(&from, dir.join(to)).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    fs::write(
        dir.join("by-hand.yml"),
        include_str!("../../../fixtures/ansible/by-hand.yml"),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_counts_when_all_was_looked_at() {
        let drifted = r#"{"node":"worker1","event":"finished","stage":"base","id":"hostname","outcome":"would-change","reason":"another","milliseconds":3}"#;
        let fine = r#"{"node":"worker1","event":"finished","stage":"base","id":"swap","outcome":"satisfied","milliseconds":3}"#;
        let end =
            r#"{"event":"end","nodes":{},"stages":[],"changed":0,"would_change":1,"failed":0}"#;
        let cut_off =
            r#"{"event":"end","nodes":{},"stages":[],"changed":0,"would_change":1,"failed":1}"#;
        for (lines, ids, ended) in [
            (vec![drifted, fine, end], vec!["hostname"], true),
            (vec![fine, end], vec![], true),
            (vec![drifted, cut_off], vec!["hostname"], false),
            (vec![drifted, fine], vec!["hostname"], false),
            (vec!["no JSON"], vec![], false),
        ] {
            let mut found = Found::default();
            lines.iter().for_each(|line| found.take(line));
            let drifted: Vec<&str> = found.drifted.iter().map(|it| it.id.as_str()).collect();
            assert_eq!((drifted, found.ended), (ids, ended), "{lines:?}");
        }
    }

    #[test]
    fn hands_leave_one_package_out_and_no_other() {
        for (id, reason, is_left) in [
            ("hostname", "another", true),
            ("packages", "not installed: crun", true),
            ("packages", "not installed: crun, vim", false),
            ("docker.service", "it does not run", false),
        ] {
            let (id, reason) = (id.to_owned(), reason.to_owned());
            let drift = Drift { id, reason };
            assert_eq!(drift.is_left_to_hands(), is_left, "{drift:?}");
        }
    }
}
