//! `find`: seeds that are as a filter says.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use bramble_kernel::Program;
use serde::Serialize;

use crate::cli::FindArgs;
use crate::failure::Failure;
use crate::filter::Filter;
use crate::finding::Found;
use crate::plan::STEP;
use crate::report::thousands;
use crate::{output, progress, run, signals};

/// One as it is told to programs.
#[derive(Serialize)]
struct Line<'a> {
    level: &'a str,
    #[serde(flatten)]
    found: Found,
}

/// The line for a seed at `level`, of which there are `several` or one.
pub(crate) fn line(
    level: &str,
    several: bool,
    found: Found,
    json: bool,
) -> serde_json::Result<String> {
    match json {
        true => serde_json::to_string(&Line { level, found }),
        false if several => Ok(format!("{level} {}", found.seed)),
        false => Ok(found.seed.to_string()),
    }
}

pub(crate) fn main(args: &FindArgs) -> Result<(), Failure> {
    let spec = args.search.spec()?;
    let compiled = spec.compile()?;
    let threads = run::threads(args.threads);
    let stop = signals::stop_flag()?;
    let mut left = args.limit.map_or(u64::MAX, NonZero::get);
    let started = Instant::now();
    let (mut scanned, mut found) = (0, 0);
    for (name, (level, program)) in spec.levels.iter().zip(&compiled.levels) {
        let filter = Filter::new(&args.filter, &compiled.world, *level)
            .map_err(|problem| Failure::Filter(Box::new(problem)))?;
        let bar = progress::bar(name, spec.len);
        let search = Search {
            program,
            filter: &filter,
            start: spec.start.into(),
            end: u64::from(spec.start) + spec.len,
            stop: &stop,
        };
        let mut print = |seed: &Found| -> anyhow::Result<bool> {
            let line = line(name, spec.levels.len() > 1, *seed, args.search.json)?;
            // Whoever reads this, for example `head`, may have seen enough.
            let read = bar.suspend(|| output::print(&(line + "\n")))?;
            found += 1;
            left = left.saturating_sub(1);
            Ok(read && left > 0)
        };
        let go_on = search.run(threads.get(), &mut print, &|seeds| bar.inc(seeds));
        scanned += bar.position();
        bar.finish_and_clear();
        if !go_on? {
            break;
        }
    }
    output::tell(&format!(
        "{} of {} seeds in {:.2} s",
        thousands(found),
        thousands(scanned),
        started.elapsed().as_secs_f64()
    ));
    match stop.load(Ordering::Relaxed) {
        true => Err(Failure::Interrupted("stopped".to_owned())),
        false => Ok(()),
    }
}

struct Search<'a> {
    program: &'a Program,
    filter: &'a Filter,
    start: u64,
    end: u64,
    stop: &'a AtomicBool,
}

/// Results of steps that wait for those of earlier steps, so that seeds come out in order.
struct Waiting<'a> {
    next: u64,
    steps: BTreeMap<u64, Vec<Found>>,
    print: &'a mut (dyn FnMut(&Found) -> anyhow::Result<bool> + Send),
}

impl Search<'_> {
    /// Hands every seed that is found to `print`, in ascending order, until that has enough: then the result is false.
    fn run(
        &self,
        threads: usize,
        print: &mut (dyn FnMut(&Found) -> anyhow::Result<bool> + Send),
        progress: &(dyn Fn(u64) + Sync),
    ) -> anyhow::Result<bool> {
        let next = AtomicU64::new(0);
        let enough = AtomicBool::new(false);
        let waiting = Mutex::new(Waiting {
            next: 0,
            steps: BTreeMap::new(),
            print,
        });
        let work = || -> anyhow::Result<()> {
            while !self.stop.load(Ordering::Relaxed) && !enough.load(Ordering::Relaxed) {
                let step = next.fetch_add(1, Ordering::Relaxed);
                let first = self.start + step * STEP;
                if first >= self.end {
                    break;
                }
                let len = STEP.min(self.end - first);
                let found = self.step(first as u32, len);
                progress(len);
                let mut waiting = waiting
                    .lock()
                    .map_err(|_| anyhow::anyhow!("another thread has failed"))?;
                waiting.steps.insert(step, found);
                let printed = waiting.flush();
                if !matches!(printed, Ok(true)) {
                    enough.store(true, Ordering::Relaxed);
                }
                printed?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let own = work();
            others
                .into_iter()
                .fold(own, |all, other| match other.join() {
                    Ok(result) => all.and(result),
                    Err(panic) => std::panic::resume_unwind(panic),
                })
        })?;
        Ok(!enough.into_inner() && !self.stop.load(Ordering::Relaxed))
    }

    fn step(&self, start: u32, len: u64) -> Vec<Found> {
        let mut found = Vec::new();
        self.program
            .find(start, len, self.filter.wanted(), &mut |seed| {
                if self.filter.accepts(seed) {
                    found.push(Found {
                        seed: seed.seed,
                        completable: seed.verdict == bramble_kernel::Verdict::Completable,
                        spheres: seed.spheres,
                    });
                }
            });
        found.sort_by_key(|found| found.seed);
        found
    }
}

impl Waiting<'_> {
    /// Prints what nothing earlier can come before any more. False if that is enough.
    fn flush(&mut self) -> anyhow::Result<bool> {
        while let Some(found) = self.steps.remove(&self.next) {
            self.next += 1;
            for seed in &found {
                if !(self.print)(seed)? {
                    // What is left is not to be printed.
                    self.steps.clear();
                    self.next = u64::MAX;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}
