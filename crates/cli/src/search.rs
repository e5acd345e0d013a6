//! `bramble search`: a search on the cluster, asked for from here.

use std::env;
use std::ffi::OsString;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use bramble_cluster::render::stacks::SECRETS;

use crate::context::Context;
use crate::failure::Usage;
use crate::remote::Remote;
use crate::stack::attached;

const PROGRAM: &str = "bramble-search";

/// Where it finds the administrator's token.
const TOKEN_FILE: &str = "BRAMBLE_TOKEN_FILE";

/// How often to look whether program and tunnel still run.
const INTERVAL: Duration = Duration::from_millis(500);

/// Submit a search to the cluster, and wait for its answer.
///
/// A tunnel leads to the search service on the first manager; through it runs `bramble-search submit` with the administrator's
/// token and these arguments, from the directory where `bramble` itself lies. Global options stand before `search`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "\
Examples:
  bramble search --help
  bramble search --world axiom-verge.toml --fill guarded --rng dotnet --level default --len 1048576",
    disable_help_flag = true
)]
pub(crate) struct Args {
    /// Arguments of `bramble-search submit`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    let program = env::current_exe()
        .context("cannot tell where bramble is")?
        .with_file_name(PROGRAM);
    if !program.is_file() {
        return Err(Usage::new(format!("there is no {}", program.display()))
            .help("`cargo build --release` makes it, beside bramble")
            .into());
    }
    let mut submit = Command::new(&program);
    submit.arg("submit");
    if args
        .arguments
        .iter()
        .any(|argument| argument == "--help" || argument == "-h")
    {
        return finish(submit.arg("--help"), || ());
    }
    let cluster = context.cluster()?;
    let manager = cluster.first_manager();
    let remote = Remote::open(context, &cluster)?;
    let mut tunnel = remote.tunnel(&manager.name, manager.ip, cluster.search.port)?;
    let token = attached::token_file(&context.state(&cluster)?, SECRETS[0]);
    if env::var_os(TOKEN_FILE).is_none() && token.is_file() {
        submit.env(TOKEN_FILE, token);
    }
    submit
        .args(["--server", &format!("http://127.0.0.1:{}", tunnel.port)])
        .args(&args.arguments);
    // A search may last for days, and a connection less long.
    finish(&mut submit, || tunnel.mend())
}

/// Runs it to its end, and ends as it did. `meanwhile` is called now and then.
fn finish(command: &mut Command, mut meanwhile: impl FnMut()) -> anyhow::Result<ExitCode> {
    let program = command.get_program().to_owned();
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        meanwhile();
        thread::sleep(INTERVAL);
    };
    Ok(
        match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(code) => ExitCode::from(code),
            None => ExitCode::FAILURE,
        },
    )
}
