//! A machine's serial console: logged, watched for what the machine says, and open to one person at a time.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::trouble::{self, Trouble};
use crate::watch::Told;

/// How a machine addresses the lab, at the end of a line of its console.
pub(crate) const MARK: &str = "bramble-lab: ";

/// What the lab hears on a console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// What the machine says to the lab: what follows [`MARK`].
    Said(String),
    /// A line that bodes ill.
    Trouble(Trouble, String),
}

/// A handle to a console.
#[derive(Clone, Default)]
pub(crate) struct Console {
    ends: Arc<Mutex<Ends>>,
}

#[derive(Default)]
struct Ends {
    machine: Option<UnixStream>,
    person: Option<UnixStream>,
}

impl Console {
    /// Waits for the machine at the socket `path`, each time it is switched on, logs its console to the file `log`,
    /// and calls `hears` with everything that concerns the lab.
    ///
    /// # Errors
    /// When socket or log cannot be made.
    pub(crate) fn listen(
        path: &Path,
        log: &Path,
        hears: impl Fn(Heard) + Send + 'static,
    ) -> io::Result<Console> {
        let listener = UnixListener::bind(path)?;
        let mut log = File::create(log)?;
        let console = Console::default();
        let watched = console.clone();
        thread::spawn(move || {
            for mut machine in listener.incoming().flatten() {
                watched.lock().machine = machine.try_clone().ok();
                let (mut lines, mut told) = (Lines::default(), Told::default());
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = machine.read(&mut buffer) {
                    let bytes = &buffer[..read];
                    // A full disk must not stop the machine.
                    let _ = log.write_all(bytes);
                    watched.show(bytes);
                    lines.push(bytes, |line| match heard(line) {
                        Some(Heard::Trouble(_, text)) if !told.is_new(&text) => {}
                        Some(heard) => hears(heard),
                        None => {}
                    });
                }
                watched.lock().machine = None;
            }
        });
        Ok(console)
    }

    fn lock(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Types at the machine's keyboard.
    ///
    /// # Errors
    /// When the machine is off.
    pub(crate) fn type_in(&self, text: &str) -> io::Result<()> {
        let machine = self.lock().machine.as_ref().map(UnixStream::try_clone);
        let mut machine = machine.ok_or(io::ErrorKind::NotConnected)??;
        machine.write_all(text.as_bytes())
    }

    /// Shows what the machine wrote to the person who is there, if any.
    fn show(&self, bytes: &[u8]) {
        let mut ends = self.lock();
        if let Some(person) = &mut ends.person
            && person.write_all(bytes).is_err()
        {
            ends.person = None;
        }
    }

    /// Connects a person, in place of whoever was connected, until they leave.
    ///
    /// # Errors
    /// When the machine has not opened its console yet.
    pub(crate) fn attach(&self, mut person: UnixStream) -> io::Result<()> {
        let mut machine = {
            let mut ends = self.lock();
            let machine = ends
                .machine
                .as_ref()
                .ok_or(io::ErrorKind::NotConnected)?
                .try_clone()?;
            if let Some(before) = ends.person.replace(person.try_clone()?) {
                let _ = before.shutdown(Shutdown::Both);
            }
            machine
        };
        io::copy(&mut person, &mut machine).map(drop)
    }
}

/// Cuts what a console writes into lines.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&str)) {
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            each(&String::from_utf8_lossy(&self.line));
            self.line.clear();
        }
    }
}

fn heard(line: &str) -> Option<Heard> {
    if let Some((_, said)) = line.split_once(MARK) {
        return Some(Heard::Said(said.trim().to_owned()));
    }
    let (trouble, text) = trouble::trouble(line)?;
    Some(Heard::Trouble(trouble, text))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn what_the_machine_says_is_heard_and_all_of_it_is_logged() {
        let dir = tempfile::tempdir().expect("a directory");
        let (socket, log) = (dir.path().join("tty"), dir.path().join("console.log"));
        let (said, heard) = channel();
        let console =
            Console::listen(&socket, &log, move |it| drop(said.send(it))).expect("a console");

        let mut machine = UnixStream::connect(&socket).expect("connected");
        let wire = "Booting\r\n\x1b[0mbramble-lab: set|tled running\r\nbramble login: \n\
            [    9.5] Kernel panic - not sync|ing: no\r\n[    9.5] Kernel panic - not syncing: no\r\nbramble-lab: online\n";
        for part in wire.split('|') {
            machine.write_all(part.as_bytes()).expect("written");
        }
        let panic = "[    9.5] Kernel panic - not syncing: no".to_owned();
        for expected in [
            Heard::Said("settled running".to_owned()),
            Heard::Trouble(Trouble::Panic, panic),
            Heard::Said("online".to_owned()),
        ] {
            assert_eq!(heard.recv().expect("heard"), expected);
        }
        assert_eq!(
            std::fs::read_to_string(&log).expect("a log"),
            wire.replace('|', "")
        );

        let (ours, theirs) = UnixStream::pair().expect("a pair");
        thread::spawn(move || console.attach(theirs));
        (&ours).write_all(b"root\n").expect("typed");
        let mut typed = [0; 5];
        machine.read_exact(&mut typed).expect("the machine reads");
        assert_eq!(&typed, b"root\n");
        machine.write_all(b"# ").expect("written");
        let mut shown = [0; 2];
        (&ours).read_exact(&mut shown).expect("the person reads");
        assert_eq!(&shown, b"# ");
    }
}
