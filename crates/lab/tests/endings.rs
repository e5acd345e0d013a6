//! However a lab ends, nothing of it is left.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bramble_lab::{Attached, RunDir};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A program that holds a lab, and the lab.
struct Holder {
    program: Child,
    name: String,
}

impl Holder {
    /// Starts `smallest_lab hold`, and returns when the lab runs.
    fn start(test: &str) -> Holder {
        let name = format!("test-{test}-{}", std::process::id());
        let mut program = Command::new(example())
            .args(["hold", &name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example, which is built along with the tests");
        let mut line = String::new();
        let stdout = program.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert_eq!(
            line.trim(),
            name,
            "the lab runs; is QEMU installed? `cargo xtask doctor` says"
        );
        Holder { program, name }
    }

    /// The lab's processes, by id: those whose command line names its directory of sockets.
    fn processes(&self) -> Vec<(i32, String)> {
        let marker = format!("/{}", self.name);
        let processes = fs::read_dir("/proc")
            .expect("/proc")
            .flatten()
            .filter_map(|entry| {
                let line = fs::read_to_string(entry.path().join("cmdline")).ok()?;
                let id = entry.file_name().to_str()?.parse().ok()?;
                line.contains(&marker)
                    .then(|| (id, line.replace('\0', " ")))
            });
        processes.collect()
    }

    fn is_listed(&self) -> bool {
        RunDir::running()
            .expect("a list")
            .iter()
            .any(|dir| dir.ends_with(&self.name))
    }

    fn wait_until_nothing_is_left(&self) {
        let begin = Instant::now();
        while self.is_listed() || !self.processes().is_empty() {
            assert!(
                begin.elapsed() < Duration::from_secs(60),
                "left: {:?}",
                self.processes()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
        let _ = fs::remove_dir_all(std::env::temp_dir().join(format!("{}-logs", self.name)));
    }
}

fn example() -> PathBuf {
    let tests = std::env::current_exe().expect("this test's own file");
    let profile = tests
        .parent()
        .and_then(|deps| deps.parent())
        .expect("target/debug");
    profile.join("examples/smallest_lab")
}

#[test]
fn a_lab_ends_when_its_holder_says_so() {
    let mut holder = Holder::start("orderly");
    assert!(holder.is_listed());
    assert!(
        holder
            .processes()
            .iter()
            .any(|(_, line)| line.contains("qemu-system")),
        "{:?}",
        holder.processes()
    );
    drop(holder.program.stdin.take());
    assert!(holder.program.wait().expect("waited").success());
    assert!(!holder.is_listed() && holder.processes().is_empty());
}

#[test]
fn a_lab_ends_when_its_holder_is_killed() {
    let mut holder = Holder::start("killed");
    holder.program.kill().expect("killed");
    holder.wait_until_nothing_is_left();
}

#[test]
fn a_lab_ends_when_somebody_else_asks() {
    let holder = Holder::start("asked");
    Attached::find(Some(&holder.name))
        .expect("found")
        .down()
        .expect("down");
    holder.wait_until_nothing_is_left();
}

#[test]
fn machines_do_not_outlive_a_killed_supervisor() {
    let mut holder = Holder::start("orphaned");
    for (id, line) in holder.processes() {
        if line.contains("supervise") {
            kill(Pid::from_raw(id), Signal::SIGKILL).expect("killed");
        }
    }
    // The holder keeps the sockets' directory; once it has ended, too, the next look sweeps it.
    holder.program.kill().expect("killed");
    holder.wait_until_nothing_is_left();
}
