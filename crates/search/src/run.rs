//! `run`: the whole search in this process.

use std::num::NonZero;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bramble_kernel::{Program, Summary};

use crate::checkpoint::Checkpoint;
use crate::cli::{RunArgs, SearchArgs};
use crate::failure::Failure;
use crate::output;
use crate::plan::{Plan, STEP, Step};
use crate::progress;
use crate::report::{LevelReport, Report, SearchId};
use crate::signals;
use crate::spec::Spec;
use crate::tally::Tally;

/// How long to search between two checkpoints.
const LEG: Duration = Duration::from_secs(30);

pub(crate) fn main(args: &RunArgs) -> Result<(), Failure> {
    if let Some(address) = args.serve {
        return crate::service::embedded::main(args, address);
    }
    let SearchArgs { json, .. } = args.search;
    let spec = args.search.spec()?;
    let compiled = spec.compile()?;
    let threads = threads(args.threads);
    let path = args.checkpoint.clone();
    let path = path.unwrap_or_else(|| PathBuf::from("bramble-search.checkpoint.json"));
    // Read in any case: what is there may be hours of work, and would be overwritten.
    let found = Checkpoint::read(&path, &spec)?;
    if found.is_some() && !args.resume {
        return Err(Failure::Usage(format!(
            "{} holds a checkpoint of this search: add --resume to go on there, remove it, or name another with --checkpoint",
            path.display()
        )));
    }
    let mut written = found.is_some();
    let mut checkpoint = found.unwrap_or_else(|| Checkpoint::new(&spec));
    let stop = signals::stop_flag()?;
    for (index, (name, (_, program))) in spec.levels.iter().zip(&compiled.levels).enumerate() {
        let plan = Plan::new(program.random(), spec.start, spec.len, STEP);
        let bar = progress::bar(name, spec.len);
        let mut done = checkpoint.levels[index].clone();
        let mut summary = done.summary(&plan).map_err(Failure::Usage)?;
        bar.set_position(summary.scanned);
        bar.reset_eta();
        let mut leg = first_leg(&plan, done.steps, threads);
        while done.steps < plan.steps() && !stop.load(Ordering::Relaxed) {
            let started = Instant::now();
            let steps = done.steps..plan.steps().min(done.steps + leg);
            let (more, reached) = search_steps(program, &plan, steps, threads, &stop, &|seeds| {
                bar.inc(seeds)
            });
            summary.merge(&more);
            leg = next_leg(reached - done.steps, started.elapsed());
            done.steps = reached;
            done.seconds += started.elapsed().as_secs_f64();
            done.tally = Tally::from(&summary);
            checkpoint.levels[index].clone_from(&done);
            if done.steps < plan.steps() {
                checkpoint.write(&path)?;
                written = true;
            }
        }
        bar.finish_and_clear();
        if stop.load(Ordering::Relaxed) {
            checkpoint.write(&path)?;
            return Err(Failure::Interrupted(format!(
                "stopped; what is done is in {}: go on with the same command and --resume",
                path.display()
            )));
        }
    }
    let report = report(&spec, &checkpoint);
    let told = match json {
        true => report.json() + "\n",
        false => report.text(&spec),
    };
    if output::print(&told)? && written {
        // It has served its purpose; that it stays behind does no harm.
        let _ = std::fs::remove_file(&path);
    }
    Ok(())
}

fn report(spec: &Spec, checkpoint: &Checkpoint) -> Report {
    let level = |done: &crate::checkpoint::LevelDone| {
        LevelReport::from_tally(spec, &done.level, done.tally.clone(), done.seconds)
    };
    let mut report = Report::new(checkpoint.levels.iter().map(level).collect());
    report.search = Some(SearchId::of(spec));
    report
}

/// The number of threads asked for, or one for each core.
pub(crate) fn threads(wanted: Option<NonZero<usize>>) -> NonZero<usize> {
    wanted.unwrap_or_else(|| thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN))
}

/// Steps of the first leg: a short one, to find out how fast it goes.
fn first_leg(plan: &Plan, done: u64, threads: NonZero<usize>) -> u64 {
    (plan.steps() - done).min(threads.get() as u64 * 4)
}

/// Steps that take as long as a leg should, if they go as fast as those before.
fn next_leg(steps: u64, took: Duration) -> u64 {
    let ratio = LEG.as_secs_f64() / took.as_secs_f64().max(1e-3);
    ((steps as f64 * ratio) as u64).max(1)
}

/// Searches a stretch on several threads. `None` if `stop` was set on the way.
pub(crate) fn search_stretch(
    program: &Program,
    stretch: Step,
    threads: NonZero<usize>,
    stop: &AtomicBool,
) -> Option<Summary> {
    // Small enough to end together and to stop soon, large enough that the bookkeeping does not show.
    let step = (stretch.len / (threads.get() as u64 * 8)).clamp(64, STEP);
    let plan = Plan::of(stretch, step);
    let (summary, _) = search_steps(program, &plan, 0..plan.steps(), threads, stop, &|_| ());
    (summary.scanned == stretch.seeds()).then_some(summary)
}

/// Takes steps on several threads. Returns what they found, and the first that was not taken because `stop` was set.
fn search_steps(
    program: &Program,
    plan: &Plan,
    steps: Range<u64>,
    threads: NonZero<usize>,
    stop: &AtomicBool,
    progress: &(dyn Fn(u64) + Sync),
) -> (Summary, u64) {
    let next = AtomicU64::new(steps.start);
    let work = || {
        let mut summary = Summary::EMPTY;
        while !stop.load(Ordering::Relaxed) {
            // A step that is taken is done, so that those done are always the first ones.
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(step) = Some(number)
                .filter(|&number| number < steps.end)
                .and_then(|number| plan.step(number))
            else {
                break;
            };
            summary.merge(&match step.twins {
                true => program.search_with_twins(step.start, step.len),
                false => program.search(step.start, step.len),
            });
            progress(step.seeds());
        }
        summary
    };
    let summary = thread::scope(|scope| {
        let others: Vec<_> = (1..threads.get()).map(|_| scope.spawn(work)).collect();
        others.into_iter().fold(work(), |mut all, other| {
            match other.join() {
                Ok(summary) => all.merge(&summary),
                Err(panic) => std::panic::resume_unwind(panic),
            }
            all
        })
    });
    (summary, next.into_inner().min(steps.end))
}
