//! The checked-in worlds parse, and the Axiom Verge model has the shape its facts say.

use std::collections::BTreeSet;
use std::path::Path;

use bramble_world::{Set, Table, World};

fn read(file: &str) -> World {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/worlds")
        .join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    World::parse(file, &text).unwrap_or_else(|invalid| panic!("{invalid}"))
}

#[test]
fn axiom_verge_has_the_shape_of_its_facts() {
    let world = read("axiom-verge.toml");
    assert_eq!((world.locations.len(), world.powers.len()), (125, 20));
    let eribu = world
        .locations
        .iter()
        .filter(|location| location.area.as_deref() == Some("Eribu"))
        .count();
    assert_eq!(eribu, 16);

    // Counted by another program: alternatives after dropping supersets, items that grant something, distinct grants.
    let shape = |level: &bramble_world::Level| {
        let table = Table::<2>::new(&world, level);
        let grants = level.pool.iter().map(|entry| entry.grants);
        let kinds = grants
            .filter(|&grants| grants != 0)
            .collect::<BTreeSet<u64>>()
            .len();
        let alternatives: usize = level.requires.iter().map(Vec::len).sum();
        assert_eq!(table.open(0), Set::below(1));
        assert_eq!(
            table.open(level.pool.iter().fold(0, |all, entry| all | entry.grants)),
            Set::below(125)
        );
        (
            level.name.clone(),
            alternatives,
            table.granting.len(),
            kinds,
        )
    };
    assert_eq!(
        world.levels.iter().map(shape).collect::<Vec<_>>(),
        [
            ("default".into(), 375, 34, 20),
            ("advanced".into(), 499, 37, 19),
            ("masochist".into(), 571, 37, 19)
        ]
    );
}

#[test]
fn levels_only_ever_open_more() {
    let world = read("axiom-verge.toml");
    for pair in world.levels.windows(2) {
        for (strict, loose) in pair[0].requires.iter().zip(&pair[1].requires) {
            let covered = |mask: &u64| loose.iter().any(|easier| easier & !mask == 0);
            assert!(strict.iter().all(covered));
        }
    }
}
