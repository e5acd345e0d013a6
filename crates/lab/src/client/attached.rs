//! A lab that runs, whoever started it.

use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::PROMPT;
use crate::definition::{Machine, Reply, Request, Usage};
use crate::fault::{Affliction, Fault};
use crate::qemu::Sockets;
use crate::rundir::{self, RunDir};

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
        match self.ask(&Request::Usage)? {
            Reply::Usage(usage) => Ok(usage),
            other => bail!("the lab's supervisor answered {other:?}"),
        }
    }

    /// Where the lab's files are: scratch, if it has any, and logs.
    ///
    /// # Errors
    /// When the supervisor does not answer.
    pub fn place(&self) -> Result<(Option<PathBuf>, PathBuf)> {
        match self.ask(&Request::Place)? {
            Reply::Place { scratch, logs } => Ok((scratch, logs)),
            other => bail!("the lab's supervisor answered {other:?}"),
        }
    }

    /// The names of all machines, on or off.
    ///
    /// # Errors
    /// When the supervisor does not answer.
    pub fn machines(&self) -> Result<Vec<String>> {
        match self.ask(&Request::Machines)? {
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
    /// When there is no such machine, it is not in a state for this to befall it, or the lab is being saved.
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
    /// [`Lab::wait`](crate::Lab::wait) for [`ONLINE`](crate::guest::ONLINE) tells when it is back.
    ///
    /// # Errors
    /// When there is no such machine, or something cannot be cleared.
    pub fn clear(&self, machine: &str) -> Result<()> {
        self.request(&Request::Clear {
            machine: machine.to_owned(),
            like: None,
        })
        .map(drop)
    }

    /// Clears what is of `fault`'s kind, whatever its figures are, and nothing else that has befallen a machine: of its
    /// link, what befalls frames in `fault`'s direction, in the other as well if that is one fault. A machine whose power
    /// cut is cleared boots, and what went with the power is no longer in force.
    ///
    /// # Errors
    /// As [`Attached::clear`], when nothing of the kind is in force, or when it has to be undone by a machine that has no
    /// power or stands still.
    pub fn clear_one(&self, machine: &str, fault: &Fault) -> Result<()> {
        self.request(&Request::Clear {
            machine: machine.to_owned(),
            like: Some(fault.clone()),
        })
        .map(drop)
    }

    /// What is in force, in the order it was inflicted.
    ///
    /// # Errors
    /// When the supervisor does not answer.
    pub fn afflictions(&self) -> Result<Vec<Affliction>> {
        match self.ask(&Request::Afflictions)? {
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

    /// What the supervisor knows without asking a machine. It answers at once, unless it stands still.
    fn ask(&self, request: &Request) -> Result<Reply> {
        self.answer(request, Some(PROMPT)).map(|(reply, _)| reply)
    }

    /// What may take as long as machines do.
    pub(crate) fn request(&self, request: &Request) -> Result<(Reply, UnixStream)> {
        self.answer(request, None)
    }

    fn answer(&self, request: &Request, patience: Option<Duration>) -> Result<(Reply, UnixStream)> {
        let mut stream = self.send(request)?;
        stream.set_read_timeout(patience)?;
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
