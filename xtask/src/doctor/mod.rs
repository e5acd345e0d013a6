//! `cargo xtask doctor`: is this machine ready to rehearse, and if not, what to type.

mod apt;
mod facts;
mod plan;
mod report;
mod table;
mod version;

use std::process::Command;

use anyhow::{Result, bail};

use crate::project;
use facts::Facts;
use plan::Plan;

pub(crate) use facts::find;
pub(crate) use table::{REQUIREMENTS, Scope};
pub(crate) use version::Version;

/// Say what this machine lacks, and install it where that is possible
///
/// Without --fix nothing is changed. With it, as root on Debian or its kin, what is missing gets
/// installed; on Debian 12, QEMU, mmdebstrap and e2fsprogs come from its backports.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask doctor\n  cargo xtask doctor --fix\n  cargo xtask doctor --scope rehearse --json"
)]
pub(crate) struct Args {
    /// Install what is missing (implied by CI=true)
    #[arg(long)]
    fix: bool,
    /// What to be ready for
    #[arg(long, value_enum, default_value = "ci")]
    scope: Scope,
    /// Print findings and commands as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let (plan, facts) = examine(args.scope, args.fix || fix_is_implied())?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&plan)?);
    } else {
        print!("{}", report::text(&plan, &facts));
    }
    match plan.is_fine() {
        true => Ok(()),
        false => bail!("this machine is not ready yet"),
    }
}

/// Returns when the machine is ready for `scope`, having installed what was missing if `fix` is set.
///
/// # Errors
/// Something is missing still; the error lists everything that is, and what to type.
pub(crate) fn ensure(scope: Scope, fix: bool) -> Result<()> {
    let (plan, facts) = examine(scope, fix)?;
    match plan.is_fine() {
        true => Ok(()),
        false => bail!("this machine is not ready\n{}", report::text(&plan, &facts)),
    }
}

/// CI machines are made for one run: whoever starts one wants it to be made ready.
pub(crate) fn fix_is_implied() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

fn examine(scope: Scope, fix: bool) -> Result<(Plan, Facts)> {
    let mut facts = Facts::gather();
    let mut plan = plan::plan(scope, &facts);
    // Twice, because packages have their turn only after rustup could not help.
    for _ in 0..2 {
        let possible = |command: &&plan::Command| facts.root || !command.root;
        if !fix || !plan.commands.iter().any(|command| possible(&command)) {
            break;
        }
        let rustup_refused = apply(&plan, facts.root)?;
        facts = Facts {
            rustup_refused,
            ..Facts::gather()
        };
        plan = plan::plan(scope, &facts);
    }
    Ok((plan, facts))
}

/// Runs what may be run. Says whether rustup failed, which is no error: packages can stand in.
fn apply(plan: &Plan, root: bool) -> Result<bool> {
    let mut rustup_refused = false;
    for (index, command) in plan.commands.iter().enumerate() {
        if command.root && !root {
            continue;
        }
        eprintln!("doctor: {}", command.shell);
        let log = project::log_path(&format!("doctor-{}", index + 1))?;
        let result = project::run_logged(Command::new("sh").args(["-ec", &command.shell]), &log);
        match result {
            Err(_) if !command.root => {
                eprintln!("doctor: rustup cannot help, see {}", log.display());
                rustup_refused = true;
            }
            other => other?,
        }
    }
    Ok(rustup_refused)
}
