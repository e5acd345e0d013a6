//! A lab as seen by whoever started it, and by those who come later.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::definition::{Definition, Event, Happened, Machine, Reply, Request, Usage};
use crate::fault::{Affliction, Fault};
use crate::guest;
use crate::qemu::Sockets;
use crate::remains;
use crate::room;
use crate::rundir::{self, RunDir};
use crate::trouble::plain;
use crate::watch::Watch;

/// How long a supervisor may take to start all QEMUs, and to clear everything away: an engine takes up to seconds for
/// each container on a busy machine.
const PROMPT: Duration = Duration::from_secs(120);

/// A running lab. It ends when this is dropped, or when the process that holds it ends in any way, unless it
/// was detached.
pub struct Lab {
    attached: Attached,
    logs: PathBuf,
    events: Receiver<Event>,
    watch: Watch,
    supervisor: Child,
    /// The supervisor reads it to its end, which comes when this process ends, if not before.
    lifeline: Option<ChildStdin>,
    detached: bool,
    /// Keeps others from sweeping the directory before the supervisor holds it.
    _dir: RunDir,
}

/// What to wait for: that each of some machines says something.
#[derive(Debug, Clone)]
pub struct Waiting<'a> {
    /// Names of machines.
    pub machines: Vec<String>,
    /// What each has to say, or the beginning of it: [`ONLINE`](crate::guest::ONLINE), or words of one's own, for which
    /// something in the machine does as `echo 'bramble-lab: ready' > /dev/console`.
    pub text: &'a str,
    /// How long at most, altogether.
    pub patience: Duration,
}

impl Waiting<'static> {
    /// That each of these machines says that it is [online](crate::guest::ONLINE).
    pub fn online(
        machines: impl IntoIterator<Item = impl Into<String>>,
        patience: Duration,
    ) -> Waiting<'static> {
        Waiting {
            machines: machines.into_iter().map(Into::into).collect(),
            text: guest::ONLINE,
            patience,
        }
    }
}

impl Lab {
    /// Starts a lab. `supervisor` is a program with arguments that calls [`crate::supervise`] on the path it
    /// is given as last argument. `name` is a word, and short: it is in the paths of sockets.
    ///
    /// Returns when the lab can be asked for things. Its machines have yet to come [online](Lab::wait).
    ///
    /// # Errors
    /// When a lab called `name` runs already, or this one cannot be started: the supervisor's words are in the
    /// error.
    pub fn launch(name: &str, definition: &Definition, supervisor: &[String]) -> Result<Lab> {
        if let Some(warning) = room::warning(definition) {
            tracing::warn!("{warning}");
        }
        let dir = RunDir::create(name)?;
        let run = dir.begin(definition.scratch.as_deref())?;
        let logs = definition.logs.clone();
        fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
        let (program, arguments) = supervisor.split_first().context("no supervisor to start")?;
        let mut child = Command::new(program)
            .args(arguments)
            .arg(dir.path())
            // All that it starts is known by it.
            .env(remains::RUN, run.to_string())
            // Why it failed is part of an error of ours; where in its code, is not.
            .env("RUST_LIB_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(logs.join("supervisor.log"))?)
            // Ctrl-C is for whoever started the lab, who then ends it in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start the lab's supervisor, {program}"))?;
        let mut lifeline = child.stdin.take().context("the supervisor has no input")?;
        let output = child
            .stdout
            .take()
            .context("the supervisor has no output")?;
        writeln!(lifeline, "{}", serde_json::to_string(definition)?)?;

        let (sender, events) = channel();
        let watch = Watch::default();
        let watching = watch.clone();
        thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            for event in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
                watching.note(&event);
                // Nobody waits for an event once the lab is in other hands.
                let _ = sender.send(event);
            }
            watching.is_over();
        });
        let mut lab = Lab {
            attached: Attached {
                dir: dir.path().to_owned(),
            },
            logs,
            events,
            watch,
            supervisor: child,
            lifeline: Some(lifeline),
            detached: false,
            _dir: dir,
        };
        lab.until(Instant::now() + PROMPT, "the lab to start", &mut |event| {
            event.what == Happened::Listening
        })?;
        Ok(lab)
    }

    /// Waits until every machine of `waiting` has said what it has to say; `each` is shown every event.
    ///
    /// What has been said since the last wait counts, too. What an earlier wait was shown does not, even if it waited for
    /// another machine: so one wait names all machines that start together, and each start of a machine is waited for
    /// before the next. How machines are at any time is in [`Watch::machines`].
    ///
    /// # Errors
    /// When there is no such machine, any machine of the lab is in trouble that nobody expected, one of these ends, or
    /// patience does: the last lines of a machine's console are in the error.
    pub fn wait(&mut self, waiting: &Waiting, mut each: impl FnMut(&Event)) -> Result<()> {
        // That of a supervisor that does not answer is told below.
        let machines = self.attached.machines().unwrap_or_default();
        let mut wanted = waiting.machines.iter();
        if let Some(unknown) = wanted.find(|name| !machines.is_empty() && !machines.contains(name))
        {
            bail!(
                "there is no machine {unknown}, only {}",
                machines.join(", ")
            );
        }
        let mut missing: BTreeSet<String> = waiting.machines.iter().cloned().collect();
        let deadline = Instant::now() + waiting.patience;
        self.watch.check()?;
        while let Some(next) = missing.first().cloned() {
            let what = format!("{next} (of {}) to say `{}`", missing.len(), waiting.text);
            let logs = self.logs.clone();
            let mut gone = None;
            let outcome = self.until(deadline, &what, &mut |event| {
                each(event);
                let Some(machine) = event
                    .machine
                    .as_ref()
                    .filter(|machine| missing.contains(*machine))
                else {
                    return false;
                };
                match &event.what {
                    Happened::Says { text } if text.starts_with(waiting.text) => {
                        missing.remove(machine)
                    }
                    Happened::Gone { reason } => {
                        gone = Some(format!(
                            "{machine} is gone: {reason}\n{}",
                            console_tail(&logs, machine)
                        ));
                        true
                    }
                    _ => false,
                }
            });
            if let Some(gone) = gone {
                bail!(gone);
            }
            // Why, and then what it said.
            outcome.map_err(|why| anyhow!("{why:#}\n{}", console_tail(&logs, &next)))?;
        }
        Ok(())
    }

    /// Takes events until `enough` says so.
    fn until(
        &mut self,
        deadline: Instant,
        what: &str,
        enough: &mut dyn FnMut(&Event) -> bool,
    ) -> Result<()> {
        loop {
            match self
                .events
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(event) if enough(&event) => return Ok(()),
                Ok(_) => self.watch.check()?,
                Err(RecvTimeoutError::Timeout) => bail!("waited in vain for {what}"),
                Err(RecvTimeoutError::Disconnected) => {
                    let log = self.logs.join("supervisor.log");
                    let said = fs::read_to_string(&log).unwrap_or_default();
                    bail!(
                        "the lab's supervisor ended while waiting for {what}: {}",
                        said.trim()
                    );
                }
            }
        }
    }

    /// Knows how the machines are, and whether one is in trouble that nobody expected: a kernel panic or oops, a
    /// process that was killed for want of memory, a lockup, a failed unit, the end of its QEMU.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// The last lines of a machine's console, and where the whole of it is.
    pub fn console_tail(&self, machine: &str) -> String {
        console_tail(&self.logs, machine)
    }

    /// The lab as others see it.
    pub fn attached(&self) -> &Attached {
        &self.attached
    }

    /// Lets the lab live on when this process ends.
    ///
    /// # Errors
    /// When the supervisor does not answer.
    pub fn detach(mut self) -> Result<()> {
        self.attached.request(&Request::Detach)?;
        self.detached = true;
        Ok(())
    }

    /// Ends the lab: when this returns, no process and no socket of it is left.
    ///
    /// # Errors
    /// When the supervisor could not clear everything away, or a machine has been in trouble that nobody expected,
    /// see [`Lab::watch`].
    pub fn down(mut self) -> Result<()> {
        self.end()?;
        self.watch.check()
    }

    fn end(&mut self) -> Result<()> {
        if self.lifeline.take().is_none() || self.detached {
            return Ok(());
        }
        let status = self
            .supervisor
            .wait()
            .context("cannot wait for the lab's supervisor")?;
        if !status.success() {
            let said = fs::read_to_string(self.logs.join("supervisor.log")).unwrap_or_default();
            bail!("the lab's supervisor failed: {}", said.trim());
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!("{error:#}");
        }
    }
}

/// A running lab, reached by its control socket.
#[derive(Debug, Clone)]
pub struct Attached {
    pub(crate) dir: PathBuf,
}

impl Attached {
    /// The running lab called `name`, or the only one there is.
    ///
    /// # Errors
    /// When it does not run, or none or several do.
    pub fn find(name: Option<&str>) -> Result<Attached> {
        let running = RunDir::running()?;
        let called = |dir: &Path| {
            dir.file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default()
        };
        let names = || {
            running
                .iter()
                .map(|dir| called(dir))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let found = match (name, running.as_slice()) {
            (_, []) => bail!("no lab is running; `cargo xtask vm-test --keep` leaves one"),
            (Some(name), _) => running.iter().find(|dir| called(dir) == name),
            (None, [only]) => Some(only),
            (None, _) => bail!("several labs are running, name one of {}", names()),
        };
        let dir =
            found.with_context(|| format!("no lab of that name is running, only {}", names()))?;
        Ok(Attached { dir: dir.clone() })
    }

    /// What the lab is called.
    pub fn name(&self) -> String {
        self.dir
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    /// Whether somebody keeps it alive.
    pub fn is_running(&self) -> bool {
        self.dir.exists() && rundir::is_held(&self.dir).unwrap_or_default()
    }

    /// What the lab uses of the host.
    ///
    /// # Errors
    /// When the supervisor does not answer.
    pub fn usage(&self) -> Result<Usage> {
        match self.request(&Request::Usage)?.0 {
            Reply::Usage(usage) => Ok(usage),
            other => bail!("the lab's supervisor answered {other:?}"),
        }
    }

    /// Where the lab's files are: scratch, if it has any, and logs.
    ///
    /// # Errors
    /// When the supervisor does not answer.
    pub fn place(&self) -> Result<(Option<PathBuf>, PathBuf)> {
        match self.request(&Request::Place)?.0 {
            Reply::Place { scratch, logs } => Ok((scratch, logs)),
            other => bail!("the lab's supervisor answered {other:?}"),
        }
    }

    /// The names of all machines, on or off.
    ///
    /// # Errors
    /// When the supervisor does not answer.
    pub fn machines(&self) -> Result<Vec<String>> {
        match self.request(&Request::Machines)?.0 {
            Reply::Machines { names } => Ok(names),
            other => bail!("the lab's supervisor answered {other:?}"),
        }
    }

    /// Stops a booted machine for good and writes the state of its devices to `state`.
    ///
    /// # Errors
    /// When QEMU cannot.
    pub fn save(&self, machine: &str, state: &Path) -> Result<()> {
        self.request(&Request::Save {
            machine: machine.to_owned(),
            state: state.to_owned(),
        })
        .map(drop)
    }

    /// Starts one more machine, on the same network.
    ///
    /// # Errors
    /// When there is one of that name, or its console and its place at the switch cannot be made.
    pub fn add(&self, machine: &Machine) -> Result<()> {
        self.request(&Request::Add {
            machine: machine.clone(),
        })
        .map(drop)
    }

    /// Has one more port of 127.0.0.1, `from`, lead to a port of an address in the lab.
    ///
    /// # Errors
    /// When the lab has no gateway, or somebody listens on `from` already.
    pub fn forward(&self, from: u16, address: Ipv4Addr, port: u16) -> Result<()> {
        self.request(&Request::Forward {
            from,
            address,
            port,
        })
        .map(drop)
    }

    /// Has `fault` befall a machine, until it is cleared. It has befallen the machine when this returns, in place of
    /// another of its kind. The port `gateway`, by which the host reaches all machines, has a link, too.
    ///
    /// # Errors
    /// When there is no such machine, or it is not in a state for this to befall it.
    pub fn inflict(&self, machine: &str, fault: &Fault) -> Result<()> {
        self.befall(machine, fault, None)
    }

    /// As [`Attached::inflict`], and the lab clears it when it has lasted so long. Returns when it has befallen the
    /// machine, not when it is over: then it is no longer among the [`Attached::afflictions`].
    ///
    /// # Errors
    /// As [`Attached::inflict`].
    pub fn inflict_for(&self, machine: &str, fault: &Fault, lasting: Duration) -> Result<()> {
        self.befall(machine, fault, Some(lasting))
    }

    fn befall(&self, machine: &str, fault: &Fault, lasting: Option<Duration>) -> Result<()> {
        self.request(&Request::Inflict {
            machine: machine.to_owned(),
            fault: fault.clone(),
            lasting,
        })
        .map(drop)
    }

    /// Clears everything that has befallen a machine. If its power was cut, it boots when this returns;
    /// [`Lab::wait`] for [`ONLINE`](crate::guest::ONLINE) tells when it is back.
    ///
    /// # Errors
    /// When there is no such machine, or something cannot be cleared.
    pub fn clear(&self, machine: &str) -> Result<()> {
        self.request(&Request::Clear {
            machine: machine.to_owned(),
        })
        .map(drop)
    }

    /// What is in force, in the order it was inflicted.
    ///
    /// # Errors
    /// When the supervisor does not answer.
    pub fn afflictions(&self) -> Result<Vec<Affliction>> {
        match self.request(&Request::Afflictions)?.0 {
            Reply::Afflictions { afflictions } => Ok(afflictions),
            other => bail!("the lab's supervisor answered {other:?}"),
        }
    }

    /// Switches on a machine that is off, because its power was cut or because it switched itself off. It boots from
    /// its disk as that is, and is who it was.
    ///
    /// # Errors
    /// When there is no such machine, or it is not off.
    pub fn power_on(&self, machine: &str) -> Result<()> {
        self.request(&Request::PowerOn {
            machine: machine.to_owned(),
        })
        .map(drop)
    }

    /// Has root run a command, typed at the machine's console: the way in that no fault of the network cuts. Returns
    /// what it wrote to either output, with its last line's end.
    ///
    /// The command is one line, for `sh -c`, without tabs; its input is empty. A machine runs one at a time. What is to
    /// go on in the background must let go of the outputs, or is waited for: `nohup PROGRAM > /dev/null 2>&1 &`. A
    /// command may take five minutes, and so may a machine that boots until its shell answers.
    ///
    /// # Errors
    /// When there is no such machine, it is off, its shell does not answer, or the command takes too long or fails: what
    /// it wrote is in the error. Of a machine that stands still this is known after five minutes only.
    pub fn type_in(&self, machine: &str, command: &str) -> Result<String> {
        match self.type_for(machine, command)? {
            (0, output) => Ok(output),
            (code, output) => bail!(
                "`{command}` failed on {machine} with exit code {code}: {}",
                output.trim()
            ),
        }
    }

    /// As [`Attached::type_in`], for those who want to know how a command failed: returns its exit code, too.
    ///
    /// # Errors
    /// As [`Attached::type_in`], but not when the command fails.
    pub fn type_for(&self, machine: &str, command: &str) -> Result<(i32, String)> {
        let request = Request::Type {
            machine: machine.to_owned(),
            command: command.to_owned(),
        };
        match self.request(&request)?.0 {
            Reply::Typed { code, output } => Ok((code, output)),
            other => bail!("the lab's supervisor answered {other:?}"),
        }
    }

    /// A connection to a machine's console.
    ///
    /// # Errors
    /// When there is no such machine.
    pub fn console(&self, machine: &str) -> Result<UnixStream> {
        self.request(&Request::Console {
            machine: machine.to_owned(),
        })
        .map(|(_, stream)| stream)
    }

    /// A connection from which to read what a machine has sent and received lately and from now on, in the format of
    /// libpcap. Of earlier frames the first 512 bytes are there, of those to come all.
    ///
    /// # Errors
    /// When there is no such machine.
    pub fn capture(&self, machine: &str) -> Result<UnixStream> {
        self.request(&Request::Capture {
            machine: machine.to_owned(),
        })
        .map(|(_, stream)| stream)
    }

    /// Has what is only in the machines written to the lab's logs: `MACHINE.journal.log`, typed for at the console, so
    /// that the network need not work; and `MACHINE.pcap`, what the machine sent and received last. Returns what could
    /// not be had, and why: of machines that are off or stand still there is no journal.
    ///
    /// # Errors
    /// When the supervisor does not answer.
    pub fn collect(&self) -> Result<Vec<String>> {
        match self.request(&Request::Collect)?.0 {
            Reply::Collected { missing } => Ok(missing),
            other => bail!("the lab's supervisor answered {other:?}"),
        }
    }

    /// Ends the lab, and waits until it is gone.
    ///
    /// # Errors
    /// When it does not go.
    pub fn down(&self) -> Result<()> {
        let mut stream = self.send(&Request::Down)?;
        // The supervisor's end closes the connection, whether or not it came to an answer before.
        stream.set_read_timeout(Some(PROMPT))?;
        let _ = io::copy(&mut stream, &mut io::sink());
        if self.dir.exists() {
            bail!(
                "the lab did not go within {} seconds; its sockets are in {}",
                PROMPT.as_secs(),
                self.dir.display()
            );
        }
        Ok(())
    }

    fn send(&self, request: &Request) -> Result<UnixStream> {
        let path = Sockets(&self.dir).control();
        let mut stream = UnixStream::connect(&path)
            .with_context(|| format!("no lab answers at {}", path.display()))?;
        writeln!(stream, "{}", serde_json::to_string(request)?)?;
        Ok(stream)
    }

    pub(crate) fn request(&self, request: &Request) -> Result<(Reply, UnixStream)> {
        let mut stream = self.send(request)?;
        let reply = read_line(&mut stream).context("the lab's supervisor did not answer")?;
        match serde_json::from_str(&reply)? {
            Reply::Failed { reason } => bail!(reason),
            reply => Ok((reply, stream)),
        }
    }
}

/// Reads one line and not a byte more, since a console may follow.
fn read_line(stream: &mut UnixStream) -> Result<String> {
    let mut line = Vec::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        match byte {
            [b'\n'] => return Ok(String::from_utf8(line)?),
            [byte] => line.push(byte),
        }
    }
}

/// The last line of a machine's console in a lab's `logs`, without colours; `None` before it has said anything.
pub fn last_line(logs: &Path, machine: &str) -> Option<String> {
    const ENOUGH: u64 = 4096;
    let mut log = File::open(logs.join(format!("{machine}.console.log"))).ok()?;
    let length = log.metadata().ok()?.len();
    log.seek(SeekFrom::Start(length.saturating_sub(ENOUGH)))
        .ok()?;
    let mut end = Vec::new();
    log.read_to_end(&mut end).ok()?;
    let end = String::from_utf8_lossy(&end);
    let lines = end.lines().rev().map(plain);
    lines
        .map(|line| line.trim().to_owned())
        .find(|line| !line.is_empty())
}

/// The last lines of a machine's console, for an error.
fn console_tail(logs: &Path, machine: &str) -> String {
    let log = logs.join(format!("{machine}.console.log"));
    let bytes = fs::read(&log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let tail = lines[lines.len().saturating_sub(12)..].join("\n  ");
    format!("the last lines of {}:\n  {tail}", log.display())
}
