//! Saving a whole lab, which stands still meanwhile; and the machines of a saved one, which go on together.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::json;

use super::Supervisor;
use super::faults::reply;
use super::machines::Running;
use super::requests::Answer;
use crate::checkpoint::{Files, Saved, copy};
use crate::definition::{Board, Definition, Machine, Request, Start};
use crate::rundir;
use crate::topology::fresh_directory;

impl Supervisor {
    /// Saves the lab to a directory that is there when all of it is.
    pub(super) fn checkpoint(&mut self, dir: &Path, to: Sender<Answer>) {
        match self.members(dir) {
            Ok(members) => {
                let saved = Saved::now(&rundir::name(&self.sockets), &self.definition);
                let (dir, saving) = (dir.to_owned(), self.saving.clone());
                // Takes its time, in which others are answered.
                thread::spawn(move || {
                    let alone = saving.lock().unwrap_or_else(PoisonError::into_inner);
                    let outcome = save(&saved, &members, &dir);
                    drop(alone);
                    // Whoever is told may ask for the next thing at once.
                    drop(saving);
                    to.send(reply(outcome))
                });
            }
            Err(error) => {
                let _ = to.send(reply(Err(error)));
            }
        }
    }

    /// Why a request must wait: it would change machines that stand still to be saved as they are.
    pub(super) fn is_held_off(&self, request: &Request) -> Result<()> {
        let is_being_saved = Arc::strong_count(&self.saving) > 1;
        ensure!(
            !is_being_saved || !changes_machines(request),
            "the lab stands still, since it is being saved; ask again in some seconds"
        );
        Ok(())
    }

    /// The lab's machines, if it can be saved as it is.
    fn members(&mut self, dir: &Path) -> Result<Vec<(String, Running)>> {
        ensure!(
            !dir.exists(),
            "{} is there already; a checkpoint takes nothing's place",
            dir.display()
        );
        ensure!(
            self.definition.scratch.is_some(),
            "the lab has no scratch, and only what is in that can be saved"
        );
        if let Some(suffers) = self.in_force.afflictions().first() {
            bail!(
                "{} suffers ({}), which cannot be saved; clear it first",
                suffers.machine,
                suffers.fault
            );
        }
        let mut members = Vec::new();
        for machine in &self.definition.machines {
            ensure!(can_be_saved(machine), "{} can only be booted", machine.name);
            let qemu = self
                .qemus
                .iter_mut()
                .find(|(name, _)| *name == machine.name);
            let is_on = qemu.map(|(_, qemu)| qemu.is_running()).transpose()?;
            let running = self.machines.get(&machine.name);
            let (Some(true), Some(running)) = (is_on, running) else {
                bail!(
                    "{} is off; a lab is saved with all its machines on",
                    machine.name
                );
            };
            members.push((machine.name.clone(), running.clone()));
        }
        Ok(members)
    }
}

fn changes_machines(request: &Request) -> bool {
    match request {
        Request::Add { .. }
        | Request::Inflict { .. }
        | Request::Clear { .. }
        | Request::PowerOn { .. }
        | Request::Save { .. } => true,
        Request::Usage
        | Request::Place
        | Request::Machines
        | Request::Console { .. }
        | Request::Capture { .. }
        | Request::Collect
        // Another one takes its turn.
        | Request::Checkpoint { .. }
        | Request::Forward { .. }
        | Request::Afflictions
        // Who types is answered when the machine goes on.
        | Request::Type { .. }
        | Request::Detach
        | Request::Down => false,
    }
}

/// A Pi's devices have no state that QEMU could save, and a template is saved in another way.
fn can_be_saved(machine: &Machine) -> bool {
    machine.board == Board::Virt && !matches!(machine.start, Start::Boot { .. })
}

/// Under another name until it is whole.
fn save(saved: &Saved, members: &[(String, Running)], dir: &Path) -> Result<()> {
    let mut unfinished = dir.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    let outcome = fresh_directory(&unfinished)
        .and_then(|()| while_still(members, || write(saved, members, &Files(&unfinished))))
        .and_then(|()| {
            fs::rename(&unfinished, dir).with_context(|| format!("cannot name {}", dir.display()))
        });
    if outcome.is_err() {
        // What is left of it is swept by whoever saves to the same place again.
        let _ = fs::remove_dir_all(&unfinished);
    }
    outcome
}

/// Does something while all machines stand still. They go on whatever comes of it.
fn while_still(members: &[(String, Running)], act: impl FnOnce() -> Result<()>) -> Result<()> {
    let tell = |command: &str| -> Result<()> {
        let told = members.iter().map(|(name, running)| {
            let said = running
                .qmp()
                .and_then(|qmp| qmp.execute(command, json!({})));
            said.map(drop)
                .with_context(|| format!("{name} (`{command}`)"))
        });
        // Every one of them, whatever another says.
        let failures: Vec<String> = told
            .filter_map(Result::err)
            .map(|error| format!("{error:#}"))
            .collect();
        match failures.is_empty() {
            true => Ok(()),
            false => Err(anyhow!(failures.join("; "))),
        }
    };
    let outcome = tell("stop").and_then(|()| act());
    match (outcome, tell("cont")) {
        (outcome, Ok(())) => outcome,
        (Ok(()), Err(stands)) => Err(stands.context("the lab is saved, but does not go on")),
        (Err(error), Err(stands)) => bail!("{error:#}; and the lab does not go on: {stands:#}"),
    }
}

fn write(saved: &Saved, members: &[(String, Running)], files: &Files) -> Result<()> {
    let Definition {
        machines, scratch, ..
    } = &saved.definition;
    fs::create_dir(files.states())?;
    thread::scope(|scope| {
        let written: Vec<_> = members
            .iter()
            .map(|(name, running)| scope.spawn(|| write_state(running, &files.state(name))))
            .collect();
        for (state, (name, _)) in written.into_iter().zip(members) {
            let state = state.join().map_err(|_| anyhow!("a thread panicked"));
            state
                .and_then(|written| written)
                .with_context(|| format!("cannot save {name}"))?;
        }
        anyhow::Ok(())
    })?;
    // Now that QEMU has let go of the disks, all that was written to them is in their files.
    let scratch = scratch.as_deref().context("the lab has no scratch")?;
    copy(scratch, &files.scratch())?;
    for machine in machines {
        readable(&files.saved(scratch, &machine.disk)?)?;
    }
    saved.write(files)
}

fn write_state(running: &Running, path: &Path) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    running.qmp()?.migrate_into(&file)?;
    readable(path)
}

/// Machines may run as somebody else; nobody else enters the directory above.
fn readable(path: &Path) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o644))
        .with_context(|| format!("cannot change who may read {}", path.display()))
}

/// The machines of a saved lab, each of which has yet to be ready to go on.
#[derive(Clone)]
pub(super) struct Together(Arc<(Mutex<usize>, Condvar)>);

/// One of them. When it is dropped, the others no longer wait for it: a machine that cannot go on keeps nobody.
pub(super) struct Arrival(Together);

impl Together {
    pub(super) fn all_of(definition: &Definition) -> Together {
        let machines = definition.machines.iter();
        let waited_for = machines.filter(|machine| is_restored(machine)).count();
        Together(Arc::new((Mutex::new(waited_for), Condvar::new())))
    }

    /// What `machine` is to say that it is ready by, if it is one of them.
    pub(super) fn arrival(&self, machine: &Machine) -> Option<Arrival> {
        is_restored(machine).then(|| Arrival(self.clone()))
    }
}

fn is_restored(machine: &Machine) -> bool {
    matches!(machine.start, Start::Restored { .. })
}

impl Arrival {
    /// Returns when all are ready, or will never be.
    pub(super) fn wait_for_the_others(self) {
        let Together(together) = self.0.clone();
        drop(self);
        let (missing, changed) = &*together;
        let missing = missing.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_while(missing, |missing| *missing > 0));
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let (missing, changed) = &*self.0.0;
        let mut missing = missing.lock().unwrap_or_else(PoisonError::into_inner);
        // One that was added to the lab later was never counted.
        *missing = missing.saturating_sub(1);
        changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::launcher::Backend;

    fn machine(name: &str, board: Board, start: Start) -> Machine {
        Machine {
            name: name.to_owned(),
            board,
            kernel: PathBuf::new(),
            initramfs: PathBuf::new(),
            device_tree: None,
            command_line: String::new(),
            disk: PathBuf::new(),
            memory: 64,
            cpus: 1,
            niceness: 0,
            start,
        }
    }

    fn restored(name: &str) -> Machine {
        let start = Start::Restored {
            state: PathBuf::new(),
            identity: None,
            mac: String::new(),
        };
        machine(name, Board::Virt, start)
    }

    #[test]
    fn what_has_a_state_can_be_saved() {
        let cold = || Start::Cold { mac: String::new() };
        let boot = Start::Boot {
            ram: PathBuf::new(),
        };
        assert!(can_be_saved(&restored("alice")));
        assert!(can_be_saved(&machine("bob", Board::Virt, cold())));
        assert!(!can_be_saved(&machine("pi", Board::Raspi4b, cold())));
        assert!(!can_be_saved(&machine("template", Board::Virt, boot)));
    }

    #[test]
    fn none_goes_on_before_all_can_and_nobody_waits_for_one_that_cannot() {
        let machines = ["alice", "bob", "carol"].map(restored);
        let together = Together::all_of(&Definition {
            logs: PathBuf::new(),
            scratch: None,
            backend: Backend::Processes,
            machines: machines.to_vec(),
            gateway: None,
        });
        let arrivals = machines.each_ref().map(|it| together.arrival(it));
        let [Some(alice), Some(bob), Some(carol)] = arrivals else {
            panic!("all are waited for")
        };
        let (sender, gone_on) = channel();
        let waits = |arrival: Arrival| {
            let sender = sender.clone();
            thread::spawn(move || {
                arrival.wait_for_the_others();
                sender.send(()).expect("somebody listens");
            })
        };
        let (alice, bob) = (waits(alice), waits(bob));
        assert!(gone_on.try_recv().is_err());
        drop(carol);
        alice.join().expect("no panic");
        bob.join().expect("no panic");
        assert_eq!(gone_on.try_iter().count(), 2);
    }
}
