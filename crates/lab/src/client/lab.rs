//! A lab in the hands of whoever started it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::said::console_tail;
use super::{Attached, PROMPT};
use crate::definition::{Definition, Event, Happened, Request};
use crate::guest;
use crate::remains;
use crate::room;
use crate::rundir::RunDir;
use crate::watch::Watch;

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
    /// When a lab called `name` runs already, somebody listens on a port that is to lead into the lab, or this one cannot
    /// be started: the supervisor's words are in the error.
    pub fn launch(name: &str, definition: &Definition, supervisor: &[String]) -> Result<Lab> {
        if let Some(warning) = room::warning(definition) {
            tracing::warn!("{warning}");
        }
        let forwards = definition.gateway.iter().flat_map(|it| &it.forwards);
        forwards.copied().try_for_each(ensure_free)?;
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
        self.watch.lets_go();
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
        self.watch.lets_go();
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

/// Whether a port of 127.0.0.1 can lead into a lab: one that goes on from a checkpoint has the ports that it had.
fn ensure_free((from, address, port): (u16, Ipv4Addr, u16)) -> Result<()> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, from)).with_context(|| {
        format!(
            "port {from} of 127.0.0.1, which is to lead to {address}:{port} in the lab, cannot be listened on; end who does, \
             perhaps an earlier lab (`cargo xtask vm ls`, `vm down`)"
        )
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let forward = (port, [192, 168, 1, 200].into(), 22);
        let error = ensure_free(forward).expect_err("somebody listens");
        let error = format!("{error:#}");
        assert!(
            error.contains(&format!("port {port} of")) && error.contains("192.168.1.200:22"),
            "{error}"
        );
        drop(listener);
        ensure_free(forward).expect("nobody listens");
    }
}
