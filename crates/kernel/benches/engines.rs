//! Seeds per second and core: every engine on every kind of processor this one can be, a plain scalar program, and the
//! reference of the tests, in turn, so that what else the machine does hits all of them alike. Then what `find` saves, and
//! what a second thread adds.
//!
//! `cargo bench -p bramble-kernel --bench engines -- SEEDS`. Times are of this thread on its core, not of the clock.

#[path = "../tests/reference/mod.rs"]
mod reference;

use std::path::Path;
use std::time::Instant;

use bramble_kernel::{Fill, Machine, Program, Random, Wanted};
use bramble_world::World;

const ROUNDS: usize = 5;
/// The reference is so much slower that it gets fewer seeds.
const REFERENCE_SHARE: u64 = 256;

fn main() {
    let seeds = std::env::args().filter_map(|arg| arg.parse().ok()).next();
    let seeds: u64 = seeds.unwrap_or(65_536);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/worlds/axiom-verge.toml");
    let text = std::fs::read_to_string(path).expect("the checked-in world");
    let world = World::parse("axiom-verge.toml", &text).expect("a good world");
    let machines: Vec<Machine> = Machine::available().collect();

    println!(
        "level default, {seeds} seeds, median of {ROUNDS} rounds; seeds per second and core, and times the reference"
    );
    print!("{:8} {:7} {:>10}", "fill", "rng", "reference");
    machines
        .iter()
        .for_each(|machine| print!(" {:>17}", machine.name()));
    println!();
    for random in [Random::Dotnet, Random::Pcg32] {
        for fill in Fill::ALL {
            print!("{:8} {:7}", fill.name(), random.name());
            let rates = measure(&world, fill, random, &machines, seeds);
            let base = rates.first().copied().unwrap_or(f64::NAN);
            print!(" {base:>10.0}");
            for rate in rates.iter().skip(1) {
                print!(" {rate:>10.0} {:>5.0}x", rate / base);
            }
            println!();
        }
    }
    let (find, threads) = (find(&world, seeds), threads(&world, seeds));
    println!("find, by what lies at the first location: {find:.1} times as fast as a full run");
    println!("two threads, each by its own time on a core: {threads:.2} times one");
}

/// How much faster the seeds are found that have a certain item at the one location that is open from the start.
fn find(world: &World, seeds: u64) -> f64 {
    let program = guarded(world);
    let first = world.levels[0]
        .requires
        .iter()
        .position(|needs| needs.contains(&0));
    let first = first.expect("something is open from the start");
    let item = program.arrange(0).items[first];
    let mut items = [0; 4];
    items[usize::from(item / 64)] = 1 << (item % 64);
    let mut wanted = Wanted::default();
    wanted.allow_only(first, items);
    let ratios = (0..ROUNDS).map(|_| {
        let found = rate(seeds, || {
            program.find(0, seeds, &wanted, &mut |seed| {
                std::hint::black_box(seed.seed);
            });
        });
        found
            / rate(seeds, || {
                std::hint::black_box(program.search(0, seeds));
            })
    });
    median(ratios.collect())
}

/// What two threads do together, over what one does alone.
fn threads(world: &World, seeds: u64) -> f64 {
    let program = guarded(world);
    let alone = || {
        rate(seeds, || {
            std::hint::black_box(program.search(0, seeds));
        })
    };
    let ratios = (0..ROUNDS).map(|_| {
        let one = alone();
        let both = std::thread::scope(|scope| {
            let other = scope.spawn(alone);
            alone() + other.join().expect("the other thread")
        });
        both / one
    });
    median(ratios.collect())
}

fn guarded(world: &World) -> Program {
    Program::new(world, 0, Fill::Guarded, Random::Dotnet, None).expect("the world has a level")
}

/// The reference first, then each machine.
fn measure(
    world: &World,
    fill: Fill,
    random: Random,
    machines: &[Machine],
    seeds: u64,
) -> Vec<f64> {
    let programs = machines.iter().map(|&machine| {
        Program::on(machine, world, 0, fill, random, None).expect("the world has a level")
    });
    let programs: Vec<Program> = programs.collect();
    let mut rates = vec![Vec::new(); 1 + programs.len()];
    for _ in 0..ROUNDS {
        let few = (seeds / REFERENCE_SHARE).max(1);
        rates[0].push(rate(few, || {
            for seed in 0..few as u32 {
                std::hint::black_box(reference::outcome(world, 0, fill, random, None, seed));
            }
        }));
        for (rates, program) in rates.iter_mut().skip(1).zip(&programs) {
            rates.push(rate(seeds, || {
                std::hint::black_box(program.search(0, seeds));
            }));
        }
    }
    rates.into_iter().map(median).collect()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn rate(seeds: u64, work: impl FnOnce()) -> f64 {
    let (before, started) = (on_core(), Instant::now());
    work();
    let seconds = match (before, on_core()) {
        (Some(before), Some(after)) if after > before => (after - before) as f64 / 1e9,
        _ => started.elapsed().as_secs_f64(),
    };
    seeds as f64 / seconds
}

/// Nanoseconds that this thread has been running, where Linux tells.
fn on_core() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split_whitespace().next()?.parse().ok()
}
