//! What lies in a lab's logs.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};

use super::{Left, Run};
use crate::definition::{Definition, Event};
use crate::trouble::plain;

/// What of a log is shown: its end, up to so many bytes. The file has all.
const SHOWN: u64 = 192 << 10;

/// All that a page is made of.
#[derive(Debug)]
pub(super) struct Material {
    /// When the lab was started, in seconds since 1970.
    pub(super) started: f64,
    pub(super) definition: Definition,
    pub(super) events: Vec<Event>,
    /// By name of their file.
    pub(super) logs: Vec<Log>,
    /// Names and sizes of the other files.
    pub(super) others: Vec<(String, u64)>,
}

/// A log, or the end of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Log {
    /// The name of its file.
    pub(super) file: String,
    pub(super) bytes: u64,
    /// Whether `text` is only its end.
    pub(super) is_cut: bool,
    pub(super) text: String,
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
            logs: Vec::new(),
            others: Vec::new(),
        };
        let mut files: Vec<_> = fs::read_dir(logs)?.flatten().collect();
        files.sort_by_key(fs::DirEntry::file_name);
        for file in files {
            let (name, bytes) = (
                file.file_name().to_string_lossy().into_owned(),
                file.metadata()?.len(),
            );
            if name.ends_with(".log") || name.ends_with(".qmp.jsonl") {
                material.logs.push(Log::read(&file.path(), name, bytes)?);
            } else if name != "report.html" {
                material.others.push((name, bytes));
            }
        }
        Ok(material)
    }

    /// When a run began, in seconds since the lab was started.
    pub(super) fn began(&self, run: &Run) -> f64 {
        let began = run.began.duration_since(UNIX_EPOCH).unwrap_or_default();
        began.as_secs_f64() - self.started
    }

    /// Those of a machine: console first, as it has the most to tell.
    pub(super) fn logs_of(&self, machine: &str) -> Vec<&Log> {
        let kinds = ["console.log", "journal.log", "qemu.log", "qmp.jsonl"];
        let named = |kind: &&str| {
            let name = format!("{machine}.{kind}");
            self.logs.iter().find(|log| log.file == name)
        };
        kinds.iter().filter_map(named).collect()
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
    fn read(path: &Path, file: String, bytes: u64) -> Result<Log> {
        let mut open =
            File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let is_cut = bytes > SHOWN;
        if is_cut {
            open.seek(SeekFrom::Start(bytes - SHOWN))?;
        }
        let mut end = Vec::new();
        open.take(SHOWN).read_to_end(&mut end)?;
        let end = String::from_utf8_lossy(&end);
        let mut lines = end.lines();
        if is_cut {
            // It begins in the middle.
            lines.next();
        }
        let text: Vec<String> = lines.map(plain).collect();
        Ok(Log {
            file,
            bytes,
            is_cut,
            text: text.join("\n"),
        })
    }
}
