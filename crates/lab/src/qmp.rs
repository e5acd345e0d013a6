//! The QEMU machine protocol, over a socket that QEMU connects to.
//!
//! One JSON object a line, see QEMU's "QMP Reference Manual". A dozen commands are used, so a client of our
//! own is smaller than generated bindings, and compiles in no time.

use std::fs::File;
use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::{Map, Value, json};

/// The rate of a migration in bytes a second: none worth the name, in place of QEMU's, which spares a network.
const RATE: u64 = 1 << 40;

/// A connection to one QEMU.
pub(crate) struct Qmp {
    connection: Mutex<Connection>,
}

struct Connection {
    to: UnixStream,
    /// Replies and events, in the order they came.
    from: Receiver<Value>,
    log: Log,
}

/// What was said on both sides, a JSON object a line: when, by whom, and what.
#[derive(Clone)]
struct Log(Arc<File>);

impl Log {
    fn note(&self, who: &str, message: &Value) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH);
        let at = at.unwrap_or_default().as_secs_f64();
        let line = format!("{}\n", json!({"at": at, who: message}));
        // A full disk must not end the lab.
        let _ = (&*self.0).write_all(line.as_bytes());
    }
}

impl Qmp {
    /// Takes over a QEMU's connection, to and from it, and negotiates; what is said is written to `log`. `ended` is called
    /// once, when QEMU has closed it, which it does only by ending.
    ///
    /// # Errors
    /// When what is there does not speak QMP.
    pub(crate) fn connect(
        to: UnixStream,
        from: impl Read + Send + 'static,
        log: File,
        ended: impl FnOnce() + Send + 'static,
    ) -> Result<Qmp> {
        let (lines, received) = channel();
        let log = Log(Arc::new(log));
        let heard = log.clone();
        thread::spawn(move || {
            read_lines(from, &heard, &lines);
            drop(lines);
            ended();
        });
        let greeting: Value = received.recv().context("QEMU ended before it greeted")?;
        if greeting.get("QMP").is_none() {
            bail!("QEMU greeted with {greeting}");
        }
        let qmp = Qmp {
            connection: Mutex::new(Connection {
                to,
                from: received,
                log,
            }),
        };
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and returns what it returns.
    ///
    /// # Errors
    /// When QEMU refuses it, in QEMU's words, or has ended.
    pub(crate) fn execute(&self, command: &str, arguments: Value) -> Result<Value> {
        self.lock().execute(command, arguments)
    }

    /// Runs a migration command, and waits until the migration that it starts has ended. Migrations must
    /// have been set to announce themselves (capability `events`).
    ///
    /// # Errors
    /// When the migration fails, or QEMU ends.
    pub(crate) fn migrate(&self, command: &str, uri: &str) -> Result<()> {
        self.lock().migrate(command, uri)
    }

    /// As `migrate` to a file, which is handed to QEMU open: it need not be able to open it. The machine can go on when this
    /// returns.
    ///
    /// # Errors
    /// As [`Qmp::migrate`].
    pub(crate) fn migrate_into(&self, file: &File) -> Result<()> {
        let mut connection = self.lock();
        let handed = connection.hand_over(file)?;
        let outcome = connection.migrate("migrate", &format!("file:/dev/fdset/{handed}"));
        // Or QEMU would hold it open for as long as it runs.
        let removed = connection.execute("remove-fd", json!({ "fdset-id": handed }));
        outcome.and(removed.map(drop))?;
        connection.let_finish()
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere leaves the connection between two messages at worst.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    fn migrate(&mut self, command: &str, uri: &str) -> Result<()> {
        let capabilities =
            ["x-ignore-shared", "events"].map(|name| json!({"capability": name, "state": true}));
        self.execute(
            "migrate-set-capabilities",
            json!({ "capabilities": capabilities }),
        )?;
        self.execute("migrate-set-parameters", json!({ "max-bandwidth": RATE }))?;
        // Events may come before the reply.
        let mut seen = Vec::new();
        self.execute_noting(command, json!({ "uri": uri }), &mut seen)?;
        let mut seen = seen.into_iter();
        loop {
            let event = match seen.next() {
                Some(event) => event,
                None => self.receive()?,
            };
            if event["event"] == "MIGRATION" {
                match event["data"]["status"].as_str() {
                    Some("completed") => return Ok(()),
                    Some(status @ ("failed" | "cancelled")) => {
                        bail!("`{command}` of {uri} {status}")
                    }
                    _ => {}
                }
            }
        }
    }

    /// A migration is announced as completed a moment before QEMU has done with it, and of that moment's end nothing is said.
    fn let_finish(&mut self) -> Result<()> {
        while self.execute("query-status", json!({}))?["status"] == "finish-migrate" {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Gives QEMU an open file, and returns the number by which it knows it.
    fn hand_over(&mut self, file: &File) -> Result<i64> {
        // It goes with a space before the command that takes it.
        sendmsg::<()>(
            self.to.as_raw_fd(),
            &[IoSlice::new(b" ")],
            &[ControlMessage::ScmRights(&[file.as_raw_fd()])],
            MsgFlags::empty(),
            None,
        )
        .context("QEMU does not take a file")?;
        let added = self.execute("add-fd", json!({}))?;
        added["fdset-id"]
            .as_i64()
            .with_context(|| format!("QEMU took a file and said {added}"))
    }

    fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        self.execute_noting(command, arguments, &mut Vec::new())
    }

    /// Runs a command, keeping the events that come before its reply.
    fn execute_noting(
        &mut self,
        command: &str,
        arguments: Value,
        events: &mut Vec<Value>,
    ) -> Result<Value> {
        let message = json!({ "execute": command, "arguments": arguments });
        self.log.note("lab", &message);
        let line = format!("{message}\n");
        let sent = self
            .to
            .write_all(line.as_bytes())
            .and_then(|()| self.to.flush());
        sent.with_context(|| format!("QEMU no longer takes commands (`{command}`)"))?;
        loop {
            let mut message = self
                .receive()
                .with_context(|| format!("no reply to `{command}`"))?;
            if let Some(returned) = message.get_mut("return") {
                return Ok(returned.take());
            }
            if let Some(error) = message.get("error") {
                bail!(
                    "QEMU refused `{command}`: {}",
                    error["desc"].as_str().unwrap_or_default()
                );
            }
            events.push(message);
        }
    }

    fn receive(&mut self) -> Result<Value> {
        self.from.recv().context("QEMU has ended")
    }
}

/// Passes on every JSON object until the stream ends.
fn read_lines(from: impl Read, log: &Log, to: &Sender<Value>) {
    for line in BufReader::new(from).lines() {
        let Ok(line) = line else { return };
        let message = serde_json::from_str::<Map<String, Value>>(&line);
        // What is no JSON object is QEMU's chatter before the protocol begins.
        let Ok(message) = message else { continue };
        let message = Value::Object(message);
        log.note("qemu", &message);
        if to.send(message).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;

    use super::*;

    /// A QEMU that greets and then answers each command with the lines that `answers` gives for it.
    fn qemu(answers: impl Fn(&str) -> Vec<Value> + Send + 'static) -> Result<Qmp> {
        let (ours, theirs) = UnixStream::pair()?;
        thread::spawn(move || -> Result<()> {
            let mut out = theirs.try_clone()?;
            writeln!(out, "{}", json!({"QMP": {"version": {}}}))?;
            for line in BufReader::new(theirs).lines() {
                let command: Value = serde_json::from_str(&line?)?;
                for answer in answers(command["execute"].as_str().unwrap_or_default()) {
                    writeln!(out, "{answer}")?;
                }
            }
            Ok(())
        });
        Qmp::connect(ours.try_clone()?, ours, tempfile::tempfile()?, || {})
    }

    #[test]
    fn commands_return_or_are_refused() -> Result<()> {
        let qmp = qemu(|command| match command {
            "query-status" => vec![
                json!({"event": "RESUME"}),
                json!({"return": {"status": "running"}}),
            ],
            "device_add" => vec![json!({"error": {"desc": "Bus 'slot9' not found"}})],
            _ => vec![json!({"return": {}})],
        })?;
        assert_eq!(qmp.execute("query-status", json!({}))?["status"], "running");
        let refused = qmp
            .execute("device_add", json!({"bus": "slot9"}))
            .expect_err("refused");
        assert_eq!(
            refused.to_string(),
            "QEMU refused `device_add`: Bus 'slot9' not found"
        );
        Ok(())
    }

    #[test]
    fn a_migration_is_over_when_qemu_says_so() -> Result<()> {
        let status = |status: &str| json!({"event": "MIGRATION", "data": {"status": status}});
        for (answers, expected) in [
            (
                vec![json!({"return": {}}), status("setup"), status("completed")],
                Ok(()),
            ),
            (
                vec![status("setup"), status("completed"), json!({"return": {}})],
                Ok(()),
            ),
            (
                vec![json!({"return": {}}), status("active"), status("failed")],
                Err("`migrate` of file:s failed"),
            ),
        ] {
            let qmp = qemu(move |command| match command {
                "migrate" => answers.clone(),
                _ => vec![json!({"return": {}})],
            })?;
            let outcome = qmp
                .migrate("migrate", "file:s")
                .map_err(|error| error.to_string());
            assert_eq!(outcome, expected.map_err(str::to_owned));
        }
        Ok(())
    }

    #[test]
    fn an_end_is_announced_and_ends_what_waits() -> Result<()> {
        let (ours, theirs) = UnixStream::pair()?;
        let (ended, announced) = mpsc::channel();
        let mut out = theirs.try_clone()?;
        writeln!(out, "{}", json!({"QMP": {}}))?;
        writeln!(out, "{}", json!({"return": {}}))?;
        let qmp = Qmp::connect(ours.try_clone()?, ours, tempfile::tempfile()?, move || {
            ended.send(()).expect("somebody listens")
        })?;
        drop((out, theirs));
        announced.recv()?;
        assert!(qmp.execute("stop", json!({})).is_err());
        Ok(())
    }
}
