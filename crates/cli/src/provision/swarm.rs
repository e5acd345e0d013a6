//! One swarm of all nodes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bramble_cluster::spec::{Node, Role};
use bramble_provision::{Event, LocalSwarm, Member, Outcome, Plan, Resource, Summary, Verdict};

use super::{Based, Run};
use crate::{agent, plan};

/// How many workers join at once. Each sets up networks and tells all others; when fifteen emulated nodes did so at once,
/// on two processors, they had no time left to answer each other, and never came to rest.
const AT_ONCE: usize = 2;

impl Run<'_> {
    /// Makes one swarm of all nodes that got this far.
    pub(super) fn swarm(&self, based: &[Based]) {
        let alive: Vec<&Based> = based
            .iter()
            .filter(|(_, summary)| summary.is_some())
            .collect();
        if self.mode.check {
            self.foresee(&alive);
        }
        let Some(manager) = self.report.stage("swarm init", || self.manager(based)) else {
            return;
        };
        if self.is_settled(&alive) {
            return;
        }
        let tokens = !self.mode.check && alive.iter().any(|based| !is_active(based));
        let view = match agent::swarm(self.remote, &manager.name, tokens) {
            Ok(view) => view,
            Err(error) => return self.report.failure(&manager.name, &error),
        };
        let others = alive.iter().filter(|(node, _)| node.name != manager.name);
        let joining = others.filter(|based| match self.mode.check {
            true => is_active(based) && !is_member(based, &view.members),
            false => !is_member(based, &view.members),
        });
        // Managers one by one: each changes the quorum of the others.
        let (managers, workers): (Vec<&Node>, Vec<&Node>) = joining
            .map(|(node, _)| *node)
            .partition(|node| node.role == Role::Manager);
        let join = |nodes: &[&Node], at_once: usize| {
            let plans = nodes.iter().map(|node| plan::join(node, &[manager], &view));
            self.on_a_few(at_once, &plans.collect::<Vec<_>>());
        };
        self.report.stage("swarm join", || {
            join(&managers, 1);
            join(&workers, AT_ONCE);
        });
        let stands = |(node, summary): &Based| {
            !self.report.has_failed(&node.name)
                && (!self.mode.check || swarm_of(summary).is_some_and(LocalSwarm::is_active))
        };
        let members: Vec<_> = alive
            .iter()
            .filter(|based| stands(based))
            .map(|(node, _)| *node)
            .collect();
        if !members.is_empty() {
            let plan = plan::members(manager, &members);
            self.report.stage("swarm members", || self.on_one(&plan));
        }
    }

    /// Applies each plan on its node, a few at a time.
    fn on_a_few(&self, at_once: usize, plans: &[Plan]) {
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(plan) = plans.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.on_one(plan);
            }
        };
        thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(work);
            }
        });
    }

    /// Whether what a manager told with its summary shows all nodes in their places, so that nobody need be asked.
    fn is_settled(&self, alive: &[&Based]) -> bool {
        let Some(members) = alive.iter().find_map(|based| known_members(based)) else {
            return false;
        };
        let wanted: Vec<_> = alive.iter().map(|(node, _)| plan::member(node)).collect();
        let settled = alive.iter().all(|based| is_member(based, members))
            && wanted
                .iter()
                .all(|member| member.verdict(members) == Verdict::Satisfied);
        if settled {
            for ((node, _), member) in alive.iter().zip(wanted) {
                let event = Event::Finished {
                    stage: "members".into(),
                    id: Resource::SwarmNode(member).title(),
                    outcome: Outcome::Satisfied,
                    milliseconds: 0,
                };
                self.report.event(&node.name, &event);
            }
        }
        settled
    }

    /// What a check can say of nodes that are in no swarm, where nobody can let them in yet.
    fn foresee(&self, alive: &[&Based]) {
        for (node, _) in alive.iter().filter(|based| !is_active(based)) {
            let event = Event::Finished {
                stage: "swarm".into(),
                id: "swarm member".into(),
                outcome: Outcome::WouldChange {
                    reason: "it is in no swarm".into(),
                    diff: None,
                },
                milliseconds: 0,
            };
            self.report.event(&node.name, &event);
        }
    }

    /// A manager of the swarm: one that is already, or else the first of the cluster file, which founds it.
    fn manager<'n>(&'n self, based: &[Based<'n>]) -> Option<&'n Node> {
        let manages = |(_, summary): &&Based| {
            swarm_of(summary).is_some_and(|swarm| swarm.is_active() && swarm.manager)
        };
        if let Some((node, _)) = based.iter().find(manages) {
            return Some(node);
        }
        let first = self.cluster.first_manager();
        match based.iter().find(|(node, _)| node.name == first.name) {
            // It was not to be touched, so the swarm must be there already.
            None => Some(first),
            Some(_) if self.mode.check => None,
            // Failed, and said so.
            Some((_, None)) => None,
            Some((node, Some(_))) => self.on_one(&plan::init(node)).map(|_| *node),
        }
    }
}

fn swarm_of(summary: &Option<Summary>) -> Option<&LocalSwarm> {
    summary.as_ref()?.swarm.as_ref()
}

fn is_active((_, summary): &Based) -> bool {
    swarm_of(summary).is_some_and(LocalSwarm::is_active)
}

/// Whether the node is one of `members`: by its id, or where that is not known by its name, under which a swarm knows
/// one ready node only.
fn is_member((node, summary): &Based, members: &[Member]) -> bool {
    let is = |swarm: &LocalSwarm, member: &Member| match &*swarm.id {
        "" => member.hostname == node.name && member.state == "ready",
        id => member.id == id,
    };
    swarm_of(summary)
        .is_some_and(|swarm| swarm.is_active() && members.iter().any(|member| is(swarm, member)))
}

fn known_members<'a>((_, summary): &'a Based) -> Option<&'a [Member]> {
    summary.as_ref()?.members.as_deref()
}
