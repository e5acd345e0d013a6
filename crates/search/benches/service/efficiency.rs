//! What the service costs: the same search by `run` alone and by a miner through the service, at the same time, each with a
//! processor of its own, and then with processors exchanged.
//!
//! So what else the machine does meets both, and which processor is the better one cancels out in the geometric mean.
//! Redis, worker, web and miner share theirs: what they take, the miner lacks.

use std::process::Stdio;
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::Value;

use crate::parts::{Running, Service, program, world};

const LEAST: f64 = 0.97;

pub(crate) fn measure(seeds: u64, rounds: u64) -> Result<()> {
    let [one, two] = two_processors()?;
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let here = side_by_side(seeds, one, two)?;
        let there = side_by_side(seeds, two, one)?;
        let ratio = (here * there).sqrt();
        println!(
            "{round}: the service reaches {:.1} % of run; {:.1} % and {:.1} % with processors exchanged",
            ratio * 100.0,
            here * 100.0,
            there * 100.0
        );
        ratios.push(ratio);
    }
    let median = median(&mut ratios);
    println!(
        "the service reaches {:.1} % of run, the median of {rounds}",
        median * 100.0
    );
    ensure!(median >= LEAST, "less than {:.0} %", LEAST * 100.0);
    Ok(())
}

fn median(ratios: &mut [f64]) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
}

/// How fast the service is on its processor, as a share of `run` on the other.
fn side_by_side(seeds: u64, alone_on: usize, service_on: usize) -> Result<f64> {
    let (alone, service) = thread::scope(|scope| {
        let alone = scope.spawn(|| on(alone_on, || alone(seeds)));
        let service = scope.spawn(|| on(service_on, || through(seeds)));
        (alone.join(), service.join())
    });
    let ended = |joined: thread::Result<Result<Found>>| joined.map_err(|_| anyhow!("panicked"))?;
    let (alone, service) = (ended(alone)?, ended(service)?);
    ensure!(
        alone.digest == service.digest,
        "the answers differ: {} and {}",
        alone.digest,
        service.digest
    );
    Ok(alone.seconds / service.seconds)
}

/// The first two that this process may use.
fn two_processors() -> Result<[usize; 2]> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let mut numbers = (0..CpuSet::count()).filter(|number| allowed.is_set(*number) == Ok(true));
    match (numbers.next(), numbers.next()) {
        (Some(one), Some(two)) => Ok([one, two]),
        _ => bail!("this needs two processors"),
    }
}

/// Does it in a thread that stays on one processor, as all that it starts do.
fn on<T>(processor: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut own = CpuSet::new();
    own.set(processor)?;
    sched_setaffinity(Pid::from_raw(0), &own)?;
    work()
}

/// What a report says.
struct Found {
    seconds: f64,
    digest: String,
}

fn search(seeds: u64) -> Vec<String> {
    let world = world().display().to_string();
    let words = [
        "--fill", "guarded", "--rng", "dotnet", "--level", "default", "--json", "--len",
    ];
    let words = words.into_iter().map(str::to_owned);
    ["--world".to_owned(), world]
        .into_iter()
        .chain(words)
        .chain([seeds.to_string()])
        .collect()
}

fn alone(seeds: u64) -> Result<Found> {
    let dir = tempfile::tempdir()?;
    let output = program()
        .args(["run", "--checkpoint"])
        .arg(dir.path().join("checkpoint.json"))
        .args(search(seeds))
        .stderr(Stdio::null())
        .output()?;
    found(&output.stdout)
}

fn through(seeds: u64) -> Result<Found> {
    let service = Service::start()?;
    let server = format!("http://{}", service.address);
    let mut miner = program();
    let miner = miner
        .args(["miner", "--node", "bench", "--server", &server])
        .stderr(Stdio::null());
    let miner = Running(miner.spawn()?);
    let submit = program()
        .args(["submit", "--server", &server])
        .args(search(seeds))
        .output()?;
    drop(miner);
    drop(service.kill());
    found(&submit.stdout)
}

fn found(report: &[u8]) -> Result<Found> {
    let report: Value = serde_json::from_slice(report).context("no report")?;
    let level = &report["levels"][0];
    Ok(Found {
        seconds: level["seconds"].as_f64().context("seconds")?,
        digest: level["digest"].as_str().context("a digest")?.to_owned(),
    })
}
