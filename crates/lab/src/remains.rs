//! What labs leave behind that were killed together with their supervisors, and how it goes away.
//!
//! Little is left even then: QEMUs end with their supervisor, in containers as well. But directories stay, and a
//! container that the engine was still making.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};

use crate::launcher::containers::Engine;
use crate::mark;
use crate::rundir::{self, OWNER, Record, RunId};

/// The environment variable by which processes of a lab are known: its value is the run's id.
pub(crate) const RUN: &str = "BRAMBLE_LAB";

/// What is left of one run of a lab.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// What the lab was called.
    pub lab: String,
    /// Ids and command lines of processes.
    pub processes: Vec<(i32, String)>,
    /// Ids of containers, and the machines that they were.
    pub containers: Vec<(String, String)>,
    /// Its sockets, and its scratch.
    pub directories: Vec<PathBuf>,
}

/// Looks for what is left of labs that nobody keeps alive. Containers are looked for where a Docker engine answers.
///
/// # Errors
/// When processes, containers or directories cannot be listed.
pub fn remains() -> Result<Vec<Remains>> {
    let mut found: BTreeMap<RunId, Remains> = BTreeMap::new();
    let mut nameless = Vec::new();
    for directory in rundir::dead()? {
        let left = Remains::in_directory(&directory)?;
        match Record::read(&directory) {
            Some(record) => drop(found.insert(record.run, left)),
            None => nameless.push(left),
        }
    }
    for (id, value) in mark::bearers(RUN)? {
        let Some(run) = RunId::parse(&value) else {
            continue;
        };
        if run.is_alive()? {
            continue;
        }
        let left = found.entry(run.clone()).or_insert_with(|| of(&run));
        if !left
            .processes
            .iter()
            .any(|(known, _)| *known == id.as_raw())
        {
            left.processes.push((id.as_raw(), mark::command_line(id)));
        }
    }
    if let Ok(engine) = Engine::find() {
        for (id, machine, run) in engine.containers()? {
            if !run.is_alive()? {
                let left = found.entry(run.clone()).or_insert_with(|| of(&run));
                left.containers.push((id, machine));
            }
        }
    }
    Ok(found.into_values().chain(nameless).collect())
}

fn of(run: &RunId) -> Remains {
    Remains {
        lab: run.lab(),
        ..Remains::default()
    }
}

impl Remains {
    /// What the directory of a dead lab tells of: processes, and the scratch. Containers take an engine to find.
    pub(crate) fn in_directory(directory: &std::path::Path) -> Result<Remains> {
        let mut left = Remains {
            lab: rundir::name(directory),
            directories: vec![directory.to_owned()],
            ..Remains::default()
        };
        let Some(Record { run, scratch }) = Record::read(directory) else {
            return Ok(left);
        };
        let own = mark::bearers(RUN)?
            .into_iter()
            .filter(|(_, value)| *value == run.to_string());
        left.processes = own
            .map(|(id, _)| (id.as_raw(), mark::command_line(id)))
            .collect();
        // Another run may have made it anew since.
        let owns = |scratch: &PathBuf| {
            fs::read_to_string(scratch.join(OWNER)).is_ok_and(|owner| owner == run.to_string())
        };
        left.directories.extend(scratch.filter(owns));
        Ok(left)
    }

    /// Ends and removes all of it.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn clear_away(&self) -> Result<()> {
        for (id, _) in &self.processes {
            // It may have ended by itself.
            let _ = kill(nix::unistd::Pid::from_raw(*id), Signal::SIGKILL);
        }
        if !self.containers.is_empty() {
            let engine = Engine::find()?;
            for (id, machine) in &self.containers {
                engine
                    .remove(id)
                    .with_context(|| format!("cannot remove the container of {machine}"))?;
            }
        }
        // The directory of sockets is the first, and what is known stands in it.
        for directory in self.directories.iter().rev() {
            match fs::remove_dir_all(directory) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("cannot remove {}", directory.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
