//! The life of a cluster: things happen while it computes, and after each the same must hold.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bramble_cluster::spec::Cluster;
use bramble_lab::{Fault, Waiting};

use crate::job::Job;
use crate::operator::Operator;
use crate::pipeline;
use crate::scenario::Rehearsal;

/// Longest wait for a cluster to be whole again. Machines that boot and containers that start take minutes when the
/// host is busy; one that will never be whole is waited for in vain, once.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

/// How often to look. Looking costs the machines something, too.
const INTERVAL: Duration = Duration::from_secs(5);

/// Something that happens to a cluster.
pub enum Action {
    /// A fault befalls a machine and is over after so long.
    Suffers(&'static str, Fault, Duration),
    /// A node is told to start anew.
    Restarts(&'static str),
    /// Anything else.
    Is(&'static str, fn(&mut Rehearsal) -> Result<()>),
}

impl Action {
    /// The worker that it happens to.
    fn worker(&self, cluster: &Cluster) -> Option<&'static str> {
        let (Action::Suffers(machine, ..) | Action::Restarts(machine)) = self else {
            return None;
        };
        cluster
            .workers()
            .any(|worker| worker.name == *machine)
            .then_some(*machine)
    }

    /// A stage's name.
    fn name(&self) -> String {
        match self {
            Action::Suffers(machine, fault, _) => format!("{machine}: {fault}"),
            Action::Restarts(machine) => format!("{machine}: restart"),
            Action::Is(name, _) => (*name).to_owned(),
        }
    }
}

/// Lets `actions` happen, each while the cluster computes. After each must hold: the answer that was being computed
/// is this machine's, every node is part of the swarm, every worker has its miner, and the NAS is mounted.
///
/// # Errors
/// When it does not hold, or the search was over before anything could happen to it.
pub fn live_through(rehearsal: &mut Rehearsal, actions: &[Action]) -> Result<()> {
    for action in actions {
        let report = rehearsal.report;
        let job = Job::under_way(rehearsal)?;
        report.stage(&action.name(), |stage| {
            // In the middle of a range, if it is one who computes.
            if let Some(worker) = action.worker(rehearsal.cluster) {
                job.until_on_loan(worker)?;
            }
            happen(rehearsal, action, &|| {
                ensure!(
                    job.runs_on(),
                    "the search was over before this; give it more to do with --seeds"
                );
                stage.note("while the cluster computes");
                Ok(())
            })
        })?;
        rehearsal.answer = Some(report.stage("the answer all the same", |stage| {
            let found = job.answer(PATIENCE)?;
            let bench = rehearsal.bench;
            pipeline::compare(&found, &bench.alone(&bench.long_search)?)?;
            stage.note(pipeline::summary(&found));
            Ok(found)
        })?);
        report.stage("whole again", |_| {
            until_whole(rehearsal.operator, rehearsal.cluster)
        })?;
    }
    Ok(())
}

/// Returns when it is over. `hits` is asked when it has begun, whether there was something for it to happen to.
fn happen(rehearsal: &mut Rehearsal, action: &Action, hits: &dyn Fn() -> Result<()>) -> Result<()> {
    let lab = rehearsal.lab.attached();
    match action {
        Action::Suffers(machine, fault @ Fault::PowerCut, lasting) => {
            lab.inflict_for(machine, fault, *lasting)?;
            hits()?;
            until_online(rehearsal, machine)
        }
        Action::Suffers(machine, fault, lasting) => {
            lab.inflict(machine, fault)?;
            hits()?;
            rehearsal.operator.alarm().sleep(*lasting)?;
            lab.clear(machine)
        }
        Action::Restarts(machine) => {
            // The connection breaks when the machine goes, which is no failure.
            let _ = rehearsal
                .operator
                .look(machine, &["sudo", "systemctl", "reboot"]);
            hits()?;
            until_online(rehearsal, machine)
        }
        Action::Is(_, act) => act(rehearsal).and_then(|()| hits()),
    }
}

/// Waits until a machine that boots has said that it is back.
///
/// # Errors
/// When it does not come back: the end of its console is in the error.
pub fn until_online(rehearsal: &mut Rehearsal, machine: &str) -> Result<()> {
    rehearsal
        .lab
        .wait(&Waiting::online([machine], PATIENCE), |_| {})
}

/// Waits until everything runs where it should.
///
/// # Errors
/// When it never does: what was missing last is in the error.
pub fn until_whole(operator: &Operator, cluster: &Cluster) -> Result<()> {
    until(operator, "the cluster to be whole", || {
        pipeline::is_whole(operator, cluster)
    })
}

/// Tries until it succeeds.
///
/// # Errors
/// When a machine is in trouble, or patience ends: why it failed last is in the error.
pub fn until(
    operator: &Operator,
    what: &str,
    mut attempt: impl FnMut() -> Result<()>,
) -> Result<()> {
    let begin = Instant::now();
    loop {
        let outcome = attempt();
        operator.alarm().check()?;
        match outcome {
            Ok(()) => return Ok(()),
            Err(error) if begin.elapsed() > PATIENCE => {
                return Err(error).with_context(|| format!("waited in vain for {what}"));
            }
            Err(_) => thread::sleep(INTERVAL),
        }
    }
}
