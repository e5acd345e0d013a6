//! What tests could not do on this machine. nextest shows nothing of a test that passes, and one that has nothing to
//! try passes.

use std::fs;

use anyhow::{Context, Result};
use quick_junit::Report;

use crate::project;

/// How a test begins the line in which it says so.
const MARK: &str = "SKIPPED: ";

/// Says on standard error what the tests of nextest's last report skipped, and why.
pub(super) fn tell() -> Result<()> {
    let path = project::target_dir().join("nextest/ci/junit.xml");
    let xml =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    for line in skipped(&xml).with_context(|| format!("the report {}", path.display()))? {
        eprintln!("ci: tests: {line}");
    }
    Ok(())
}

/// A line for each, with the test's name.
fn skipped(xml: &str) -> Result<Vec<String>> {
    let report = Report::deserialize_from_str(xml)?;
    let tests = report
        .test_suites
        .iter()
        .flat_map(|suite| &suite.test_cases);
    let lines = tests.flat_map(|test| {
        let said = [&test.system_out, &test.system_err].into_iter().flatten();
        said.flat_map(|text| text.lines())
            .filter(|line| line.starts_with(MARK))
            .map(|line| format!("{} {line}", test.name.as_str()))
    });
    Ok(lines.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_without_having_tried_is_told() -> Result<()> {
        let xml = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="ci" tests="2" failures="0" errors="0">
  <testsuite name="card" tests="2" disabled="0" errors="0" failures="0">
    <testcase name="a_card" classname="card"><system-out>running 1 test</system-out>
      <system-err>SKIPPED: fsck.fat is not installed
</system-err></testcase>
    <testcase name="another" classname="card"><system-err>all is well</system-err></testcase>
  </testsuite>
</testsuites>"#;
        assert_eq!(skipped(xml)?, ["a_card SKIPPED: fsck.fat is not installed"]);
        Ok(())
    }
}
