//! What the service costs: the same search by `run` alone and by a miner through the service, in turn.
//!
//! Seeds per second of processor time tell it apart from what else the machine does just then; seeds per second tell how
//! long miners wait for work.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;

use crate::parts::{Running, Service, program, world};

const LEAST: f64 = 0.97;

/// Seeds per second, and per second of processor time.
#[derive(Clone, Copy)]
struct Speed {
    wall: f64,
    processor: f64,
}

pub(crate) fn measure(seeds: u64, rounds: u64) -> Result<()> {
    let (mut wall, mut processor) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        // Who is first may find a cooler processor.
        let ((alone, digest), (through, same)) = if round % 2 == 1 {
            let alone = alone(seeds)?;
            (alone, through(seeds)?)
        } else {
            let through = through(seeds)?;
            (alone(seeds)?, through)
        };
        ensure!(digest == same, "the answers differ: {digest} and {same}");
        println!(
            "{round}: run {:.0} seeds/s, {:.0} per processor second; service {:.0} and {:.0}",
            alone.wall, alone.processor, through.wall, through.processor
        );
        wall.push(through.wall / alone.wall);
        processor.push(through.processor / alone.processor);
    }
    let (wall, processor) = (median(&mut wall), median(&mut processor));
    println!(
        "the service reaches {:.1} % of run, {:.1} % by processor time",
        wall * 100.0,
        processor * 100.0
    );
    ensure!(
        processor.max(wall) >= LEAST,
        "less than {:.0} %",
        LEAST * 100.0
    );
    Ok(())
}

fn median(ratios: &mut [f64]) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
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

fn alone(seeds: u64) -> Result<(Speed, String)> {
    let before = processor_seconds()?;
    let output = program()
        .arg("run")
        .args(search(seeds))
        .stderr(Stdio::inherit())
        .output()?;
    speed(seeds, &output.stdout, processor_seconds()? - before)
}

fn through(seeds: u64) -> Result<(Speed, String)> {
    let before = processor_seconds()?;
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
    // The time of children counts when they have been waited for.
    speed(seeds, &submit.stdout, processor_seconds()? - before)
}

fn processor_seconds() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| {
        let micros = Duration::from_micros(time.tv_usec().unsigned_abs());
        time.tv_sec() as f64 + micros.as_secs_f64()
    };
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

fn speed(seeds: u64, report: &[u8], processor: f64) -> Result<(Speed, String)> {
    let report: Value = serde_json::from_slice(report).context("no report")?;
    let level = &report["levels"][0];
    let digest = level["digest"].as_str().context("a digest")?.to_owned();
    let wall = level["seconds"].as_f64().context("seconds")?;
    let seeds = seeds as f64;
    Ok((
        Speed {
            wall: seeds / wall,
            processor: seeds / processor,
        },
        digest,
    ))
}
