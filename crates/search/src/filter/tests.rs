//! What filters mean, and what is said of those that mean nothing.

use std::path::Path;

use bramble_kernel::{Fill, Program, Random, Wanted};
use bramble_world::World;
use proptest::prelude::*;

use super::{Filter, check_syntax};

fn world() -> World {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/worlds/axiom-verge.toml");
    World::parse("axiom-verge.toml", &std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Seeds that a filter accepts, with and without leaving out what is certainly not wanted.
fn accepted(filter: &Filter, program: &Program, seeds: u64) -> Vec<u32> {
    let find = |wanted: &Wanted| {
        let mut found = Vec::new();
        program.find(0, seeds, wanted, &mut |seed| {
            if filter.accepts(seed) {
                found.push(seed.seed);
            }
        });
        found.sort_unstable();
        found
    };
    let found = find(filter.wanted());
    assert_eq!(found, find(&Wanted::default()));
    found
}

#[test]
fn tests_mean_what_explain_shows() {
    let world = world();
    let position = |name: &str| {
        world
            .locations
            .iter()
            .position(|place| place.name == name)
            .unwrap()
    };
    let entry = |name: &str| {
        let pool = &world.levels[0].pool;
        pool.iter().position(|entry| entry.item == name).unwrap() as u8
    };
    let (nova, kilver, drill) = (position("Nova"), entry("Kilver"), entry("Drill"));
    let sphere_of = |found: &bramble_kernel::Arrangement, item: u8| {
        let at = found.items.iter().position(|&other| other == item);
        at.map(|at| found.sphere[at]).filter(|&sphere| sphere > 0)
    };
    type Meaning<'a> = Box<dyn Fn(&bramble_kernel::Arrangement) -> bool + 'a>;
    let cases: Vec<(&str, Meaning<'_>)> = vec![
        ("spheres <= 6", Box::new(|found| found.spheres <= 6)),
        (
            "not spheres <= 6 and spheres != 7",
            Box::new(|found| found.spheres > 7),
        ),
        (
            "at(\"Nova\") == \"Kilver\"",
            Box::new(|found| found.items[nova] == kilver),
        ),
        (
            "at(\"Nova\") != \"Kilver\"",
            Box::new(|found| found.items[nova] != kilver),
        ),
        (
            "at(\"Nova\").sphere == 2",
            Box::new(|found| found.sphere[nova] == 2),
        ),
        (
            "item(\"Drill\").sphere == 1",
            Box::new(|found| sphere_of(found, drill) == Some(1)),
        ),
        (
            "item(\"Drill\").sphere > 3",
            Box::new(|found| sphere_of(found, drill).is_none_or(|sphere| sphere > 3)),
        ),
        (
            "item(\"Drill\").location == \"Nova\"",
            Box::new(|found| found.items[nova] == drill),
        ),
        (
            "item(\"Drill\").area == \"Eribu\" or (dead and placed < 9)",
            Box::new(|found| {
                let at = found.items.iter().position(|&item| item == drill);
                let placed = found.items[..125]
                    .iter()
                    .filter(|&&item| item != 255)
                    .count();
                at.is_some_and(|at| world.locations[at].area.as_deref() == Some("Eribu"))
                    || found.verdict != bramble_kernel::Verdict::Completable && placed < 9
            }),
        ),
    ];
    for fill in [Fill::Guarded, Fill::Forward, Fill::Ladder, Fill::Shuffle] {
        let program = Program::new(&world, 0, fill, Random::Dotnet, None).unwrap();
        for (text, meaning) in &cases {
            let filter = Filter::new(text, &world, 0).unwrap();
            let expected: Vec<u32> = (0..600)
                .filter(|&seed| meaning(&program.arrange(seed)))
                .collect();
            assert_eq!(
                accepted(&filter, &program, 600),
                expected,
                "{text} {}",
                fill.name()
            );
        }
    }
}

#[test]
fn mistakes_are_named_with_their_place() {
    let world = world();
    let mut told = String::new();
    for text in [
        "",
        "spheres",
        "spheres = 4",
        "spheres <= four",
        "spheres <= 99999999999",
        "spheres <= 4 && dead",
        "dead or",
        "dead dead",
        "(dead",
        "at(Nova) == \"Drill\"",
        "at(\"Nova\") < \"Drill\"",
        "at(\"Nova\").area == \"Eribu\"",
        "at(\"Nava\") == \"Drill\"",
        "at(\"Nova\") == \"Dril\"",
        "item(\"Drill\") == \"Nova\"",
        "item(\"Drill\").area == \"Erebu\"",
        "item(\"Drill\").sphere == \"1\"",
        "at(\"Nova",
        "at(\"No\\va\") == \"x\"",
        "spheres <= 4 and ünreachable",
        "#",
    ] {
        told += &format!(
            "{text}\n    {}\n",
            Filter::new(text, &world, 0).unwrap_err()
        );
    }
    let deep = "not ".repeat(10_000) + "dead";
    told += &format!(
        "not not ...\n    {}\n",
        Filter::new(&deep, &world, 0).unwrap_err()
    );
    insta::assert_snapshot!(told);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// What `fuzz/` does for longer.
    #[test]
    fn any_text_is_read_or_refused(words in prop::collection::vec(prop_oneof![
        Just("at(".to_owned()), Just("item(\"x\")".to_owned()), Just(".sphere".to_owned()), Just("and".to_owned()),
        Just("not".to_owned()), Just("(".to_owned()), Just(")".to_owned()), Just("== ".to_owned()), Just("spheres".to_owned()),
        Just("7".to_owned()), Just("\"".to_owned()), Just("\\".to_owned()), Just("dead or".to_owned()), "\\PC{0,4}",
    ], 0..20), gap in " ?") {
        if let Err(message) = check_syntax(&words.join(&gap)) {
            prop_assert!(message.starts_with("--where:"), "{}", message);
        }
    }
}
