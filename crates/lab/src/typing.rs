//! Commands typed at a machine's console: the way to it that needs no network, as for a person who stands before it.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::console::{Console, MARK};

/// What an answer begins with, after [`MARK`].
const DID: &str = "did ";

/// How often to knock, and how many times before nobody is at home: a booting machine needs its time.
const KNOCK: Duration = Duration::from_secs(3);
const KNOCKS: usize = 100;

/// How long a QEMU may take to open the console.
const START: Duration = Duration::from_secs(10);

/// How long a command may take. What takes longer is no matter for a console.
const PATIENCE: Duration = Duration::from_secs(300);

/// Whoever types at one machine; one command at a time.
#[derive(Default)]
pub(crate) struct Typing {
    turn: Mutex<u64>,
    waiting: Mutex<HashMap<u64, Sender<String>>>,
}

impl Typing {
    /// Takes what a machine said if it is the answer to a command.
    pub(crate) fn hears(&self, said: &str) -> bool {
        let Some(answer) = said.strip_prefix(DID) else {
            return false;
        };
        let (number, rest) = answer.split_once(' ').unwrap_or((answer, ""));
        let waiting = number
            .parse()
            .ok()
            .and_then(|number: u64| lock(&self.waiting).remove(&number));
        if let Some(waiting) = waiting {
            // Whoever asked may have lost patience.
            let _ = waiting.send(rest.to_owned());
        }
        true
    }

    /// Has root's shell at the console run a command, and returns its exit code and what it wrote.
    ///
    /// # Errors
    /// When the machine is off, no shell answers, or the command does not end in time.
    pub(crate) fn run(&self, console: &Console, command: &str) -> Result<(i32, String)> {
        ensure!(
            !command.chars().any(char::is_control),
            "a command that is typed is a single line without tabs"
        );
        let mut turn = lock(&self.turn);
        let mut next = || {
            *turn += 1;
            let (sender, answer) = channel();
            lock(&self.waiting).insert(*turn, sender);
            (*turn, answer)
        };
        is_switched_on(console)?;
        let answers = (0..KNOCKS).any(|_| {
            let (number, answer) = next();
            console.type_in(&knock(number)).is_ok() && answer.recv_timeout(KNOCK).is_ok()
        });
        ensure!(answers, "no shell answers at its console; is it frozen?");
        let (number, answer) = next();
        console
            .type_in(&line(number, command))
            .context("it is off")?;
        decoded(&heard(&answer, command)?)
    }
}

/// A machine that is being started takes a moment to open its console.
fn is_switched_on(console: &Console) -> Result<()> {
    let begin = Instant::now();
    while console.type_in("").is_err() {
        ensure!(begin.elapsed() < START, "it is off");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn heard(answer: &Receiver<String>, command: &str) -> Result<String> {
    match answer.recv_timeout(PATIENCE) {
        Ok(answer) => Ok(answer),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            bail!(
                "`{command}` has not ended in {} seconds",
                PATIENCE.as_secs()
            )
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills a line that is typed already, and asks for an answer. The terminal's echo must not look like one, so the
/// mark is put together by the shell.
fn knock(number: u64) -> String {
    let (before, after) = MARK.split_at(MARK.len() / 2);
    format!("\x15printf '%s%s{DID}{number}\\n' '{before}' '{after}'\n")
}

/// What is typed to run a command: its output and, in a last line, its exit code come back as hexadecimal digits.
fn line(number: u64, command: &str) -> String {
    let (before, after) = MARK.split_at(MARK.len() / 2);
    let command = command.replace('\'', r"'\''");
    format!(
        "o=$(sh -c '{command}' 2>&1 </dev/null; printf '\\n%s' $?); \
         printf '%s%s{DID}{number} %s\\n' '{before}' '{after}' \"$(printf %s \"$o\" | od -An -v -tx1 | tr -d ' \\n')\"\n"
    )
}

fn decoded(answer: &str) -> Result<(i32, String)> {
    let digits = answer.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    let bytes: Option<Vec<u8>> = digits.collect();
    let bytes = bytes.with_context(|| format!("the console says {answer}, which is no answer"))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (output, code) = text
        .rsplit_once('\n')
        .context("an answer without an exit code")?;
    let code = code
        .parse()
        .with_context(|| format!("{code} is no exit code"))?;
    Ok((code, output.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};
    use std::sync::Arc;

    use super::*;

    /// A console with a real shell behind it, that echoes what is typed as a terminal does.
    fn shell() -> (tempfile::TempDir, Console, Arc<Typing>) {
        let dir = tempfile::tempdir().expect("a directory");
        let (socket, log) = (dir.path().join("tty"), dir.path().join("log"));
        let typing = Arc::new(Typing::default());
        let listening = typing.clone();
        let console = Console::listen(&socket, &log, move |said| {
            listening.hears(&said);
        });
        let mut shell = Command::new("sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let machine = UnixStream::connect(&socket).expect("connected");
        let (mut screen, mut echo) = (
            machine.try_clone().expect("a clone"),
            machine.try_clone().expect("a clone"),
        );
        let (mut stdin, mut stdout) = (
            shell.stdin.take().expect("in"),
            shell.stdout.take().expect("out"),
        );
        thread::spawn(move || std::io::copy(&mut stdout, &mut screen));
        thread::spawn(move || {
            for line in BufReader::new(machine).lines().map_while(Result::ok) {
                let typed = line.trim_start_matches('\x15');
                writeln!(echo, "# {typed}")
                    .and_then(|()| writeln!(stdin, "{typed}"))
                    .expect("typed");
            }
            drop(stdin);
            shell.wait()
        });
        (dir, console.expect("a console"), typing)
    }

    #[test]
    fn commands_are_typed_and_answered() {
        let (_dir, console, typing) = shell();
        for (command, code, output) in [
            ("echo it\\'s there; echo bad >&2", 0, "it's there\nbad\n"),
            ("exit 7", 7, ""),
            ("printf 'no line end'", 0, "no line end"),
            ("echo 'bramble-lab: did 1 00'", 0, "bramble-lab: did 1 00\n"),
        ] {
            let ran = typing.run(&console, command).expect(command);
            assert_eq!(ran, (code, output.to_owned()), "{command}");
        }
        assert!(typing.run(&console, "echo a\necho b").is_err());
    }

    #[test]
    fn what_is_no_answer_is_left_to_others() {
        let typing = Typing::default();
        assert!(!typing.hears("online"));
        assert!(
            typing.hears("did 9 00"),
            "of a command that nobody waits for"
        );
        assert!(decoded("0g").is_err() && decoded("").is_err());
        assert_eq!(decoded("610a30").expect("decoded"), (0, "a".to_owned()));
    }
}
