//! A second build, elsewhere and under other circumstances, that must give the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Extent;
use super::elsewhere::Elsewhere;
use crate::doctor::find;
use crate::project;

/// Builds the commit again in a checkout of its own, and compares by name.
///
/// # Errors
/// The second build fails, or a file differs: it is named, and explained where `diffoscope` is installed.
pub(super) fn run(
    commit: &str,
    first: &BTreeMap<String, String>,
    out: &Path,
    extent: Extent,
) -> Result<()> {
    let kept = project::target_dir().join("release-check");
    super::remove(&kept)?;
    let elsewhere = Elsewhere::prepare(commit)?;
    super::say(&format!("again, {elsewhere}"));
    let second = elsewhere.build(extent)?;

    let again = super::sums(&second)?;
    let differing = differences(first, &again);
    if differing.is_empty() {
        println!(
            "release: all {} files are the same in both builds",
            first.len()
        );
        return Ok(());
    }
    for name in &differing {
        explain(name, out, &second, &kept)?;
    }
    bail!(
        "these differ between two builds: {}; see {}",
        differing.join(", "),
        kept.display()
    )
}

/// The names of files that are not the same in both, or only in one.
fn differences(one: &BTreeMap<String, String>, two: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<&String> = one.keys().chain(two.keys()).collect();
    let differs = |name: &&&String| one.get(**name) != two.get(**name);
    names
        .iter()
        .filter(differs)
        .map(|name| (*name).clone())
        .collect()
}

/// Keeps both, and has `diffoscope` compare them.
fn explain(name: &str, first: &Path, second: &Path, kept: &Path) -> Result<()> {
    let (one, two) = (kept.join("one"), kept.join("two"));
    for (from, to) in [(first, &one), (second, &two)] {
        fs::create_dir_all(to)?;
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name))?;
        }
    }
    if find("diffoscope").is_none() {
        eprintln!("note: {name} differs; diffoscope, if it were installed, would say how");
        return Ok(());
    }
    let report = kept.join(format!("{name}.txt"));
    let mut diffoscope = Command::new("diffoscope");
    diffoscope
        .arg("--text")
        .arg(&report)
        .arg(one.join(name))
        .arg(two.join(name));
    // It says 1 where there are differences.
    diffoscope.status().context("cannot run diffoscope")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let sums = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs
                .iter()
                .map(|(name, sum)| ((*name).to_owned(), (*sum).to_owned()))
                .collect()
        };
        let one = sums(&[("a", "1"), ("b", "1"), ("c", "1")]);
        assert_eq!(
            differences(&one, &sums(&[("a", "1"), ("b", "2"), ("d", "1")])),
            ["b", "c", "d"]
        );
        assert!(differences(&one, &one).is_empty());
    }

    #[test]
    fn an_explanation_keeps_both() {
        let dir = tempfile::tempdir().unwrap();
        for (place, content) in [("one", "1"), ("two", "2")] {
            fs::create_dir(dir.path().join(place)).unwrap();
            fs::write(dir.path().join(place).join("x"), content).unwrap();
        }
        let kept = dir.path().join("kept");
        explain("x", &dir.path().join("one"), &dir.path().join("two"), &kept).unwrap();
        assert_eq!(fs::read_to_string(kept.join("one/x")).unwrap(), "1");
        assert_eq!(fs::read_to_string(kept.join("two/x")).unwrap(), "2");
    }
}
