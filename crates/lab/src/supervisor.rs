//! The process that owns a lab: switch, consoles and machines live in it, and end with it.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use bramble_store::{Lease, Store};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::definition::{Definition, Event, Happened, OfMachine, Reply, Request, Start, Usage};
use crate::launcher::containers::Containers;
use crate::launcher::processes::{self, Processes};
use crate::launcher::{Backend, Files, Launcher, Program, Started};
use crate::qemu::{self, Sockets};
use crate::report::{Kept, Left};
use crate::rundir::{Record, RunDir};
use crate::switch::{GATEWAY, Switch};
use crate::template::bases;

mod checkpoint;
mod evidence;
mod faults;
mod machines;
mod requests;

use checkpoint::Together;
use faults::{Ending, InForce};
use machines::Running;
use requests::Answer;

/// How often the lab's memory is looked at where nobody asks, to know its peak. It costs 14 ms of a processor for each
/// machine.
const SAMPLE: Duration = Duration::from_secs(15);

/// Runs the lab whose definition is the first line of standard input, with its sockets in `dir`, until it is
/// told to end or standard input closes. Events go to standard output, one JSON line each. This is the body
/// of a program that [`crate::Lab`] starts; call it from that program's main thread.
///
/// # Errors
/// When the definition cannot be read or the lab cannot be set up. Everything is cleared away all the same.
pub fn supervise(dir: &Path) -> Result<()> {
    ensure!(
        dir.is_dir(),
        "{} is no lab's directory: a supervisor is called by Lab::launch, which names one last",
        dir.display()
    );
    let dir = RunDir::hold(dir.to_owned())?;
    let mut definition = String::new();
    io::stdin()
        .lock()
        .read_line(&mut definition)
        .context("cannot read the lab's definition")?;
    let definition: Definition =
        serde_json::from_str(&definition).context("the lab's definition is broken")?;

    // Whoever started this may end before it, and the store may be cleared then.
    let _leases = leases(&definition)?;

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
        together: Together::all_of(&definition),
        definition,
        started: Instant::now(),
        switch: Switch::default(),
        machines: BTreeMap::new(),
        launcher,
        qemus: Vec::new(),
        saving: Arc::default(),
        in_force: InForce::default(),
        peak_memory: 0,
        cpu_of_the_ended: Duration::ZERO,
        sender,
    };
    Kept::forget(&supervisor.definition.logs);
    supervisor.leave_word()?;
    let outcome = supervisor.start().and_then(|()| supervisor.serve(&inbox));
    supervisor.clear_away();
    fs::remove_dir_all(dir.path())
        .with_context(|| format!("cannot remove {}", dir.path().display()))?;
    outcome
}

/// Has a program be the supervisor of its own labs; the first thing that its `main` does. Called by [`Lab`](crate::Lab)
/// as a supervisor, it is one until the lab ends, and returns `None`: there is nothing left to do. Otherwise returns what
/// [`Lab::launch`](crate::Lab::launch) is to call it by.
///
/// # Errors
/// As [`supervise`], and when this program's path is not known.
pub fn supervised_by_itself() -> Result<Option<Vec<String>>> {
    const VERB: &str = "supervise-a-lab";
    let arguments: Vec<OsString> = env::args_os().collect();
    if let [_, verb, dir] = &arguments[..]
        && verb == VERB
    {
        return supervise(Path::new(dir)).map(|()| None);
    }
    let own = env::current_exe().context("this program's path is not known")?;
    let own = own.to_str().context("this program's path is not UTF-8")?;
    Ok(Some(vec![own.to_owned(), VERB.to_owned()]))
}

/// Holds the artefacts of a store that machines run from.
fn leases(definition: &Definition) -> Result<Vec<Lease>> {
    let mut files = BTreeSet::new();
    for machine in &definition.machines {
        files.extend(machine.borrowed().into_iter().map(Path::to_owned));
        if matches!(machine.start, Start::Restored { .. }) {
            files.extend(bases(&machine.disk)?);
        }
    }
    let leases = files.iter().map(|file| Store::lease(file));
    leases.filter_map(Result::transpose).collect()
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
    /// What machines from a checkpoint wait for, so that none goes on before the others.
    together: Together,
    /// Held while the lab is saved, as two who do so at once would wake each other's machines.
    saving: Arc<Mutex<()>>,
    /// What has befallen machines.
    in_force: InForce,
    peak_memory: u64,
    cpu_of_the_ended: Duration,
    sender: Sender<Message>,
}

/// What the main thread is woken by.
enum Message {
    Happened(Option<String>, Happened),
    Asked(Box<Request>, Sender<Answer>),
    /// The gateway forwards one more port.
    Forwarded(u16, Ipv4Addr, u16),
    /// A fault has lasted as long as it was to, or could not be inflicted.
    Over(u64, Ending),
    /// Standard input has closed: whoever started the lab is gone.
    Abandoned,
    /// A signal asked for the end.
    Signalled,
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
                Ok(Message::Forwarded(from, address, port)) => {
                    let gateway = self.definition.gateway.as_mut();
                    if let Some(gateway) = gateway {
                        gateway.forwards.push((from, address, port));
                    }
                }
                Ok(Message::Abandoned) if detached => {}
                Ok(Message::Abandoned | Message::Signalled)
                | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => drop(self.usage()),
            }
        }
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

#[cfg(test)]
mod tests {
    use bramble_store::Key;

    use super::*;
    use crate::definition::{Board, Machine};

    #[test]
    fn only_a_lab_is_supervised() {
        let error = supervise(Path::new("--quiet")).expect_err("no directory");
        assert!(
            error.to_string().contains("--quiet is no lab's directory"),
            "{error}"
        );
    }

    #[test]
    fn what_machines_run_from_stays_until_their_lab_ends() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path()).unwrap();
        let artefact = |kind: &str| {
            let key = Key::builder(kind, 1).finish().unwrap();
            store.get_or_build(&key, |_| Ok(())).unwrap().path
        };
        let (machine, template) = (artefact("machine"), artefact("template"));
        let definition = Definition {
            logs: "/logs".into(),
            scratch: None,
            backend: Backend::Processes,
            machines: vec![Machine {
                name: "worker1".to_owned(),
                board: Board::Virt,
                kernel: machine.join("vmlinuz"),
                initramfs: machine.join("initramfs"),
                device_tree: None,
                command_line: String::new(),
                disk: "/scratch/worker1.qcow2".into(),
                memory: 512,
                cpus: 1,
                niceness: 0,
                start: Start::Clone {
                    ram: template.join("ram"),
                    state: template.join("state"),
                    identity: "/scratch/worker1.tar".into(),
                    mac: "52:54:00:00:00:01".to_owned(),
                },
            }],
            gateway: None,
        };
        let leases = leases(&definition).unwrap();
        let removed = || store.gc(Duration::ZERO, false).unwrap().artefacts.len();
        assert_eq!(removed(), 0);
        drop(leases);
        assert_eq!(removed(), 2);
    }
}
