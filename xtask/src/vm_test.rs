//! `cargo xtask vm-test`: the whole pipeline on emulated machines, from an empty store to the right answer.

use std::fs;
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result};
use bramble_cluster::spec::Cluster;
use bramble_image::rootfs;
use bramble_lab::template::Template;
use bramble_lab::{Lab, Usage};
use serde::Serialize;
use vm_tests::operator::{Operator, Programs};
use vm_tests::pipeline::{self, Answer, Search};
use vm_tests::report::{Done, Report, Stage};
use vm_tests::setting::{self, Place};
use vm_tests::{artefacts, resize};

use crate::doctor::Scope;
use crate::{cross, doctor, lock, oci, project, vm};

/// Rehearse a cluster: from nothing to the right answer, on emulated machines
///
/// Builds everything that is not in the store yet, clones the cluster's machines from one that was booted,
/// provisions them with the same `bramble` that real hardware gets, starts registry and search service, and
/// holds the search's answer against one that this machine computes alone.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask vm-test
  cargo xtask vm-test --nodes 3 --seeds 65536
  cargo xtask vm-test --keep && cargo xtask vm ssh worker3

As root on Debian, what is missing is installed first; otherwise the command for it is shown.")]
pub(crate) struct Args {
    /// The cluster file
    #[arg(
        long,
        value_name = "FILE",
        default_value = "fixtures/clusters/eight-pi.toml"
    )]
    cluster: PathBuf,
    /// Its first N nodes, or as many more workers (2 to 16)
    #[arg(long, value_name = "N")]
    nodes: Option<usize>,
    /// How many seeds to search at each of the three levels
    #[arg(long, value_name = "N", default_value_t = 1 << 20, value_parser = clap::value_parser!(u64).range(1..=1 << 32))]
    seeds: u64,
    /// Leave the machines running, for `cargo xtask vm`
    #[arg(long)]
    keep: bool,
    /// Print what came out as JSON
    #[arg(long)]
    json: bool,
    /// Compile for the nodes by means of `cross` (see Cross.toml)
    #[arg(long)]
    cross: bool,
    /// A Debian mirror for the machines' packages [default: where apt gets this machine's from]
    #[arg(long, value_name = "URL", env = "BRAMBLE_DEBIAN_MIRROR")]
    mirror: Option<String>,
}

/// What a run came to.
#[derive(Serialize)]
struct Outcome<'a> {
    cluster: &'a str,
    nodes: usize,
    stages: Vec<Done>,
    answer: &'a Answer,
    /// Host memory at its peak in KiB, and CPU time of all machines in milliseconds.
    usage: &'a Usage,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let report = Report::new("pipeline");
    let cluster_file = read_cluster(args)?;
    let (cluster, _) = Cluster::parse(&args.cluster.display().to_string(), &cluster_file)?;
    let place = Place::fresh(&project::target_dir().join("vm-test").join(&cluster.name))?;

    let outcome = rehearse(args, &report, &cluster, &cluster_file, &place);

    let junit = place.logs.join("junit.xml");
    report.write_junit(&junit)?;
    eprintln!("\n{}", report.timing_table());
    eprintln!("logs and JUnit report: {}", place.logs.display());
    let (answer, usage) = outcome?;
    eprintln!("{}", shown(&answer, &usage));
    if args.json {
        let outcome = Outcome {
            cluster: &cluster.name,
            nodes: cluster.nodes.len(),
            stages: report.done(),
            answer: &answer,
            usage: &usage,
        };
        println!("{}", serde_json::to_string_pretty(&outcome)?);
    }
    Ok(())
}

fn read_cluster(args: &Args) -> Result<String> {
    let text = fs::read_to_string(&args.cluster)
        .with_context(|| format!("cannot read the cluster file {}", args.cluster.display()))?;
    match args.nodes {
        Some(count) => resize::resize(&text, count).with_context(|| {
            format!(
                "cannot make a cluster of {count} nodes of {}",
                args.cluster.display()
            )
        }),
        None => Ok(text),
    }
}

fn rehearse(
    args: &Args,
    report: &Report,
    cluster: &Cluster,
    cluster_file: &str,
    place: &Place,
) -> Result<(Answer, Usage)> {
    report.stage("tools", |_| doctor::ensure(Scope::Rehearse, true))?;
    let supervisor = vm::supervisor()?;
    let (programs, [node, household]) = build(args, report, &supervisor)?;
    let search = Search {
        world: project::root().join("fixtures/worlds/axiom-verge.toml"),
        levels: ["default", "advanced", "masochist"]
            .map(str::to_owned)
            .into(),
        fill: "guarded".to_owned(),
        rng: "dotnet".to_owned(),
        seeds: args.seeds,
    };

    let files = place.files();
    fs::write(files.cluster(), cluster_file)?;
    // Filled in when the machines have ports.
    fs::write(files.ssh_config(), "")?;
    let operator = Operator::new(&programs.bramble, &files, &place.logs);
    report.stage("cluster file and keys", |_| {
        operator.bramble(&["check"])?;
        operator.bramble(&["keys"])
    })?;
    let lab = report.stage("machines", |stage| {
        let mut lab = setting::start(cluster, place, &node, &household, &supervisor)?;
        setting::wait_until_online(&mut lab, cluster, |online, all| {
            stage.note(format!("{online} of {all} online"))
        })?;
        anyhow::Ok(lab)
    })?;

    let answer = on_machines(report, &operator, &programs, cluster, &search);
    let answer = answer.map_err(|error| with_consoles(error, cluster, &lab));
    let usage = lab.attached().usage()?;
    finish(args, report, lab)?;
    Ok((answer?, usage))
}

/// Adds what the machines that an error names had to say last.
fn with_consoles(error: anyhow::Error, cluster: &Cluster, lab: &Lab) -> anyhow::Error {
    let text = format!("{error:#}");
    let named = cluster
        .nodes
        .iter()
        .filter(|node| text.contains(&node.name));
    let consoles: Vec<String> = named.map(|node| lab.console_tail(&node.name)).collect();
    anyhow::anyhow!("{text}\n{}", consoles.join("\n"))
}

/// Everything that is done to running machines.
fn on_machines(
    report: &Report,
    operator: &Operator,
    programs: &Programs,
    cluster: &Cluster,
    search: &Search,
) -> Result<Answer> {
    pipeline::provision(report, operator, programs)?;
    pipeline::registry(report, operator, programs)?;
    let found = pipeline::search(report, operator, programs, search)?;
    pipeline::witness(report, operator, cluster)?;
    report.stage("the same alone", |stage| {
        let alone = pipeline::search_alone(programs, search)?;
        pipeline::compare(cluster, &found, &alone)?;
        stage.note("the same answer");
        Ok(())
    })?;
    Ok(found)
}

fn finish(args: &Args, report: &Report, lab: Lab) -> Result<()> {
    if args.keep {
        let name = lab.attached().name();
        lab.detach()?;
        report.say(&format!(
            "the lab {name} goes on; `cargo xtask vm --help` says what to do with it"
        ));
        return Ok(());
    }
    report.stage("clearing away", |_| lab.down())
}

/// Programs and machines have nothing to do with each other, so they are built side by side.
fn build(args: &Args, report: &Report, supervisor: &[String]) -> Result<(Programs, [Template; 2])> {
    thread::scope(|scope| {
        let machines = scope.spawn(|| templates(report, args.mirror.as_deref(), supervisor));
        let programs = programs(report, args);
        let machines = machines
            .join()
            .map_err(|_| anyhow::anyhow!("building the machines panicked"))?;
        Ok((programs?, machines?))
    })
}

fn programs(report: &Report, args: &Args) -> Result<Programs> {
    let for_nodes = report.stage("programs for nodes", |stage| {
        let choice = cross::choose(args.cross)?;
        stage.note(format!("by {choice}"));
        cross::build(&choice)
    })?;
    let for_host = report.stage("programs for here", |_| cross::build_for_host())?;
    let images = report.stage("container images", |_| {
        let images = oci::default_dir();
        oci::build(&for_nodes.search, &images, args.mirror.as_deref())?;
        anyhow::Ok(images)
    })?;
    Ok(Programs {
        bramble: for_host.bramble,
        search: for_host.search,
        node: for_nodes.node,
        images,
    })
}

fn templates(
    report: &Report,
    mirror: Option<&str>,
    supervisor: &[String],
) -> Result<[Template; 2]> {
    let inputs = lock::inputs(mirror)?;
    let (node, household) = report.stage("root file systems", |stage| {
        let node = rootfs::node().get(&inputs, None)?;
        let household = rootfs::household().get(&inputs, Some(&node))?;
        say_whether_cached(stage, node.was_cached() && household.was_cached());
        anyhow::Ok((node, household))
    })?;
    report.stage("templates", |stage| {
        let templates = [
            artefacts::node_template(&inputs.store, &node, supervisor)?,
            artefacts::household_template(&inputs.store, &household, supervisor)?,
        ];
        say_whether_cached(stage, templates.iter().all(Template::was_cached));
        Ok(templates)
    })
}

fn say_whether_cached(stage: &Stage, cached: bool) {
    stage.note(if cached { "from the store" } else { "built" });
}

fn shown(answer: &Answer, usage: &Usage) -> String {
    let shares: Vec<String> = answer
        .shares
        .iter()
        .map(|(node, seeds)| format!("{node} {seeds}"))
        .collect();
    let mebibytes = |kibibytes: u64| kibibytes / 1024;
    format!(
        "answer: {}\nseeds by node: {}\nmemory at its peak: {} MiB; CPU time of all machines: {} s",
        pipeline::summary(answer),
        shares.join(", "),
        mebibytes(usage.peak_memory),
        usage.cpu / 1000
    )
}
