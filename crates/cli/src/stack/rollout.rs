//! A service of many tasks is started a few of them at a time.
//!
//! Swarm starts all tasks of a new service at once. Every node then pulls the image from the one registry and starts a
//! container in the same moment. Seven emulated nodes on two processors kept each other so busy with it that they took
//! each other for dead, and were anything from 72 to 113 s about it; two at a time, they took 79 and 81 s, and 104 s when
//! the host was at half its speed.

use std::collections::BTreeMap;

use anyhow::Context as _;
use bramble_provision::Service;
use serde_yaml_ng::Value;

use super::progress::running;

/// How many tasks of a service start at once.
const AT_ONCE: u64 = 2;

/// Services that are still to grow, with how many tasks they are to have.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Rollout {
    wanted: BTreeMap<String, u64>,
}

impl Rollout {
    /// The compose file of the stack `name` as it is deployed first, and what is to follow. Services that are `present`
    /// already keep the tasks that they have.
    ///
    /// # Errors
    /// When the file is no compose file.
    pub(super) fn begin(
        name: &str,
        text: &str,
        present: &[Service],
    ) -> anyhow::Result<(String, Self)> {
        let mut stack: Value = serde_yaml_ng::from_str(text)
            .with_context(|| format!("the stack {name} is no compose file"))?;
        let mut wanted = BTreeMap::new();
        let services = stack.get_mut("services").and_then(Value::as_mapping_mut);
        for (service, definition) in services.into_iter().flatten() {
            let Some(replicas) = definition
                .get_mut("deploy")
                .and_then(|deploy| deploy.get_mut("replicas"))
            else {
                continue;
            };
            let full = format!("{name}_{}", service.as_str().unwrap_or_default());
            let has = present.iter().find(|service| service.name == full);
            let first = has.map_or(0, |service| service.desired).max(AT_ONCE);
            if let Some(all) = replicas.as_u64().filter(|all| *all > first) {
                *replicas = first.into();
                wanted.insert(full, all);
            }
        }
        Ok((serde_yaml_ng::to_string(&stack)?, Self { wanted }))
    }

    /// The services that can grow now, because fewer tasks than may start at once do not run yet, and to how many tasks.
    pub(super) fn next(&self, services: &[Service]) -> Vec<(String, u64)> {
        let grown = |service: &Service| {
            let all = *self.wanted.get(&service.name)?;
            let more = all.min(running(service) + AT_ONCE);
            (service.desired < more).then(|| (service.name.clone(), more))
        };
        services.iter().filter_map(grown).collect()
    }

    /// Services as they are, but for the tasks that they are to have in the end.
    pub(super) fn in_the_end(&self, mut services: Vec<Service>) -> Vec<Service> {
        for service in &mut services {
            if let Some(&all) = self.wanted.get(&service.name) {
                service.desired = all;
            }
        }
        services
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::progress::tests::service_of;

    const STACK: &str = "\
services:
  web: { image: web, deploy: { replicas: 1 } }
  agent: { image: agent, deploy: { mode: global } }
  miner: { image: miner, deploy: { replicas: 15 } }
";

    fn replicas(text: &str) -> u64 {
        let stack: Value = serde_yaml_ng::from_str(text).unwrap();
        stack["services"]["miner"]["deploy"]["replicas"]
            .as_u64()
            .unwrap()
    }

    #[test]
    fn a_new_service_starts_small_and_grows_as_it_runs() {
        let (text, rollout) = Rollout::begin("seeds", STACK, &[]).unwrap();
        assert_eq!(replicas(&text), 2);
        let cases = [
            // (it shall have, of which run, so it gets)
            (2, 0, None),
            (2, 1, Some(3)),
            (3, 3, Some(5)),
            (14, 13, Some(15)),
            (15, 13, None),
            (15, 15, None),
        ];
        for (desired, run, next) in cases {
            let services = [
                service_of("seeds_web", 1, 1),
                service_of("seeds_miner", desired, run),
            ];
            let expected = next.map(|next| ("seeds_miner".to_owned(), next));
            assert_eq!(rollout.next(&services), Vec::from_iter(expected));
            let [web, miner] = rollout.in_the_end(services.into()).try_into().unwrap();
            assert_eq!((web.desired, miner.desired), (1, 15));
        }
    }

    #[test]
    fn what_runs_already_is_not_stopped() {
        for (has, first) in [(0, 2), (1, 2), (7, 7), (15, 15), (20, 15)] {
            let present = [service_of("seeds_miner", has, has)];
            let (text, rollout) = Rollout::begin("seeds", STACK, &present).unwrap();
            assert_eq!(replicas(&text), first, "where {has} run");
            assert_eq!(rollout == Rollout::default(), first == 15);
        }
    }
}
