//! bramble and Ansible, timed on the same machines: fresh clones, a lab for each, one after the other.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use bramble_cluster::spec::Cluster;
use bramble_image::rootfs;
use bramble_lab::Lab;
use vm_tests::ansible::{self, Ansible};
use vm_tests::artefacts;
use vm_tests::operator::Operator;
use vm_tests::report::{Report, Stage};
use vm_tests::resize;
use vm_tests::scenario::{Bench, Stock};
use vm_tests::setting::{self, Place};

use crate::vm_test::{self, Materials};
use crate::{lock, project};

/// How many times as fast bramble must be.
const FACTOR: f64 = 10.0;

/// The cluster that both provision.
const CLUSTER: &str = "fixtures/clusters/eight-pi.toml";

/// Provisions a cluster of `nodes` with either tool, and fails if bramble is not [`FACTOR`] times as fast.
pub(super) fn run(nodes: usize, materials: &Materials) -> Result<()> {
    let report = Report::new("provision");
    let ansible = report.stage("ansible", |_| Ansible::get())?;
    let bench = build(materials, &report)?;
    let text = fs::read_to_string(project::root().join(CLUSTER))?;
    let text = resize::resize(&text, nodes)?;

    let seconds = |tool: &str, work: &dyn Fn(&Setting, &Stage) -> Result<()>| {
        let directory = project::target_dir().join("bench-provision").join(tool);
        let (setting, lab) = Setting::new(&report, &bench, &text, &directory)?;
        let name = format!("{tool} provisions");
        let timed = report.stage(&name, |stage| {
            let start = Instant::now();
            work(&setting, stage)?;
            anyhow::Ok(start.elapsed().as_secs_f64())
        });
        lab.down()?;
        timed
    };
    let ours = seconds("bramble", &|setting, _| {
        let node = bench.programs.node.display().to_string();
        setting
            .operator
            .bramble(&["provision", "--json", "--node-binary", &node])
            .map(drop)
    })?;
    let theirs = seconds("ansible", &|setting, stage| {
        let out = setting.place.scratch.join("rendered");
        setting
            .operator
            .bramble(&["render", "--out", &out.display().to_string()])?;
        let (inventory, playbook) = ansible::rendered(&out);
        let log = setting.place.logs.join("ansible.log");
        let forks = nodes.to_string();
        let recap = ansible.play(
            &setting.place.files(),
            &inventory,
            &playbook,
            &["--forks", &forks],
            &log,
        )?;
        ensure!(recap.len() == nodes, "Ansible met {} hosts", recap.len());
        let changed: u32 = recap.values().map(|counts| counts.changed).sum();
        stage.note(format!("{changed} changes"));
        Ok(())
    })?;

    let factor = theirs / ours;
    println!("{nodes} nodes from fresh clones to a swarm, in one run on this machine:");
    println!("  bramble provision   {ours:>7.1} s");
    println!("  ansible-playbook    {theirs:>7.1} s");
    println!("  bramble is {factor:.1} times as fast; {FACTOR} are demanded");
    if factor < FACTOR {
        bail!("bramble is only {factor:.1} times as fast as Ansible");
    }
    Ok(())
}

/// A cluster's machines, and who provisions them.
struct Setting {
    place: Place,
    operator: Operator,
}

impl Setting {
    fn new(report: &Report, bench: &Bench, text: &str, directory: &Path) -> Result<(Setting, Lab)> {
        let (cluster, _) = Cluster::parse(CLUSTER, text)?;
        let place = Place::fresh(directory)?;
        let files = place.files();
        fs::write(files.cluster(), text)?;
        fs::write(files.ssh_config(), "")?;
        let operator = Operator::new(&bench.programs.bramble, &files, &place.logs);
        operator.bramble(&["keys"])?;
        let lab = report.stage("machines", |_| {
            let (mut lab, _) = setting::start(&cluster, &place, bench, Stock::None, &[])?;
            setting::wait_until_online(&mut lab, &cluster, &[], |_, _| {})?;
            anyhow::Ok(lab)
        })?;
        // Connections, host keys and ssh's files are there before either is timed.
        for node in &cluster.nodes {
            operator
                .look(&node.name, &["true"])
                .with_context(|| format!("{} does not answer", node.name))?;
        }
        Ok((Setting { place, operator }, lab))
    }
}

/// Nodes that Ansible can manage, with all packages on them: it is the tools that are measured, not apt.
fn build(materials: &Materials, report: &Report) -> Result<Bench> {
    let mut bench = vm_test::build(materials, &[], 1, report)?;
    bench.node = report.stage("nodes with Python", |_| {
        let inputs = lock::inputs(None)?;
        let node = rootfs::node().get(&inputs, None)?;
        let python = rootfs::python().get(&inputs, Some(&node))?;
        let size = materials.size();
        artefacts::node_template(&inputs.store, "python", &python, size, &bench.supervisor)
    })?;
    Ok(bench)
}
