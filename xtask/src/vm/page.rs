//! `cargo xtask vm page`: a lab in the browser, while it runs.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result};
use bramble_lab::{Attached, report};

/// Show a lab in the browser, as it is now
///
/// Its machines and what befalls them, the stages of the scenario that runs, and every log as it grows, with search. It
/// goes on when the lab has ended, and with the next lab of that name, until Ctrl-C. Only this machine can see it.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask vm page
  cargo xtask vm page --port 8008
  ssh -L 8008:127.0.0.1:8008 HOST     # ... from elsewhere, at http://127.0.0.1:8008/")]
pub(super) struct Args {
    /// The port of 127.0.0.1 to listen on [default: one that is free]
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    port: u16,
}

pub(super) fn run(lab: &Attached, args: &Args) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).with_context(|| {
        format!(
            "cannot listen on port {} of 127.0.0.1; --port takes another",
            args.port
        )
    })?;
    println!(
        "{} is at http://{}/ until Ctrl-C",
        lab.name(),
        listener.local_addr()?
    );
    report::serve(lab, listener)
}
