//! The plan as a person reads it.

use std::fmt::Write;

use super::facts::Facts;
use super::plan::{Finding, Plan, State, line_for_root};

/// Everything at once: what is there, what is not, and what to type.
pub(crate) fn text(plan: &Plan, facts: &Facts) -> String {
    let mut out = String::new();
    for finding in &plan.findings {
        out += &one(finding);
    }
    if plan.is_fine() {
        return out;
    }
    for note in &plan.notes {
        let _ = write!(out, "\n{note}\n");
    }
    let for_user = plan.commands.iter().filter(|command| !command.root);
    let for_user: Vec<&str> = for_user.map(|command| command.shell.as_str()).collect();
    match (facts.root, line_for_root(&plan.commands)) {
        (true, Some(_)) => {
            out += "\n`cargo xtask doctor --fix` runs, as root:\n";
            for command in &plan.commands {
                let _ = writeln!(out, "    {}", command.shell);
            }
        }
        (_, line) => {
            let lines = for_user.into_iter().map(str::to_owned).chain(line);
            let lines: Vec<String> = lines.map(|line| format!("    {line}\n")).collect();
            if !lines.is_empty() {
                let _ = write!(out, "\nTo put it right, paste:\n{}", lines.concat());
            }
        }
    }
    out
}

fn one(finding: &Finding) -> String {
    let (mark, note) = match &finding.state {
        State::Fine { version } => ("ok", version.as_ref().map(ToString::to_string)),
        State::Missing => ("missing", None),
        State::TooOld { found, least } => {
            let found = found
                .as_ref()
                .map_or("unknown".to_owned(), ToString::to_string);
            ("too old", Some(format!("{found}, needs {least}")))
        }
    };
    let note = note.map(|note| format!(" {note}")).unwrap_or_default();
    let mut line = format!("{mark:<8} {}{note}\n", finding.name);
    if !finding.is_fine() {
        let packages = finding.packages.join(" ");
        let _ = writeln!(line, "         {} (Debian: {packages})", finding.why);
    }
    line
}
