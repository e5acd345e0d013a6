//! `bramble drift`: what on the nodes is no longer as the cluster file says.

use std::process::ExitCode;

use bramble_provision::Mode;

use crate::context::Context;
use crate::plan::Part;
use crate::provision::{Order, Program, carry_out};
use crate::text::count;

/// Say what on the nodes is no longer as the cluster file says, with diffs.
///
/// Nothing is changed; `bramble provision` brings back what is shown. Exits with 1 if something differs, or if a node
/// could not be looked at.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bramble drift
  bramble drift --limit worker3
  bramble drift --json | jq -r 'select(.outcome == \"would-change\") | [.node, .id, .reason] | @tsv'")]
pub(crate) struct Args {
    /// Only these nodes.
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    limit: Vec<String>,
    /// Print a JSON object per event, the summary last.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    program: Program,
}

pub(crate) fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    let order = Order {
        limit: &args.limit,
        from: Part::System,
        mode: Mode {
            check: true,
            diff: true,
        },
        forks: usize::MAX,
        reboot: true,
        json: args.json,
        program: &args.program,
    };
    let report = carry_out(context, &order)?;
    let all_answered = report.finish(true);
    let drifted = report.would_change();
    if !args.json && all_answered {
        match drifted {
            0 => println!("\nNothing has drifted."),
            n => println!(
                "\n{} drifted; `bramble provision` brings it back.",
                count(n, "resource")
            ),
        }
    }
    Ok(match all_answered && drifted == 0 {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
