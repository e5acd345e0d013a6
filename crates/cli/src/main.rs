//! `bramble`: the operator's tool. A verb is one module with its `Args` and a `run`.

mod check;
mod context;
mod failure;
mod schema;
mod state;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use context::Context;

/// Turns one cluster.toml into a working Raspberry Pi cluster.
#[derive(Debug, Parser)]
#[command(name = "bramble", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    context: Context,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Check(check::Args),
    Schema(schema::Args),
}

fn main() -> ExitCode {
    let Cli { context, verb } = Cli::parse();
    let outcome = match verb {
        Verb::Check(args) => check::run(&context, &args),
        Verb::Schema(args) => schema::run(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => failure::report(&error),
    }
}
