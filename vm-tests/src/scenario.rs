//! What a scenario is, and how those to be run are chosen.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};
use bramble_cluster::spec::Cluster;
use bramble_lab::template::Template;
use bramble_lab::{Backend, Board, Expected, Lab, Trouble};
use serde::Serialize;

use crate::filterset::Filterset;
use crate::operator::{Operator, Programs};
use crate::pipeline::{self, Answer, Search};
use crate::report::Report;
use crate::scenarios::SCENARIOS;
use crate::setting::Place;

/// Something that must hold, and how it is shown on emulated machines.
#[derive(Debug)]
pub struct Scenario {
    /// What it is asked for by.
    pub name: &'static str,
    /// What holds if it passes, in a sentence.
    pub shows: &'static str,
    /// When it is run without being asked for.
    pub when: When,
    /// The cluster file, in the repository.
    pub cluster: &'static str,
    /// How many of its nodes, beside the household.
    pub nodes: usize,
    /// Which of them begin with a card that nobody prepared.
    pub stock: Stock,
    /// How many seconds it took on two cores with a filled store; `None` until somebody has measured it. Alone, or in a run
    /// of several: then with what it took there to make the cluster that they shared.
    pub measured: Option<u32>,
    /// What of the trouble that its machines will be in is part of it; any other fails it at once.
    pub expects: &'static [Expects],
    /// What it is done to.
    pub on: On,
}

/// Trouble that a scenario brings about.
#[derive(Debug, Clone, Copy)]
pub struct Expects {
    /// Whose; anybody's, if `None`.
    pub machine: Option<&'static str>,
    /// Which kind.
    pub trouble: Trouble,
    /// What its line has in it; empty for any line.
    pub text: &'static str,
}

impl Scenario {
    /// Whether it begins with a cluster that others may have used before.
    pub fn begins_with_cluster(&self) -> bool {
        matches!(self.on, On::Cluster(_))
    }

    /// As the lab takes it.
    pub fn expected(&self) -> Vec<Expected> {
        let expected = self.expects.iter().map(|expects| Expected {
            machine: expects.machine.map(str::to_owned),
            trouble: expects.trouble,
            text: expects.text.to_owned(),
        });
        expected.collect()
    }
}

/// The error of a scenario's body that can show nothing on this machine, for want of something that is none of its own: it
/// has not failed, and nobody shall think that it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped(
    /// For want of what.
    pub String,
);

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skipped {}

/// What a scenario that has not failed came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// What it shows holds.
    Holds,
    /// It has shown nothing, and why.
    Skipped(String),
}

/// When a scenario is run without being asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// By `cargo xtask ci`, and so on every commit.
    EveryCommit,
    /// Once a night.
    Nightly,
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<When, String> {
        match text {
            "every-commit" => Ok(When::EveryCommit),
            "nightly" => Ok(When::Nightly),
            _ => Err(format!("it is every-commit or nightly, not `{text}`")),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            When::EveryCommit => "every commit",
            When::Nightly => "nightly",
        })
    }
}

/// Which nodes begin with a card that nobody prepared: neither Docker nor an NFS client is on it, and its kernel command
/// line is a Raspberry Pi OS's. All others have a card of ours, on which everything is installed already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stock {
    /// None.
    None,
    /// The last one.
    Last,
    /// All.
    All,
}

impl Stock {
    /// Whether the node `name` of `cluster` is one of them.
    pub fn includes(self, cluster: &Cluster, name: &str) -> bool {
        match self {
            Stock::None => false,
            Stock::Last => cluster.nodes.last().is_some_and(|node| node.name == name),
            Stock::All => true,
        }
    }
}

/// What a scenario begins with, and its body.
#[derive(Debug, Clone, Copy)]
pub enum On {
    /// No machines: it makes its own of what was built.
    Nothing(fn(&Bench, &Report) -> Result<()>),
    /// The cluster's machines out of the box: flashed, reachable, and nothing more. Nobody else gets them.
    NewMachines(fn(&mut Rehearsal) -> Result<()>),
    /// As `NewMachines`; but the nodes that are named boot from cards that were made and written for them, cold and on
    /// these boards. See [`crate::cards`].
    Cards(
        &'static [(&'static str, Board)],
        fn(&mut Rehearsal) -> Result<()>,
    ),
    /// A cluster that is provisioned and runs the search service, and that it leaves so: scenarios that are run
    /// together share it.
    Cluster(fn(&mut Rehearsal) -> Result<()>),
}

/// What was built before any scenario begins.
#[derive(Debug)]
pub struct Bench {
    /// What the operator and the nodes run.
    pub programs: Programs,
    /// The booted machine that nodes are cloned from.
    pub node: Template,
    /// That of nodes with a card that nobody prepared, if a scenario has any.
    pub stock: Option<Template>,
    /// The one that the household is cloned from.
    pub household: Template,
    /// What machines run as.
    pub backend: Backend,
    /// How a lab's supervisor is started, see [`Lab::launch`].
    pub supervisor: Vec<String>,
    /// What the cluster is to compute while somebody waits for it.
    pub search: Search,
    /// What it is to compute while something befalls it, which takes longer.
    pub long_search: Search,
    /// What this machine finds alone, once somebody has asked, by the number of seeds.
    pub alone: Mutex<BTreeMap<u64, Answer>>,
}

impl On {
    /// The nodes that boot from cards of their own.
    pub fn cards(&self) -> &'static [(&'static str, Board)] {
        match self {
            On::Cards(cards, _) => cards,
            On::Nothing(_) | On::NewMachines(_) | On::Cluster(_) => &[],
        }
    }
}

impl Bench {
    /// What this machine finds alone.
    ///
    /// # Errors
    /// When `bramble-search` fails.
    pub fn alone(&self, search: &Search) -> Result<Answer> {
        let mut alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = alone.get(&search.seeds) {
            return Ok(answer.clone());
        }
        let found = pipeline::search_alone(&self.programs, search)?;
        alone.insert(search.seeds, found.clone());
        Ok(found)
    }
}

/// A scenario's view of the machines that it is done to.
pub struct Rehearsal<'a> {
    /// Stages are told to it.
    pub report: &'a Report,
    /// What was built.
    pub bench: &'a Bench,
    /// The cluster, as its file has it.
    pub cluster: &'a Cluster,
    /// Does everything that a person would do.
    pub operator: &'a Operator,
    /// Where the operator's files and the logs are.
    pub place: &'a Place,
    /// The machines, and what can befall them.
    pub lab: &'a mut Lab,
    /// The port of 127.0.0.1 at which the search service is.
    pub web: u16,
    /// What the last search came to, for those who look on.
    pub answer: Option<Answer>,
}

impl Rehearsal<'_> {
    /// Has the cluster search, and holds its answer against what this machine finds alone.
    ///
    /// # Errors
    /// When the search does not end, or they differ.
    pub fn search(&mut self) -> Result<&Answer> {
        let found = pipeline::search(self.report, self.operator, &self.bench.search)?;
        self.report.stage("the same alone", |stage| {
            pipeline::compare(&found, &self.bench.alone(&self.bench.search)?)?;
            stage.note("the same answer");
            Ok(())
        })?;
        Ok(self.answer.insert(found))
    }
}

/// Which scenarios to run, in the manner of `cargo nextest`.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Parts of names; all are meant where there are none.
    pub names: Vec<String>,
    /// Whether `names` are whole.
    pub exact: bool,
    /// Parts of names of those to leave out; whole, if `exact`.
    pub skip: Vec<String>,
    /// Only those that are run then.
    pub when: Option<When>,
    /// Only those that are in one of these, if there are any.
    pub sets: Vec<Filterset>,
    /// Only one part of all the above.
    pub partition: Option<Partition>,
}

/// A part of a list, for those who share its work: `count:1/2` takes the first of every two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Which, from 1 on.
    part: usize,
    /// Of how many.
    parts: usize,
}

impl FromStr for Partition {
    type Err = String;

    fn from_str(text: &str) -> Result<Partition, String> {
        let wrong = || format!("a part is such as count:1/2, the first of two, not `{text}`");
        let numbers = text.strip_prefix("count:").ok_or_else(wrong)?;
        let (part, parts) = numbers.split_once('/').ok_or_else(wrong)?;
        let number = |text: &str| text.parse().map_err(|_| wrong());
        let (part, parts) = (number(part)?, number(parts)?);
        match (1..=parts).contains(&part) {
            true => Ok(Partition { part, parts }),
            false => Err(wrong()),
        }
    }
}

impl Filter {
    fn takes(&self, scenario: &Scenario) -> bool {
        let meant = |name: &String| match self.exact {
            true => scenario.name == name,
            false => scenario.name.contains(name.as_str()),
        };
        (self.names.is_empty() || self.names.iter().any(meant))
            && !self.skip.iter().any(meant)
            && self.when.is_none_or(|when| when == scenario.when)
            && (self.sets.is_empty() || self.sets.iter().any(|set| set.has(scenario)))
    }

    /// Those it takes, in the order of the list.
    ///
    /// # Errors
    /// When a name means no scenario, or all that were meant are left out.
    pub fn choose(&self) -> Result<Vec<&'static Scenario>> {
        for name in &self.names {
            let alone = Filter {
                names: vec![name.clone()],
                exact: self.exact,
                ..Filter::default()
            };
            if !SCENARIOS.iter().any(|scenario| alone.takes(scenario)) {
                let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
                bail!(
                    "no scenario is called `{name}`; there are {}",
                    names.join(", ")
                );
            }
        }
        let taken = SCENARIOS.iter().filter(|scenario| self.takes(scenario));
        let chosen: Vec<_> = match self.partition {
            Some(Partition { part, parts }) => taken.skip(part - 1).step_by(parts).collect(),
            None => taken.collect(),
        };
        if chosen.is_empty() {
            bail!("no scenario is left to run; `--list` shows all");
        }
        Ok(chosen)
    }
}

/// Scenarios as a table.
pub fn table(scenarios: &[&Scenario]) -> String {
    let mut table = String::new();
    for scenario in scenarios {
        let measured = scenario
            .measured
            .map_or("unmeasured".to_owned(), |seconds| format!("{seconds} s"));
        table += &format!(
            "{:<22} {:<12} {:>2} nodes  {measured:>10}  {}\n",
            scenario.name, scenario.when, scenario.nodes, scenario.shows
        );
    }
    table
}

/// Scenarios as data.
pub fn json(scenarios: &[&Scenario]) -> serde_json::Value {
    let rows = scenarios.iter().map(|scenario| {
        serde_json::json!({
            "name": scenario.name,
            "shows": scenario.shows,
            "when": scenario.when,
            "cluster": scenario.cluster,
            "nodes": scenario.nodes,
            "measured_seconds": scenario.measured,
        })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::resize::NODES;

    fn chosen(names: &[&str], exact: bool, skip: &[&str], when: Option<When>) -> Vec<&'static str> {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let filter = Filter {
            names: owned(names),
            exact,
            skip: owned(skip),
            when,
            ..Filter::default()
        };
        let chosen = filter.choose().expect("some");
        chosen.iter().map(|scenario| scenario.name).collect()
    }

    #[test]
    fn names_choose() {
        assert_eq!(chosen(&["pipe"], false, &[], None), ["pipeline"]);
        assert_eq!(
            chosen(&["idempotence", "pipeline"], true, &[], None),
            ["pipeline", "idempotence"]
        );
        assert!(!chosen(&[], false, &["pipe"], None).contains(&"pipeline"));
        assert!(chosen(&[], false, &[], Some(When::EveryCommit)).contains(&"pipeline"));
        assert_eq!(chosen(&[], false, &[], None).len(), SCENARIOS.len());
    }

    #[test]
    fn parts_are_the_whole() {
        let part = |text: &str| {
            let filter = Filter {
                sets: vec!["not test(=pipeline)".parse().expect("a set")],
                partition: Some(text.parse().expect("a part")),
                ..Filter::default()
            };
            let chosen = filter.choose().expect("some");
            chosen.iter().map(|it| it.name).collect::<Vec<_>>()
        };
        let (one, two) = (part("count:1/2"), part("count:2/2"));
        assert!(one.len().abs_diff(two.len()) <= 1);
        let all: BTreeSet<_> = one.iter().chain(&two).collect();
        assert_eq!(all.len(), SCENARIOS.len() - 1);
        for wrong in ["1/2", "count:0/2", "count:3/2", "count:1", "hash:1/2"] {
            assert!(wrong.parse::<Partition>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_that_mean_nothing_are_refused() {
        let filter = |name: &str, exact| Filter {
            names: vec![name.to_owned()],
            exact,
            ..Filter::default()
        };
        for (name, exact) in [("pipelines", false), ("pipe", true)] {
            let error = filter(name, exact).choose().expect_err(name);
            assert!(error.to_string().contains("pipeline, "), "{error}");
        }
    }

    #[test]
    fn scenarios_are_well_declared() {
        let names: BTreeSet<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len(), "each has a name of its own");
        for scenario in SCENARIOS {
            assert!(NODES.contains(&scenario.nodes), "{}", scenario.name);
            let cluster = Path::new("..").join(scenario.cluster);
            assert!(
                cluster.is_file(),
                "{} has no {}",
                scenario.name,
                cluster.display()
            );
        }
    }
}
