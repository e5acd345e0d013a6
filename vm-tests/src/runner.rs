//! Runs scenarios: one after the other, each once, on as few labs as their meaning allows.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bramble_cluster::spec::Cluster;
use bramble_lab::report::{self as page, Run};
use bramble_lab::{Lab, RunDir, Usage};

use crate::cards::{self, Card};
use crate::live::Live;
use crate::operator::Operator;
use crate::pipeline::{self, Answer};
use crate::report::Report;
use crate::resize;
use crate::saved;
use crate::scenario::{Bench, On, Rehearsal, Scenario, Skipped, Verdict};
use crate::setting::{self, Place};

/// What whoever asks for scenarios may say about all of them.
#[derive(Debug, Clone)]
pub struct Options {
    /// The repository, in which the cluster files are.
    pub root: PathBuf,
    /// Where scratch and logs go, in a directory for each lab.
    pub directory: PathBuf,
    /// A cluster file in place of the scenarios' own.
    pub cluster: Option<PathBuf>,
    /// A number of nodes in place of the scenarios' own.
    pub nodes: Option<usize>,
    /// How often to run all of them, one time after the other, each on labs of its own; until one fails, whose logs the
    /// next time would overwrite.
    pub times: usize,
    /// Begin with saved clusters, and save those that have to be made.
    pub warm: bool,
    /// Leave the last lab running.
    pub keep: bool,
    /// When a scenario fails, wait for a person to have looked at its machines.
    pub pause_on_failure: bool,
}

/// A scenario that has been run.
pub struct Ended {
    /// Which.
    pub scenario: &'static Scenario,
    /// Which time it was, from 1.
    pub time: usize,
    /// Its stages.
    pub report: Report,
    /// Whether it holds.
    pub outcome: Result<Verdict>,
    /// How long it took, without what was built for it.
    pub took: Duration,
    /// What could not be kept of its lab, or not cleared away, beside what it came to.
    pub notes: Vec<String>,
    /// The last answer that the cluster gave in it.
    pub answer: Option<Answer>,
    /// What its lab has used of the host since it began, where it had one.
    pub usage: Option<Usage>,
    /// Where its logs are.
    pub logs: PathBuf,
    /// The page that shows all of it, where it had a lab.
    pub page: Option<PathBuf>,
}

/// A lab that stands, for the next scenario to use.
pub(crate) struct Standing {
    /// What its cluster was made of.
    pub(crate) file: String,
    pub(crate) cluster: Cluster,
    pub(crate) place: Place,
    pub(crate) operator: Operator,
    pub(crate) lab: Lab,
    /// The port of this machine that leads to its search service.
    pub(crate) web: u16,
    /// Whether it is a cluster with a search service.
    pub(crate) is_cluster: bool,
    /// The cards that nodes boot from, where those have some of their own.
    pub(crate) cards: Vec<Card>,
    /// The scenarios that have been run on it.
    pub(crate) runs: Vec<Run>,
}

/// What comes after a scenario.
#[derive(Clone, Copy)]
enum Next {
    /// Another, on the same lab if that fits.
    Scenario(&'static Scenario),
    /// The first again, on a lab of its own.
    Time,
    Nothing,
}

impl Ended {
    fn new(scenario: &'static Scenario, time: usize, options: &Options) -> Ended {
        let name = match options.times {
            1 => scenario.name.to_owned(),
            times => format!("{} ({time} of {times})", scenario.name),
        };
        Ended {
            scenario,
            time,
            report: Report::new(&name),
            outcome: Ok(Verdict::Holds),
            took: Duration::ZERO,
            notes: Vec::new(),
            answer: None,
            usage: None,
            logs: options.directory.join(scenario.name).join("logs"),
            page: None,
        }
    }
}

/// Runs `scenarios`, and tells `each` what came of them. What all need is built in the report of the first: where that
/// fails, so has the first, and the others are not run. A scenario that fails takes its lab with it; the next gets a new
/// one.
pub fn run(
    scenarios: &[&'static Scenario],
    options: &Options,
    build: impl FnOnce(&Report) -> Result<Bench>,
    mut each: impl FnMut(&Ended),
) -> Vec<Ended> {
    let Some(first) = scenarios.first() else {
        return Vec::new();
    };
    let mut first = Ended::new(first, 1, options);
    let bench = match build(&first.report) {
        Ok(bench) => bench,
        Err(error) => {
            first.outcome = Err(error);
            each(&first);
            return vec![first];
        }
    };
    let mut first = Some(first);
    let mut standing: Option<Standing> = None;
    let mut ended = Vec::new();
    for (time, scenario, next) in order(scenarios, options.times) {
        let done = first.take();
        let mut done = done.unwrap_or_else(|| Ended::new(scenario, time, options));
        let begin = Instant::now();
        let outcome = perform(&mut done, &bench, options, &mut standing);
        done.took = begin.elapsed();
        done.outcome = verdict(outcome);
        let is_over = options.times > 1 && done.outcome.is_err();
        if let Some(stands) = standing.take() {
            let next = if is_over { Next::Nothing } else { next };
            standing = wrap_up(stands, &mut done, next, options);
        }
        each(&done);
        ended.push(done);
        if is_over {
            break;
        }
    }
    ended
}

/// Which scenario is run when, with which time of how many that is, and what comes after it.
fn order(
    scenarios: &[&'static Scenario],
    times: usize,
) -> impl Iterator<Item = (usize, &'static Scenario, Next)> {
    (1..=times).flat_map(move |time| {
        scenarios.iter().enumerate().map(move |(number, scenario)| {
            let next = match scenarios.get(number + 1) {
                Some(next) => Next::Scenario(next),
                None if time < times => Next::Time,
                None => Next::Nothing,
            };
            (time, *scenario, next)
        })
    })
}

/// That there was nothing to show it with is no failure.
fn verdict(outcome: Result<()>) -> Result<Verdict> {
    outcome.map_or_else(
        |error| match error.downcast::<Skipped>() {
            Ok(Skipped(why)) => Ok(Verdict::Skipped(why)),
            Err(error) => Err(error),
        },
        |()| Ok(Verdict::Holds),
    )
}

/// Keeps what there is to see of a scenario, and passes its lab on or ends it. What goes wrong in that, as it does where
/// the lab is what failed, never takes the place of the scenario's own failure.
fn wrap_up(
    mut stands: Standing,
    done: &mut Ended,
    next: Next,
    options: &Options,
) -> Option<Standing> {
    done.logs.clone_from(&stands.place.logs);
    done.usage = stands.lab.attached().usage().ok();
    look_back(&mut stands, done, options);
    match pass_on(stands, done, next, options) {
        Ok(standing) => return standing,
        Err(error) if done.outcome.is_ok() => done.outcome = Err(error),
        Err(error) => done.notes.push(format!("{error:#}")),
    }
    None
}

/// Runs one scenario on a lab that fits, which is made if none stands.
fn perform(
    done: &mut Ended,
    bench: &Bench,
    options: &Options,
    standing: &mut Option<Standing>,
) -> Result<()> {
    let report = &done.report;
    let body = match done.scenario.on {
        On::Nothing(body) => return body(bench, report),
        On::NewMachines(body) | On::Cards(_, body) | On::Cluster(body) => body,
    };
    let stands = match standing {
        Some(stands) => stands,
        None => standing.insert(begin(done.scenario, report, bench, options)?),
    };
    report.count(stands.lab.attached());
    report.tell_onlookers(done.scenario, &stands.runs, &stands.place.logs);
    stands.lab.watch().expect(done.scenario.expected());
    let _live = Live::show(report, stands.lab.watch(), &stands.place.logs);
    let outcome = prepare(report, bench, stands, done.scenario, options);
    let mut rehearsal = Rehearsal {
        report,
        bench,
        cluster: &stands.cluster,
        operator: &stands.operator,
        place: &stands.place,
        lab: &mut stands.lab,
        web: stands.web,
        answer: None,
    };
    let outcome = outcome.and_then(|()| body(&mut rehearsal));
    done.answer = rehearsal.answer;
    // Were it the last thing that happened.
    let outcome = outcome.and_then(|()| stands.lab.watch().check());
    outcome.map_err(|error| match error.is::<Skipped>() {
        true => error,
        false => with_consoles(error, stands),
    })
}

/// Brings a lab to where its scenario begins.
fn prepare(
    report: &Report,
    bench: &Bench,
    stands: &mut Standing,
    scenario: &Scenario,
    options: &Options,
) -> Result<()> {
    // One that was saved was online then, and is.
    if stands.runs.is_empty() && !stands.is_cluster {
        come_online(report, stands)?;
    }
    let is_cluster = std::mem::replace(&mut stands.is_cluster, true);
    if !scenario.begins_with_cluster() || is_cluster {
        return Ok(());
    }
    make_cluster(report, bench, &stands.operator)?;
    if options.warm {
        report.stage("saving the cluster", |_| {
            saved::save(stands, bench, options)
        })?;
    }
    Ok(())
}

/// A lab for a scenario: a saved cluster, where it may begin with one and there is one.
fn begin(
    scenario: &Scenario,
    report: &Report,
    bench: &Bench,
    options: &Options,
) -> Result<Standing> {
    if options.warm
        && scenario.begins_with_cluster()
        && let Some(stands) = saved::stand_up(scenario, report, bench, options)?
    {
        return Ok(stands);
    }
    stand_up(scenario, report, bench, options)
}

/// Waits for the machines of a lab that has been started.
pub(crate) fn come_online(report: &Report, stands: &mut Standing) -> Result<()> {
    report.stage("machines", |stage| {
        let (lab, cards) = (&mut stands.lab, &stands.cards);
        setting::wait_until_online(lab, &stands.cluster, cards, |online, all| {
            stage.note(format!("{online} of {all} online"))
        })?;
        cards::wait_until_up(cards, &stands.operator, &stands.place)
    })
}

/// Keeps what there is to see of a scenario, all the more if it failed.
fn look_back(stands: &mut Standing, done: &mut Ended, options: &Options) {
    let report = &done.report;
    if done.outcome.is_err() {
        // Whoever had to know does.
        stands.lab.watch().silence();
        stands.operator.alarm().reset();
        let evidence = report.stage("evidence", |stage| {
            let missing = stands.lab.attached().collect()?;
            stage.note(match missing.is_empty() {
                true => "the journals, and what was sent last".to_owned(),
                false => format!("missing: {}", missing.join("; ")),
            });
            anyhow::Ok(())
        });
        let lost = evidence.err().map(|error| format!("{error:#}"));
        done.notes.extend(lost);
    }
    let (failure, skipped) = match &done.outcome {
        Ok(Verdict::Holds) => (None, None),
        Ok(Verdict::Skipped(why)) => (None, Some(why.clone())),
        Err(error) => (Some(error), None),
    };
    report.leave_onlookers();
    stands.runs.push(Run {
        failure: failure.map(|error| format!("{error:#}")),
        skipped,
        ..report.run(done.scenario)
    });
    match page::write(&stands.runs, &stands.place.logs) {
        Ok(page) => done.page = Some(page),
        Err(error) => done.notes.push(format!("there is no page: {error:#}")),
    }
    if failure.is_some() {
        report.attach(&stands.place.logs);
    }
    if let Some(error) = failure
        && options.pause_on_failure
    {
        pause(report, error, &stands.lab.attached().name(), &done.page);
    }
}

/// Waits until a person has seen enough of the machines. Ctrl-C ends everything, as ever.
fn pause(report: &Report, error: &anyhow::Error, lab: &str, page: &Option<PathBuf>) {
    let page = page.as_ref().map(|page| page.display().to_string());
    report.say(&format!(
        "\n{error:#}\n\nThe machines are as they are. To look into them, from another terminal:\n  \
         cargo xtask vm --lab {lab} ssh NODE\n  \
         cargo xtask vm --lab {lab} console MACHINE\n  \
         cargo xtask vm --lab {lab} logs MACHINE --follow\n  \
         cargo xtask vm --lab {lab} top\n  \
         cargo xtask vm --lab {lab} page\n\
         What happened is in {}\n\
         Enter goes on, and ends them; so does Ctrl-C, which ends the run, too.",
        page.unwrap_or_default()
    ));
    // A terminal that is gone is no reason to wait.
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// Keeps a lab for the next scenario or for the person who asked for that, or ends it.
fn pass_on(
    stands: Standing,
    done: &Ended,
    next: Next,
    options: &Options,
) -> Result<Option<Standing>> {
    let report = &done.report;
    match next {
        Next::Nothing if options.keep => {
            let name = stands.lab.attached().name();
            stands.lab.detach()?;
            report.say(&format!(
                "the lab {name} goes on; `cargo xtask vm --help` says what to do with it"
            ));
            Ok(None)
        }
        Next::Scenario(next) if fits(&stands, done, next, options) => Ok(Some(stands)),
        Next::Nothing | Next::Time | Next::Scenario(_) => {
            clear_away(report, stands)?;
            Ok(None)
        }
    }
}

/// Whether a scenario can begin with the lab that another leaves.
fn fits(stands: &Standing, done: &Ended, next: &Scenario, options: &Options) -> bool {
    done.outcome.is_ok()
        && done.scenario.begins_with_cluster()
        && next.begins_with_cluster()
        // One that cannot be read is the next one's failure.
        && cluster_file(next, options).is_ok_and(|(_, file)| file == stands.file)
}

/// Its scenario is over, and what its machines suffer now is no matter.
fn clear_away(report: &Report, stands: Standing) -> Result<()> {
    stands.lab.watch().silence();
    report.stage("clearing away", |_| stands.lab.down())
}

/// A scenario's cluster, and the text of its file.
pub(crate) fn cluster(scenario: &Scenario, options: &Options) -> Result<(Cluster, String)> {
    let (path, file) = cluster_file(scenario, options)?;
    let (cluster, _) = Cluster::parse(&path.display().to_string(), &file)?;
    Ok((cluster, file))
}

/// The file of a scenario's cluster, and its text with as many nodes as are wanted.
fn cluster_file(scenario: &Scenario, options: &Options) -> Result<(PathBuf, String)> {
    let path = match &options.cluster {
        Some(path) => path.clone(),
        None => options.root.join(scenario.cluster),
    };
    let text = fs::read_to_string(&path)
        .with_context(|| format!("cannot read the cluster file {}", path.display()))?;
    let count = match (options.nodes, &options.cluster) {
        (Some(count), _) => count,
        (None, None) => scenario.nodes,
        (None, Some(_)) => return Ok((path, text)),
    };
    let resized = resize::resize(&text, count).with_context(|| {
        format!(
            "cannot make a cluster of {count} nodes of {}",
            path.display()
        )
    })?;
    Ok((path, resized))
}

/// Machines out of the box, and an operator who has keys.
pub(crate) fn stand_up(
    scenario: &Scenario,
    report: &Report,
    bench: &Bench,
    options: &Options,
) -> Result<Standing> {
    let (cluster, file) = cluster(scenario, options)?;
    RunDir::refuse_if_running(&cluster.name)?;
    let processors = thread::available_parallelism()?.get();
    if let Some(note) = setting::crowded(&cluster, processors) {
        report.say(&note);
    }
    let place = Place::fresh(&options.directory.join(scenario.name))?;
    let files = place.files();
    fs::write(files.cluster(), &file)?;
    // Filled in when the machines have ports.
    fs::write(files.ssh_config(), "")?;
    let operator = Operator::new(&bench.programs.bramble, &files, &place.logs);
    report.stage("cluster file and keys", |_| {
        operator.bramble(&["check"])?;
        operator.bramble(&["keys"])
    })?;
    let cards = cards::make(
        scenario.on.cards(),
        report,
        &operator,
        &bench.programs,
        &place,
    )?;
    let (lab, web) = setting::start(&cluster, &place, bench, scenario.stock, &cards)?;
    report.count(lab.attached());
    operator.alarm().listen(lab.watch());
    Ok(Standing {
        file,
        cluster,
        place,
        operator,
        lab,
        web,
        is_cluster: false,
        cards,
        runs: Vec::new(),
    })
}

fn make_cluster(report: &Report, bench: &Bench, operator: &Operator) -> Result<()> {
    pipeline::provision(report, operator, &bench.programs)?;
    pipeline::registry(report, operator, &bench.programs)?;
    pipeline::service(report, operator, &bench.programs)
}

/// Adds what the machines that an error names had to say last.
fn with_consoles(error: anyhow::Error, stands: &Standing) -> anyhow::Error {
    let text = format!("{error:#}");
    let named = stands
        .cluster
        .nodes
        .iter()
        .filter(|node| text.contains(&node.name));
    let consoles: Vec<String> = named
        .map(|node| stands.lab.console_tail(&node.name))
        .collect();
    anyhow::anyhow!("{text}\n{}", consoles.join("\n"))
}

/// Where the JUnit report of a run is, below [`Options::directory`].
pub fn junit(directory: &Path) -> PathBuf {
    directory.join("junit.xml")
}

#[cfg(test)]
mod tests;
