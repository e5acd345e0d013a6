//! `bramble-node`: brings one node to what a plan says, and reports how the node is.
//!
//! It is copied to every node once per version and run by `bramble` over SSH; it listens to nobody else
//! and stays nowhere. Plans come in on standard input, answers leave as JSON on standard output, so that
//! no secret is ever seen in a command line.

mod lock;

use std::{
    io::{self, Read, Write},
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use bramble_provision::{Event, Facts, Mode, Plan, SwarmView, System, apply};
use clap::{Parser, Subcommand};
use serde::Serialize;

/// Brings a node to what a plan says, and reports how it is.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  bramble-node apply --check --diff < plan.json
  bramble-node facts"
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Apply the plan on standard input; one JSON object per line says what happened
    Apply {
        /// Say what would change, and change nothing
        #[arg(long)]
        check: bool,
        /// Show how files change
        #[arg(long)]
        diff: bool,
    },
    /// Print facts about this node as JSON
    Facts,
    /// Print the swarm's nodes and services as JSON; on a manager only
    Swarm {
        /// With the secrets by which others join
        #[arg(long)]
        tokens: bool,
        /// Again and again, a line each time, until nobody listens
        #[arg(long, value_name = "SECONDS")]
        every: Option<u64>,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Apply { check, diff } => apply_plan(Mode { check, diff }),
        Verb::Facts => Facts::gather(&System::host(), env!("CARGO_PKG_VERSION"))
            .map_err(Into::into)
            .and_then(print),
        Verb::Swarm { tokens, every } => swarm(tokens, every.map(Duration::from_secs)),
    };
    result.unwrap_or_else(|error| {
        eprintln!("bramble-node: {error:#}");
        ExitCode::from(2)
    })
}

fn apply_plan(mode: Mode) -> Result<ExitCode> {
    let mut text = String::new();
    io::stdin()
        .read_to_string(&mut text)
        .context("cannot read the plan from standard input")?;
    let plan: Plan =
        serde_json::from_str(&text).context("standard input is no plan of this version")?;

    let system = System::host().heard_by(|message| {
        let waiting = Event::Waiting {
            message: message.into(),
        };
        // Whoever does not hear this hears nothing of what follows, and that ends it.
        say(&waiting).ok();
    });
    let _lock = lock::take(&system, |message| say(&Event::Waiting { message }))?;
    let summary = apply(&plan, &system, mode, say)
        .context("nobody listens any more; run it again to go on")?;
    Ok(ExitCode::from(u8::from(summary.failed > 0)))
}

/// One line, at once: whoever reads it shows progress.
fn say(event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_string(event)?;
    line.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.flush()
}

fn swarm(tokens: bool, every: Option<Duration>) -> Result<ExitCode> {
    let system = System::host();
    loop {
        print(SwarmView::of(&system, tokens)?)?;
        match every {
            Some(pause) => thread::sleep(pause),
            None => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn print(value: impl Serialize) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(&value)?).context("nobody listens any more")?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
