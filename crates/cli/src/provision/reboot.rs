//! Reboots, of those nodes that need them.

use std::time::{Duration, Instant};

use anyhow::bail;
use bramble_cluster::spec::{self, Node, Role};
use bramble_provision::{Event, LocalSwarm, Outcome, Plan, Summary};

use super::{Based, Run};

/// A Pi boots in half a minute; an emulated one, beside seven others, takes minutes.
const PATIENCE: Duration = Duration::from_secs(900);

/// How often a node is asked whether it is back.
const INTERVAL: Duration = Duration::from_secs(3);

/// Another one after every boot.
const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

const REASON: &str = "something that was changed is in use only after a boot";

impl Run<'_> {
    /// Reboots those that need it, workers all at once, managers one after the other; then looks whether everything
    /// is as it should be, and puts that into `based`.
    pub(super) fn reboot<'n>(
        &self,
        based: &mut [Based<'n>],
        allowed: bool,
        plan: impl Fn(&Node) -> Plan + Sync,
    ) {
        let needs = |(_, summary): &&mut Based| summary.as_ref().is_some_and(|s| s.needs_reboot);
        let in_need: Vec<&mut Based<'n>> = based.iter_mut().filter(needs).collect();
        if in_need.is_empty() {
            return;
        }
        let allowed = allowed && self.cluster.updates.reboot == spec::Reboot::IfNeeded;
        if self.mode.check || !allowed {
            for (node, _) in in_need {
                self.foresee_reboot(node, allowed);
            }
            return;
        }
        let (managers, workers): (Vec<_>, Vec<_>) = in_need
            .into_iter()
            .partition(|(node, _)| node.role == Role::Manager);
        self.report.stage("reboot", || {
            std::thread::scope(|scope| {
                for based in workers {
                    let plan = &plan;
                    scope.spawn(move || self.reboot_one(based, plan));
                }
            });
            for based in managers {
                self.reboot_one(based, &plan);
            }
        });
    }

    fn foresee_reboot(&self, node: &Node, allowed: bool) {
        if !allowed {
            let text = format!("it needs a reboot: {REASON}");
            return self.report.note(&node.name, &text);
        }
        let outcome = Outcome::WouldChange {
            reason: REASON.into(),
            diff: None,
        };
        self.report.event(&node.name, &finished(outcome, 0));
    }

    fn reboot_one(&self, based: &mut Based, plan: impl Fn(&Node) -> Plan) {
        let (node, summary) = based;
        let Some(before) = summary.take() else { return };
        let start = Instant::now();
        if let Err(error) = self.boot_again(node, &before.boot_id) {
            return self.report.failure(&node.name, &error);
        }
        let outcome = Outcome::Changed {
            reason: REASON.into(),
            diff: None,
            commands: vec![],
        };
        let milliseconds = start.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        self.report
            .event(&node.name, &finished(outcome, milliseconds));
        *summary = self.on_one(&plan(node));
        if before.swarm.as_ref().is_some_and(LocalSwarm::is_active) {
            self.until_member(node, summary);
        }
    }

    /// Returns once the node is up again, with another boot id than before.
    fn boot_again(&self, node: &Node, before: &str) -> anyhow::Result<()> {
        let name = &node.name;
        let waiting = Event::Waiting {
            message: "rebooting".into(),
        };
        self.report.event(name, &waiting);
        let ended = self
            .remote
            .run(name, "exec sudo -n systemctl reboot", &b""[..], |_| Ok(()));
        // It may well be gone before it has answered.
        if let Ok(ended) = ended
            && ended.code != 0
        {
            bail!("{name} cannot be rebooted: {}", ended.errors);
        }
        let start = Instant::now();
        loop {
            std::thread::sleep(INTERVAL);
            // The connection that is there would only be found dead after a minute.
            self.remote.disconnect(name);
            let answer = self.remote.output(name, BOOT_ID, b"");
            if answer.is_ok_and(|id| !id.trim().is_empty() && id.trim() != before) {
                break;
            }
            if start.elapsed() > PATIENCE {
                bail!(
                    "{name} has not come back {} minutes after its reboot; is its card still good? \
                     Look at its screen or its serial console",
                    PATIENCE.as_secs() / 60
                );
            }
        }
        // Its services are still starting. That some do not is for others to say.
        self.remote
            .run(name, "systemctl is-system-running --wait", &b""[..], |_| {
                Ok(())
            })
            .map(drop)
    }

    /// Waits until the engine is a member again, as it was before: the next manager must not go before.
    fn until_member(&self, node: &Node, summary: &mut Option<Summary>) {
        let nothing = Plan {
            node: node.name.clone(),
            stages: vec![],
        };
        let start = Instant::now();
        while let Some(now) = summary.as_ref() {
            if now.swarm.as_ref().is_some_and(LocalSwarm::is_active) {
                return;
            }
            if start.elapsed() > PATIENCE {
                *summary = None;
                let error =
                    anyhow::anyhow!("it is no member of the swarm any more after its reboot");
                return self.report.failure(&node.name, &error);
            }
            std::thread::sleep(INTERVAL);
            *summary = self.on_one(&nothing);
        }
    }
}

fn finished(outcome: Outcome, milliseconds: u64) -> Event {
    Event::Finished {
        stage: "reboot".into(),
        id: "reboot".into(),
        outcome,
        milliseconds,
    }
}
