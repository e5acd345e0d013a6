//! An exhaustive search over the seeds of a randomizer.

pub mod cli;
mod explain;
mod failure;
mod progress;
mod report;
mod run;
mod spec;
mod tally;

use std::process::ExitCode;

use cli::{Args, Command};
use failure::Failure;

/// Does what the command line asks for. Errors go to standard error.
pub fn main(args: Args) -> ExitCode {
    match dispatch(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.print(),
    }
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(args) => run::main(&args),
        Command::Explain(args) => explain::main(&args),
    }
}
