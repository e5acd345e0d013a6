//! Worlds whose answers are known without a computer, and what can be proved of others.

mod reference;

use std::collections::BTreeMap;
use std::path::Path;

use bramble_kernel::{Fill, Program, Random, Summary, Unprovable, Verdict, prove};
use bramble_world::World;

fn read(file: &str) -> World {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/worlds")
        .join(file);
    let text = std::fs::read_to_string(path).unwrap();
    World::parse(file, &text).unwrap_or_else(|invalid| panic!("{invalid}"))
}

fn search(world: &World, fill: Fill, random: Random, seeds: u64) -> Summary {
    Program::new(world, 0, fill, random, None)
        .unwrap()
        .search(0, seeds)
}

/// Calls `visit` with all orders of the numbers below `n`.
fn permutations(n: usize, visit: &mut dyn FnMut(&[usize])) {
    fn go(order: &mut Vec<usize>, left: &mut Vec<usize>, visit: &mut dyn FnMut(&[usize])) {
        if left.is_empty() {
            return visit(order);
        }
        for at in 0..left.len() {
            let next = left.remove(at);
            order.push(next);
            go(order, left, visit);
            order.pop();
            left.insert(at, next);
        }
    }
    go(&mut Vec::new(), &mut (0..n).collect(), visit);
}

#[test]
fn one_of_six_shuffles_of_the_chain_can_be_finished() {
    let world = read("chain.toml");
    let mut verdicts = BTreeMap::new();
    permutations(6, &mut |order| {
        let items: Vec<Option<usize>> = order.iter().copied().map(Some).collect();
        let (sphere, ..) = reference::play(&world.levels[0], &items);
        verdicts.insert(order.to_vec(), sphere.iter().all(|&sphere| sphere > 0));
    });
    assert_eq!(verdicts.len(), 720);
    assert_eq!(
        verdicts
            .values()
            .filter(|&&completable| completable)
            .count(),
        120
    );

    // The kernel says the same of every one of them.
    for random in Random::ALL {
        let program = Program::new(&world, 0, Fill::Shuffle, random, None).unwrap();
        let mut unseen = verdicts.clone();
        for seed in 0..20_000 {
            let found = program.arrange(seed);
            let order: Vec<usize> = found.items[..6].iter().map(|&item| item.into()).collect();
            let completable = found.verdict == Verdict::Completable;
            assert_eq!(verdicts[&order], completable, "{order:?}");
            unseen.remove(&order);
        }
        assert!(unseen.is_empty(), "{} orders never came up", unseen.len());
    }
}

/// Engine, how likely it is to get stuck, and in how many spheres all else is found.
#[test]
fn chances_are_those_worked_out_by_hand() {
    let cases = [
        ("chain.toml", Fill::Forward, 5.0 / 6.0),
        ("chain.toml", Fill::Guarded, 0.0),
        ("chain.toml", Fill::Ladder, 0.0),
        ("pair.toml", Fill::Guarded, 0.5),
        ("backwards.toml", Fill::Ladder, 1.0),
        ("backwards.toml", Fill::Guarded, 0.0),
    ];
    for (file, fill, stuck) in cases {
        let world = read(file);
        let proof = prove(&world, 0, fill).unwrap();
        assert!(
            (proof.stuck - stuck).abs() < 1e-12,
            "{file} {}: {}",
            fill.name(),
            proof.stuck
        );
        assert_eq!(
            proof.dead_end.is_some(),
            stuck > 0.0,
            "{file} {}",
            fill.name()
        );
        // `ladder` draws the same numbers again and again, so its share is another where chance has a part at all.
        for random in Random::ALL {
            let seeds = 20_000;
            let share = search(&world, fill, random, seeds).stuck as f64 / seeds as f64;
            assert!(
                (share - stuck).abs() < 0.015,
                "{file} {}: {share}",
                fill.name()
            );
        }
    }
}

#[test]
fn assumed_gets_through_the_chain() {
    let world = read("chain.toml");
    assert_eq!(
        search(&world, Fill::Assumed, Random::Dotnet, 20_000).dead(),
        0
    );
}

#[test]
fn backwards_there_is_only_one_way() {
    let program = Program::new(
        &read("backwards.toml"),
        0,
        Fill::Guarded,
        Random::Pcg32,
        None,
    );
    let program = program.unwrap();
    assert!((0..1000).all(|seed| program.arrange(seed).items[..3] == [1, 0, 2]));
    assert_eq!(program.search(0, 1000).spheres[3], 1000);
}

/// A dead end is one that the rules lead into: every location was open when it was filled, and now none is of use.
#[test]
fn counterexamples_hold() {
    for (file, fill) in [
        ("chain.toml", Fill::Forward),
        ("pair.toml", Fill::Guarded),
        ("backwards.toml", Fill::Ladder),
        ("axiom-verge.toml", Fill::Forward),
        ("archipelago.toml", Fill::Forward),
    ] {
        let world = read(file);
        let level = &world.levels[0];
        let end = prove(&world, 0, fill).unwrap().dead_end.unwrap();
        let is_open =
            |at: usize, powers: u64| level.requires[at].iter().any(|needs| needs & !powers == 0);
        let (mut powers, mut filled) = (0, Vec::new());
        for &(location, item) in &end.placed {
            assert!(
                is_open(location, powers) && !filled.contains(&location),
                "{file}"
            );
            filled.push(location);
            powers |= level.pool[item].grants;
        }
        assert_eq!(powers, end.powers);
        let open =
            (0..level.requires.len()).filter(|at| is_open(*at, powers) && !filled.contains(at));
        assert_eq!(open.count() as u32, end.open, "{file}");
        assert!(end.open == 0 || fill == Fill::Guarded, "{file}");
    }
}

/// What is proved of the Axiom Verge model, against seeds.
#[test]
fn proofs_agree_with_seeds() {
    let world = read("axiom-verge.toml");
    for level in 0..3 {
        for fill in [Fill::Forward, Fill::Guarded, Fill::Ladder] {
            let proof = prove(&world, level, fill).unwrap();
            let program = Program::new(&world, level, fill, Random::Dotnet, None).unwrap();
            let seeds = 20_000;
            let share = program.search(0, seeds).stuck as f64 / seeds as f64;
            assert!(
                (share - proof.stuck).abs() < 0.003,
                "{}: {share} {}",
                fill.name(),
                proof.stuck
            );
            assert_eq!(proof.dead_end.is_none(), fill != Fill::Forward);
        }
        assert_eq!(prove(&world, level, Fill::Assumed), Err(Unprovable::Engine));
    }
}

/// 200 locations, copies, chests with three powers at once, goals that ask for less than everything.
#[test]
fn the_archipelago_is_as_the_reference_has_it() {
    let world = read("archipelago.toml");
    assert_eq!((world.locations.len(), world.goals.len()), (200, 2));
    for (level, _) in world.levels.iter().enumerate() {
        for goal in world.goals.iter().map(Some).chain([None]) {
            for (fill, random) in Fill::ALL.into_iter().zip(Random::ALL.into_iter().cycle()) {
                let program = Program::new(&world, level, fill, random, goal).unwrap();
                for seed in [0, 1, 65_536, 1 << 31, u32::MAX] {
                    let expected = reference::outcome(&world, level, fill, random, goal, seed);
                    let summary = program.search(seed, 1);
                    let fingerprints = reference::fingerprints(&expected, level, seed);
                    assert_eq!(
                        (summary.digest, summary.audit),
                        fingerprints,
                        "{} {seed}",
                        fill.name()
                    );
                }
            }
        }
    }
    // Neither goal asks for more than everything, and one of them for less.
    let completable = |goal| {
        let program = Program::new(&world, 0, Fill::Shuffle, Random::Dotnet, goal).unwrap();
        program.search(0, 2000).completable
    };
    let [all, escape, gather] = [None, world.goals.first(), world.goals.get(1)].map(completable);
    assert!(all <= gather && all < escape, "{all} {gather} {escape}");
}
