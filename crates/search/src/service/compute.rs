//! What a miner does with a range.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use bramble_kernel::{Program, Seed, Summary, Verdict, mix};

use crate::filter::Filter;
use crate::finding::{Finding, Found, keep_lowest};
use crate::plan::{Plan, STEP, Step};
use crate::run;
use crate::spec::Compiled;

/// One level of a job, ready to be computed.
pub(super) struct Task {
    program: Program,
    /// The filter, with the level's position in the world.
    filter: Option<(Filter, u8)>,
}

impl Task {
    /// All levels of a job.
    pub(super) fn all(compiled: Compiled) -> Vec<Task> {
        let mut filters = compiled.filters.into_iter();
        let task = |(level, program)| Task {
            program,
            // A world has few levels.
            filter: filters.next().map(|filter| (filter, level as u8)),
        };
        compiled.levels.into_iter().map(task).collect()
    }
}

/// Computes a stretch on several threads. `None` if `stop` was set on the way.
pub(super) fn compute(
    task: &Task,
    stretch: Step,
    threads: NonZero<usize>,
    stop: &AtomicBool,
) -> Option<Finding> {
    let Some((filter, level)) = &task.filter else {
        return run::search_stretch(&task.program, stretch, threads, stop).map(Finding::from);
    };
    let plan = Plan::of(
        stretch,
        (stretch.len / (threads.get() as u64 * 8)).clamp(64, STEP),
    );
    let next = AtomicU64::new(0);
    let work = || {
        let mut finding = Finding::nothing(true);
        while !stop.load(Ordering::Relaxed) {
            let Some(step) = plan.step(next.fetch_add(1, Ordering::Relaxed)) else {
                break;
            };
            finding.merge(&find(&task.program, filter, *level, step));
        }
        finding
    };
    let finding = thread::scope(|scope| {
        let others: Vec<_> = (1..threads.get()).map(|_| scope.spawn(work)).collect();
        others.into_iter().fold(work(), |mut all, other| {
            match other.join() {
                Ok(finding) => all.merge(&finding),
                Err(panic) => std::panic::resume_unwind(panic),
            }
            all
        })
    });
    (finding.summary.scanned == stretch.seeds()).then_some(finding)
}

/// The seeds of a step that are as the filter says. A seed's twin has the same draws, and so is as the seed is.
fn find(program: &Program, filter: &Filter, level: u8, step: Step) -> Finding {
    let mut summary = Summary {
        scanned: step.seeds(),
        ..Summary::EMPTY
    };
    let mut listed = Vec::new();
    let mut visit = |seed: &Seed<'_>| {
        if filter.accepts(seed) {
            let twin = step.twins.then(|| seed.seed.wrapping_neg());
            for number in [Some(seed.seed), twin].into_iter().flatten() {
                let (verdict, spheres) = (seed.verdict, seed.spheres);
                count(&mut summary, number, level, verdict, spheres);
                listed.push(Found {
                    seed: number,
                    completable: verdict == Verdict::Completable,
                    spheres,
                });
            }
        }
    };
    program.find(step.start, step.len, filter.wanted(), &mut visit);
    keep_lowest(&mut listed);
    Finding {
        summary,
        found: Some(listed),
    }
}

fn count(summary: &mut Summary, seed: u32, level: u8, verdict: Verdict, spheres: u8) {
    match verdict {
        Verdict::Completable => summary.completable += 1,
        Verdict::Stuck => summary.stuck += 1,
        Verdict::Unreachable => summary.unreachable += 1,
    }
    let completable = verdict == Verdict::Completable;
    if !completable {
        summary.first_dead.insert(seed);
    }
    summary.spheres[usize::from(spheres)] += 1;
    // As for searches without a filter.
    summary.digest = summary.digest.wrapping_add(mix(u64::from(seed)
        | u64::from(level) << 32
        | u64::from(completable) << 40
        | u64::from(spheres) << 48));
}
