//! `cargo xtask vm-test`: scenarios on emulated machines; without a name the whole pipeline, from an empty store to
//! the right answer.

use std::collections::BTreeMap;
use std::env;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail};
use bramble_image::Inputs;
use bramble_image::debian::archive::Mirror;
use bramble_image::rootfs::{self, RootFs};
use bramble_lab::template::Template;
use bramble_lab::{Backend, Usage};
use bramble_store::Store;
use serde::Serialize;
use vm_tests::artefacts::{self, Size};
use vm_tests::filterset::Filterset;
use vm_tests::operator::Programs;
use vm_tests::pipeline::{self, Answer, Search};
use vm_tests::report::{self, Done, Report, Stage};
use vm_tests::runner::{self, Ended, Options};
use vm_tests::scenario::{self, Bench, Filter, Partition, Scenario, Stock, Verdict, When};

use crate::doctor::Scope;
use crate::{cross, doctor, lock, oci, project, vm};

/// Rehearse a cluster: from nothing to the right answer, on emulated machines
///
/// Builds everything that is not in the store yet, clones the cluster's machines from one that was booted,
/// provisions them with the same `bramble` that real hardware gets, starts registry and search service, and
/// holds the search's answer against one that this machine computes alone. That is the scenario `pipeline`; others
/// show what becomes of a cluster when its machines and its network fail.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask vm-test
  cargo xtask vm-test --nodes 3 --seeds 65536
  cargo xtask vm-test --keep && cargo xtask vm ssh worker3
  cargo xtask vm-test --list
  cargo xtask vm-test partition power-cut
  cargo xtask vm-test --when nightly --skip three-managers
  cargo xtask vm-test first-light --launcher containers
  cargo xtask vm-test --nodes 2 --cpus 4 --memory 4096
  cargo xtask vm-test -E 'when(nightly) and not test(power-cut)' --partition count:1/2
  cargo xtask vm-test partition --pause-on-failure
  cargo xtask vm-test partition --warm
  cargo xtask vm-test --times 10

As root on Debian, what is missing is installed first; otherwise the command for it is shown.")]
pub(crate) struct Args {
    /// Scenarios whose names contain one of these [default: pipeline]
    names: Vec<String>,
    /// Names are whole names
    #[arg(long)]
    exact: bool,
    /// Leave out those whose names contain this
    #[arg(long, value_name = "NAME")]
    skip: Vec<String>,
    /// Those that are run on every commit, or nightly
    #[arg(long)]
    when: Option<When>,
    /// Those that are in a set such as `test(power-cut) and not test(=power-cut-manager)`, or `when(nightly)`
    #[arg(long = "filterset", short = 'E', value_name = "SET")]
    sets: Vec<Filterset>,
    /// A part of them, such as count:1/2, for machines that share the work
    #[arg(long, value_name = "PART")]
    partition: Option<Partition>,
    /// Show the scenarios that would be run, all if no name is given, and run none
    #[arg(long)]
    list: bool,
    /// A cluster file in place of the scenarios' own
    #[arg(long, value_name = "FILE")]
    cluster: Option<PathBuf>,
    /// Its first N nodes, or as many more workers (2 to 16) [default: the scenario's]
    #[arg(long, value_name = "N")]
    nodes: Option<usize>,
    /// How many seeds to search at each of the three levels; four times as many where something befalls the search
    #[arg(long, value_name = "N", default_value_t = 1 << 18, value_parser = clap::value_parser!(u64).range(1..=1 << 32))]
    seeds: u64,
    /// Run them N times, one time after the other, each on machines of its own, until one fails
    #[arg(long, value_name = "N", default_value_t = 1, hide_default_value = true, value_parser = clap::value_parser!(u16).range(1..))]
    times: u16,
    /// Begin with a cluster that was saved, where a scenario begins with one, and save it where it has to be made first:
    /// when programs, images or machines have changed
    #[arg(long)]
    warm: bool,
    /// Leave the last machines running, for `cargo xtask vm`
    #[arg(long)]
    keep: bool,
    /// When a scenario fails, wait for Enter before its machines go, on a terminal
    #[arg(long)]
    pause_on_failure: bool,
    /// Print what came out as JSON, an object for each scenario
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    materials: Materials,
}

/// What machines, and what they run, are made from.
#[derive(clap::Args)]
pub(crate) struct Materials {
    /// What the machines run as: processes, or containers of a Docker engine
    #[arg(long, value_enum, value_name = "KIND", default_value = "processes")]
    launcher: Launcher,
    /// Emulated CPUs of each node: one is the fastest where the host has few, a Pi has four
    #[arg(long, value_name = "N", default_value_t = Size::NODE.cpus, value_parser = clap::value_parser!(u8).range(1..=8))]
    cpus: u8,
    /// Memory of each node in MiB
    #[arg(long, value_name = "MIB", default_value_t = Size::NODE.memory, value_parser = clap::value_parser!(u32).range(512..=8192))]
    memory: u32,
    /// Compile for the nodes by means of `cross` (see Cross.toml)
    #[arg(long)]
    cross: bool,
    /// A Debian mirror for the machines' packages [default: where apt gets this machine's from]
    #[arg(long, value_name = "URL", env = "BRAMBLE_DEBIAN_MIRROR")]
    mirror: Option<String>,
}

impl Materials {
    /// How large nodes are.
    pub(crate) fn size(&self) -> Size {
        Size {
            cpus: self.cpus,
            memory: self.memory,
        }
    }
}

/// What machines run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Launcher {
    Processes,
    Containers,
}

/// What a scenario came to.
#[derive(Serialize)]
struct Outcome<'a> {
    scenario: &'a str,
    /// Which time it was, from 1.
    time: usize,
    /// How long it took, without what was built for it.
    seconds: f64,
    passed: bool,
    /// Why it could show nothing here, if it could not.
    skipped: Option<&'a str>,
    failure: Option<String>,
    notes: &'a [String],
    stages: Vec<Done>,
    answer: &'a Option<Answer>,
    /// Host memory at its peak in KiB, and CPU time of all machines in milliseconds.
    usage: &'a Option<Usage>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let scenarios = chosen(args)?;
    if args.list {
        match args.json {
            true => println!("{:#}", scenario::json(&scenarios)),
            false => print!("{}", scenario::table(&scenarios)),
        }
        return Ok(());
    }
    let options = Options {
        root: project::root(),
        directory: project::target_dir().join("vm-test"),
        cluster: args.cluster.clone(),
        nodes: args.nodes,
        times: usize::from(args.times),
        warm: args.warm,
        keep: args.keep,
        pause_on_failure: pauses(args.pause_on_failure),
    };
    let wanted = scenarios.len() * options.times;
    let ended = runner::run(
        &scenarios,
        &options,
        |report| build(&args.materials, &scenarios, args.seeds, report),
        |it| {
            tell(it, wanted > 1);
        },
    );

    let junit = runner::junit(&options.directory);
    let runs = ended.iter().map(|ended| (&ended.report, &ended.outcome));
    let written = report::write_junit(runs, &junit);
    if written.is_ok() {
        eprintln!("JUnit report: {}", junit.display());
    }
    if args.json {
        for ended in &ended {
            println!("{}", serde_json::to_string_pretty(&outcome(ended))?);
        }
    }
    if let Some(summary) = summary(&ended) {
        eprintln!("{summary}");
    }
    verdict(ended, wanted)?;
    written
}

fn outcome(ended: &Ended) -> Outcome<'_> {
    let (passed, skipped, failure) = match &ended.outcome {
        Ok(Verdict::Holds) => (true, None, None),
        Ok(Verdict::Skipped(why)) => (false, Some(why.as_str()), None),
        Err(error) => (false, None, Some(format!("{error:#}"))),
    };
    Outcome {
        scenario: ended.scenario.name,
        time: ended.time,
        seconds: ended.took.as_secs_f64(),
        passed,
        skipped,
        failure,
        notes: &ended.notes,
        stages: ended.report.done(),
        answer: &ended.answer,
        usage: &ended.usage,
    }
}

/// Whether there is somebody to wait for.
fn pauses(asked: bool) -> bool {
    let is_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if asked && !is_terminal {
        eprintln!("--pause-on-failure: there is no terminal, so nobody is waited for");
    }
    asked && is_terminal
}

fn chosen(args: &Args) -> Result<Vec<&'static Scenario>> {
    let mut names = args.names.clone();
    // What a newcomer calls is the pipeline and no more.
    if names.is_empty() && args.when.is_none() && args.sets.is_empty() && !args.list {
        names.push("pipeline".to_owned());
    }
    let filter = Filter {
        names,
        exact: args.exact,
        skip: args.skip.clone(),
        when: args.when,
        sets: args.sets.clone(),
        partition: args.partition,
    };
    filter.choose()
}

/// Shows what came of a scenario when it is over.
fn tell(ended: &Ended, is_one_of_several: bool) {
    eprintln!("\n{}", ended.report.timing_table());
    eprintln!("logs: {}", ended.logs.display());
    if let Some(page) = &ended.page {
        eprintln!("report: {}", page.display());
    }
    if let (Some(answer), Some(usage)) = (&ended.answer, &ended.usage) {
        eprintln!("{}", shown(answer, usage));
    }
    for note in &ended.notes {
        eprintln!("note: {note}");
    }
    match &ended.outcome {
        Ok(Verdict::Holds) => eprintln!("{} holds", ended.report.name()),
        Ok(Verdict::Skipped(why)) => eprintln!("{} SKIPPED: {why}", ended.report.name()),
        // That of a single one is the error of the whole.
        Err(error) if is_one_of_several => eprintln!("{} failed: {error:#}", ended.report.name()),
        Err(_) => {}
    }
}

/// How many came to what, where there were several.
fn summary(ended: &[Ended]) -> Option<String> {
    let count = |wanted: fn(&Ended) -> bool| ended.iter().filter(|it| wanted(it)).count();
    let hold = count(|it| matches!(it.outcome, Ok(Verdict::Holds)));
    let skipped = count(|it| matches!(it.outcome, Ok(Verdict::Skipped(_))));
    let failed = count(|it| it.outcome.is_err());
    let several = ended.len() > 1;
    several.then(|| {
        let sum = format!("scenarios: {hold} hold, {failed} failed, {skipped} SKIPPED");
        [again(ended), vec![sum]].concat().join("\n")
    })
}

/// How long those took that were run more than once and hold.
fn again(ended: &[Ended]) -> Vec<String> {
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for it in ended
        .iter()
        .filter(|it| matches!(it.outcome, Ok(Verdict::Holds)))
    {
        let times = times.entry(it.scenario.name).or_default();
        times.push(it.took.as_secs_f64());
    }
    let several = times.iter_mut().filter(|(_, times)| times.len() > 1);
    let line = |(name, times): (&&str, &mut Vec<f64>)| {
        times.sort_by(f64::total_cmp);
        let [first, .., last] = times.as_slice() else {
            return None;
        };
        let (count, middle) = (times.len(), times[times.len() / 2]);
        Some(format!(
            "{name}: {count} times, in {first:.0} to {last:.0} s, and {middle:.0} s in the middle"
        ))
    };
    several.filter_map(line).collect()
}

/// The error of a single scenario is that of the run; of several, it says which failed. `wanted` is how many were to be
/// run.
fn verdict(ended: Vec<Ended>, wanted: usize) -> Result<()> {
    let not_run = wanted - ended.len();
    let why = match ended.iter().all(|it| it.took.is_zero()) {
        true => "as what they need cannot be built",
        false => "so that the logs of the one that failed stay",
    };
    let mut failed: Vec<Ended> = ended.into_iter().filter(|it| it.outcome.is_err()).collect();
    match failed.len() {
        0 => Ok(()),
        1 if wanted == 1 => failed.remove(0).outcome.map(drop),
        count => {
            let names: Vec<&str> = failed.iter().map(|it| it.report.name()).collect();
            let rest = match not_run {
                0 => String::new(),
                rest => format!("; {rest} more were not run, {why}"),
            };
            bail!(
                "{count} of {wanted} scenarios failed: {}{rest}",
                names.join(", ")
            )
        }
    }
}

/// Programs and machines have nothing to do with each other, so they are built side by side.
/// `scenarios` are what it is for.
pub(crate) fn build(
    args: &Materials,
    scenarios: &[&Scenario],
    seeds: u64,
    report: &Report,
) -> Result<Bench> {
    report.stage("tools", |_| doctor::ensure(Scope::Rehearse, true))?;
    let backend = match args.launcher {
        Launcher::Processes => Backend::Processes,
        Launcher::Containers => report.stage("container of a machine", |stage| {
            let backend = Backend::containers(&Store::open()?)?;
            if let Backend::Containers { image } = &backend {
                stage.note(image);
            }
            anyhow::Ok(backend)
        })?,
    };
    let supervisor = vm::supervisor()?;
    let with_stock = scenarios.iter().any(|it| it.stock != Stock::None);
    let (programs, machines) = thread::scope(|scope| {
        let machines = scope.spawn(|| templates(report, args, with_stock, &supervisor));
        let programs = programs(report, args);
        let machines = machines
            .join()
            .map_err(|_| anyhow::anyhow!("building the machines panicked"))?;
        anyhow::Ok((programs?, machines?))
    })?;
    let search = Search {
        world: project::root().join("fixtures/worlds/axiom-verge.toml"),
        levels: ["default", "advanced", "masochist"]
            .map(str::to_owned)
            .into(),
        fill: "guarded".to_owned(),
        rng: "dotnet".to_owned(),
        seeds,
    };
    let long_search = Search {
        seeds: 4 * seeds,
        ..search.clone()
    };
    Ok(Bench {
        programs,
        node: machines.node,
        stock: machines.stock,
        household: machines.household,
        backend,
        supervisor,
        search,
        long_search,
        alone: Mutex::default(),
    })
}

fn programs(report: &Report, args: &Materials) -> Result<Programs> {
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
        chores: env::current_exe().context("cannot find this very program")?,
    })
}

/// Booted machines to clone.
struct Machines {
    node: Template,
    stock: Option<Template>,
    household: Template,
}

fn templates(
    report: &Report,
    args: &Materials,
    with_stock: bool,
    supervisor: &[String],
) -> Result<Machines> {
    let inputs = lock::inputs(args.mirror.as_deref())?;
    let (node, household, stock) = report.stage("root file systems", |stage| {
        let node = rootfs::node().get(&inputs, None)?;
        let household = rootfs::household().get(&inputs, Some(&node))?;
        let stock = with_stock.then(|| stock(&inputs, &node)).transpose()?;
        let cached = node.was_cached()
            && household.was_cached()
            && stock.as_ref().is_none_or(RootFs::was_cached);
        say_whether_cached(stage, cached);
        anyhow::Ok((node, household, stock))
    })?;
    let mirror = report.stage("package mirror", |stage| {
        let mirror = Mirror::get(&inputs)?;
        say_whether_cached(stage, mirror.was_cached());
        anyhow::Ok(mirror)
    })?;
    report.stage("templates", |stage| {
        let store = &inputs.store;
        let nodes = |name: &str, rootfs: &RootFs| {
            artefacts::node_template(store, name, rootfs, args.size(), supervisor)
        };
        let machines = Machines {
            node: nodes("node", &node)?,
            stock: stock.as_ref().map(|it| nodes("stock", it)).transpose()?,
            household: artefacts::household_template(store, &household, &mirror, supervisor)?,
        };
        let (node, household) = (&machines.node, &machines.household);
        let cached = node.was_cached()
            && household.was_cached()
            && machines.stock.as_ref().is_none_or(Template::was_cached);
        say_whether_cached(stage, cached);
        Ok(machines)
    })
}

fn stock(inputs: &Inputs, node: &RootFs) -> Result<RootFs> {
    let python = rootfs::python().get(inputs, Some(node))?;
    rootfs::stock().get(inputs, Some(&python))
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::anyhow;

    use super::*;

    fn ended(index: usize, seconds: u64, outcome: Result<Verdict>) -> Ended {
        let scenario = Filter::default().choose().expect("all")[index];
        Ended {
            scenario,
            time: 1,
            report: Report::new(scenario.name),
            outcome,
            took: Duration::from_secs(seconds),
            notes: Vec::new(),
            answer: None,
            usage: None,
            logs: PathBuf::new(),
            page: None,
        }
    }

    #[test]
    fn a_run_says_what_its_scenarios_came_to() {
        let holds = || Ok(Verdict::Holds);
        let skipped = || Ok(Verdict::Skipped("there is no pip".to_owned()));
        let fails = || Err(anyhow!("worker1 is gone"));
        for (outcomes, wanted, sum, error) in [
            (vec![holds()], 1, None, None),
            (vec![skipped()], 1, None, None),
            (vec![fails()], 1, None, Some("worker1 is gone")),
            (
                vec![holds(), skipped()],
                2,
                Some("scenarios: 1 hold, 0 failed, 1 SKIPPED"),
                None,
            ),
            (
                vec![holds(), fails()],
                2,
                Some("scenarios: 1 hold, 1 failed, 0 SKIPPED"),
                Some("1 of 2 scenarios failed: first-light"),
            ),
            (
                vec![fails()],
                3,
                None,
                Some(
                    "1 of 3 scenarios failed: pipeline; 2 more were not run, as what they need cannot be built",
                ),
            ),
        ] {
            let ended: Vec<Ended> = outcomes
                .into_iter()
                .enumerate()
                .map(|(index, outcome)| ended(index, 0, outcome))
                .collect();
            assert_eq!(summary(&ended).as_deref(), sum);
            let failure = verdict(ended, wanted).err().map(|error| error.to_string());
            assert_eq!(failure.as_deref(), error);
        }
    }

    #[test]
    fn what_is_run_several_times_is_summed_up() {
        let holds = |index, seconds| ended(index, seconds, Ok(Verdict::Holds));
        let several = vec![
            holds(0, 320),
            holds(1, 42),
            holds(0, 301),
            holds(1, 44),
            holds(0, 345),
            ended(1, 9, Err(anyhow!("worker1 is gone"))),
        ];
        insta::assert_snapshot!(summary(&several).expect("several"), @"
        first-light: 2 times, in 42 to 44 s, and 44 s in the middle
        pipeline: 3 times, in 301 to 345 s, and 320 s in the middle
        scenarios: 5 hold, 1 failed, 0 SKIPPED
        ");
        let error = verdict(several, 20)
            .expect_err("one has failed")
            .to_string();
        assert_eq!(
            error,
            "1 of 20 scenarios failed: first-light; 14 more were not run, so that the logs of the one that failed stay"
        );
    }

    #[test]
    fn what_is_skipped_has_not_passed() {
        let skipped = ended(0, 1, Ok(Verdict::Skipped("there is no pip".to_owned())));
        let json = serde_json::to_value(outcome(&skipped)).expect("JSON");
        assert_eq!((&json["time"], &json["seconds"]), (&1.into(), &1.0.into()));
        assert_eq!(json["passed"], false);
        assert_eq!(json["skipped"], "there is no pip");
        assert!(json["failure"].is_null());
    }
}
