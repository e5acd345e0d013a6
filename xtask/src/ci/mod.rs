//! `cargo xtask ci`: everything that must hold, in one command.

mod compose;
mod containers;
mod flake;
pub(crate) mod neon;
mod skips;
mod steps;
mod tools;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::builder::PossibleValuesParser;

use steps::{Outcome, STEPS, Step};

/// Check everything: format, lints, licences, tests, docs, and the rehearsal
///
/// Every step runs, even after one has failed; only the rehearsal waits for all others to pass. Each
/// has its log in target/xtask.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask ci\n  cargo xtask ci --skip vm-test\n  cargo xtask ci --only fmt,clippy"
)]
pub(crate) struct Args {
    /// Leave these steps out
    #[arg(long, value_delimiter = ',', value_name = "STEP", value_parser = step_names())]
    skip: Vec<String>,
    /// Run these steps and no others
    #[arg(long, value_delimiter = ',', value_name = "STEP", value_parser = step_names())]
    only: Vec<String>,
}

fn step_names() -> PossibleValuesParser {
    PossibleValuesParser::new(STEPS.iter().map(|step| step.name))
}

/// How a step went.
struct Line {
    step: &'static Step,
    outcome: Result<Outcome>,
    took: Duration,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut lines: Vec<Line> = Vec::new();
    for step in STEPS.iter().filter(|step| wanted(step, args)) {
        eprintln!("ci: {}: {}", step.name, step.what);
        let started = Instant::now();
        let failed_before = lines.iter().any(|line| line.outcome.is_err());
        let outcome = match step.last && failed_before {
            true => Ok(Outcome::Skipped("something before it failed".to_owned())),
            false => (step.run)(),
        };
        match &outcome {
            Ok(Outcome::Done) => {}
            Ok(Outcome::Skipped(why)) => eprintln!("ci: {} SKIPPED: {why}", step.name),
            Err(error) => eprintln!("ci: {} FAILED: {error:#}", step.name),
        }
        lines.push(Line {
            step,
            outcome,
            took: started.elapsed(),
        });
    }
    print!("{}", table(&lines));
    let failed: Vec<&str> = lines
        .iter()
        .filter(|line| line.outcome.is_err())
        .map(|line| line.step.name)
        .collect();
    match failed.is_empty() {
        true => Ok(()),
        false => bail!("failed: {}", failed.join(", ")),
    }
}

fn wanted(step: &Step, args: &Args) -> bool {
    let named = |names: &[String]| names.iter().any(|name| name == step.name);
    !named(&args.skip) && (args.only.is_empty() || named(&args.only))
}

fn table(lines: &[Line]) -> String {
    let mut out = String::from("\n");
    for line in lines {
        let outcome = match &line.outcome {
            Ok(Outcome::Done) => "ok".to_owned(),
            Ok(Outcome::Skipped(why)) => format!("SKIPPED: {why}"),
            Err(_) => "FAILED".to_owned(),
        };
        out += &row(line.took, line.step.name, &outcome);
    }
    out + &row(lines.iter().map(|line| line.took).sum(), "total", "")
}

fn row(took: Duration, name: &str, outcome: &str) -> String {
    let seconds = took.as_secs();
    let row = format!(
        "{:>4}:{:02}  {name:<10} {outcome}",
        seconds / 60,
        seconds % 60
    );
    row.trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::project;

    #[test]
    fn the_table_says_where_the_time_went() {
        let line = |index: usize, outcome, seconds: u64| Line {
            step: &STEPS[index],
            outcome,
            took: Duration::from_millis(seconds * 1000 + 400),
        };
        let lines = [
            line(0, Ok(Outcome::Done), 3),
            line(1, Err(anyhow::anyhow!("no")), 61),
            line(2, Ok(Outcome::Skipped("no network".to_owned())), 0),
        ];
        insta::assert_snapshot!(table(&lines));
    }

    #[test]
    fn workflows_keep_what_a_rehearsal_leaves() {
        let written = [
            vm_tests::runner::junit(Path::new("target/vm-test")),
            PathBuf::from("target/vm-test/*/logs"),
        ];
        for workflow in ["ci.yml", "nightly.yml"] {
            let path = project::root().join(".github/workflows").join(workflow);
            let text = fs::read_to_string(&path).unwrap();
            for kept in written.iter().map(|path| path.display().to_string()) {
                let keeps = text.lines().any(|line| line.trim() == kept);
                assert!(keeps, "{workflow} does not keep {kept}");
            }
        }
    }

    #[test]
    fn steps_are_chosen_by_name() {
        let chosen = |skip: &[&str], only: &[&str]| -> Vec<&str> {
            let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let args = Args {
                skip: own(skip),
                only: own(only),
            };
            let steps = STEPS.iter().filter(|step| wanted(step, &args));
            steps.map(|step| step.name).collect()
        };
        assert_eq!(chosen(&[], &[]).len(), STEPS.len());
        assert_eq!(chosen(&[], &["clippy", "fmt"]), ["fmt", "clippy"]);
        assert_eq!(chosen(&["vm-test"], &[]).len(), STEPS.len() - 1);
        assert_eq!(chosen(&["fmt"], &["clippy", "fmt"]), ["clippy"]);
    }
}
