//! `merge`: reports of parts put together to that of the whole.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::cli::MergeArgs;
use crate::failure::Failure;
use crate::output;
use crate::report::{LevelReport, Report, VERSION};
use crate::spec::SEEDS;
use crate::tally::Tally;

pub(crate) fn main(args: &MergeArgs) -> Result<(), Failure> {
    let reports: Vec<(String, Report)> = args
        .reports
        .iter()
        .map(|path| read(path).map(|report| (path.display().to_string(), report)))
        .collect::<Result<_, Failure>>()?;
    let merged = merge(&reports).map_err(Failure::Usage)?;
    let told = match args.json {
        true => merged.json() + "\n",
        false => merged.describe(),
    };
    output::print(&told)?;
    Ok(())
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

fn read(path: &Path) -> Result<Report, Failure> {
    let fail = |problem: String| Failure::Usage(format!("{}: {problem}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    let no_report = |error| fail(format!("this is no report of `run --json`: {error}"));
    // Before anything else is read: another version may have other fields.
    let Versioned { version } = serde_json::from_str(&text).map_err(no_report)?;
    if version != VERSION {
        return Err(fail(format!(
            "this report has version {version}, and only {VERSION} is known here: merge it with the bramble-search that wrote it"
        )));
    }
    let report: Report = serde_json::from_str(&text).map_err(no_report)?;
    for level in &report.levels {
        let fail = |problem| fail(format!("level {:?}: {problem}", level.level));
        if level.len > SEEDS || u64::from(level.start) + level.len > SEEDS {
            return Err(fail(format!(
                "{} seeds from {} on go past the last seed, {}",
                level.len,
                level.start,
                SEEDS - 1
            )));
        }
        level
            .tally
            .summary_of(level.start, level.len)
            .map_err(fail)?;
    }
    Ok(report)
}

/// Levels come in the order in which they are first met.
fn merge(reports: &[(String, Report)]) -> Result<Report, String> {
    let mut names: Vec<&str> = Vec::new();
    let mut parts: BTreeMap<&str, Vec<(&str, &LevelReport)>> = BTreeMap::new();
    let (first_file, first) = reports.first().ok_or("there is nothing to merge")?;
    for (file, report) in reports {
        if report.search != first.search {
            return Err(format!(
                "{file} and {first_file} are of different searches: world, engine, generator and goal must be the same"
            ));
        }
        for level in &report.levels {
            if !names.contains(&level.level.as_str()) {
                names.push(&level.level);
            }
            parts
                .entry(&level.level)
                .or_default()
                .push((file.as_str(), level));
        }
    }
    let mut levels = Vec::new();
    for name in names {
        levels.push(join(parts.remove(name).unwrap_or_default())?);
    }
    let mut merged = Report::new(levels);
    merged.search = first.search.clone();
    Ok(merged)
}

/// Ranges of one level that follow each other without a gap.
fn join(mut parts: Vec<(&str, &LevelReport)>) -> Result<LevelReport, String> {
    parts.sort_by_key(|(_, part)| (part.start, part.len));
    let mut parts = parts.into_iter();
    let (mut before, first) = parts.next().ok_or("a level without a part")?;
    let mut whole = first.clone();
    let broken = |problem: String| format!("level {:?}: {problem}", first.level);
    let mut summary = whole
        .tally
        .summary_of(whole.start, whole.len)
        .map_err(broken)?;
    for (file, part) in parts {
        let end = u64::from(whole.start) + whole.len;
        let start = u64::from(part.start);
        if start != end {
            let what = match start < end {
                true => "overlap",
                false => "leave a gap",
            };
            return Err(broken(format!(
                "{before} and {file} {what}: one ends before seed {end}, the other begins with {start}"
            )));
        }
        summary.merge(
            &part
                .tally
                .summary_of(part.start, part.len)
                .map_err(broken)?,
        );
        whole.len += part.len;
        whole.seconds += part.seconds;
        before = file;
    }
    whole.tally = Tally::from(&summary);
    whole.seeds_per_second = crate::report::rate(summary.scanned, whole.seconds);
    Ok(whole)
}
