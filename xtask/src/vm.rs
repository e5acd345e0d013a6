//! `cargo xtask vm`: a lab that runs.

mod checkpoint;
mod fault;
mod gc;
mod hardware;
mod logs;
mod page;
mod pcap;
mod top;

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail};
use bramble_lab::{Attached, RunDir, supervise};
use nix::sys::termios::{self, SetArg, Termios};
use vm_tests::operator::Files;

use crate::{cross, leash};

/// Ctrl-], as in telnet.
const ESCAPE: u8 = 0x1d;

/// Look into the machines that `vm-test --keep` has left running
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask vm ssh worker3
  cargo xtask vm ssh manager1 -- docker node ls
  cargo xtask vm console worker3
  cargo xtask vm bramble status
  cargo xtask vm fault worker3 --cut 60s
  cargo xtask vm checkpoint provisioned
  cargo xtask vm restore provisioned
  cargo xtask vm logs --follow
  cargo xtask vm pcap worker3 | tshark -r -
  cargo xtask vm top
  cargo xtask vm page
  cargo xtask vm down
  cargo xtask vm gc --dry-run
  cargo xtask vm diff-hardware")]
pub(crate) struct Args {
    /// Which lab, where several run
    #[arg(long, global = true, value_name = "NAME")]
    lab: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Log in to a node, or run a command there
    Ssh {
        /// The node's name
        node: String,
        /// What to run
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Type at a machine's serial console; Ctrl-] leaves it
    Console {
        /// The machine's name; `household` is router and NAS
        machine: String,
    },
    /// Call bramble on the lab's cluster
    Bramble {
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    Fault(Box<fault::Args>),
    Checkpoint(checkpoint::Args),
    Restore(checkpoint::RestoreArgs),
    Logs(logs::Args),
    Pcap(pcap::Args),
    Top(top::Args),
    Page(page::Args),
    /// List the labs that run, and what they use
    Ls,
    /// End a lab
    Down,
    Gc(gc::Args),
    DiffHardware(hardware::Args),
    /// The process that owns a lab; started by it
    #[command(hide = true)]
    Supervise {
        dir: PathBuf,
    },
    /// The process that ends what a chore leaves behind; started by it
    #[command(hide = true)]
    Watch {
        mark: String,
    },
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let lab = || Attached::find(args.lab.as_deref());
    match &args.verb {
        Verb::Ssh { node, command } => {
            let separator = if command.is_empty() {
                &[][..]
            } else {
                &["--".to_owned()]
            };
            bramble(
                &lab()?,
                &[&["ssh".to_owned(), node.clone()], separator, command].concat(),
            )
        }
        Verb::Console { machine } => console(&lab()?, machine),
        Verb::Bramble { arguments } => bramble(&lab()?, arguments),
        Verb::Fault(args) => fault::run(&lab()?, args),
        Verb::Checkpoint(args) => checkpoint::run(args, lab),
        Verb::Restore(args) => checkpoint::restore(args),
        Verb::Logs(args) => logs::run(&lab()?, args),
        Verb::Pcap(args) => pcap::run(&lab()?, args),
        Verb::Top(args) => top::run(&lab()?, args),
        Verb::Page(args) => page::run(&lab()?, args),
        Verb::Ls => list(),
        Verb::Down => lab()?.down(),
        Verb::Gc(args) => gc::run(args),
        Verb::DiffHardware(args) => hardware::run(args),
        Verb::Supervise { dir } => supervise(dir),
        Verb::Watch { mark } => leash::watch(mark),
    }
}

/// How this program is called to run a lab, which may outlive the caller and sees to its own end.
pub(crate) fn supervisor() -> Result<Vec<String>> {
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let own = own
        .to_str()
        .with_context(|| format!("{} is no UTF-8", own.display()))?;
    Ok(["env", "-u", leash::MARK, own, "vm", "supervise"]
        .map(str::to_owned)
        .into())
}

/// Becomes `bramble`, as the operator of the lab's cluster.
fn bramble(lab: &Attached, arguments: &[String]) -> Result<()> {
    let (scratch, _) = lab.place()?;
    let scratch = scratch.with_context(|| format!("{} is no cluster", lab.name()))?;
    let program = cross::for_host().bramble;
    let error = Command::new(&program)
        .args(arguments)
        .envs(Files::below(&scratch).environment())
        .exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

fn list() -> Result<()> {
    let running = RunDir::running()?;
    if running.is_empty() {
        println!("no lab is running");
    }
    for dir in running {
        let name = dir
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let lab = Attached::find(Some(&name))?;
        let (usage, (_, logs)) = (lab.usage()?, lab.place()?);
        println!(
            "{name}: {} MiB, {} s of CPU, logs in {}",
            usage.memory / 1024,
            usage.cpu / 1000,
            logs.display()
        );
    }
    Ok(())
}

/// Carries keys to the machine and its words to the terminal, until Ctrl-] or the lab's end.
fn console(lab: &Attached, machine: &str) -> Result<()> {
    if !io::stdin().is_terminal() {
        bail!(
            "a console needs a terminal; its log is in {}",
            lab.place()?.1.display()
        );
    }
    let mut to_machine = lab.console(machine)?;
    let mut from_machine = to_machine.try_clone()?;
    eprintln!("console of {machine}; Ctrl-] leaves it");
    let _raw = Raw::enter()?;
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = from_machine.read(&mut buffer) {
            let mut terminal = io::stdout();
            let _ = terminal
                .write_all(&buffer[..read])
                .and_then(|()| terminal.flush());
        }
    });
    let mut typed = [0; 64];
    loop {
        let read = io::stdin().read(&mut typed)?;
        match typed[..read].iter().position(|key| *key == ESCAPE) {
            Some(_) => return Ok(()),
            None if read == 0 => return Ok(()),
            None => to_machine.write_all(&typed[..read])?,
        }
    }
}

/// A terminal that passes every key on at once, until dropped.
struct Raw {
    terminal: File,
    before: Termios,
}

impl Raw {
    fn enter() -> Result<Raw> {
        let terminal = File::open("/dev/tty")?;
        let before = termios::tcgetattr(&terminal)?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(&terminal, SetArg::TCSANOW, &raw)?;
        Ok(Raw { terminal, before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // There is nothing to do about a terminal that is gone.
        let _ = termios::tcsetattr(&self.terminal, SetArg::TCSANOW, &self.before);
    }
}
