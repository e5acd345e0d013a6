//! What a person is told about a world file that is wrong.

use bramble_world::World;

const GOOD: &str = r#"version = 1
name = "two doors"
powers = ["Key", "Lamp"]
levels = ["normal", "hard"]
[[locations]]
id = 1
name = "Hall"
requires.normal = [[]]
[[locations]]
id = 2
name = "Vault"
requires.normal = [["Key", "Lamp"], ["Key"]]
[[items]]
name = "Key"
[[items]]
name = "Coin"
[pools]
normal = [{ item = "Key", grants = ["Key"] }, { item = "Coin" }]
hard = [{ item = "Key", grants = ["Key", "Lamp"], count = 2 }]
[[goals]]
name = "escape"
locations = ["Vault"]
powers = ["Key"]
"#;

fn errors(text: &str) -> String {
    match World::parse("world.toml", text) {
        Ok(_) => "no error".to_owned(),
        Err(invalid) => invalid.to_string(),
    }
}

#[test]
fn a_good_file_is_read() {
    let world = World::parse("world.toml", GOOD).unwrap();
    assert_eq!(world.levels[0].requires, [vec![0], vec![1]]);
    assert_eq!(world.levels[0].requires, world.levels[1].requires);
    assert_eq!(world.levels[1].pool.len(), 2);
    assert_eq!(
        (world.goals[0].locations.as_slice(), world.goals[0].powers),
        ([1].as_slice(), 1)
    );
}

#[test]
fn mistakes_are_named_with_their_place() {
    let cases = [
        (
            "powers = [\"Key\", \"Lamp\"]",
            "powers = [\"Key\", \"Key\"]",
        ),
        ("version = 1", "version = 2"),
        ("version = 1", "version = \"one\""),
        ("version = 1\n", ""),
        ("[[\"Key\", \"Lamp\"], [\"Key\"]]", "[[\"Kye\"]]"),
        ("[[\"Key\", \"Lamp\"], [\"Key\"]]", "[[\"Lamp\"]]"),
        ("[[\"Key\", \"Lamp\"], [\"Key\"]]", "[]"),
        ("requires.normal = [[]]", "requires.hard = [[]]"),
        (
            "requires.normal = [[]]",
            "requires.normal = [[]]\nrequires.mad = [[]]",
        ),
        (", { item = \"Coin\" }]", "]"),
        ("{ item = \"Coin\" }", "{ item = \"Gold\" }"),
        ("count = 2", "count = 0"),
        ("hard = [", "extreme = ["),
        ("id = 2", "id = 1"),
        ("name = \"Vault\"", "name = \"Hall\""),
        ("name = \"Coin\"", "name = \"\""),
        ("name = \"escape\"", "name = \"all-locations\""),
        ("locations = [\"Vault\"]\npowers = [\"Key\"]", ""),
        ("locations = [\"Vault\"]", "locations = [\"Valut\"]"),
        ("id = 1\n", "id = 1\ncolour = \"red\"\n"),
        ("levels = [\"normal\", \"hard\"]", "levels = []"),
        ("[[items]]", "[[items"),
    ];
    let mut told = String::new();
    for (from, to) in cases {
        assert!(GOOD.contains(from), "{from}");
        told += &format!(
            "{from:?} -> {to:?}\n{}\n\n",
            errors(&GOOD.replacen(from, to, 1))
        );
    }
    insta::assert_snapshot!(told);
}

#[test]
fn sizes_are_limited() {
    let many = |what: &str, from: &str, count: usize| {
        let names: Vec<String> = (0..count).map(|n| format!("\"{what}{n}\"")).collect();
        errors(&GOOD.replacen(from, &format!("{from}, {}", names.join(", ")), 1))
    };
    assert_eq!(many("P", "\"Lamp\"", 62), "no error");
    assert!(many("P", "\"Lamp\"", 63).contains("world.toml:3:"));
    let locations: String = (3..=256)
        .map(|id| format!("[[locations]]\nid = {id}\nname = \"L{id}\"\nrequires.normal = [[]]\n"))
        .collect();
    let text = GOOD.replacen("[[items]]", &format!("{locations}[[items]]"), 1);
    assert!(errors(&text).contains("more than 255 locations"));
}

#[test]
fn the_report_shows_the_line() {
    let invalid = World::parse(
        "world.toml",
        &GOOD.replace("item = \"Coin\"", "item = \"Cion\""),
    )
    .unwrap_err();
    let mut shown = String::new();
    miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor())
        .render_report(&mut shown, &invalid)
        .unwrap();
    insta::assert_snapshot!(shown);
}
