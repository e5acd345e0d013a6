//! An exhaustive search over the seeds of a randomizer: `run` does it in one process; `web`, `worker` and `miner` together do it
//! on a cluster, and both give the same bits.
//!
//! ```text
//! submit ──┐                       ┌── miner, one on every other node
//!          ├──HTTP──> web <──HTTP──┤
//!   person ┘           │           └── miner
//!                    Redis
//!                      │
//!                   worker ── ledger.sqlite
//! ```

mod checkpoint;
pub mod cli;
mod explain;
mod failure;
pub mod filter;
mod find;
mod finding;
mod merge;
mod output;
mod plan;
mod progress;
mod prove;
mod report;
mod run;
mod service;
mod signals;
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
        Command::Find(args) => find::main(&args),
        Command::Prove(args) => prove::main(&args),
        Command::Merge(args) => merge::main(&args),
        Command::Explain(args) => explain::main(&args),
        Command::Submit(args) => service::submit::main(&args),
        Command::Web(args) => service::web::main(&args),
        Command::Worker(args) => service::worker::main(&args),
        Command::Miner(args) => service::miner::main(&args),
        Command::Engine(args) => service::engine::proxy::main(&args),
        Command::Ledger(args) => service::manage::ledger(&args),
        Command::Token(args) => service::manage::token(&args),
        Command::Node(args) => service::manage::node(&args),
        Command::Healthcheck(args) => service::healthcheck(&args),
    }
}
