//! What a person, or a program, sees while plans are applied to many nodes at once.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stdout};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bramble_provision::{Event, Outcome, Ran};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::advice;

/// How many lines of a failed command's output are shown.
const OUTPUT_LINES: usize = 20;

/// Hears from all nodes, and tells.
pub(crate) struct Report {
    style: Style,
    nodes: Mutex<BTreeMap<String, Node>>,
    stages: Mutex<Vec<StageTime>>,
}

enum Style {
    /// A line of JSON per event.
    Json,
    /// A line per change, with the node's name before it.
    Lines { width: usize },
    /// The same, above a line per node that says what it is doing.
    Live {
        width: usize,
        all: MultiProgress,
        bars: BTreeMap<String, ProgressBar>,
    },
}

/// How it went on one node.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Node {
    /// Resources that were as they should be.
    pub(crate) satisfied: usize,
    /// Resources that were changed.
    pub(crate) changed: usize,
    /// Resources that would have been changed.
    pub(crate) would_change: usize,
    /// What failed, and what to do; `None` when nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
}

/// How long one stage took, on all nodes together.
#[derive(Debug, Clone, Serialize)]
struct StageTime {
    stage: String,
    seconds: f64,
}

impl Report {
    /// For these nodes, as JSON or for a person.
    pub(crate) fn new(names: &[String], json: bool) -> Self {
        let width = names.iter().map(String::len).max().unwrap_or(0);
        let style = match (json, stdout().is_terminal()) {
            (true, _) => Style::Json,
            (false, false) => Style::Lines { width },
            (false, true) => live(names, width),
        };
        let nodes = names
            .iter()
            .map(|name| (name.clone(), Node::default()))
            .collect();
        Self {
            style,
            nodes: Mutex::new(nodes),
            stages: Mutex::default(),
        }
    }

    /// Runs a stage, and keeps its time.
    pub(crate) fn stage<T>(&self, name: &str, run: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = run();
        let seconds = start.elapsed().as_secs_f64();
        lock(&self.stages).push(StageTime {
            stage: name.into(),
            seconds,
        });
        result
    }

    /// A node says something.
    pub(crate) fn event(&self, node: &str, event: &Event) {
        if let Event::Finished { id, outcome, .. } = event {
            self.count(node, id, outcome);
        }
        match &self.style {
            Style::Json => print_json(&WithNode { node, event }),
            Style::Lines { width } => {
                if let Some(text) = told(event) {
                    print_prefixed(node, *width, &text);
                }
            }
            Style::Live { width, all, bars } => {
                if let Some(text) = told(event) {
                    all.suspend(|| print_prefixed(node, *width, &text));
                }
                if let (Some(bar), Some(doing)) = (bars.get(node), doing(event)) {
                    bar.set_message(doing);
                }
            }
        }
    }

    /// Says what is about to be done.
    pub(crate) fn intent(&self, text: &str) {
        match &self.style {
            Style::Json => {}
            Style::Lines { .. } => println!("{text}"),
            Style::Live { all, .. } => all.suspend(|| println!("{text}")),
        }
    }

    /// Says something about a node that is no change and no failure.
    pub(crate) fn note(&self, node: &str, text: &str) {
        match &self.style {
            Style::Json => {
                print_json(&serde_json::json!({"node": node, "event": "note", "message": text}))
            }
            Style::Lines { width } => print_prefixed(node, *width, text),
            Style::Live { width, all, .. } => {
                all.suspend(|| print_prefixed(node, *width, text));
            }
        }
    }

    /// How many resources would have been changed.
    pub(crate) fn would_change(&self) -> usize {
        lock(&self.nodes)
            .values()
            .map(|node| node.would_change)
            .sum()
    }

    /// A node is given up.
    pub(crate) fn failure(&self, node: &str, error: &anyhow::Error) {
        let text = format!("{error:#}");
        lock(&self.nodes).entry(node.into()).or_default().failure = Some(text.clone());
        match &self.style {
            Style::Json => {
                print_json(&serde_json::json!({"node": node, "event": "failure", "error": text}))
            }
            Style::Lines { width } => print_prefixed(node, *width, &format!("failed: {text}")),
            Style::Live { width, all, bars } => {
                all.suspend(|| print_prefixed(node, *width, &format!("failed: {text}")));
                if let Some(bar) = bars.get(node) {
                    bar.set_message("failed");
                }
            }
        }
    }

    /// Whether a node has failed.
    pub(crate) fn has_failed(&self, node: &str) -> bool {
        lock(&self.nodes)
            .get(node)
            .is_some_and(|node| node.failure.is_some())
    }

    /// Says how it all went; true if nothing failed.
    pub(crate) fn finish(&self, check: bool) -> bool {
        let nodes = lock(&self.nodes);
        let stages = lock(&self.stages);
        let failed: Vec<_> = nodes
            .iter()
            .filter(|(_, node)| node.failure.is_some())
            .map(|(name, _)| name)
            .collect();
        match &self.style {
            Style::Json => print_json(&serde_json::json!({
                "event": "end",
                "nodes": *nodes,
                "stages": *stages,
                "changed": nodes.values().map(|node| node.changed).sum::<usize>(),
                "would_change": nodes.values().map(|node| node.would_change).sum::<usize>(),
                "failed": failed.len(),
            })),
            Style::Lines { width } => print!("{}", table(&nodes, &stages, *width, check)),
            Style::Live { width, all, bars } => {
                bars.values().for_each(ProgressBar::finish_and_clear);
                all.clear().ok();
                print!("{}", table(&nodes, &stages, *width, check));
            }
        }
        if !failed.is_empty() {
            let names: Vec<_> = failed.iter().map(|name| name.as_str()).collect();
            eprintln!(
                "error: {} of {} nodes failed: {}; what is said above mended, run the same command again: \
                 it goes on where it stopped",
                failed.len(),
                nodes.len(),
                names.join(", ")
            );
        }
        failed.is_empty()
    }

    fn count(&self, node: &str, id: &str, outcome: &Outcome) {
        let mut nodes = lock(&self.nodes);
        let node = nodes.entry(node.into()).or_default();
        match outcome {
            Outcome::Satisfied => node.satisfied += 1,
            Outcome::Changed { .. } => node.changed += 1,
            Outcome::WouldChange { .. } => node.would_change += 1,
            Outcome::Failed { error, commands } => {
                node.failure = Some(failure(id, error, commands));
            }
        }
    }
}

#[derive(Serialize)]
struct WithNode<'a> {
    node: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

fn live(names: &[String], width: usize) -> Style {
    let all = MultiProgress::new();
    let template = format!("{{spinner}} {{prefix:{width}}}  {{wide_msg}}");
    let style = ProgressStyle::with_template(&template).unwrap_or(ProgressStyle::default_spinner());
    let bar = |name: &String| {
        let bar = all
            .add(ProgressBar::new_spinner())
            .with_style(style.clone())
            .with_prefix(name.clone());
        bar.enable_steady_tick(Duration::from_millis(120));
        (name.clone(), bar)
    };
    let bars = names.iter().map(bar).collect();
    Style::Live { width, all, bars }
}

/// What is worth a line that stays.
fn told(event: &Event) -> Option<String> {
    match event {
        Event::Waiting { message } => Some(message.clone()),
        Event::Started { .. } | Event::Summary(_) => None,
        Event::Finished { id, outcome, .. } => match outcome {
            Outcome::Satisfied => None,
            Outcome::Changed { reason, diff, .. } => Some(with_diff(
                format!("changed {id}: {reason}"),
                diff.as_deref(),
            )),
            Outcome::WouldChange { reason, diff } => Some(with_diff(
                format!("would change {id}: {reason}"),
                diff.as_deref(),
            )),
            Outcome::Failed { error, commands } => {
                Some(format!("failed {}", failure(id, error, commands)))
            }
        },
    }
}

/// What a node's own line says.
fn doing(event: &Event) -> Option<String> {
    match event {
        Event::Waiting { message } => Some(message.clone()),
        Event::Started { stage, id } => Some(format!("{stage}: {id}")),
        Event::Finished { .. } => None,
        Event::Summary(summary) if summary.failed > 0 => Some("failed".into()),
        Event::Summary(_) => Some("done".into()),
    }
}

fn with_diff(text: String, diff: Option<&str>) -> String {
    match diff {
        Some(diff) => format!("{text}\n{}", diff.trim_end()),
        None => text,
    }
}

/// What failed, the last command with the end of its output, and the next step where it is known.
fn failure(id: &str, error: &str, commands: &[Ran]) -> String {
    let mut text = format!("{id}: {error}");
    if let Some(ran) = commands.last() {
        let lines: Vec<_> = ran.output.trim_end().lines().collect();
        if !error.contains(&ran.command) {
            text.push_str(&format!("\n  $ {}  ({})", ran.command, ran.status));
        }
        for line in &lines[lines.len().saturating_sub(OUTPUT_LINES)..] {
            text.push_str(&format!("\n  {line}"));
        }
    }
    if let Some(step) = advice::on(&text) {
        text.push_str(&format!("\n  {step}"));
    }
    text
}

fn table(
    nodes: &BTreeMap<String, Node>,
    stages: &[StageTime],
    width: usize,
    check: bool,
) -> String {
    let width = width.max("NODE".len());
    let changes = if check { "WOULD CHANGE" } else { "CHANGED" };
    let mut text = format!("\n{:width$}  {:>4}  {changes}  RESULT\n", "NODE", "OK");
    for (name, node) in nodes {
        let changed = node.changed + node.would_change;
        let result = if node.failure.is_some() {
            "failed"
        } else {
            "ok"
        };
        text += &format!(
            "{name:width$}  {:>4}  {changed:>w$}  {result}\n",
            node.satisfied,
            w = changes.len()
        );
    }
    text += &format!("\n{:16}  SECONDS\n", "STAGE");
    for stage in stages {
        text += &format!("{:16}  {:>7.1}\n", stage.stage, stage.seconds);
    }
    text
}

fn print_prefixed(node: &str, width: usize, text: &str) {
    let mut out = stdout().lock();
    for line in text.lines() {
        // Nobody reads any more: the work goes on all the same.
        writeln!(out, "{node:width$} | {line}").ok();
    }
}

fn print_json(value: &impl Serialize) {
    let mut out = stdout().lock();
    if serde_json::to_writer(&mut out, value).is_ok() {
        writeln!(out).ok();
    }
}

/// A lock whose holder panicked still guards good counts.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_its_command_and_the_end_of_its_output() {
        let output: String = (1..=30).map(|line| format!("line {line}\n")).collect();
        let ran = Ran {
            command: "mount /mnt/nfs/plex".into(),
            status: "exit status: 32".into(),
            output,
        };
        let text = failure("mount", "the NAS is away", std::slice::from_ref(&ran));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "mount: the NAS is away");
        assert_eq!(lines[1], "  $ mount /mnt/nfs/plex  (exit status: 32)");
        assert_eq!((lines[2], lines.last()), ("  line 11", Some(&"  line 30")));

        let named = "`mount /mnt/nfs/plex` failed (exit status: 32)";
        assert_eq!(
            failure("mount", named, &[ran]).lines().nth(1),
            Some("  line 11")
        );
    }

    #[test]
    fn a_failure_shows_the_next_step_where_it_is_known() {
        let error = "cannot write /etc/hosts: No space left on device (os error 28)";
        let text = failure("block /etc/hosts", error, &[]);
        let last = text.lines().last().unwrap_or_default();
        assert!(last.contains("make room"), "{text}");
    }

    #[test]
    fn the_end_is_a_table() {
        let nodes = BTreeMap::from([
            (
                "manager1".to_owned(),
                Node {
                    satisfied: 19,
                    changed: 2,
                    ..Node::default()
                },
            ),
            (
                "worker1".to_owned(),
                Node {
                    failure: Some("hostname: no".into()),
                    ..Node::default()
                },
            ),
        ]);
        let stages = [StageTime {
            stage: "base".into(),
            seconds: 12.34,
        }];
        insta::assert_snapshot!(table(&nodes, &stages, 8, false));
    }
}
