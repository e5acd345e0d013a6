//! The command line.

use std::num::NonZero;
use std::path::PathBuf;

use bramble_kernel::{Fill, Random};
use bramble_world::ALL_LOCATIONS;
use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};

use crate::failure::Failure;
use crate::spec::{SEEDS, Spec, read_world};

const EXAMPLES: &str = "\
Examples:
  Every level of the Axiom Verge model, the first million seeds:
    bramble-search run --world axiom-verge.toml --fill guarded --rng dotnet \\
      --level default,advanced,masochist --start 0 --len 1048576
  What lies where in one seed, sphere by sphere:
    bramble-search explain --world axiom-verge.toml --fill forward --rng dotnet --level default --seed 42";

/// Looks at every seed of a randomizer: which can be finished, and in how many steps.
///
/// What it finds holds for the model in the world file under the engine that is named, not for the game itself.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(RunArgs),
    Explain(ExplainArgs),
}

/// What a question about seeds is about.
#[derive(Debug, clap::Args)]
pub(crate) struct Question {
    /// The world file: locations, what opens them, and the items to place
    #[arg(long, value_name = "FILE")]
    pub(crate) world: PathBuf,
    /// The engine that places the items
    #[arg(long, value_parser = PossibleValuesParser::new(Fill::ALL.map(Fill::name)))]
    pub(crate) fill: String,
    /// The random number generator
    #[arg(long, value_parser = PossibleValuesParser::new(Random::ALL.map(Random::name)))]
    pub(crate) rng: String,
    /// What has to be reached: a goal of the world file
    #[arg(long, value_name = "NAME", default_value = ALL_LOCATIONS)]
    pub(crate) goal: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    pub(crate) question: Question,
    /// Logic levels, by name
    #[arg(
        long = "level",
        value_name = "NAME",
        value_delimiter = ',',
        required = true
    )]
    pub(crate) levels: Vec<String>,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub(crate) start: u32,
    /// How many seeds, at each level
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=SEEDS))]
    pub(crate) len: u64,
    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl SearchArgs {
    /// The search that is asked for, with the world file read.
    pub(crate) fn spec(&self) -> Result<Spec, Failure> {
        Ok(Spec {
            world: read_world(&self.question.world)?,
            world_file: self.question.world.display().to_string(),
            fill: self.question.fill.clone(),
            rng: self.question.rng.clone(),
            goal: self.question.goal.clone(),
            levels: self.levels.clone(),
            start: self.start,
            len: self.len,
        })
    }
}

/// Search a range of seeds in this process
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) search: SearchArgs,
    /// How many threads to use [default: one for each core]
    #[arg(long, value_name = "T")]
    pub(crate) threads: Option<NonZero<usize>>,
}

/// Show what lies where in one seed, and in which sphere it is found
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) question: Question,
    /// A logic level, by name
    #[arg(long, value_name = "NAME")]
    pub(crate) level: String,
    /// The seed
    #[arg(long)]
    pub(crate) seed: u32,
    /// Print the explanation as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
