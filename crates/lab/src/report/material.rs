//! What lies in a lab's logs.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::{Left, Run};
use crate::definition::{Definition, Event};
use crate::switch::GATEWAY;
use crate::trouble::plain;

/// What of a log is shown: its end, up to so many bytes. The file has all.
const SHOWN: u64 = 192 << 10;

/// What is made of the others.
const OWN: [&str; 2] = ["report.html", "runs.json"];

/// All that a page is made of.
#[derive(Debug)]
pub(super) struct Material {
    /// When the lab was started, in seconds since 1970.
    pub(super) started: f64,
    pub(super) definition: Definition,
    pub(super) events: Vec<Event>,
    /// Where all of it lies.
    pub(super) directory: PathBuf,
    /// By name of their file.
    pub(super) logs: Vec<Log>,
    /// Names and sizes of the other files.
    pub(super) others: Vec<(String, u64)>,
}

/// A log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) path: PathBuf,
    /// The name of its file.
    pub(super) file: String,
    /// How long it was when it was found.
    pub(super) bytes: u64,
}

impl Material {
    pub(super) fn read(logs: &Path) -> Result<Material> {
        let read = |name: &str| {
            let path = logs.join(name);
            fs::read_to_string(&path).with_context(|| {
                format!(
                    "no lab has left its logs here: cannot read {}",
                    path.display()
                )
            })
        };
        let left: Left = serde_json::from_str(&read(Left::FILE)?)
            .with_context(|| format!("{} is broken", Left::FILE))?;
        let events = read("events.jsonl")?;
        let events = events
            .lines()
            .map_while(|line| serde_json::from_str(line).ok());
        let mut material = Material {
            started: left.started,
            definition: left.definition,
            events: events.collect(),
            directory: logs.to_owned(),
            logs: Vec::new(),
            others: Vec::new(),
        };
        let mut files: Vec<_> = fs::read_dir(logs)?.flatten().collect();
        files.sort_by_key(fs::DirEntry::file_name);
        for file in files {
            // One that has another name by now, or none, is found the next time.
            let Ok(metadata) = file.metadata() else {
                continue;
            };
            let (path, bytes) = (file.path(), metadata.len());
            let file = file.file_name().to_string_lossy().into_owned();
            if file.ends_with(".log") || file.ends_with(".qmp.jsonl") {
                material.logs.push(Log { path, file, bytes });
            } else if !file.starts_with('.') && !OWN.contains(&file.as_str()) {
                material.others.push((file, bytes));
            }
        }
        Ok(material)
    }

    /// All machines by name, and the gateway, if there is one.
    pub(super) fn machines(&self) -> Vec<String> {
        let machines = self.definition.machines.iter();
        let gateway = self.definition.gateway.iter().map(|_| GATEWAY);
        machines
            .map(|machine| machine.name.as_str())
            .chain(gateway)
            .map(str::to_owned)
            .collect()
    }

    /// Seconds since the lab was started.
    pub(super) fn now(&self) -> f64 {
        self.seconds_until(SystemTime::now())
    }

    /// When a run began, in seconds since the lab was started.
    pub(super) fn began(&self, run: &Run) -> f64 {
        self.seconds_until(run.began)
    }

    fn seconds_until(&self, moment: SystemTime) -> f64 {
        let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_secs_f64() - self.started
    }

    pub(super) fn log(&self, file: &str) -> Option<&Log> {
        self.logs.iter().find(|log| log.file == file)
    }

    /// Those of a machine: console first, as it has the most to tell.
    pub(super) fn logs_of(&self, machine: &str) -> Vec<&Log> {
        let kinds = ["console.log", "journal.log", "qemu.log", "qmp.jsonl"];
        let named = kinds.map(|kind| self.log(&format!("{machine}.{kind}")));
        named.into_iter().flatten().collect()
    }

    /// Those of no machine.
    pub(super) fn logs_of_others(&self, machines: &[String]) -> Vec<&Log> {
        let is_machines = |log: &Log| {
            log.file
                .split_once('.')
                .is_some_and(|(name, _)| machines.iter().any(|machine| machine == name))
        };
        self.logs.iter().filter(|log| !is_machines(log)).collect()
    }
}

impl Log {
    /// Whether [`Log::text`] is only the end of it.
    pub(super) fn is_cut(&self) -> bool {
        self.bytes > SHOWN
    }

    /// What it says, or the end of that, without colours.
    pub(super) fn text(&self) -> Result<String> {
        let mut end = Vec::new();
        let read = |end: &mut Vec<u8>| {
            let mut open = File::open(&self.path)?;
            open.seek(SeekFrom::Start(self.bytes.saturating_sub(SHOWN)))?;
            open.take(SHOWN).read_to_end(end)
        };
        read(&mut end).with_context(|| format!("cannot read {}", self.path.display()))?;
        let end = String::from_utf8_lossy(&end);
        // An end begins in the middle of a line.
        let lines = end.lines().skip(usize::from(self.is_cut())).map(plain);
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }
}
