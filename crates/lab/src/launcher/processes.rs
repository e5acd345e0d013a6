//! QEMUs as child processes that cannot outlive the process that started them, and what they use.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, SysconfVar, getpid, getppid, sysconf};

use super::{Ended, Launcher, Program, Started};
use crate::qemu;

/// Starts processes.
pub(crate) struct Processes;

impl Launcher for Processes {
    fn start(&mut self, program: Program, ended: Ended) -> Result<Box<dyn Started>> {
        let log = File::options().append(true).open(&program.log);
        let log = log.with_context(|| format!("cannot write {}", program.log.display()))?;
        let child = spawn(qemu::PROGRAM, &program.argv, program.niceness, log);
        let child = child.with_context(|| {
            let name = qemu::PROGRAM;
            format!("cannot run {name}; `cargo xtask doctor` says how to install it")
        })?;
        let id = Pid::from_raw(i32::try_from(child.id()).context("an id that is no id")?);
        thread::spawn(move || {
            // It stays for its starter to be waited for; one that has been is no less at its end.
            let _ = waitid(Id::Pid(id), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            ended();
        });
        Ok(Box::new(child))
    }
}

impl Started for Child {
    fn is_running(&mut self) -> Result<bool> {
        let status = self.try_wait().context("cannot look at a QEMU")?;
        Ok(status.is_none())
    }

    fn end(&mut self) -> Result<()> {
        // One that has ended by itself cannot be killed.
        let _ = self.kill();
        self.wait().context("cannot wait for a QEMU").map(drop)
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.id()]
    }
}

/// Starts a program without input or output; the kernel kills it when the calling *thread* ends. `niceness` is added
/// to the caller's, see nice(2).
fn spawn(program: &str, argv: &[String], niceness: u8, stderr: File) -> io::Result<Child> {
    let parent = getpid();
    let mut command = Command::new(program);
    command
        .args(argv)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr);
    // SAFETY: between fork and exec only system calls are made, all of them async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            // To become less important is always allowed.
            nix::libc::nice(niceness.into());
            die_with(parent)
        })
    };
    command.spawn()
}

/// Asks the kernel to kill this process when `parent` ends, which may have happened already.
fn die_with(parent: Pid) -> io::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    if getppid() == parent {
        Ok(())
    } else {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

/// A process's proportional share of memory, in KiB: pages that n processes share count as 1/n. `None` when
/// it has ended.
pub(crate) fn memory(pid: u32) -> Option<u64> {
    proportional(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

/// The `Pss:` line of `smaps_rollup`, see proc(5).
fn proportional(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// CPU time a process has used. `None` when it has ended.
pub(crate) fn cpu(pid: u32) -> Option<Duration> {
    let ticks = cpu_ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    let per_second = u64::try_from(sysconf(SysconfVar::CLK_TCK).ok()??).ok()?;
    Some(Duration::from_millis(ticks * 1000 / per_second))
}

/// User and system time of `/proc/PID/stat`, see proc(5): fields 14 and 15, where field 2, a name in
/// parentheses, may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read() {
        let rollup = "559d5-7ffe2 ---p 00000000 00:00 0 [rollup]\nRss:  5000 kB\nPss:   1234 kB\nPss_Dirty: 9 kB\n";
        assert_eq!(proportional(rollup), Some(1234));
        let stat = "77 (a) b (c) S 1 77 77 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 100 0 0\n";
        assert_eq!(cpu_ticks(stat), Some(300));
        let own = std::process::id();
        assert!(memory(own).is_some_and(|kib| kib > 0) && cpu(own).is_some());
    }

    #[test]
    fn a_child_dies_with_the_thread_that_started_it() {
        let stderr = || File::create("/dev/null").expect("/dev/null");
        let sleep = ["300".to_owned()];
        let mut child =
            std::thread::spawn(move || spawn("sleep", &sleep, 0, stderr()).expect("started"))
                .join()
                .expect("the thread ends");
        let status = child.wait().expect("waited");
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(9)
        );
    }
}
