//! The same results worked out the plain way: lists, loops and the original's floating point.
#![allow(dead_code)] // not every test needs all of it

use bramble_kernel::{Fill, Random, mix};
use bramble_world::{Goal, Level, World};

/// A literal port of the published class, 1-based indices and all.
struct SystemRandom {
    seeds: [i32; 56],
    inext: usize,
    inextp: usize,
}

impl SystemRandom {
    fn new(seed: i32) -> Self {
        let subtraction = if seed == i32::MIN {
            i32::MAX
        } else {
            seed.abs()
        };
        let mut seeds = [0i32; 56];
        let mut mj = 161_803_398 - subtraction;
        seeds[55] = mj;
        let mut mk = 1;
        for i in 1..55 {
            let ii = 21 * i % 55;
            seeds[ii] = mk;
            mk = mj.wrapping_sub(mk);
            if mk < 0 {
                mk += i32::MAX;
            }
            mj = seeds[ii];
        }
        for _ in 1..5 {
            for i in 1..56 {
                seeds[i] = seeds[i].wrapping_sub(seeds[1 + (i + 30) % 55]);
                if seeds[i] < 0 {
                    seeds[i] += i32::MAX;
                }
            }
        }
        SystemRandom {
            seeds,
            inext: 0,
            inextp: 21,
        }
    }

    fn sample(&mut self) -> i32 {
        self.inext = if self.inext + 1 >= 56 {
            1
        } else {
            self.inext + 1
        };
        self.inextp = if self.inextp + 1 >= 56 {
            1
        } else {
            self.inextp + 1
        };
        let mut number = self.seeds[self.inext].wrapping_sub(self.seeds[self.inextp]);
        if number == i32::MAX {
            number -= 1;
        }
        if number < 0 {
            number += i32::MAX;
        }
        self.seeds[self.inext] = number;
        number
    }
}

enum Source {
    Dotnet(Box<SystemRandom>),
    Pcg32(u64),
}

impl Source {
    fn new(random: Random, seed: u32) -> Self {
        match random {
            Random::Dotnet => Source::Dotnet(Box::new(SystemRandom::new(seed as i32))),
            Random::Pcg32 => Source::Pcg32(pcg_step(
                pcg_step(0).wrapping_add(seed as i32 as i64 as u64),
            )),
        }
    }

    fn draw(&mut self, n: usize) -> usize {
        match self {
            Source::Dotnet(random) => {
                (f64::from(random.sample()) * (1.0 / f64::from(i32::MAX)) * n as f64) as usize
            }
            Source::Pcg32(state) => loop {
                let xorshifted = (((*state >> 18) ^ *state) >> 27) as u32;
                let rotation = (*state >> 59) as u32;
                *state = pcg_step(*state);
                let number =
                    u64::from((xorshifted >> rotation) | (xorshifted << ((32 - rotation) % 32)));
                if number >= ((1u64 << 32) - n as u64) % n as u64 {
                    return (number % n as u64) as usize;
                }
            },
        }
    }

    fn shuffle(&mut self, items: &mut [usize]) {
        for i in (1..items.len()).rev() {
            let j = self.draw(i + 1);
            items.swap(i, j);
        }
    }
}

fn pcg_step(state: u64) -> u64 {
    let increment = 721347520444481703 * 2 + 1;
    state
        .wrapping_mul(6364136223846793005)
        .wrapping_add(increment)
}

/// What the reference says of one seed.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) items: Vec<Option<usize>>,
    pub(crate) sphere: Vec<u8>,
    pub(crate) spheres: u8,
    pub(crate) completable: bool,
    pub(crate) stuck: bool,
}

pub(crate) fn outcome(
    world: &World,
    level: usize,
    fill: Fill,
    random: Random,
    goal: Option<&Goal>,
    seed: u32,
) -> Outcome {
    let rules = &world.levels[level];
    let (items, stuck) = place(world, rules, fill, random, seed);
    let (sphere, spheres, powers) = play(rules, &items);
    let completable = match goal {
        None => sphere.iter().all(|&sphere| sphere > 0),
        Some(goal) => {
            goal.locations.iter().all(|&at| sphere[at] > 0) && goal.powers & powers == goal.powers
        }
    };
    Outcome {
        items,
        sphere,
        spheres,
        completable,
        stuck,
    }
}

fn is_open(level: &Level, location: usize, powers: u64) -> bool {
    level.requires[location]
        .iter()
        .any(|&needed| needed & !powers == 0)
}

fn place(
    world: &World,
    level: &Level,
    fill: Fill,
    random: Random,
    seed: u32,
) -> (Vec<Option<usize>>, bool) {
    let n = level.pool.len();
    let grants = |item: usize| level.pool[item].grants;
    let mut source = Source::new(random, seed);
    let mut placed: Vec<Option<usize>> = vec![None; n];
    match fill {
        Fill::Shuffle => {
            let mut order: Vec<usize> = (0..n).collect();
            source.shuffle(&mut order);
            return (order.into_iter().map(Some).collect(), false);
        }
        Fill::Assumed => {
            let mut granting: Vec<usize> = (0..n).filter(|&item| grants(item) != 0).collect();
            source.shuffle(&mut granting);
            while let Some(item) = granting.pop() {
                let mut powers = granting
                    .iter()
                    .fold(0, |powers, &item| powers | grants(item));
                for _ in 0..n {
                    for (location, slot) in placed.iter().enumerate() {
                        if let Some(found) = slot.filter(|_| is_open(level, location, powers)) {
                            powers |= grants(found);
                        }
                    }
                }
                let candidates: Vec<usize> = (0..n)
                    .filter(|&at| placed[at].is_none() && is_open(level, at, powers))
                    .collect();
                if candidates.is_empty() {
                    return (placed, true);
                }
                placed[candidates[source.draw(candidates.len())]] = Some(item);
            }
            let mut others: Vec<usize> = (0..n).filter(|&item| grants(item) == 0).collect();
            source.shuffle(&mut others);
            let mut others = others.into_iter();
            placed
                .iter_mut()
                .filter(|slot| slot.is_none())
                .for_each(|slot| *slot = others.next());
            return (placed, false);
        }
        Fill::Forward | Fill::Guarded | Fill::Ladder => {}
    }
    let mut remaining: Vec<usize> = (0..n).collect();
    let mut powers = 0;
    while !remaining.is_empty() {
        if fill == Fill::Ladder {
            source = Source::new(random, seed);
        }
        let open: Vec<usize> = (0..n)
            .filter(|&at| placed[at].is_none() && is_open(level, at, powers))
            .collect();
        if open.is_empty() {
            return (placed, true);
        }
        let location = open[source.draw(open.len())];
        let next = (0..world.powers.len()).find(|power| powers >> power & 1 == 0);
        let suits = |&item: &usize| match fill {
            Fill::Guarded if open.len() == 1 && remaining.len() > 1 => (0..n).any(|at| {
                at != location && placed[at].is_none() && is_open(level, at, powers | grants(item))
            }),
            Fill::Ladder => next.is_none_or(|next| grants(item) >> next & 1 == 1),
            _ => true,
        };
        let candidates: Vec<usize> = remaining.iter().copied().filter(suits).collect();
        if candidates.is_empty() {
            return (placed, true);
        }
        let item = candidates[source.draw(candidates.len())];
        remaining.retain(|&other| other != item);
        placed[location] = Some(item);
        powers |= grants(item);
    }
    (placed, false)
}

/// Collects round by round: for each location its round, how many rounds, and what is held in the end.
pub(crate) fn play(level: &Level, items: &[Option<usize>]) -> (Vec<u8>, u8, u64) {
    let mut sphere = vec![0; items.len()];
    let (mut round, mut powers) = (0, 0);
    loop {
        let found: Vec<usize> = (0..items.len())
            .filter(|&at| items[at].is_some() && sphere[at] == 0 && is_open(level, at, powers))
            .collect();
        if found.is_empty() {
            return (sphere, round, powers);
        }
        round += 1;
        for at in found {
            sphere[at] = round;
            powers |= items[at].map_or(0, |item| level.pool[item].grants);
        }
    }
}

/// Digest and audit of one seed.
pub(crate) fn fingerprints(outcome: &Outcome, level: usize, seed: u32) -> (u64, u64) {
    let verdict = u8::from(outcome.completable);
    let (level, spheres) = (level as u8, outcome.spheres);
    let digest = mix(u64::from(seed)
        | u64::from(level) << 32
        | u64::from(verdict) << 40
        | u64::from(spheres) << 48);
    let mut bytes = seed.to_le_bytes().to_vec();
    bytes.extend([level, verdict, spheres]);
    bytes.extend(
        outcome
            .items
            .iter()
            .map(|item| item.map_or(255, |item| item as u8)),
    );
    let mut audit = 0xcbf29ce484222325u64;
    for byte in bytes {
        audit ^= u64::from(byte);
        audit = audit.wrapping_mul(0x100000001b3);
    }
    (
        digest,
        if seed.is_multiple_of(65_536) {
            audit
        } else {
            0
        },
    )
}
