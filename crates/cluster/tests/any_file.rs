//! What holds for any file, however broken.

use bramble_cluster::spec::{Cluster, Problem};
use miette::{GraphicalReportHandler, GraphicalTheme};
use proptest::prelude::*;

const FIXTURES: [&str; 3] = [
    include_str!("../../../fixtures/clusters/eight-pi.toml"),
    include_str!("../../../fixtures/clusters/two-pi.toml"),
    include_str!("../../../fixtures/clusters/three-managers.toml"),
];

/// Bits that break a file in ways of their own.
const SPLINTERS: [&str; 14] = [
    "\"",
    "'''",
    "=",
    "[",
    "]]",
    "\n",
    "{",
    "#",
    "é",
    "0",
    "-----BEGIN X PRIVATE KEY-----",
    "password=\"",
    "token = '",
    "\\",
];

/// A fixture with some of its characters replaced by splinters.
fn broken_file() -> impl Strategy<Value = String> {
    let fixture = prop::sample::select(FIXTURES.as_slice());
    let splinter = prop::sample::select(SPLINTERS.as_slice());
    let cuts = prop::collection::vec((any::<prop::sample::Index>(), 0..6_usize, splinter), 1..5);
    (fixture, cuts).prop_map(|(text, cuts)| {
        let mut text: Vec<char> = text.chars().collect();
        for (at, length, splinter) in cuts {
            let at = at.index(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, splinter.chars());
        }
        text.into_iter().collect()
    })
}

fn rendered(problems: &[Problem]) -> String {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
    let mut text = String::new();
    for problem in problems {
        handler.render_report(&mut text, problem).unwrap();
    }
    text
}

proptest! {
    #[test]
    fn every_file_gets_a_cluster_or_errors_that_can_be_shown(text in broken_file()) {
        let lines = text.lines().count() + 1;
        let problems = match Cluster::parse("cluster.toml", &text) {
            Ok((cluster, warnings)) => {
                prop_assert!(cluster.managers().count() > 0);
                prop_assert!(warnings.iter().all(Problem::is_warning));
                warnings
            }
            Err(invalid) => {
                prop_assert!(invalid.problems.iter().any(|problem| !problem.is_warning()));
                invalid.problems
            }
        };
        rendered(&problems);
        let positions: Vec<_> = problems.iter().map(Problem::position).collect();
        prop_assert!(positions.is_sorted());
        prop_assert!(positions.iter().all(|(line, _)| (1..=lines).contains(line)));
    }

    #[test]
    fn no_secret_is_shown(
        secret in "[A-Za-z0-9+/]{12,40}",
        key in prop::sample::select(&["password", "nas_password", "token", "ts-auth-key", "password_hash"][..]),
        quote in prop::sample::select(&["\"", "'", "\"\"\"", "'''"][..]),
        fixture in prop::sample::select(FIXTURES.as_slice()),
    ) {
        let text = format!("{key} = {quote}{secret}{quote}\n{fixture}");
        let Err(invalid) = Cluster::parse("cluster.toml", &text) else {
            return Err(TestCaseError::fail("accepted"));
        };
        let shown = format!("{}{invalid:?}{invalid}", rendered(&invalid.problems));
        prop_assert!(!shown.contains(&secret));
        prop_assert_eq!(invalid.problems.len(), 1);
    }
}
