//! The command line.

use std::net::SocketAddr;
use std::num::NonZero;
use std::path::PathBuf;

use bramble_kernel::{Fill, Random};
use bramble_world::ALL_LOCATIONS;
use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};

use crate::failure::Failure;
use crate::spec::{SEEDS, Spec, read_world};

/// The longest time that can be asked for, in seconds.
const YEAR: u64 = 366 * 24 * 3600;

const EXAMPLES: &str = "\
Examples:
  Every level of the Axiom Verge model, the first million seeds:
    bramble-search run --world axiom-verge.toml --fill guarded --rng dotnet \\
      --level default,advanced,masochist --start 0 --len 1048576
  What lies where in one seed, sphere by sphere:
    bramble-search explain --world axiom-verge.toml --fill forward --rng dotnet --level default --seed 42
  Seeds with a quick start, and what would make them so:
    bramble-search find --world axiom-verge.toml --fill guarded --rng dotnet --level default --len 1000000 \\
      --where 'item(\"Grapple\").sphere == 1 and spheres <= 7'
  Can this engine get stuck at all?
    bramble-search prove --world axiom-verge.toml --fill guarded
  The same search as the first, on a cluster whose web service is at manager1:
    bramble-search submit --server http://manager1:3000 --world axiom-verge.toml --fill guarded --rng dotnet \\
      --level default,advanced,masochist --start 0 --len 1048576";

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
    Find(FindArgs),
    Prove(ProveArgs),
    Merge(MergeArgs),
    Explain(ExplainArgs),
    Submit(SubmitArgs),
    Web(WebArgs),
    Worker(WorkerArgs),
    Miner(MinerArgs),
    Engine(EngineArgs),
    Ledger(LedgerArgs),
    Token(TokenArgs),
    Node(NodeArgs),
    Healthcheck(HealthcheckArgs),
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
    /// Print JSON
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
            filter: None,
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
    /// Where to note how far it has come: every half minute, and when it is interrupted. A checkpoint that is there is
    /// not overwritten [default: bramble-search.checkpoint.json]
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// Go on where an earlier run of the same search stopped, if there is a checkpoint
    #[arg(long)]
    pub(crate) resume: bool,
    /// Let others watch, and help: serve the API and the page that `web` serves at this address, as 127.0.0.1:3000
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["checkpoint", "resume"])]
    pub(crate) serve: Option<SocketAddr>,
    /// Keep results in this file, and go on where it ends [default: in memory]
    #[arg(long, value_name = "FILE", requires = "serve")]
    pub(crate) ledger: Option<PathBuf>,
    /// Go on serving when the search is done, until interrupted
    #[arg(long, requires = "serve")]
    pub(crate) stay: bool,
}

/// List seeds that are as a filter says
///
/// A filter is made of tests, `and`, `or`, `not` and brackets. Tests are
///   completable, dead, stuck, unreachable
///   spheres <= 4, placed == 125             how many rounds, how many items placed
///   at("Nova") == "RedCoat"                 what lies at a location
///   at("Nova").sphere < 3                   the round in which a location is collected
///   item("Grapple").sphere == 1             ... in which an item is first collected
///   item("Grapple").location != "Nova"      where an item lies
///   item("Grapple").area == "Eribu"
/// What is never collected comes later than everything. Seeds are listed in ascending order as they are found.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct FindArgs {
    #[command(flatten)]
    pub(crate) search: SearchArgs,
    /// What a seed should be like
    #[arg(long = "where", value_name = "FILTER")]
    pub(crate) filter: String,
    /// Stop after so many seeds
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<NonZero<u64>>,
    /// How many threads to use [default: one for each core]
    #[arg(long, value_name = "T")]
    pub(crate) threads: Option<NonZero<usize>>,
}

/// Prove that an engine never gets stuck in a world, or show how it does
#[derive(Debug, clap::Args)]
pub(crate) struct ProveArgs {
    /// The world file
    #[arg(long, value_name = "FILE")]
    pub(crate) world: PathBuf,
    /// The engine: forward, guarded or ladder
    #[arg(long, value_parser = PossibleValuesParser::new(Fill::ALL.map(Fill::name)))]
    pub(crate) fill: String,
    /// Logic levels, by name [default: all]
    #[arg(long = "level", value_name = "NAME", value_delimiter = ',')]
    pub(crate) levels: Vec<String>,
    /// Print the verdicts as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Put reports of `run --json` together: of parts of a range, of several levels
#[derive(Debug, clap::Args)]
pub(crate) struct MergeArgs {
    /// Reports of adjoining ranges, in any order
    #[arg(required = true, value_name = "REPORT")]
    pub(crate) reports: Vec<PathBuf>,
    /// Print the merged report as JSON
    #[arg(long)]
    pub(crate) json: bool,
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

/// Search a range of seeds on a cluster, and print what `run` would
#[derive(Debug, clap::Args)]
pub(crate) struct SubmitArgs {
    /// The cluster's web service
    #[arg(long, value_name = "URL", env = "BRAMBLE_SERVER")]
    pub(crate) server: String,
    #[command(flatten)]
    pub(crate) search: SearchArgs,
    /// List the seeds that are as a filter says, as `find` does; the lowest 1,000 at each level
    #[arg(long = "where", value_name = "FILTER")]
    pub(crate) filter: Option<String>,
    /// The most seeds that a miner takes at a time [default: about a minute's work]
    #[arg(long, value_name = "SEEDS", default_value_t = SEEDS, hide_default_value = true, value_parser = clap::value_parser!(u64).range(1..=SEEDS))]
    pub(crate) reservation: u64,
    /// Print the job's id and leave
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// A file with the administrator's token, if the server asks for one
    #[arg(long, value_name = "FILE", env = "BRAMBLE_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// How long to keep trying when the server is away
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(..=YEAR))]
    pub(crate) patience: u64,
}

/// Serve the page and the HTTP API: lend ranges to miners, take results
#[derive(Debug, clap::Args)]
pub(crate) struct WebArgs {
    /// Where to listen
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "BRAMBLE_LISTEN",
        default_value = "0.0.0.0:3000"
    )]
    pub(crate) listen: SocketAddr,
    /// The Redis that carries messages
    #[arg(
        long,
        value_name = "URL",
        env = "BRAMBLE_REDIS",
        default_value = "redis://messages:6379"
    )]
    pub(crate) redis: String,
    /// A file with the token that begins jobs and grants tokens. Without it, everybody may do everything
    #[arg(long, value_name = "FILE", env = "BRAMBLE_ADMIN_TOKEN_FILE")]
    pub(crate) admin_token_file: Option<PathBuf>,
    /// A file with the token of the cluster's own miners. Those who have it are trusted as members
    #[arg(long, value_name = "FILE", env = "BRAMBLE_MINER_TOKEN_FILE")]
    pub(crate) miner_token_file: Option<PathBuf>,
    /// Who tells what runs where: host and port of `bramble-search engine` [default: nobody]
    #[arg(long, value_name = "HOST:PORT", env = "BRAMBLE_ENGINE", value_parser = host_and_port)]
    pub(crate) engine: Option<(String, u16)>,
}

fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let parts = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let place = parts.and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    place.ok_or_else(|| "it should be as engine:2375".to_owned())
}

/// Tell what runs where: nodes, services and tasks of the Docker engine, and nothing else
///
/// Stands before the engine's socket, which gives all power over the node to whoever reaches it. Only
/// GET /nodes, /services and /tasks are answered, and of the answers only names, roles and states are let through.
#[derive(Debug, clap::Args)]
pub(crate) struct EngineArgs {
    /// Where to listen
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "BRAMBLE_LISTEN",
        default_value = "0.0.0.0:2375"
    )]
    pub(crate) listen: SocketAddr,
    /// The engine's socket
    #[arg(long, value_name = "PATH", default_value = "/var/run/docker.sock")]
    pub(crate) socket: PathBuf,
}

/// Keep the ledger: lend ranges, enter results, have some of them computed again
#[derive(Debug, clap::Args)]
pub(crate) struct WorkerArgs {
    /// The Redis that carries messages
    #[arg(
        long,
        value_name = "URL",
        env = "BRAMBLE_REDIS",
        default_value = "redis://messages:6379"
    )]
    pub(crate) redis: String,
    /// The ledger, on a local disk
    #[arg(
        long,
        value_name = "FILE",
        env = "BRAMBLE_LEDGER",
        default_value = "/var/lib/bramble/ledger.sqlite"
    )]
    pub(crate) ledger: PathBuf,
    #[command(flatten)]
    pub(crate) rules: RuleArgs,
    /// Where to copy the ledger to now and then, once it has a job; this may be on the network
    #[arg(long, value_name = "DIRECTORY", env = "BRAMBLE_BACKUP_DIR")]
    pub(crate) backup_dir: Option<PathBuf>,
    /// How often; the latest seven of each ledger are kept
    #[arg(
        long,
        value_name = "SECONDS",
        env = "BRAMBLE_BACKUP_EVERY",
        default_value_t = 3600,
        value_parser = clap::value_parser!(u64).range(1..=YEAR)
    )]
    pub(crate) backup_every: u64,
    /// A file to write to while it works, for `healthcheck --alive`
    #[arg(long, value_name = "FILE", env = "BRAMBLE_ALIVE")]
    pub(crate) alive: Option<PathBuf>,
}

/// How ranges are lent, and how many are computed twice.
#[derive(Debug, clap::Args)]
pub(crate) struct RuleArgs {
    /// How long a miner may keep a range before it is lent again, unless it renews
    #[arg(
        long,
        value_name = "SECONDS",
        env = "BRAMBLE_LEASE",
        default_value_t = 120,
        value_parser = clap::value_parser!(u64).range(1..=YEAR)
    )]
    pub(crate) lease: u64,
    /// How much work to lend at a time, by the speed of the miner
    #[arg(
        long,
        value_name = "SECONDS",
        env = "BRAMBLE_TARGET",
        default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..=YEAR)
    )]
    pub(crate) target: u64,
    /// The share of ranges that another node computes again
    #[arg(long, value_name = "PERCENT", env = "BRAMBLE_VERIFY", default_value_t = 2.0, value_parser = percent)]
    pub(crate) verify: f64,
    /// How many of a new node's ranges another computes again
    #[arg(
        long,
        value_name = "RANGES",
        env = "BRAMBLE_VERIFY_FIRST",
        default_value_t = 2
    )]
    pub(crate) verify_first: u64,
}

fn percent(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.trim_end_matches('%').trim().parse().ok();
    number
        .filter(|number| (0.0..=100.0).contains(number))
        .ok_or_else(|| "a percentage is from 0 to 100".to_owned())
}

/// Compute ranges on all cores of this node
#[derive(Debug, clap::Args)]
pub(crate) struct MinerArgs {
    /// The web service
    #[arg(
        long,
        value_name = "URL",
        env = "BRAMBLE_SERVER",
        default_value = "http://web:3000"
    )]
    pub(crate) server: String,
    /// What to call this node [default: its host name]
    #[arg(long, value_name = "NAME", env = "BRAMBLE_NODE")]
    pub(crate) node: Option<String>,
    /// A file with a token, if the server asks for one
    #[arg(long, value_name = "FILE", env = "BRAMBLE_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// How many threads to use [default: one for each core]
    #[arg(long, value_name = "T")]
    pub(crate) threads: Option<NonZero<usize>>,
    /// A file to write to while it works, for `healthcheck --alive`
    #[arg(long, value_name = "FILE", env = "BRAMBLE_ALIVE")]
    pub(crate) alive: Option<PathBuf>,
}

/// Look after the ledger
#[derive(Debug, clap::Args)]
pub(crate) struct LedgerArgs {
    #[command(subcommand)]
    pub(crate) command: LedgerCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Put a backup in the place of the ledger, while the worker is stopped; what is there is kept beside it
    Restore {
        /// A backup, or the directory with them: then the newest of a ledger that has jobs
        #[arg(long, value_name = "PATH")]
        from: PathBuf,
        /// The ledger
        #[arg(
            long,
            value_name = "FILE",
            env = "BRAMBLE_LEDGER",
            default_value = "/var/lib/bramble/ledger.sqlite"
        )]
        ledger: PathBuf,
    },
}

/// How an administrator reaches the server.
#[derive(Debug, clap::Args)]
pub(crate) struct AdminArgs {
    /// The web service
    #[arg(
        long,
        value_name = "URL",
        env = "BRAMBLE_SERVER",
        default_value = "http://web:3000"
    )]
    pub(crate) server: String,
    /// A file with the administrator's token
    #[arg(long, value_name = "FILE", env = "BRAMBLE_ADMIN_TOKEN_FILE")]
    pub(crate) admin_token_file: Option<PathBuf>,
}

/// Let somebody outside the cluster lend power
#[derive(Debug, clap::Args)]
pub(crate) struct TokenArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    #[command(subcommand)]
    pub(crate) command: TokenCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it, this once. It takes the place of one that was revoked or that nobody has shown yet
    Create {
        /// What the node is called that will have it
        name: String,
    },
    /// Who has one
    List,
    /// Take one back: it is not valid any more. What its node has found stays; `create` makes another for the same name
    Revoke {
        /// Whose
        name: String,
    },
}

/// Look after nodes
#[derive(Debug, clap::Args)]
pub(crate) struct NodeArgs {
    #[command(flatten)]
    pub(crate) admin: AdminArgs,
    #[command(subcommand)]
    pub(crate) command: NodeCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Lend ranges again to a node that computed wrongly and is mended
    Forgive {
        /// Its name
        name: String,
    },
}

/// Ask a URL, and end with 0 if the answer is a success: for containers, which have no other means
#[derive(Debug, clap::Args)]
pub(crate) struct HealthcheckArgs {
    /// What to ask
    #[arg(default_value = "http://127.0.0.1:3000/healthz")]
    pub(crate) url: String,
    /// Rather see whether a worker or a miner has written to this file lately
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub(crate) alive: Option<PathBuf>,
}
