//! `cargo xtask bench`: figures, measured here and now.

mod instructions;
mod lab;
mod provision;

use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::project;
use crate::vm_test::Materials;

/// Measure how fast things are
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Lab(lab::Args),
    /// The compute kernel: each engine on each kind of processor this machine can be, against a plain program and the
    /// reference of the tests, in turn; then instructions per seed on ARM64, counted by QEMU
    Kernel {
        /// Seeds to a measurement
        #[arg(long, value_name = "N", default_value_t = 262_144)]
        seeds: u64,
        /// Do not count ARM64 instructions, which takes some minutes
        #[arg(long)]
        native_only: bool,
    },
    /// The search service under load: miners that only pretend to compute, each with a connection of its own. Fails below
    /// 2,000 cycles of lending and submitting in a second, above 512 MiB, or if a result is lost that was acknowledged
    Ingest {
        /// How many miners
        #[arg(long, value_name = "N", default_value_t = 10_000)]
        miners: u64,
        /// Cycles per second that all of them try
        #[arg(long, value_name = "N", default_value_t = 2_500)]
        rate: u64,
        /// For how long
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        seconds: u64,
    },
    /// What the search service costs: a search by `run` and by a miner through the service, at once, each with a processor of
    /// its own, then with processors exchanged. Fails below 97 %
    Efficiency {
        /// How many seeds
        #[arg(long, value_name = "N", default_value_t = 1 << 26)]
        seeds: u64,
        /// How often: the median counts
        #[arg(long, value_name = "N", default_value_t = 3)]
        rounds: u64,
    },
    /// Provisioning by bramble and by Ansible with the playbook that bramble exports, each on fresh emulated machines.
    /// Fails below ten times as fast
    Provision {
        /// How many nodes, 2 to 16
        #[arg(long, value_name = "N", default_value_t = 8)]
        nodes: usize,
        #[command(flatten)]
        materials: Materials,
    },
}

pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.what {
        What::Lab(args) => lab::run(args),
        What::Kernel { seeds, native_only } => {
            bench("bramble-kernel", "engines", &[&seeds.to_string()])?;
            match *native_only {
                true => Ok(()),
                false => instructions::run(),
            }
        }
        What::Ingest {
            miners,
            rate,
            seconds,
        } => {
            // Each miner takes one here and one in the server, which inherits the limit.
            let wanted = *miners + 1000;
            let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
            setrlimit(Resource::RLIMIT_NOFILE, wanted.min(most), most)?;
            anyhow::ensure!(
                wanted <= most,
                "{miners} miners take {wanted} open files, and {most} are allowed: see `ulimit -Hn`"
            );
            let numbers = [miners, rate, seconds].map(|number| number.to_string());
            let [miners, rate, seconds] = &numbers;
            bench(
                "bramble-search",
                "service",
                &["ingest", miners, rate, seconds],
            )
        }
        What::Provision { nodes, materials } => provision::run(*nodes, materials),
        What::Efficiency { seeds, rounds } => {
            let numbers = [seeds, rounds].map(|number| number.to_string());
            let [seeds, rounds] = &numbers;
            bench("bramble-search", "service", &["efficiency", seeds, rounds])
        }
    }
}

fn bench(package: &str, name: &str, arguments: &[&str]) -> Result<()> {
    let mut command = project::cargo();
    command.args([
        "bench",
        "--locked",
        "--package",
        package,
        "--bench",
        name,
        "--",
    ]);
    command.args(arguments);
    let status = command.status().context("cannot start cargo")?;
    anyhow::ensure!(status.success(), "the benchmark failed ({status})");
    Ok(())
}

/// Where the checked-in world lies.
fn world() -> PathBuf {
    project::root().join("fixtures/worlds/axiom-verge.toml")
}
