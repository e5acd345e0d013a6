//! Nothing that a chore starts outlives it, however it ends: Ctrl-C, SIGKILL, a terminal that is closed.
//!
//! What a chore starts inherits a mark in its environment, and so does what that starts in turn. A watcher, which is
//! not of the chore's process group, sees the chore end because a pipe does; unless it was told that all is well, it
//! kills whoever bears the mark. Labs have a keeper of their own, which also puts their files away, and bear no mark.

use std::collections::BTreeSet;
use std::env;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bramble_lab::mark;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The environment variable: marks of chores within chores, the innermost last, apart by commas.
pub(crate) const MARK: &str = "BRAMBLE_RUN";

/// Sent to the watcher by a chore that ends as it should.
const WELL: u8 = b'.';

/// What was killed may have started others just before.
const ROUNDS: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// Lives as long as the chore.
pub(crate) struct Leash {
    watcher: Child,
}

/// Puts this process and all that it will start on a leash. It starts over for that, under the same process id: a
/// process's own environment can be changed safely only from outside.
pub(crate) fn take() -> Result<Leash> {
    let program = env::current_exe().context("cannot find this very program")?;
    let marks = env::var(MARK).unwrap_or_default();
    let Some(mark) = own(&marks) else {
        let time = std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_nanos();
        let mark = format!("{}.{time}", std::process::id());
        let marks: Vec<&str> = [&*marks, &mark]
            .into_iter()
            .filter(|mark| !mark.is_empty())
            .collect();
        let error = Command::new(program)
            .args(env::args_os().skip(1))
            .env(MARK, marks.join(","))
            .exec();
        return Err(error).context("cannot start over");
    };
    let watcher = Command::new(program)
        .args(["vm", "watch", mark])
        .env_remove(MARK)
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("cannot start a watcher")?;
    Ok(Leash { watcher })
}

impl Drop for Leash {
    fn drop(&mut self) {
        // Where the watcher is gone there is nobody to tell.
        if let Some(mut pipe) = self.watcher.stdin.take() {
            let _ = pipe.write_all(&[WELL]);
        }
        let _ = self.watcher.wait();
    }
}

/// The mark that this very process was given.
fn own(marks: &str) -> Option<&str> {
    let last = marks.rsplit(',').next()?;
    let (process, _) = last.split_once('.')?;
    (process == std::process::id().to_string()).then_some(last)
}

/// What the watcher does: waits for the other end of its standard input to close.
pub(crate) fn watch(mark: &str) -> Result<()> {
    let mut said = Vec::new();
    io::stdin().read_to_end(&mut said)?;
    if said == [WELL] {
        return Ok(());
    }
    let ended = sweep(mark)?;
    if ended > 0 {
        eprintln!("cut off; ended {ended} processes that had been started");
    }
    Ok(())
}

/// Kills whoever bears the mark. Returns how many did.
fn sweep(mark: &str) -> Result<usize> {
    // One that takes its time to end is found more than once.
    let mut ended = BTreeSet::new();
    for _ in 0..ROUNDS {
        let found = bearers(mark)?;
        if found.is_empty() {
            return Ok(ended.len());
        }
        for process in found {
            // It may have ended by itself.
            if kill(process, Signal::SIGKILL).is_ok() {
                ended.insert(process);
            }
        }
        thread::sleep(PAUSE);
    }
    bail!("processes with {MARK}={mark} in their environment do not end")
}

/// Processes that bear the mark.
fn bearers(mark: &str) -> Result<Vec<Pid>> {
    let marked = mark::bearers(MARK)?.into_iter();
    Ok(marked
        .filter(|(_, marks)| bears(marks, mark))
        .map(|(id, _)| id)
        .collect())
}

/// Whether a mark is among those that a process was given.
fn bears(marks: &str, mark: &str) -> bool {
    marks.split(',').any(|one| one == mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_told_apart() {
        for (mark, wanted) in [("1.5", true), ("2.7", true), ("1.50", false), ("7", false)] {
            assert_eq!(bears("1.5,2.7", mark), wanted, "{mark}");
        }
        let here = format!("1.5,{}.7", std::process::id());
        assert_eq!(own(&here), here.rsplit(',').next());
        assert_eq!(own("1.5"), None);
        assert_eq!(own(""), None);
    }

    #[test]
    fn what_bears_the_mark_is_swept_up_with_what_it_started() -> Result<()> {
        let mark = format!("test.{}", std::process::id());
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 300 & setsid sleep 300 & wait"])
            .env(MARK, format!("1.1,{mark}"))
            .spawn()?;
        while bearers(&mark)?.len() < 3 {
            thread::sleep(PAUSE);
        }
        // Whom nobody waits for stays in the list of processes, without an environment.
        let waiting = thread::spawn(move || shell.wait());
        assert_eq!(sweep(&mark)?, 3);
        assert!(bearers(&mark)?.is_empty());
        assert!(!waiting.join().expect("no panic")?.success());
        Ok(())
    }
}
