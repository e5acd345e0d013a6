//! The process that owns a lab: switch, consoles and machines live in it, and end with it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use nix::sys::socket::{Shutdown, shutdown};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::console::{Console, Heard};
use crate::definition::{
    Definition, Event, Happened, Machine, OfMachine, Reply, Request, Start, Usage,
};
use crate::guest;
use crate::launcher::containers::Containers;
use crate::launcher::processes::{self, Processes};
use crate::launcher::{Backend, Ended, Files, Launcher, Program, Started};
use crate::qemu::{self, IDENTITY_SLOT, NETWORK, NETWORK_SLOT, Sockets};
use crate::qmp::Qmp;
use crate::recorder::Capture;
use crate::report::Left;
use crate::rundir::{Record, RunDir};
use crate::switch::{GATEWAY, Switch};
use crate::typing::Typing;

mod evidence;
mod faults;

use faults::{Ending, InForce, reply};

/// How often the lab's memory is looked at, to know its peak.
const SAMPLE: Duration = Duration::from_secs(2);

/// How long a QEMU may take to greet.
const GREETING: Duration = Duration::from_secs(30);

/// Runs the lab whose definition is the first line of standard input, with its sockets in `dir`, until it is
/// told to end or standard input closes. Events go to standard output, one JSON line each. This is the body
/// of a program that [`crate::Lab`] starts; call it from that program's main thread.
///
/// # Errors
/// When the definition cannot be read or the lab cannot be set up. Everything is cleared away all the same.
pub fn supervise(dir: &Path) -> Result<()> {
    let dir = RunDir::hold(dir.to_owned())?;
    let mut definition = String::new();
    io::stdin()
        .lock()
        .read_line(&mut definition)
        .context("cannot read the lab's definition")?;
    let definition: Definition =
        serde_json::from_str(&definition).context("the lab's definition is broken")?;

    let launcher: Box<dyn Launcher> = match &definition.backend {
        Backend::Processes => Box::new(Processes),
        Backend::Containers { image } => {
            let record = Record::read(dir.path()).context("the lab's record is missing")?;
            Box::new(Containers::new(image, record.run, dir.path())?)
        }
    };
    let (sender, inbox) = channel();
    let mut supervisor = Supervisor {
        sockets: dir.path().to_owned(),
        events: File::create(definition.logs.join("events.jsonl"))?,
        definition,
        started: Instant::now(),
        switch: Switch::default(),
        machines: BTreeMap::new(),
        launcher,
        qemus: Vec::new(),
        in_force: InForce::default(),
        peak_memory: 0,
        cpu_of_the_ended: Duration::ZERO,
        sender,
    };
    supervisor.leave_word()?;
    let outcome = supervisor.start().and_then(|()| supervisor.serve(&inbox));
    supervisor.clear_away();
    fs::remove_dir_all(dir.path())
        .with_context(|| format!("cannot remove {}", dir.path().display()))?;
    outcome
}

struct Supervisor {
    sockets: PathBuf,
    definition: Definition,
    events: File,
    started: Instant,
    switch: Switch,
    machines: BTreeMap<String, Running>,
    launcher: Box<dyn Launcher>,
    /// The QEMUs that were started, by their machines' names.
    qemus: Vec<(String, Box<dyn Started>)>,
    /// What has befallen machines.
    in_force: InForce,
    peak_memory: u64,
    cpu_of_the_ended: Duration,
    sender: Sender<Message>,
}

/// A machine, seen from the threads that talk with it.
#[derive(Clone, Default)]
struct Running {
    console: Console,
    typing: Arc<Typing>,
    /// Set once its QEMU has greeted.
    qmp: Arc<OnceLock<Qmp>>,
    /// Whether its QEMU is to end, so that its end is no news.
    shall_end: Arc<AtomicBool>,
}

impl Running {
    /// The way to its QEMU, which may have been started this moment.
    fn qmp(&self) -> Result<&Qmp> {
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

/// What the main thread is woken by.
enum Message {
    Happened(Option<String>, Happened),
    Asked(Box<Request>, Sender<Answer>),
    /// A fault has lasted as long as it was to, or could not be inflicted.
    Over(u64, Ending),
    /// Standard input has closed: whoever started the lab is gone.
    Abandoned,
    /// A signal asked for the end.
    Signalled,
}

/// What a request leads to: a reply, and what the connection carries from then on where that was asked for.
enum Answer {
    Reply(Reply),
    Console(Console),
    Capture(Capture),
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Answer {
        Answer::Reply(reply)
    }
}

impl Supervisor {
    fn start(&mut self) -> Result<()> {
        self.listen_for_signals()?;
        self.listen_for_requests()?;
        self.listen_for_the_end_of_input();
        if let Some(gateway) = self.definition.gateway.clone() {
            self.switch
                .listen(GATEWAY, &Sockets(&self.sockets).port(GATEWAY))?;
            let program = Program {
                name: GATEWAY.to_owned(),
                argv: qemu::gateway(&gateway, Sockets(&self.sockets)),
                niceness: 0,
                log: self.definition.logs.join(format!("{GATEWAY}.qemu.log")),
                files: Files::default(),
            };
            // It listens on this machine's own loopback, so it is no container.
            self.launch(program, Some(&mut Processes), |_| Ok(Happened::Started))?;
        }
        for machine in self.definition.machines.clone() {
            self.start_machine(machine)?;
        }
        self.tell(None, Happened::Listening);
        Ok(())
    }

    fn start_machine(&mut self, machine: Machine) -> Result<()> {
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

    fn added(&mut self, machine: Machine) -> Answer {
        if self.machines.contains_key(&machine.name) {
            return failed(format!("there is a machine {} already", machine.name));
        }
        self.definition.machines.push(machine.clone());
        if let Err(error) = self.leave_word() {
            tracing::warn!("{error:#}");
        }
        reply(self.start_machine(machine))
    }

    /// Says in the logs what the lab consists of.
    fn leave_word(&self) -> Result<()> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let left = Left {
            started: now.saturating_sub(self.started.elapsed()).as_secs_f64(),
            definition: self.definition.clone(),
        };
        left.write()
    }

    /// Starts the QEMU of a machine that has a port and a console.
    fn switch_on(&mut self, machine: Machine) -> Result<()> {
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
        self.launch(program, None, move |qmp| match &machine.start {
            Start::Boot { .. } | Start::Cold { .. } => Ok(Happened::Started),
            Start::Clone {
                state,
                identity,
                mac,
                ..
            } => resume(qmp, state, identity, mac, &port).map(|()| Happened::Resumed),
        })
    }

    /// Starts a QEMU, by `launcher` in place of the lab's own if there is one, and brings it up in a thread of its own.
    fn launch(
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
                    tell(bring_up(qmp).unwrap_or_else(|error| gone(format!("{error:#}"))));
                }
                Err(error) => tell(gone(format!("{error:#}: {}", last_line(&log)))),
            }
        });
        Ok(())
    }

    fn listen_for_signals(&self) -> Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let sender = self.sender.clone();
        thread::spawn(move || {
            signals
                .forever()
                .try_for_each(|_| sender.send(Message::Signalled))
        });
        Ok(())
    }

    fn listen_for_the_end_of_input(&self) {
        let sender = self.sender.clone();
        thread::spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            let _ = sender.send(Message::Abandoned);
        });
    }

    fn listen_for_requests(&self) -> Result<()> {
        let listener = UnixListener::bind(Sockets(&self.sockets).control())?;
        let sender = self.sender.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                thread::spawn(move || converse(stream, &sender));
            }
        });
        Ok(())
    }

    /// Answers requests and passes events on until the lab shall end.
    fn serve(&mut self, inbox: &Receiver<Message>) -> Result<()> {
        let mut detached = false;
        loop {
            match inbox.recv_timeout(SAMPLE) {
                Ok(Message::Happened(machine, what)) => self.tell(machine, what),
                Ok(Message::Asked(request, reply)) if *request == Request::Detach => {
                    detached = true;
                    let _ = reply.send(Reply::Done.into());
                }
                Ok(Message::Asked(request, reply)) if *request == Request::Down => {
                    let _ = reply.send(Reply::Done.into());
                    return Ok(());
                }
                Ok(Message::Asked(request, reply)) => self.answer(*request, reply),
                Ok(Message::Over(number, ending)) => self.over(number, ending),
                Ok(Message::Abandoned) if detached => {}
                Ok(Message::Abandoned | Message::Signalled)
                | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => drop(self.usage()),
            }
        }
    }

    fn answer(&mut self, request: Request, to: Sender<Answer>) {
        let running = |machine: &str| self.machines.get(machine).cloned();
        let answer = match request {
            Request::Usage => Reply::Usage(self.usage()).into(),
            Request::Place => {
                let Definition { scratch, logs, .. } = self.definition.clone();
                Reply::Place { scratch, logs }.into()
            }
            Request::Console { machine } => match running(&machine) {
                Some(running) => Answer::Console(running.console),
                None => no_such(&machine),
            },
            Request::Capture { machine } => match self.switch.capture(&machine) {
                Some(capture) => Answer::Capture(capture),
                None => no_such(&machine),
            },
            Request::Collect => return self.collect(to),
            Request::Save { machine, state } => match running(&machine) {
                // Takes its time, in which others are answered.
                Some(running) => {
                    thread::spawn(move || to.send(saved(&running, &machine, &state)));
                    return;
                }
                None => no_such(&machine),
            },
            Request::Add { machine } => self.added(machine),
            Request::Forward {
                from,
                address,
                port,
            } => match running(GATEWAY) {
                Some(gateway) => {
                    thread::spawn(move || to.send(reply(forward(&gateway, from, address, port))));
                    return;
                }
                None => failed("the lab has no gateway".to_owned()),
            },
            Request::Inflict {
                machine,
                fault,
                lasting,
            } => return self.inflict(&machine, fault, lasting, to),
            Request::Clear { machine } => return self.clear(&machine, to),
            Request::Afflictions => Reply::Afflictions {
                afflictions: self.in_force.afflictions(),
            }
            .into(),
            Request::PowerOn { machine } => self.powered_on(&machine),
            Request::Type { machine, command } => match running(&machine) {
                Some(running) => {
                    thread::spawn(move || to.send(typed(&running, &machine, &command)));
                    return;
                }
                None => no_such(&machine),
            },
            Request::Detach | Request::Down => unreachable!("both are the main loop's"),
        };
        let _ = to.send(answer);
    }

    fn tell(&mut self, machine: Option<String>, what: Happened) {
        let at = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let Ok(mut line) = serde_json::to_string(&Event { at, machine, what }) else {
            return;
        };
        line.push('\n');
        // Once detached nobody listens, and a full disk must not end the lab.
        let _ = self.events.write_all(line.as_bytes());
        let _ = io::stdout()
            .write_all(line.as_bytes())
            .and_then(|()| io::stdout().flush());
    }

    fn usage(&mut self) -> Usage {
        let machines = self.qemus.iter().map(|(name, qemu)| {
            let [from, to] = self.switch.carried(name);
            let ids = || qemu.processes().into_iter();
            let cpu: Duration = ids().filter_map(processes::cpu).sum();
            let usage = OfMachine {
                memory: ids().filter_map(processes::memory).sum(),
                cpu: u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX),
                frames_from: from.frames,
                frames_to: to.frames,
                bytes_from: from.bytes,
                bytes_to: to.bytes,
            };
            (name.clone(), usage)
        });
        let machines: BTreeMap<String, OfMachine> = machines.collect();
        let memory = machines.values().map(|machine| machine.memory).sum();
        let cpu: u64 = machines.values().map(|machine| machine.cpu).sum();
        let ended = u64::try_from(self.cpu_of_the_ended.as_millis()).unwrap_or(u64::MAX);
        self.peak_memory = self.peak_memory.max(memory);
        Usage {
            memory,
            peak_memory: self.peak_memory,
            cpu: ended + cpu,
            machines,
        }
    }

    /// Kills every QEMU, since a lab's machines have nothing to lose, and removes what was theirs.
    fn clear_away(&mut self) {
        for (name, qemu) in &mut self.qemus {
            if let Err(error) = qemu.end() {
                tracing::warn!("{name}: {error:#}");
            }
        }
        if let Some(scratch) = &self.definition.scratch {
            // What is left of it is swept by whoever makes it anew.
            let _ = fs::remove_dir_all(scratch);
        }
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

/// Only QEMU's monitor for people can do so, which says nothing when all is well.
fn forward(gateway: &Running, from: u16, address: Ipv4Addr, port: u16) -> Result<()> {
    let command = format!("hostfwd_add user tcp:127.0.0.1:{from}-{address}:{port}");
    let said = gateway
        .qmp()?
        .execute("human-monitor-command", json!({"command-line": command}))?;
    match said.as_str().map(str::trim) {
        Some("") => Ok(()),
        _ => bail!("QEMU refused `{command}`: {said}"),
    }
}

fn typed(running: &Running, machine: &str, command: &str) -> Answer {
    match running.typing.run(&running.console, command) {
        Ok((code, output)) => Reply::Typed { code, output }.into(),
        Err(error) => failed(format!("cannot type at {machine}: {error:#}")),
    }
}

fn saved(running: &Running, machine: &str, state: &Path) -> Answer {
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

/// Answers one request on `stream`; a console goes on from there. `None` when either side is gone.
fn converse(mut stream: UnixStream, to: &Sender<Message>) -> Option<()> {
    let mut line = String::new();
    BufReader::new(stream.try_clone().ok()?)
        .read_line(&mut line)
        .ok()?;
    let mut goes_down = false;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => {
            goes_down = request == Request::Down;
            let (sender, answer) = channel();
            to.send(Message::Asked(Box::new(request), sender)).ok()?;
            answer.recv().ok()?
        }
        Err(error) => Reply::Failed {
            reason: format!("no request: {error}"),
        }
        .into(),
    };
    let reply = match &answer {
        Answer::Reply(reply) => reply,
        Answer::Console(_) | Answer::Capture(_) => &Reply::Done,
    };
    writeln!(stream, "{}", serde_json::to_string(reply).ok()?).ok()?;
    if goes_down {
        // The end of this process closes the connection, and tells the other side that all is gone.
        loop {
            thread::park();
        }
    }
    match answer {
        Answer::Reply(_) => None,
        Answer::Console(console) => console.attach(stream).ok(),
        Answer::Capture(capture) => capture.write(stream).ok(),
    }
}

fn no_such(machine: &str) -> Answer {
    failed(format!("there is no machine {machine}"))
}

fn failed(reason: String) -> Answer {
    Reply::Failed { reason }.into()
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
