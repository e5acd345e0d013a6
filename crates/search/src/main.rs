//! `bramble-search`: looks at every seed of a randomizer, alone or spread over a cluster.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    bramble_search::main(bramble_search::cli::Args::parse())
}
