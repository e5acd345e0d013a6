//! Machines' faults: what is in force, who brings it about, and when it is over.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};

use super::machines::Running;
use super::requests::{Answer, failed};
use super::{Message, Supervisor};
use crate::deed::{self, Deed};
use crate::definition::{Happened, Reply, Start};
use crate::fault::{Affliction, Fault};
use crate::launcher::processes;
use crate::switch::GATEWAY;

/// What has befallen machines and is not over, each by a number of its own.
#[derive(Default)]
pub(super) struct InForce {
    last: u64,
    faults: Vec<(u64, Affliction)>,
}

impl InForce {
    /// Takes note of a fault, in place of those of its kind.
    fn add(&mut self, affliction: Affliction) -> u64 {
        self.faults.retain(|(_, other)| {
            other.machine != affliction.machine || !affliction.fault.replaces(&other.fault)
        });
        self.last += 1;
        self.faults.push((self.last, affliction));
        self.last
    }

    fn take(&mut self, number: u64) -> Option<Affliction> {
        let at = self.faults.iter().position(|(own, _)| *own == number)?;
        Some(self.faults.remove(at).1)
    }

    fn of<'a>(&'a self, machine: &'a str) -> impl Iterator<Item = &'a Fault> {
        let own = move |(_, affliction): &&(u64, Affliction)| affliction.machine == machine;
        self.faults.iter().filter(own).map(|(_, own)| &own.fault)
    }

    /// Takes away those of what has befallen a machine that are `wanted`.
    fn take_of(&mut self, machine: &str, wanted: impl Fn(&Fault) -> bool) -> Vec<Fault> {
        let (taken, left) = std::mem::take(&mut self.faults)
            .into_iter()
            .partition(|(_, own)| own.machine == machine && wanted(&own.fault));
        self.faults = left;
        taken
            .into_iter()
            .map(|(_, affliction): (u64, Affliction)| affliction.fault)
            .collect()
    }

    pub(super) fn afflictions(&self) -> Vec<Affliction> {
        self.faults
            .iter()
            .map(|(_, affliction)| affliction.clone())
            .collect()
    }
}

/// How a fault ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It has lasted as long as it was to.
    Elapsed,
    /// It could not be inflicted.
    Failed,
}

impl Supervisor {
    pub(super) fn inflict(
        &mut self,
        machine: &str,
        fault: Fault,
        lasting: Option<Duration>,
        to: Sender<Answer>,
    ) {
        let deed = deed::inflicts(&fault);
        let number = self.in_force.add(Affliction {
            machine: machine.to_owned(),
            fault: fault.clone(),
            lasting,
        });
        self.tell(Some(machine.to_owned()), Happened::Befell { fault });
        let sender = self.sender.clone();
        self.perform(machine, deed, move |outcome| {
            let failed_to = outcome.is_err();
            let _ = to.send(reply(outcome));
            if failed_to {
                let _ = sender.send(Message::Over(number, Ending::Failed));
            } else if let Some(lasting) = lasting {
                thread::spawn(move || {
                    thread::sleep(lasting);
                    sender.send(Message::Over(number, Ending::Elapsed))
                });
            }
        });
    }

    /// Clears a fault that is over, unless another has taken its place.
    pub(super) fn over(&mut self, number: u64, ending: Ending) {
        let Some(Affliction { machine, fault, .. }) = self.in_force.take(number) else {
            return;
        };
        if ending == Ending::Elapsed {
            self.perform(&machine, deed::clears(&fault, now()), |outcome| {
                if let Err(error) = outcome {
                    tracing::warn!("{error:#}");
                }
            });
            if fault == Fault::PowerCut {
                self.is_over_with_the_power(&machine);
            }
        }
        self.tell(Some(machine), Happened::Cleared { fault });
    }

    /// Clears what has befallen a machine, all or what is `like` a fault, the power first: nothing can be typed at a
    /// machine that is off.
    pub(super) fn clear(&mut self, machine: &str, like: Option<&Fault>, to: Sender<Answer>) {
        if machine != GATEWAY && !self.machines.contains_key(machine) {
            let _ = to.send(self.unknown(machine));
            return;
        }
        if let Some(like) = like
            && let Err(error) = self.can_clear(machine, like)
        {
            let _ = to.send(reply(Err(error)));
            return;
        }
        let wanted = |fault: &Fault| like.is_none_or(|like| like.replaces(fault));
        let mut faults = self.in_force.take_of(machine, wanted);
        let is_off = faults.contains(&Fault::PowerCut);
        // What was done to its memory and to its disk's speed went with the power.
        faults.retain(|fault| !is_off || *fault == Fault::PowerCut || !is_of_the_running(fault));
        faults.sort_by_key(|fault| !matches!(fault, Fault::PowerCut | Fault::Frozen));
        let (sender, outcomes) = channel();
        for fault in faults {
            let outcome = sender.clone();
            self.perform(machine, deed::clears(&fault, now()), move |done| {
                let _ = outcome.send(done);
            });
            self.tell(Some(machine.to_owned()), Happened::Cleared { fault });
        }
        if is_off {
            self.is_over_with_the_power(machine);
        }
        drop(sender);
        thread::spawn(move || to.send(reply(outcomes.iter().collect())));
    }

    /// What a machine suffered before its power was cut, and does not when it has booted, is in force no longer.
    fn is_over_with_the_power(&mut self, machine: &str) {
        for fault in self.in_force.take_of(machine, is_of_the_running) {
            self.tell(Some(machine.to_owned()), Happened::Cleared { fault });
        }
    }

    /// Whether something of that kind is in force, and the machine can do its part of undoing it.
    fn can_clear(&self, machine: &str, like: &Fault) -> Result<()> {
        let mut in_force = self.in_force.of(machine);
        if !in_force.any(|fault| like.replaces(fault)) {
            bail!("{machine} does not suffer from that: {like}");
        }
        let mut in_force = self.in_force.of(machine);
        let stands = in_force.find(|fault| matches!(fault, Fault::PowerCut | Fault::Frozen));
        match (stands, deed::clears(like, now())) {
            (Some(stands), Deed::Typed(_)) => {
                bail!("{machine} has to undo that itself: clear `{stands}` first")
            }
            _ => Ok(()),
        }
    }

    /// Does something to a machine, and tells `done` how it went; what takes its time is done in another thread.
    fn perform(
        &mut self,
        machine: &str,
        deed: Deed,
        done: impl FnOnce(Result<()>) + Send + 'static,
    ) {
        let no_port = || self.no_such_machine(machine);
        match deed {
            Deed::Link(direction, impairment) => {
                let done_so = self.switch.impair(machine, direction, impairment);
                done(done_so.with_context(no_port));
            }
            Deed::Apart(from, true) if from == machine => {
                done(Err(anyhow!("{machine} cannot be apart from itself")));
            }
            Deed::Apart(from, apart) => {
                let done_so = self.switch.part([machine, &from], apart);
                let missing = match self.machines.contains_key(machine) || machine == GATEWAY {
                    true => from.as_str(),
                    false => machine,
                };
                done(done_so.with_context(|| self.no_such_machine(missing)));
            }
            Deed::PowerOff => done(self.power_off(machine)),
            Deed::PowerOn => done(self.power_on(machine)),
            Deed::Qemu(command, arguments) => match self.running(machine) {
                Err(error) => done(Err(error)),
                Ok(running) => drop(thread::spawn(move || {
                    let qmp = running.qmp();
                    done(
                        qmp.and_then(|qmp| qmp.execute(command, arguments))
                            .map(drop),
                    );
                })),
            },
            Deed::Typed(command) => match self.running(machine) {
                Err(error) => done(Err(error)),
                Ok(running) => drop(thread::spawn(move || {
                    let outcome = match running.typing.run(&running.console, &command) {
                        Ok((0, _)) => Ok(()),
                        Ok((code, output)) => Err(anyhow!(
                            "`{command}` failed with exit code {code}: {}",
                            output.trim()
                        )),
                        Err(error) => Err(error),
                    };
                    done(outcome);
                })),
            },
        }
    }

    fn running(&self, machine: &str) -> Result<Running> {
        let running = self.machines.get(machine).filter(|_| machine != GATEWAY);
        running
            .cloned()
            .with_context(|| self.no_such_machine(machine))
    }

    fn no_such_machine(&self, machine: &str) -> String {
        if machine == GATEWAY && self.machines.contains_key(GATEWAY) {
            return "the gateway is no machine: its link is all that anything can befall"
                .to_owned();
        }
        let names = self.machines.keys().map(String::as_str);
        let names: Vec<&str> = names.filter(|name| *name != GATEWAY).collect();
        match names.is_empty() {
            true => format!("there is no machine {machine}"),
            false => format!("there is no machine {machine}, only {}", names.join(", ")),
        }
    }

    pub(super) fn unknown(&self, machine: &str) -> Answer {
        failed(self.no_such_machine(machine))
    }

    /// Kills a machine's QEMU; what it has handed to its disk is in the disk's file.
    fn power_off(&mut self, machine: &str) -> Result<()> {
        let running = self.running(machine)?;
        let at = self.qemus.iter().position(|(name, _)| name == machine);
        let Some(at) = at else {
            bail!("{machine} is off already")
        };
        running.shall_end.store(true, Ordering::Relaxed);
        let (_, mut qemu) = self.qemus.remove(at);
        let used = qemu.processes().into_iter().filter_map(processes::cpu);
        self.cpu_of_the_ended += used.sum::<Duration>();
        qemu.end()
    }

    pub(super) fn powered_on(&mut self, machine: &str) -> Answer {
        let outcome = self.power_on(machine);
        self.in_force
            .faults
            .retain(|(_, other)| other.machine != machine || !is_of_the_running(&other.fault));
        reply(outcome)
    }

    /// Starts a machine that is off, from its disk.
    fn power_on(&mut self, machine: &str) -> Result<()> {
        self.running(machine)?;
        // It may have switched itself off.
        if let Some(at) = self.qemus.iter().position(|(name, _)| name == machine) {
            if self.qemus[at].1.is_running()? {
                bail!("{machine} is on already");
            }
            // It is waited for, so that it is gone.
            self.qemus.remove(at).1.end()?;
        }
        let mut own = self.definition.machines.iter_mut();
        let known = own
            .find(|known| known.name == machine)
            .context("it is no machine of the lab")?;
        match &known.start {
            Start::Clone { mac, .. } | Start::Restored { mac, .. } => {
                known.start = Start::Cold { mac: mac.clone() };
            }
            Start::Cold { .. } => {}
            Start::Boot { .. } => bail!("{machine} is a template, which starts once"),
        }
        let known = known.clone();
        if let Some(running) = self.machines.get_mut(machine) {
            running.qmp = std::sync::Arc::default();
            running.shall_end = std::sync::Arc::default();
        }
        self.switch_on(known)
    }
}

/// Whether a fault is gone with the power: that of QEMU's process, or of the memory of the machine.
fn is_of_the_running(fault: &Fault) -> bool {
    match fault {
        Fault::Unplugged
        | Fault::Frozen
        | Fault::PowerCut
        | Fault::DiskSlow { .. }
        | Fault::DiskReadOnly => true,
        Fault::Link { .. } | Fault::Apart { .. } | Fault::ClockJump { .. } | Fault::DiskFull => {
            false
        }
    }
}

pub(super) fn reply(outcome: Result<()>) -> Answer {
    match outcome {
        Ok(()) => Reply::Done.into(),
        Err(error) => failed(format!("{error:#}")),
    }
}

/// The time by this machine's clock.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
