//! `cargo xtask bench`: figures, measured here and now.

mod instructions;

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::project;

/// Measure how fast things are
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// The compute kernel: each engine on each kind of processor this machine can be, against a plain program and the
    /// reference of the tests, in turn; then instructions per seed on ARM64, counted by QEMU
    Kernel {
        /// Seeds to a measurement
        #[arg(long, value_name = "N", default_value_t = 65_536)]
        seeds: u64,
        /// Do not count ARM64 instructions, which takes some minutes
        #[arg(long)]
        native_only: bool,
    },
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let What::Kernel { seeds, native_only } = args.what;
    let mut command = project::cargo();
    command.args(["bench", "--locked", "--package", "bramble-kernel"]);
    command.args(["--bench", "engines", "--", &seeds.to_string()]);
    let status = command.status().context("cannot start cargo")?;
    anyhow::ensure!(status.success(), "the benchmark failed ({status})");
    match native_only {
        true => Ok(()),
        false => instructions::run(),
    }
}

/// Where the checked-in world lies.
fn world() -> PathBuf {
    project::root().join("fixtures/worlds/axiom-verge.toml")
}
