//! The machines of a lab: how their QEMUs start, take an identity, and are left behind for others to be cloned from.

use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::socket::{Shutdown, shutdown};
use serde_json::json;

use super::checkpoint::Arrival;
use super::faults::reply;
use super::requests::{Answer, failed};
use super::{Message, Supervisor};
use crate::console::{Console, Heard};
use crate::definition::{Happened, Machine, Reply, Start};
use crate::guest;
use crate::launcher::{Ended, Launcher, Program};
use crate::qemu::{self, IDENTITY_SLOT, NETWORK, NETWORK_SLOT, Sockets};
use crate::qmp::Qmp;
use crate::typing::Typing;

/// How long a QEMU may take to greet.
const GREETING: Duration = Duration::from_secs(30);

/// A machine, seen from the threads that talk with it.
#[derive(Clone, Default)]
pub(super) struct Running {
    pub(super) console: Console,
    pub(super) typing: Arc<Typing>,
    /// Set once its QEMU has greeted.
    pub(super) qmp: Arc<OnceLock<Qmp>>,
    /// Whether its QEMU is to end, so that its end is no news.
    pub(super) shall_end: Arc<AtomicBool>,
}

impl Running {
    /// The way to its QEMU, which may have been started this moment.
    pub(super) fn qmp(&self) -> Result<&Qmp> {
        let begin = Instant::now();
        loop {
            match self.qmp.get() {
                Some(qmp) => return Ok(qmp),
                None if begin.elapsed() > GREETING => bail!("its QEMU does not answer"),
                None => thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Supervisor {
    pub(super) fn start_machine(&mut self, machine: Machine) -> Result<()> {
        let sockets = Sockets(&self.sockets);
        self.switch
            .listen(&machine.name, &sockets.port(&machine.name))?;
        let (name, sender) = (machine.name.clone(), self.sender.clone());
        let log = self.definition.logs.join(format!("{name}.console.log"));
        let typing = Arc::new(Typing::default());
        let listening = typing.clone();
        let console = Console::listen(&sockets.console(&name), &log, move |heard| {
            let what = match heard {
                Heard::Said(text) if listening.hears(&text) => return,
                Heard::Said(text) => Happened::Says { text },
                Heard::Trouble(trouble, text) => Happened::Trouble { trouble, text },
            };
            let _ = sender.send(Message::Happened(Some(name.clone()), what));
        })?;
        let running = Running {
            console,
            typing,
            ..Running::default()
        };
        self.machines.insert(machine.name.clone(), running);
        self.switch_on(machine)
    }

    pub(super) fn added(&mut self, machine: Machine) -> Answer {
        if self.machines.contains_key(&machine.name) {
            return failed(format!("there is a machine {} already", machine.name));
        }
        self.definition.machines.push(machine.clone());
        if let Err(error) = self.leave_word() {
            tracing::warn!("{error:#}");
        }
        reply(self.start_machine(machine))
    }

    /// Starts the QEMU of a machine that has a port and a console.
    pub(super) fn switch_on(&mut self, machine: Machine) -> Result<()> {
        let sockets = Sockets(&self.sockets);
        let program = Program {
            name: machine.name.clone(),
            argv: qemu::machine(&machine, sockets),
            niceness: machine.niceness,
            log: self
                .definition
                .logs
                .join(format!("{}.qemu.log", machine.name)),
            files: qemu::files(&machine, sockets),
        };
        let port = sockets.port(&machine.name);
        let arrival = self.together.arrival(&machine);
        self.launch(program, None, move |qmp| match &machine.start {
            Start::Boot { .. } | Start::Cold { .. } => Ok(Happened::Started),
            Start::Clone {
                state,
                identity,
                mac,
                ..
            } => resume(qmp, state, identity, mac, &port).map(|()| Happened::Resumed),
            Start::Restored { state, .. } => {
                restore(qmp, state, arrival).map(|()| Happened::Restored)
            }
        })
    }

    /// Starts a QEMU, by `launcher` in place of the lab's own if there is one, and brings it up in a thread of its own.
    pub(super) fn launch(
        &mut self,
        program: Program,
        launcher: Option<&mut dyn Launcher>,
        bring_up: impl FnOnce(&Qmp) -> Result<Happened> + Send + 'static,
    ) -> Result<()> {
        let (name, log) = (program.name.clone(), program.log.clone());
        let file = File::options().create(true).append(true).open(&log);
        let mut file = file.with_context(|| format!("cannot write {}", log.display()))?;
        // To be pasted by whoever wants to start this machine alone.
        let words: Vec<String> = program.argv.iter().map(|word| quoted(word)).collect();
        writeln!(file, "{} {}", qemu::PROGRAM, words.join(" "))?;

        let (listener, silence) = listen_once(&Sockets(&self.sockets).qmp(&name))?;
        let launcher = launcher.unwrap_or(self.launcher.as_mut());
        let qemu = launcher.start(program, silence)?;
        self.qemus.push((name.clone(), qemu));

        let sender = self.sender.clone();
        let said = self.definition.logs.join(format!("{name}.qmp.jsonl"));
        let said = File::options().create(true).append(true).open(said)?;
        let running = self.machines.entry(name.clone()).or_default();
        let (qmp, shall_end) = (running.qmp.clone(), running.shall_end.clone());
        thread::spawn(move || {
            let tell = |what| drop(sender.send(Message::Happened(Some(name.clone()), what)));
            let gone = |reason: String| Happened::Gone { reason };
            let (ended_name, ended_sender, ended_log) = (name.clone(), sender.clone(), log.clone());
            let called = listener.accept().context("QEMU has ended before it called");
            let ends = called.and_then(|(stream, _)| Ok((stream.try_clone()?, stream)));
            let when_it_ends = move || {
                if shall_end.load(Ordering::Relaxed) {
                    return;
                }
                let what = Happened::Gone {
                    reason: format!("QEMU has ended: {}", last_line(&ended_log)),
                };
                let _ = ended_sender.send(Message::Happened(Some(ended_name), what));
            };
            match ends.and_then(|(to, from)| Qmp::connect(to, from, said, when_it_ends)) {
                Ok(connected) => {
                    let qmp = qmp.get_or_init(|| connected);
                    tell(
                        bring_up(qmp).unwrap_or_else(|error| {
                            gone(format!("{error:#}: {}", last_line(&log)))
                        }),
                    );
                }
                Err(error) => tell(gone(format!("{error:#}: {}", last_line(&log)))),
            }
        });
        Ok(())
    }
}

/// A socket for one QEMU to call at, and what ends the wait for its call.
fn listen_once(path: &Path) -> Result<(UnixListener, Ended)> {
    // A machine that was switched off has left its own.
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    let silenced = listener.try_clone()?;
    let silence = move || {
        // Whoever waits for a call hears that there will be none.
        let _ = shutdown(silenced.as_raw_fd(), Shutdown::Both);
    };
    Ok((listener, Box::new(silence)))
}

/// Continues a saved machine and gives it its network card and its identity.
fn resume(qmp: &Qmp, state: &Path, identity: &Path, mac: &str, port: &Path) -> Result<()> {
    qmp.migrate("migrate-incoming", &format!("file:{}", state.display()))?;
    qmp.execute(
        "blockdev-add",
        json!({"node-name": "identity", "driver": "raw", "read-only": true,
               "file": {"driver": "file", "filename": identity}}),
    )?;
    qmp.execute(
        "netdev_add",
        json!({"id": NETWORK, "type": "stream", "server": false, "reconnect-ms": 500,
               "addr": {"type": "unix", "path": port}}),
    )?;
    qmp.execute("cont", json!({}))?;
    qmp.execute(
        "device_add",
        json!({"driver": "virtio-blk-pci", "id": "identity-disk", "bus": IDENTITY_SLOT, "drive": "identity",
               "serial": guest::IDENTITY_SERIAL}),
    )?;
    // Without an option ROM, which is for booting from the network and for other architectures.
    qmp.execute(
        "device_add",
        json!({"driver": "virtio-net-pci", "id": "lan-card", "bus": NETWORK_SLOT, "netdev": NETWORK, "mac": mac, "romfile": ""}),
    )?;
    Ok(())
}

/// Continues a machine of a saved lab when all the others can go on, too.
fn restore(qmp: &Qmp, state: &Path, arrival: Option<Arrival>) -> Result<()> {
    qmp.migrate("migrate-incoming", &format!("file:{}", state.display()))?;
    if let Some(arrival) = arrival {
        arrival.wait_for_the_others();
    }
    qmp.execute("cont", json!({}))?;
    Ok(())
}

/// Only QEMU's monitor for people can do so, which says nothing when all is well.
pub(super) fn forward(gateway: &Running, from: u16, address: Ipv4Addr, port: u16) -> Result<()> {
    let command = format!("hostfwd_add user tcp:127.0.0.1:{from}-{address}:{port}");
    let said = gateway
        .qmp()?
        .execute("human-monitor-command", json!({"command-line": command}))?;
    match said.as_str().map(str::trim) {
        Some("") => Ok(()),
        _ => bail!("QEMU refused `{command}`: {said}"),
    }
}

pub(super) fn typed(running: &Running, machine: &str, command: &str) -> Answer {
    match running.typing.run(&running.console, command) {
        Ok((code, output)) => Reply::Typed { code, output }.into(),
        Err(error) => failed(format!("cannot type at {machine}: {error:#}")),
    }
}

pub(super) fn saved(running: &Running, machine: &str, state: &Path) -> Answer {
    running.shall_end.store(true, Ordering::Relaxed);
    let saved = running
        .qmp
        .get()
        .context("it has not started yet")
        .and_then(|qmp| save(qmp, state));
    match saved {
        Ok(()) => Reply::Done.into(),
        Err(error) => failed(format!("cannot save {machine}: {error:#}")),
    }
}

/// Stops a machine, writes the state of its devices, and ends it; its memory is in its file already.
fn save(qmp: &Qmp, state: &Path) -> Result<()> {
    qmp.execute("stop", json!({}))?;
    qmp.migrate("migrate", &format!("file:{}", state.display()))?;
    qmp.execute("quit", json!({}))?;
    Ok(())
}

fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    // The first line is the command.
    text.lines()
        .skip(1)
        .last()
        .unwrap_or("it said nothing")
        .to_owned()
}

/// As a shell would have to read it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+".contains(c);
    if word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
