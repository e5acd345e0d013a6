//! `run`: the whole search in this process.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use bramble_kernel::{Program, Summary};

use crate::cli::{RunArgs, SearchArgs};
use crate::failure::Failure;
use crate::progress;
use crate::report::{LevelReport, Report};

pub(crate) fn main(args: &RunArgs) -> Result<(), Failure> {
    let SearchArgs { json, .. } = args.search;
    let spec = args.search.spec()?;
    let compiled = spec.compile()?;
    let threads = threads(args.threads);
    let mut levels = Vec::new();
    for (name, (_, program)) in spec.levels.iter().zip(&compiled.levels) {
        let bar = progress::bar(name, spec.len);
        let started = Instant::now();
        let summary = search(
            program,
            spec.start,
            spec.len,
            threads,
            &AtomicBool::new(false),
            &|seeds| bar.inc(seeds),
        );
        let seconds = started.elapsed().as_secs_f64();
        bar.finish_and_clear();
        levels.extend(summary.map(|summary| LevelReport::new(&spec, name, &summary, seconds)));
    }
    let report = Report::new(levels);
    if json {
        println!("{}", report.json());
    } else {
        print!("{}", report.text(&spec));
    }
    Ok(())
}

/// The number of threads asked for, or one for each core.
pub(crate) fn threads(wanted: Option<NonZero<usize>>) -> NonZero<usize> {
    wanted.unwrap_or_else(|| thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN))
}

/// Searches a range on several threads and calls `progress` with every few seeds done. `None` if `stop` was set on the way.
pub(crate) fn search(
    program: &Program,
    start: u32,
    len: u64,
    threads: NonZero<usize>,
    stop: &AtomicBool,
    progress: &(dyn Fn(u64) + Sync),
) -> Option<Summary> {
    // Small enough to end together and to stop soon, large enough that the bookkeeping does not show.
    let chunk = (len / (threads.get() as u64 * 8)).clamp(64, 8192);
    let next = AtomicU64::new(0);
    let work = || {
        let mut summary = Summary::EMPTY;
        while !stop.load(Ordering::Relaxed) {
            let offset = next.fetch_add(chunk, Ordering::Relaxed);
            if offset >= len {
                break;
            }
            let seeds = chunk.min(len - offset);
            // The range ends within the seed space, so the sum fits.
            let first = (u64::from(start) + offset) as u32;
            summary.merge(&program.search(first, seeds));
            progress(seeds);
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
    (summary.scanned == len).then_some(summary)
}
