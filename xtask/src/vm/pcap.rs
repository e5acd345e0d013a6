//! `cargo xtask vm pcap`: what a machine sends and receives.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal as _, Read as _, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use bramble_lab::Attached;

/// Write what a machine sends and receives, lately and from now on, as tcpdump, tshark and Wireshark read it
///
/// The switch remembers the beginnings of the last frames of every machine, some thousand; those that come are written
/// whole, as the machine sends them, and as they reach it after whatever its link does to them. Ctrl-C ends it.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask vm pcap worker3 | tshark -r -
  cargo xtask vm pcap worker3 | wireshark -k -i -
  cargo xtask vm pcap household --write household.pcap")]
pub(super) struct Args {
    /// The machine; `gateway` is this machine's way onto the network
    machine: String,
    /// Write to a file [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    write: Option<PathBuf>,
}

pub(super) fn run(lab: &Attached, args: &Args) -> Result<()> {
    let mut to: Box<dyn Write> = match &args.write {
        Some(path) => {
            let file = File::create(path);
            Box::new(file.with_context(|| format!("cannot write {}", path.display()))?)
        }
        None if io::stdout().is_terminal() => {
            bail!("this is not for a terminal: pipe it into tshark, or say --write FILE")
        }
        None => Box::new(io::stdout().lock()),
    };
    let mut capture = lab.capture(&args.machine)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = capture.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        let written = to.write_all(&buffer[..read]).and_then(|()| to.flush());
        match written {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
    }
}
