//! The project's chores as `cargo xtask VERB`, in the manner of <https://github.com/matklad/cargo-xtask>.
//!
//! This file only parses and dispatches: a new verb is one module and one match arm.

#[macro_use]
mod output;

mod bench;
mod ci;
mod cross;
mod doctor;
mod image;
mod leash;
mod lock;
mod oci;
mod path;
mod project;
mod release;
mod store;
mod tools;
mod vm;
mod vm_test;
mod world;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

/// Build, check and rehearse bramble.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
enum Verb {
    Doctor(doctor::Args),
    Lock(lock::Args),
    Cross(cross::Args),
    Image(image::Args),
    Oci(oci::Args),
    Release(release::Args),
    Store(store::Args),
    Ci(ci::Args),
    Bench(bench::Args),
    VmTest(vm_test::Args),
    Vm(vm::Args),
    /// Write the Axiom Verge world file from the facts it rests on
    World {
        /// Only see whether it is what would be written
        #[arg(long)]
        check: bool,
    },
    /// Print the completion script for a shell
    Completions {
        /// The shell to complete for
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let verb = Verb::parse();
    match path::complete().and_then(|()| run(verb)) {
        Ok(()) if output::is_complete() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn on_a_leash(chore: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let _leash = leash::take()?;
    chore()
}

fn run(verb: Verb) -> anyhow::Result<()> {
    std::env::set_current_dir(project::root())?;
    match verb {
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Lock(args) => on_a_leash(|| lock::run(&args)),
        Verb::Cross(args) => cross::run(&args),
        Verb::Image(args) => on_a_leash(|| image::run(&args)),
        Verb::Oci(args) => on_a_leash(|| oci::run(&args)),
        Verb::Release(args) => on_a_leash(|| release::run(&args)),
        Verb::Store(args) => store::run(&args),
        Verb::Ci(args) => on_a_leash(|| ci::run(&args)),
        Verb::Bench(args) => on_a_leash(|| bench::run(&args)),
        Verb::VmTest(args) => on_a_leash(|| vm_test::run(&args)),
        Verb::Vm(args) => vm::run(&args),
        Verb::World { check } => world::run(check),
        Verb::Completions { shell } => {
            let mut out = std::io::stdout();
            clap_complete::generate(shell, &mut Verb::command(), "xtask", &mut out);
            Ok(())
        }
    }
}
