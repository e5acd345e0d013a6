//! `bramble completions`: for the operator's shell.

use std::process::ExitCode;

use clap_complete::Shell;

/// Print the completion script of a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bramble completions bash > ~/.local/share/bash-completion/completions/bramble
  bramble completions fish > ~/.config/fish/completions/bramble.fish")]
pub(crate) struct Args {
    /// The shell.
    shell: Shell,
}

pub(crate) fn run(args: &Args, command: &mut clap::Command) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "bramble", &mut script);
    print!("{}", String::from_utf8_lossy(&script));
    Ok(ExitCode::SUCCESS)
}
