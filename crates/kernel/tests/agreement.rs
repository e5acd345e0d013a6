//! The kernel against the reference: every engine, every generator, any world.

mod reference;

use std::path::Path;

use bramble_kernel::{Fill, Machine, Program, Random, Summary, Verdict, Wanted};
use bramble_world::{Goal, Level, Location, PoolEntry, World};
use proptest::prelude::*;

fn compile(
    world: &World,
    level: usize,
    fill: Fill,
    random: Random,
    goal: Option<&Goal>,
) -> Program {
    Program::new(world, level, fill, random, goal).expect("the world has this level")
}

/// Compares one seed in full, and as a range of one, on every machine there is.
fn check(
    world: &World,
    level: usize,
    fill: Fill,
    random: Random,
    goal: Option<&Goal>,
    seeds: &[u32],
) {
    let cases =
        Machine::available().flat_map(|machine| seeds.iter().map(move |&seed| (machine, seed)));
    for (machine, seed) in cases {
        let program = Program::on(machine, world, level, fill, random, goal).unwrap();
        let case = format!(
            "{} {} {} {seed} on {}",
            world.levels[level].name,
            fill.name(),
            random.name(),
            machine.name()
        );
        let expected = reference::outcome(world, level, fill, random, goal, seed);
        let found = program.arrange(seed);
        let n = world.locations.len();
        let items: Vec<Option<usize>> = found.items[..n]
            .iter()
            .map(|&item| (item != 255).then_some(item.into()))
            .collect();
        assert_eq!(items, expected.items, "{case}");
        assert_eq!(found.sphere[..n], expected.sphere, "{case}");
        assert_eq!(found.spheres, expected.spheres, "{case}");
        let verdict = match (expected.completable, expected.stuck) {
            (true, _) => Verdict::Completable,
            (false, true) => Verdict::Stuck,
            (false, false) => Verdict::Unreachable,
        };
        assert_eq!(found.verdict, verdict, "{case}");

        let summary = program.search(seed, 1);
        assert_eq!(
            (summary.digest, summary.audit),
            reference::fingerprints(&expected, level, seed),
            "{case}"
        );
        assert_eq!(
            (summary.scanned, summary.completable),
            (1, u64::from(expected.completable)),
            "{case}"
        );
        assert_eq!(summary.spheres[usize::from(expected.spheres)], 1, "{case}");
        let dead: &[u32] = if expected.completable { &[] } else { &[seed] };
        assert_eq!(summary.first_dead.seeds(), dead, "{case}");
    }
}

fn check_all(world: &World, goal: Option<&Goal>, seeds: &[u32]) {
    for level in 0..world.levels.len() {
        for fill in Fill::ALL {
            for random in Random::ALL {
                check(world, level, fill, random, goal, seeds);
            }
        }
    }
}

fn axiom_verge() -> World {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/worlds/axiom-verge.toml");
    World::parse("axiom-verge.toml", &std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn edges_of_the_seed_space() {
    let middle = 1 << 31;
    check_all(
        &axiom_verge(),
        None,
        &[
            0,
            1,
            42,
            middle - 1,
            middle,
            middle + 1,
            u32::MAX - 1,
            u32::MAX,
            0xFFFF_0000,
        ],
    );
}

#[test]
fn seeds_where_seeding_overflows() {
    // Above about 162 and 259 million the seeding of `dotnet` wraps around in one place, in the other, or in both.
    check_all(
        &axiom_verge(),
        None,
        &[
            162_170_000,
            259_400_000,
            1_000_000_007,
            2_147_480_000,
            3_000_000_000,
        ],
    );
}

/// Worlds of any shape: rules that nobody can meet, items that grant the same, powers that none grants.
fn worlds(
    locations: std::ops::Range<usize>,
    powers: std::ops::Range<usize>,
) -> impl Strategy<Value = World> {
    (locations, powers).prop_flat_map(|(n, powers)| {
        let few = prop::collection::vec(0..powers, 0..3)
            .prop_map(|bits| bits.into_iter().fold(0u64, |mask, bit| mask | 1 << bit));
        let requires = prop::collection::vec(prop::collection::vec(few.clone(), 1..4), n);
        let pool = prop::collection::vec(prop_oneof![Just(0), few], n);
        (requires, pool).prop_map(move |(requires, grants)| World {
            name: "any".into(),
            powers: (0..powers).map(|power| format!("P{power}")).collect(),
            levels: vec![Level {
                name: "only".into(),
                requires,
                pool: grants
                    .into_iter()
                    .map(|grants| PoolEntry {
                        item: "item".into(),
                        grants,
                    })
                    .collect(),
            }],
            locations: (0..n)
                .map(|at| Location {
                    name: format!("L{at}"),
                    area: None,
                })
                .collect(),
            goals: vec![Goal {
                name: "some".into(),
                locations: vec![n / 2],
                powers: 1,
            }],
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn small_worlds(world in worlds(1..20, 1..7), seeds in prop::array::uniform3(any::<u32>())) {
        check_all(&world, None, &seeds);
        check_all(&world, world.goals.first(), &seeds);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn large_worlds(world in worlds(120..256, 1..65), seed: u32) {
        check_all(&world, None, &[seed, seed & !0xFFFF]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    #[test]
    fn summaries_merge(world in worlds(1..12, 1..5), start: u32, cuts in prop::collection::vec(0u64..300, 0..4)) {
        let start = start.min(u32::MAX - 300);
        let program = compile(&world, 0, Fill::Forward, Random::Dotnet, None);
        let mut cuts: Vec<u64> = cuts.into_iter().chain([0, 300]).collect();
        cuts.sort_unstable();
        // In reverse, since the order must not matter.
        let mut merged = Summary::EMPTY;
        for pair in cuts.windows(2).rev() {
            merged.merge(&program.search(start + pair[0] as u32, pair[1] - pair[0]));
        }
        prop_assert_eq!(merged, program.search(start, 300));
    }
}

#[test]
fn machines_agree_on_ranges() {
    let world = axiom_verge();
    for (fill, random) in Fill::ALL.into_iter().zip(Random::ALL.into_iter().cycle()) {
        // Neither begins nor ends with a block, and has a seed that enters the audit.
        let search = |machine| {
            let program = Program::on(machine, &world, 2, fill, random, None).unwrap();
            program.search(65_530, 1003)
        };
        let expected = search(Machine::Scalar);
        assert_eq!(expected.scanned, 1003);
        for machine in Machine::available() {
            assert_eq!(
                search(machine),
                expected,
                "{} {}",
                fill.name(),
                machine.name()
            );
        }
    }
}

#[test]
fn twins_are_counted_as_if_computed() {
    let world = axiom_verge();
    for (random, has_twins) in [(Random::Dotnet, true), (Random::Pcg32, false)] {
        let program = compile(&world, 0, Fill::Forward, random, None);
        let mut apart = program.search(65_000, 1000);
        if has_twins {
            apart.merge(&program.search(65_999u32.wrapping_neg(), 1000));
        }
        assert_eq!(program.search_with_twins(65_000, 1000), apart);
    }
    let program = compile(&world, 0, Fill::Forward, Random::Dotnet, None);
    for own_twin in [0, 1 << 31] {
        assert_eq!(program.search_with_twins(own_twin, 1).scanned, 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_is_left_out_was_not_wanted(
        world in worlds(2..40, 1..6),
        start in 0..u32::MAX - 500,
        rules in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 0..3),
    ) {
        let n = world.locations.len();
        let mut wanted = Wanted::default();
        let rules: Vec<(usize, u64)> = rules.iter().map(|(at, items)| (at.index(n), *items)).collect();
        rules.iter().for_each(|&(at, items)| wanted.allow_only(at, [items; 4]));
        let is_wanted = |items: &[u8]| rules.iter().all(|&(at, allowed)| items[at] == 255 || allowed >> (items[at] % 64) & 1 == 1);
        for fill in Fill::ALL {
            let program = compile(&world, 0, fill, Random::Dotnet, None);
            let expected: Vec<u32> = (start..start + 200).filter(|&seed| is_wanted(&program.arrange(seed).items)).collect();
            let mut found = Vec::new();
            program.find(start, 200, &wanted, &mut |seed| {
                let full = program.arrange(seed.seed);
                assert_eq!((seed.items, seed.verdict, seed.spheres), (&full.items[..n], full.verdict, full.spheres));
                assert_eq!(seed.sphere_of(), full.sphere);
                if is_wanted(seed.items) {
                    found.push(seed.seed);
                }
            });
            found.sort_unstable();
            prop_assert_eq!(&found, &expected, "{}", fill.name());
        }
    }
}

#[test]
fn ranges_end_with_the_seed_space() {
    let program = compile(&axiom_verge(), 0, Fill::Forward, Random::Dotnet, None);
    let last = program.search(u32::MAX - 4, 5);
    assert_eq!(last.scanned, 5);
    assert_eq!(program.search(u32::MAX - 4, u64::MAX), last);
    assert_eq!(program.search(17, 0), Summary::EMPTY);
}

#[test]
fn opposite_seeds_are_the_same_under_dotnet() {
    let program = compile(&axiom_verge(), 1, Fill::Guarded, Random::Dotnet, None);
    for seed in [1u32, 2, 12_345, 0x7FFF_FFFF] {
        assert_eq!(program.arrange(seed), program.arrange(seed.wrapping_neg()));
    }
}

#[test]
fn engines_differ_as_they_should() {
    // Shares of dead seeds, in per mille, that another program found with 2,500 seeds a level.
    let world = axiom_verge();
    for (fill, expected) in [
        (Fill::Shuffle, [996, 992, 985]),
        (Fill::Forward, [996, 993, 984]),
        (Fill::Assumed, [114, 106, 95]),
        (Fill::Guarded, [0, 0, 0]),
        (Fill::Ladder, [0, 0, 0]),
    ] {
        let dead = [0, 1, 2].map(|level| {
            compile(&world, level, fill, Random::Dotnet, None)
                .search(0, 2500)
                .dead() as i64
                * 1000
                / 2500
        });
        for (dead, expected) in dead.into_iter().zip(expected) {
            assert!(
                (dead - expected).abs() <= expected.min(25),
                "{}: {dead} against {expected}",
                fill.name()
            );
        }
    }
}
