//! Whatever text is given as a world file, it is read or refused with a place: what `fuzz/` does for longer.

use bramble_world::World;
use proptest::prelude::*;

const GOOD: &str = include_str!("../../../fixtures/worlds/pair.toml");

fn check(text: &str) {
    if let Err(invalid) = World::parse("any.toml", text) {
        for line in invalid
            .to_string()
            .lines()
            .filter(|line| line.contains(".toml:"))
        {
            let mut parts = line.split(':');
            assert_eq!(parts.next(), Some("any.toml"), "{line}");
            let number = parts.next().and_then(|number| number.parse::<usize>().ok());
            assert!(number.is_some_and(|number| number >= 1), "{line}");
        }
        assert!(invalid.to_string().starts_with("any.toml:"), "{invalid}");
    }
}

/// A good file with some stretches replaced by others of its own, or by odd text.
fn damaged() -> impl Strategy<Value = String> {
    let place = || any::<prop::sample::Index>();
    let odd = prop_oneof![
        (place(), place()).prop_map(|(from, len)| {
            let lines: Vec<&str> = GOOD.split_inclusive(' ').collect();
            let from = from.index(lines.len());
            lines[from..(from + len.index(12)).min(lines.len())].concat()
        }),
        "\\PC{0,8}",
        Just("[[".to_owned()),
        Just("4294967296".to_owned()),
        Just("count = 4294967295".to_owned()),
    ];
    prop::collection::vec((place(), place(), odd), 1..5).prop_map(|edits| {
        let mut text: Vec<char> = GOOD.chars().collect();
        for (from, len, with) in edits {
            let from = from.index(text.len() + 1);
            let to = (from + len.index(20)).min(text.len());
            text.splice(from..to, with.chars());
        }
        text.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damaged_files_are_read_or_refused(text in damaged()) {
        check(&text);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
        check(&text);
    }
}
