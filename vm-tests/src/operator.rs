//! The person at the keyboard: everything is done by the `bramble` program, as with real hardware.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::alarm::Alarm;

/// The programs that a rehearsal runs, built beforehand.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `bramble` for this machine.
    pub bramble: PathBuf,
    /// `bramble-search` for this machine.
    pub search: PathBuf,
    /// `bramble-node` for the nodes.
    pub node: PathBuf,
    /// The directory of the container images' layouts.
    pub images: PathBuf,
    /// `xtask`, which makes images of cards.
    pub chores: PathBuf,
}

/// An operator of one cluster.
#[derive(Debug, Clone)]
pub struct Operator {
    bramble: PathBuf,
    /// Flags and environment that every call gets.
    files: Files,
    logs: PathBuf,
    /// Ends every call when it is raised.
    alarm: Alarm,
}

/// Where the files that an operator works with are, below one directory.
#[derive(Debug, Clone)]
pub struct Files(PathBuf);

impl Files {
    /// Those below `directory`.
    pub fn below(directory: &Path) -> Files {
        Files(directory.to_owned())
    }

    /// The cluster file.
    pub fn cluster(&self) -> PathBuf {
        self.0.join("cluster.toml")
    }

    /// Keys and known hosts.
    pub fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    /// How the lab's machines are reached.
    pub fn ssh_config(&self) -> PathBuf {
        self.0.join("ssh_config")
    }

    /// The environment in which `bramble` works on this cluster.
    pub fn environment(&self) -> [(&'static str, PathBuf); 3] {
        [
            ("BRAMBLE_CLUSTER", self.cluster()),
            ("BRAMBLE_STATE", self.state()),
            ("BRAMBLE_SSH_CONFIG", self.ssh_config()),
        ]
    }
}

/// Until what a machine has to say is heard.
const A_MOMENT: Duration = Duration::from_millis(500);

impl Operator {
    /// An operator who calls `bramble` with `files`, keeping what it says below `logs`.
    pub fn new(bramble: &Path, files: &Files, logs: &Path) -> Operator {
        Operator {
            bramble: bramble.to_owned(),
            files: files.clone(),
            logs: logs.to_owned(),
            alarm: Alarm::default(),
        }
    }

    /// What this operator drops everything for.
    pub fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    /// Calls `bramble` and returns what it wrote to standard output.
    ///
    /// # Errors
    /// When it fails: the command and the end of what it said are in the error. When the alarm is raised, what for.
    pub fn bramble(&self, arguments: &[&str]) -> Result<String> {
        self.follow(arguments, |_| {})
    }

    /// As [`Operator::bramble`], showing each line of standard output to `line` as it comes.
    ///
    /// # Errors
    /// As [`Operator::bramble`].
    pub fn follow(&self, arguments: &[&str], mut line: impl FnMut(&str)) -> Result<String> {
        let words: Vec<&str> = arguments
            .iter()
            .take_while(|word| !word.starts_with('-'))
            .take(3)
            .copied()
            .collect();
        let log = self
            .logs
            .join(format!("bramble-{}.log", words.join("-").replace('/', "_")));
        let mut file = File::options().create(true).append(true).open(&log)?;
        let command = format!("bramble {}", arguments.join(" "));
        writeln!(file, "$ {command}")?;
        let mut child = Command::new(&self.bramble)
            .args(arguments)
            .envs(self.files.environment())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file.try_clone()?)
            // Ended as one when the alarm is raised.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run {}", self.bramble.display()))?;

        let running = self.alarm.watch_over(child.id());
        let mut output = String::new();
        let stdout = child.stdout.take().context("bramble has no output")?;
        for text in BufReader::new(stdout).lines() {
            let text = text?;
            writeln!(file, "{text}")?;
            line(&text);
            output += &text;
            output.push('\n');
        }
        let status = child.wait()?;
        drop(running);
        self.alarm.check()?;
        if !status.success() {
            // What is the matter with a machine may be heard a little later than what comes of it.
            self.alarm.sleep(A_MOMENT)?;
            let said = fs::read_to_string(&log).unwrap_or_default();
            let lines: Vec<&str> = said.lines().collect();
            let tail = lines[lines.len().saturating_sub(20)..].join("\n  ");
            bail!(
                "`{command}` failed ({status}); the end of {}:\n  {tail}",
                log.display()
            );
        }
        Ok(output)
    }

    /// Runs a command on a node, to look at it.
    ///
    /// # Errors
    /// When the command fails or the node cannot be reached.
    pub fn look(&self, node: &str, command: &[&str]) -> Result<String> {
        self.bramble(&[&["ssh", node, "--"], command].concat())
    }
}
