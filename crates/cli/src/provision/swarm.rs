//! One swarm of all nodes.

use bramble_cluster::spec::{Cluster, Node, Role};
use bramble_provision::{Event, LocalSwarm, Member, Outcome, Resource, Summary, Verdict};

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
        let candidates = self.report.stage("swarm init", || self.managers(based));
        let Some(first) = candidates.first() else {
            return;
        };
        // One that was founded just now has it already, and nothing was known of it before.
        let managed = alive.iter().find(|based| known_mesh(based).is_some());
        let remeshed =
            managed.filter(|based| known_mesh(based) != Some(self.cluster.docker.routing_mesh));
        if let Some((manager, _)) = remeshed {
            let plan = plan::mesh(self.cluster, manager);
            self.report.stage("swarm mesh", || self.on_one(&plan));
        }
        if self.is_settled(&alive) {
            return;
        }
        let tokens = !self.mode.check && alive.iter().any(|based| !is_active(based));
        let answer = agent::first_manager(self.remote, candidates.iter().copied(), tokens);
        let (manager, view) = match answer {
            Ok(answer) => answer,
            Err(error) => return self.report.failure(&first.name, &error),
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
            join(&workers, AT_ONCE.min(self.forks));
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

    /// Managers of the swarm, of which the first that answers will do: one that is known to be, or else the first of
    /// the cluster file, which founds it.
    fn managers<'n>(&'n self, based: &[Based<'n>]) -> Vec<&'n Node> {
        let manages = |(_, summary): &&Based| {
            swarm_of(summary).is_some_and(|swarm| swarm.is_active() && swarm.manager)
        };
        if let Some((node, _)) = based.iter().find(manages) {
            return vec![node];
        }
        let others = not_looked_at(self.cluster, based);
        let first = self.cluster.first_manager();
        match based.iter().find(|(node, _)| node.name == first.name) {
            // It was not to be touched, so the swarm must be there already, and any of them knows it.
            None => others,
            Some(_) if self.mode.check => vec![],
            // Failed, and said so.
            Some((_, None)) => vec![],
            Some((node, Some(_))) => self.found_by(node, &others).into_iter().collect(),
        }
    }

    /// Founds the swarm, unless one of the `others`, who were not looked at, manages it already: a node that was set up
    /// anew knows nothing of it.
    fn found_by<'n>(&self, node: &'n Node, others: &[&'n Node]) -> Option<&'n Node> {
        let ask = |other: &&'n Node| (*other, self.standing(other));
        let asked: Vec<_> = others.iter().map(ask).collect();
        match way(&asked) {
            Way::Through(manager) => Some(manager),
            Way::Found => self.on_one(&plan::init(self.cluster, node)).map(|_| node),
            Way::Unclear(why) => {
                self.report.failure(&node.name, &anyhow::anyhow!(why));
                None
            }
        }
    }

    /// How a node stands to a swarm, asked without what `bramble` itself has brought there, which may be nothing yet.
    fn standing(&self, node: &Node) -> Standing {
        match self.remote.output(&node.name, STANDING, b"") {
            Ok(said) => Standing::parse(&node.name, &said),
            Err(error) => Standing::Unclear(format!("{error:#}")),
        }
    }
}

/// Managers that are not in `based`, or of whom nothing is known because they failed.
fn not_looked_at<'n>(cluster: &'n Cluster, based: &[Based<'n>]) -> Vec<&'n Node> {
    let is_known = |node: &&Node| {
        let is_it = |(known, summary): &Based| known.name == node.name && summary.is_some();
        based.iter().any(is_it)
    };
    cluster.managers().filter(|node| !is_known(node)).collect()
}

/// What a node's engine says of its place in a swarm. One that has no engine is in none.
const STANDING: &str = "[ \"$(systemctl show --property LoadState --value docker.service)\" = not-found ] && \
    { echo inactive false; exit 0; }; \
    exec sudo -n docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}'";

/// How a node stands to a swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    Outside,
    Manages,
    /// Nobody can tell, and why.
    Unclear(String),
}

impl Standing {
    /// From the answer of `node` to [`STANDING`].
    fn parse(node: &str, said: &str) -> Self {
        match said.trim() {
            "inactive false" => Self::Outside,
            "active true" => Self::Manages,
            // What the client says where the engine does not answer, which some versions take for no failure.
            "" | "false" => Self::Unclear(format!("the Docker engine of {node} does not answer")),
            said => {
                let state = said.split(' ').next().unwrap_or_default();
                Self::Unclear(format!(
                    "the Docker engine of {node} manages no swarm, but is `{state}` in one"
                ))
            }
        }
    }
}

/// How nodes come into a swarm of which nobody that was looked at is a manager.
#[derive(Debug, PartialEq)]
enum Way<'n> {
    /// This one lets them in.
    Through(&'n Node),
    /// There is none yet.
    Found,
    /// There may be one, and what to do.
    Unclear(String),
}

fn way<'n>(asked: &[(&'n Node, Standing)]) -> Way<'n> {
    if let Some((node, _)) = asked
        .iter()
        .find(|(_, standing)| *standing == Standing::Manages)
    {
        return Way::Through(node);
    }
    let unclear: Vec<_> = asked
        .iter()
        .filter_map(|(node, standing)| match standing {
            Standing::Unclear(why) => Some((&*node.name, &**why)),
            Standing::Outside | Standing::Manages => None,
        })
        .collect();
    if unclear.is_empty() {
        return Way::Found;
    }
    let (names, whys): (Vec<_>, Vec<_>) = unclear.into_iter().unzip();
    Way::Unclear(format!(
        "it is in no swarm, and founds none, because there may be one already, which only {} can tell: {}\n\
         see that they answer, or take them out of the cluster file, then run the same command again",
        names.join(", "),
        whys.join("; ")
    ))
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

fn known_mesh((_, summary): &Based) -> Option<bool> {
    summary.as_ref()?.mesh
}

fn known_members<'a>((_, summary): &'a Based) -> Option<&'a [Member]> {
    summary.as_ref()?.members.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::cluster;

    #[test]
    fn managers_of_whom_nothing_is_known_may_manage_a_swarm() {
        let cluster = cluster("three-managers");
        let check = |looked_at: &[&str], failed: &[&str], unknown: &[&str]| {
            let based =
                |name: &&str, summary: Option<Summary>| (cluster.node(name).unwrap(), summary);
            let looked_at = looked_at
                .iter()
                .map(|name| based(name, Some(Summary::default())));
            let failed = failed.iter().map(|name| based(name, None));
            let based: Vec<Based> = looked_at.chain(failed).collect();
            let found = not_looked_at(&cluster, &based);
            let names: Vec<_> = found.iter().map(|node| &*node.name).collect();
            assert_eq!(names, unknown);
        };
        check(&["bare"], &[], &["red", "green", "blue"]);
        check(&["red"], &[], &["green", "blue"]);
        check(&["red", "green", "blue"], &["bare"], &[]);
        check(&["red", "blue", "bare"], &["green"], &["green"]);
    }

    /// With stand-ins for the programs that a node has.
    #[test]
    fn a_node_without_an_engine_is_outside() {
        let cases = [
            ("not-found", Standing::Outside),
            ("loaded", Standing::Manages),
            // It did not even answer.
            ("", Standing::Manages),
        ];
        for (loaded, standing) in cases {
            let stand_ins =
                format!("systemctl() {{ echo {loaded}; }}; sudo() {{ echo active true; }}");
            // A function cannot take the shell's place.
            let question = STANDING.replace("exec sudo", "sudo");
            let said = std::process::Command::new("sh")
                .args(["-c", &format!("{stand_ins}; {question}")])
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&said.stdout);
            assert_eq!(Standing::parse("blue", &said), standing, "{loaded}");
        }
    }

    #[test]
    fn what_an_engine_says_is_a_standing() {
        let unclear = |why: &str| Standing::Unclear(why.to_owned());
        let cases = [
            ("inactive false\n", Standing::Outside),
            ("active true\n", Standing::Manages),
            (
                "active false\n",
                unclear("the Docker engine of blue manages no swarm, but is `active` in one"),
            ),
            (
                "locked false\n",
                unclear("the Docker engine of blue manages no swarm, but is `locked` in one"),
            ),
            (
                " false\n",
                unclear("the Docker engine of blue does not answer"),
            ),
            ("", unclear("the Docker engine of blue does not answer")),
        ];
        for (said, standing) in cases {
            assert_eq!(Standing::parse("blue", said), standing, "{said:?}");
        }
    }

    #[test]
    fn a_swarm_is_founded_only_where_there_is_none() {
        let cluster = cluster("three-managers");
        let [green, blue] = ["green", "blue"].map(|name| cluster.node(name).unwrap());
        let silent = || Standing::Unclear("cannot reach it: No route to host".to_owned());
        let cases = [
            // All others were looked at, as when all is new.
            (vec![], Some(Way::Found)),
            (
                vec![(green, Standing::Outside), (blue, Standing::Outside)],
                Some(Way::Found),
            ),
            (
                vec![(green, Standing::Outside), (blue, Standing::Manages)],
                Some(Way::Through(blue)),
            ),
            (
                vec![(green, silent()), (blue, Standing::Manages)],
                Some(Way::Through(blue)),
            ),
            (vec![(green, Standing::Outside), (blue, silent())], None),
        ];
        for (asked, wanted) in cases {
            match (way(&asked), wanted) {
                (Way::Unclear(why), None) => insta::assert_snapshot!(why, @r"
                it is in no swarm, and founds none, because there may be one already, which only blue can tell: cannot reach it: No route to host
                see that they answer, or take them out of the cluster file, then run the same command again
                "),
                (found, wanted) => assert_eq!(Some(found), wanted, "{asked:?}"),
            }
        }
    }
}
