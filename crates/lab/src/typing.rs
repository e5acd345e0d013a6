//! Commands typed at a machine's console: the way to it that needs no network, as for a person who stands before it.

use std::collections::HashMap;
use std::sync::mpsc::{Sender, channel};
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

/// After how long to ask for the answer again: the kernel and the journal write to the console, too, and may have
/// written into the middle of it.
const AGAIN: Duration = Duration::from_secs(30);

/// What an answer ends with, so that half of one is known for what it is.
const END: char = '.';

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
        self.run_after(KNOCKS, console, command)
    }

    /// As [`Typing::run`], but gives up after so many knocks that nobody has answered.
    ///
    /// # Errors
    /// As [`Typing::run`].
    pub(crate) fn run_after(
        &self,
        knocks: usize,
        console: &Console,
        command: &str,
    ) -> Result<(i32, String)> {
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
        let answers = (0..knocks).any(|_| {
            let (number, answer) = next();
            console.type_in(&knock(number)).is_ok() && answer.recv_timeout(KNOCK).is_ok()
        });
        ensure!(answers, "no shell answers at its console; is it frozen?");
        console.type_in(&run(command)).context("it is off")?;
        let begin = Instant::now();
        loop {
            let (number, answer) = next();
            console.type_in(&tell(number)).context("it is off")?;
            match answer.recv_timeout(AGAIN).map(|answer| decoded(&answer)) {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) if begin.elapsed() > PATIENCE => return Err(error),
                Err(_) if begin.elapsed() > PATIENCE => {
                    bail!(
                        "`{command}` has not ended in {} seconds",
                        PATIENCE.as_secs()
                    )
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills a line that is typed already, and asks for an answer. The terminal's echo must not look like one, so the
/// mark is put together by the shell.
fn knock(number: u64) -> String {
    let (before, after) = MARK.split_at(MARK.len() / 2);
    format!("\x15printf '%s%s{DID}{number}\\n' '{before}' '{after}'\n")
}

/// What is typed to run a command. Its output and, in a last line, its exit code stay with the shell.
fn run(command: &str) -> String {
    let command = command.replace('\'', r"'\''");
    format!(" o=$(sh -c '{command}' 2>&1 </dev/null; printf '\\n%s' $?)\n")
}

/// What is typed to have the shell tell what it kept, as hexadecimal digits.
fn tell(number: u64) -> String {
    let (before, after) = MARK.split_at(MARK.len() / 2);
    format!(
        " printf '%s%s{DID}{number} %s{END}\\n' '{before}' '{after}' \
         \"$(printf %s \"$o\" | od -An -v -tx1 | tr -d ' \\n')\"\n"
    )
}

fn decoded(answer: &str) -> Result<(i32, String)> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = answer
        .strip_suffix(END)
        .and_then(|digits| digits.as_bytes().chunks(2).map(pair).collect());
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
    use crate::console::Heard;

    /// A console with a real shell behind it, that echoes what is typed as a terminal does.
    fn shell() -> (tempfile::TempDir, Console, Arc<Typing>) {
        let dir = tempfile::tempdir().expect("a directory");
        let (socket, log) = (dir.path().join("tty"), dir.path().join("log"));
        let typing = Arc::new(Typing::default());
        let listening = typing.clone();
        let console = Console::listen(&socket, &log, move |heard| {
            if let Heard::Said(said) = heard {
                listening.hears(&said);
            }
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
        assert!(decoded("0g.").is_err() && decoded("").is_err());
        assert!(decoded("610a30").is_err(), "its end is missing");
        assert!(decoded("610a[  1.5] hello").is_err(), "written into");
        assert_eq!(decoded("610a30.").expect("decoded"), (0, "a".to_owned()));
    }
}
