//! Reboots, of those nodes that need them.

use std::time::{Duration, Instant};

use anyhow::bail;
use bramble_cluster::spec::{self, Node, Role};
use bramble_provision::{Event, LocalSwarm, Outcome, Plan, Summary};

use super::{Based, Run};
use crate::report::Report;

/// A Pi boots in half a minute; an emulated one, beside seven others, takes minutes.
const PATIENCE: Duration = Duration::from_secs(900);

/// How often a node is asked whether it is back.
const INTERVAL: Duration = Duration::from_secs(3);

/// Another one after every boot.
const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

const REASON: &str = "something that was changed is in use only after a boot";

impl Run<'_> {
    /// Reboots those that need it, workers all at once, managers one after the other and only while all others have
    /// come back; then looks whether everything is as it should be, and puts that into `based`.
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
        self.report.stage("reboot", || {
            in_turn(self.report, in_need, |based| self.reboot_one(based, &plan));
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

/// Has `reboot` take all workers at once, and then the managers one by one: whatever kept one node from coming back, such
/// as a kernel that does not boot, must not take the swarm's quorum as well.
fn in_turn<'b, 'n: 'b>(
    report: &Report,
    in_need: Vec<&'b mut Based<'n>>,
    reboot: impl Fn(&mut Based<'n>) + Sync,
) {
    let names: Vec<&str> = in_need.iter().map(|(node, _)| &*node.name).collect();
    let (managers, workers): (Vec<_>, Vec<_>) = in_need
        .into_iter()
        .partition(|(node, _)| node.role == Role::Manager);
    std::thread::scope(|scope| {
        for based in workers {
            let reboot = &reboot;
            scope.spawn(move || reboot(based));
        }
    });
    for based in managers {
        let failed = names.iter().filter(|name| report.has_failed(name));
        match &*failed.copied().collect::<Vec<_>>() {
            [] => reboot(based),
            failed => report.note(&based.0.name, &left_out(failed)),
        }
    }
}

fn left_out(failed: &[&str]) -> String {
    format!(
        "it needs a reboot, but that of {} failed, and no manager is to go the same way: mend what failed, or take it \
         out of the cluster file, then run the same command again",
        failed.join(", ")
    )
}

fn finished(outcome: Outcome, milliseconds: u64) -> Event {
    Event::Finished {
        stage: "reboot".into(),
        id: "reboot".into(),
        outcome,
        milliseconds,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::plan::tests::cluster;

    /// Who of the managers red, green and blue and the workers disk and bare goes down, if these do not come back.
    fn gone_down(failing: &[&str]) -> Vec<String> {
        let cluster = cluster("three-managers");
        let mut based: Vec<Based> = cluster
            .nodes
            .iter()
            .map(|node| (node, Some(Summary::default())))
            .collect();
        let report = Report::new(&[], false);
        let gone = Mutex::new(Vec::new());
        in_turn(&report, based.iter_mut().collect(), |(node, _)| {
            gone.lock().unwrap().push(node.name.clone());
            if failing.contains(&&*node.name) {
                report.failure(&node.name, &anyhow::anyhow!("it has not come back"));
            }
        });
        let mut gone = gone.into_inner().unwrap();
        gone.sort();
        gone
    }

    #[test]
    fn managers_go_down_only_while_all_others_have_come_back() {
        let cases: [(&[&str], &[&str]); 5] = [
            (&[], &["bare", "blue", "disk", "green", "red"]),
            (&["bare"], &["bare", "disk"]),
            (&["bare", "disk"], &["bare", "disk"]),
            (&["red"], &["bare", "disk", "red"]),
            (&["green"], &["bare", "disk", "green", "red"]),
        ];
        for (failing, gone) in cases {
            assert_eq!(gone_down(failing), gone, "{failing:?}");
        }
    }

    #[test]
    fn who_is_left_out_hears_why() {
        let said = left_out(&["disk", "bare"]);
        assert!(said.contains("that of disk, bare failed"), "{said}");
        assert!(said.contains("run the same command again"), "{said}");
    }
}
