//! `bramble provision`, and what it says when it fails.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::scenario::Rehearsal;

/// What `bramble provision` came to.
pub(super) struct Said {
    /// By node, why it failed.
    failures: Vec<(String, String)>,
    /// The first of them, in a line.
    pub(super) failure: String,
}

/// Provisions, and lets `each` hear every event.
pub(super) fn provision(
    rehearsal: &Rehearsal,
    arguments: &[&str],
    mut each: impl FnMut(&Value) -> Result<()>,
) -> Result<Said> {
    let program = rehearsal.bench.programs.node.display().to_string();
    let mut words = vec!["provision", "--json", "--node-binary", &program];
    words.extend(arguments);
    let mut end = Value::Null;
    let mut heard = Ok(());
    let outcome = rehearsal.operator.follow(&words, |line| {
        let event: Value = serde_json::from_str(line).unwrap_or_default();
        if heard.is_ok() {
            heard = each(&event);
        }
        if event["event"] == "end" {
            end = event;
        }
    });
    heard?;
    let Some(nodes) = end["nodes"].as_object() else {
        bail!("`bramble provision` ended without a summary: {outcome:?}");
    };
    let failure = |(name, node): (&String, &Value)| {
        Some((name.clone(), node["failure"].as_str()?.to_owned()))
    };
    let failures: Vec<_> = nodes.iter().filter_map(failure).collect();
    ensure!(
        outcome.is_err() != failures.is_empty(),
        "its exit code says otherwise than its summary: {failures:?}"
    );
    let failure = failures.first().map_or("", |(_, failure)| failure);
    Ok(Said {
        failure: failure.lines().next().unwrap_or_default().to_owned(),
        failures,
    })
}

impl Said {
    pub(super) fn succeeds(&self) -> Result<()> {
        ensure!(self.failures.is_empty(), "it failed: {:?}", self.failures);
        Ok(())
    }

    /// `node` alone failed, and why has all of `words`.
    pub(super) fn fails_alone(&self, node: &str, words: &[&str]) -> Result<()> {
        ensure!(
            self.failures.iter().all(|(name, _)| name == node),
            "others failed, too: {:?}",
            self.failures
        );
        self.fails(node, words)
    }

    pub(super) fn fails(&self, node: &str, words: &[&str]) -> Result<()> {
        let found = self.failures.iter().find(|(name, _)| name == node);
        let (_, why) = found.with_context(|| format!("{node} did not fail"))?;
        for word in words {
            ensure!(why.contains(word), "no `{word}` in what {node} says: {why}");
        }
        Ok(())
    }
}
