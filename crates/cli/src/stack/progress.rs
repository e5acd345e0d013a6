//! How far a stack is on its way to running.

use bramble_provision::{Service, Task};

/// How far a stack is.
#[derive(Debug, PartialEq)]
pub(super) struct Progress {
    /// Services that do not run as they should: `seeds_miner 5/7`.
    pub(super) waiting: Vec<String>,
    /// What went wrong on the way, which swarm may still mend.
    pub(super) troubles: Vec<String>,
    /// Swarm has given up, and waits for a person.
    pub(super) stuck: bool,
}

impl Progress {
    pub(super) fn of(services: &[Service]) -> Self {
        let mut progress = Self {
            waiting: vec![],
            troubles: vec![],
            stuck: false,
        };
        for service in services {
            if !is_whole(service) {
                let (running, desired) = (running(service), service.desired);
                progress
                    .waiting
                    .push(format!("{} {running}/{desired}", service.name));
            }
            progress.stuck |= service.update.ends_with("paused");
            let failed = service.tasks.iter().filter(|task| !task.error.is_empty());
            progress.troubles.extend(failed.map(|task| {
                let node = if task.node.is_empty() {
                    "no node"
                } else {
                    &task.node
                };
                format!("{} on {node}: {}: {}", service.name, task.state, task.error)
            }));
        }
        if services.is_empty() {
            progress.waiting.push("its services".into());
        }
        progress
    }
}

/// Whether all of it runs, and as it is meant to be.
fn is_whole(service: &Service) -> bool {
    running(service) >= service.desired && matches!(&*service.update, "" | "completed")
}

/// Tasks that run what the service is now, not what it was before an update.
pub(super) fn running(service: &Service) -> u64 {
    let current = |task: &&_| is_running(task) && task.image == service.image;
    service.tasks.iter().filter(current).count() as u64
}

pub(super) fn is_running(task: &Task) -> bool {
    task.wanted && task.state == "running"
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::stack::{listed, tasks};

    fn task(node: &str, state: &str, image: &str, error: &str) -> Task {
        Task {
            image: image.into(),
            node: node.into(),
            state: state.into(),
            wanted: error.is_empty(),
            error: error.into(),
            since: "2026-01-01T00:00:00Z".into(),
        }
    }

    /// A service that is to have so many tasks, and so many run.
    pub(in crate::stack) fn service_of(name: &str, desired: u64, run: u64) -> Service {
        let tasks = (0..run).map(|number| task(&format!("worker{number}"), "running", "new", ""));
        Service {
            name: name.into(),
            desired,
            ..service("", tasks.collect())
        }
    }

    fn service(update: &str, tasks: Vec<Task>) -> Service {
        Service {
            name: "seeds_miner".into(),
            stack: Some("seeds".into()),
            image: "new".into(),
            desired: 2,
            running: tasks.iter().filter(|task| is_running(task)).count() as u64,
            update: update.into(),
            tasks,
        }
    }

    #[test]
    fn a_stack_runs_when_all_of_its_present_tasks_do() {
        let run = |node, image| task(node, "running", image, "");
        let cases = [
            (
                "all",
                service("", vec![run("worker1", "new"), run("worker2", "new")]),
                true,
            ),
            (
                "one is missing",
                service("", vec![run("worker1", "new")]),
                false,
            ),
            (
                "one is old",
                service("", vec![run("worker1", "new"), run("worker2", "old")]),
                false,
            ),
            (
                "one starts",
                service(
                    "",
                    vec![
                        run("worker1", "new"),
                        task("worker2", "starting", "new", ""),
                    ],
                ),
                false,
            ),
            (
                "an update ended",
                service(
                    "completed",
                    vec![run("worker1", "new"), run("worker2", "new")],
                ),
                true,
            ),
            (
                "an update goes on",
                service(
                    "updating",
                    vec![run("worker1", "new"), run("worker2", "new")],
                ),
                false,
            ),
        ];
        for (case, service, runs) in cases {
            assert_eq!(Progress::of(&[service]).waiting.is_empty(), runs, "{case}");
        }
        assert!(
            !Progress::of(&[]).waiting.is_empty(),
            "a stack without services"
        );
    }

    #[test]
    fn troubles_say_where() {
        let failed = task(
            "worker2",
            "rejected",
            "new",
            "No such image: cluster.gov:5000/bramble-search:0.1.0",
        );
        let services = [service(
            "paused",
            vec![task("worker1", "running", "new", ""), failed],
        )];
        let progress = Progress::of(&services);
        assert!(progress.stuck);
        assert_eq!(progress.waiting, ["seeds_miner 1/2"]);
        insta::assert_snapshot!(format!(
            "{}\n\n{}\n{}",
            progress.troubles.join("\n"),
            listed(&services),
            tasks(&services)
        ));
    }
}
