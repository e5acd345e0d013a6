//! `bramble check`: is the cluster file good, and what will it give?

use std::process::ExitCode;

use crate::context::Context;

/// Check the cluster file and say what the cluster will be.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the cluster, with all defaults filled in, as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    let cluster = context.cluster()?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&cluster)?);
    } else {
        println!("{}: {} nodes", cluster.name, cluster.nodes.len());
    }
    Ok(ExitCode::SUCCESS)
}
