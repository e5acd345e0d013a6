//! Carrying out a plan.

use std::{io, time::Instant};

use crate::{
    Change, Error, Event, LocalSwarm, Notice, Outcome, Plan, Resource, Summary, System, Verdict,
    engine::Engine, swarm,
};

/// What applying may do, and what it shows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mode {
    /// Look only.
    pub check: bool,
    /// Send diffs along.
    pub diff: bool,
}

/// Brings `system` to what `plan` says, telling `report` about every step.
///
/// The first failure ends the plan, because what follows may rest on what failed. A failing `report` ends it
/// too, between two resources: nobody is listening any more.
pub fn apply(
    plan: &Plan,
    system: &System,
    mode: Mode,
    mut report: impl FnMut(&Event) -> io::Result<()>,
) -> io::Result<Summary> {
    let mut summary = Summary::default();
    for stage in &plan.stages {
        for step in &stage.steps {
            if summary.failed > 0 {
                summary.skipped += 1;
                continue;
            }
            report(&Event::Started {
                stage: stage.name.clone(),
                id: step.id.clone(),
            })?;
            let start = Instant::now();
            let outcome = one(&step.resource, system, mode, summary.would_change > 0);
            match outcome {
                Outcome::Satisfied => summary.satisfied += 1,
                Outcome::Changed { .. } => summary.changed += 1,
                Outcome::WouldChange { .. } => summary.would_change += 1,
                Outcome::Failed { .. } => summary.failed += 1,
            }
            let milliseconds = start.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
            report(&Event::Finished {
                stage: stage.name.clone(),
                id: step.id.clone(),
                outcome,
                milliseconds,
            })?;
        }
    }
    if let Ok(engine) = Engine::connect(system) {
        summary.swarm = LocalSwarm::at_a_glance(&engine).ok();
        let manages = summary.swarm.as_ref().is_some_and(|swarm| swarm.manager);
        if manages {
            summary.members = swarm::members(&engine).ok();
            summary.mesh = swarm::mesh(&engine).ok().map(|mesh| mesh.is_some());
        }
    }
    summary.boot_id = system
        .read("/proc/sys/kernel/random/boot_id")
        .ok()
        .flatten()
        .unwrap_or_default()
        .trim()
        .into();
    // Debian's packages leave a note of their own.
    summary.needs_reboot =
        Notice::Reboot.is_left(system) || system.path("/run/reboot-required").exists();
    report(&Event::Summary(summary.clone()))?;
    Ok(summary)
}

fn one(resource: &Resource, system: &System, mode: Mode, after_would_change: bool) -> Outcome {
    system.take_ran();
    let change = match resource.check(system) {
        Ok(Verdict::Satisfied) => return Outcome::Satisfied,
        Ok(Verdict::Change(change)) => change,
        // What it rests on was only looked at, so that it cannot be judged is no failure.
        Err(error) if mode.check && after_would_change => Change {
            reason: format!("cannot be judged before the changes above: {error}"),
            diff: None,
        },
        Err(error) => return failed(error, system),
    };
    let diff = change.diff.filter(|_| mode.diff);
    if mode.check {
        return Outcome::WouldChange {
            reason: change.reason,
            diff,
        };
    }
    system.take_ran();
    match resource.apply(system) {
        Ok(()) => Outcome::Changed {
            reason: change.reason,
            diff,
            commands: system.take_ran(),
        },
        Err(error) => failed(error, system),
    }
}

fn failed(error: Error, system: &System) -> Outcome {
    Outcome::Failed {
        error: error.to_string(),
        commands: system.take_ran(),
    }
}
