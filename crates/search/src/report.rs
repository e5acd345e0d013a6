//! What a search found, for programs and for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::spec::Spec;
use crate::tally::Tally;

/// Of reports: what they have, and what it means.
pub(crate) const VERSION: u32 = 1;

/// The answer to a [`Spec`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) version: u32,
    /// What was searched, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) search: Option<SearchId>,
    pub(crate) levels: Vec<LevelReport>,
    /// Who computed it, where it was spread over nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nodes: Option<BTreeMap<String, NodeShare>>,
}

/// What distinguishes one search from another, apart from its range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SearchId {
    /// SHA-256 of the world file.
    pub(crate) world: String,
    pub(crate) fill: String,
    pub(crate) rng: String,
    pub(crate) goal: String,
    /// Which seeds are wanted, where not all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) filter: Option<String>,
}

impl SearchId {
    pub(crate) fn of(spec: &Spec) -> Self {
        let hash = Sha256::digest(&spec.world);
        SearchId {
            world: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
            fill: spec.fill.clone(),
            rng: spec.rng.clone(),
            goal: spec.goal.clone(),
            filter: spec.filter.clone(),
        }
    }
}

/// The answer for one level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LevelReport {
    pub(crate) level: String,
    pub(crate) start: u32,
    pub(crate) len: u64,
    #[serde(flatten)]
    pub(crate) tally: Tally,
    pub(crate) seconds: f64,
    pub(crate) seeds_per_second: f64,
}

/// What one node did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct NodeShare {
    pub(crate) seeds: u64,
    pub(crate) ranges: u64,
    /// While it was computing.
    pub(crate) seeds_per_second: f64,
}

impl LevelReport {
    pub(crate) fn from_tally(spec: &Spec, level: &str, tally: Tally, seconds: f64) -> Self {
        LevelReport {
            level: level.to_owned(),
            start: spec.start,
            len: spec.len,
            seconds,
            seeds_per_second: rate(tally.scanned, seconds),
            tally,
        }
    }
}

pub(crate) fn rate(seeds: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        seeds as f64 / seconds
    } else {
        0.0
    }
}

impl Report {
    pub(crate) fn new(levels: Vec<LevelReport>) -> Self {
        Report {
            version: VERSION,
            search: None,
            levels,
            nodes: None,
        }
    }

    /// For a program: one line of JSON.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}"))
    }

    /// For a person.
    pub(crate) fn text(&self, spec: &Spec) -> String {
        // What is shown is a property of the file and the engine; nobody should take it for one of the game.
        self.describe()
            + &format!(
                "This holds for the model in {} with engine {}, rng {} and goal {}.\n",
                spec.world_file, spec.fill, spec.rng, spec.goal
            )
    }

    /// The figures alone.
    pub(crate) fn describe(&self) -> String {
        let mut out = String::new();
        for level in &self.levels {
            describe(&mut out, level).unwrap_or_default();
        }
        if let Some(nodes) = &self.nodes {
            describe_nodes(&mut out, nodes).unwrap_or_default();
        }
        out
    }
}

fn describe(out: &mut String, report: &LevelReport) -> std::fmt::Result {
    let tally = &report.tally;
    let last = u64::from(report.start) + report.len.max(1) - 1;
    writeln!(
        out,
        "{}: {} seeds, {} to {last}",
        report.level,
        thousands(tally.scanned),
        report.start
    )?;
    writeln!(
        out,
        "  completable  {}",
        share(tally.completable, tally.scanned)
    )?;
    writeln!(out, "  dead         {}", share(tally.dead, tally.scanned))?;
    if tally.dead > 0 {
        let seeds: Vec<String> = tally.first_dead.iter().map(u32::to_string).collect();
        writeln!(out, "    stuck        {}", thousands(tally.stuck))?;
        writeln!(out, "    unreachable  {}", thousands(tally.unreachable))?;
        writeln!(out, "    first        {}", seeds.join(" "))?;
    }
    writeln!(out, "  spheres")?;
    let most = tally.spheres.values().copied().max().unwrap_or(1);
    for (number, &count) in &tally.spheres {
        let line = format!(
            "    {number:>3} {:>13} {}",
            thousands(count),
            bar(count, most)
        );
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out, "  digest       {:016x}", tally.digest)?;
    writeln!(out, "  audit        {:016x}", tally.audit)?;
    writeln!(
        out,
        "  took         {:.2} s, {} seeds/s\n",
        report.seconds,
        thousands(report.seeds_per_second as u64)
    )
}

fn describe_nodes(out: &mut String, nodes: &BTreeMap<String, NodeShare>) -> std::fmt::Result {
    let width = nodes.keys().map(String::len).max().unwrap_or(0).max(4);
    writeln!(
        out,
        "{:width$} {:>15} {:>8} {:>12}",
        "node", "seeds", "ranges", "seeds/s"
    )?;
    for (name, share) in nodes {
        let (seeds, rate) = (
            thousands(share.seeds),
            thousands(share.seeds_per_second as u64),
        );
        writeln!(
            out,
            "{name:width$} {seeds:>15} {:>8} {rate:>12}",
            share.ranges
        )?;
    }
    writeln!(out)
}

fn share(part: u64, whole: u64) -> String {
    let percent = 100.0 * part as f64 / whole.max(1) as f64;
    format!("{} ({percent:.4} %)", thousands(part))
}

fn bar(count: u64, most: u64) -> String {
    const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
    let eighths = (count as u128 * 40 * 8 / u128::from(most.max(1))) as usize;
    let mut bar = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        bar.push(EIGHTHS[eighths % 8]);
    }
    bar
}

pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use bramble_kernel::Summary;

    use super::*;

    fn spec() -> Spec {
        Spec {
            world: String::new(),
            world_file: "axiom-verge.toml".into(),
            fill: "forward".into(),
            rng: "dotnet".into(),
            goal: "all-locations".into(),
            levels: vec!["default".into()],
            start: 5,
            len: 1_234_567,
            filter: None,
        }
    }

    fn report() -> Report {
        let mut summary = Summary {
            scanned: 1_234_567,
            completable: 1_234_560,
            stuck: 5,
            unreachable: 2,
            digest: 0x1234,
            ..Summary::EMPTY
        };
        for (spheres, count) in [(3, 1), (4, 1_000_000), (12, 234_566)] {
            summary.spheres[spheres] = count;
        }
        (10..17).for_each(|seed| summary.first_dead.insert(seed));
        let node = NodeShare {
            seeds: 1_234_567,
            ranges: 38,
            seeds_per_second: 98_765.4,
        };
        let mut report = Report::new(vec![LevelReport::from_tally(
            &spec(),
            "default",
            Tally::from(&summary),
            2.5,
        )]);
        report.nodes = Some(BTreeMap::from([("worker1".to_owned(), node)]));
        report
    }

    #[test]
    fn for_people() {
        insta::assert_snapshot!(report().text(&spec()));
    }

    #[test]
    fn for_programs() {
        insta::assert_json_snapshot!(report());
        assert_eq!(
            serde_json::from_str::<Report>(&report().json()).unwrap(),
            report()
        );
    }

    #[test]
    fn thousands_are_set_apart() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (4_294_967_296, "4,294,967,296"),
        ];
        for (number, expected) in cases {
            assert_eq!(thousands(number), expected);
        }
    }
}
