//! `/metrics`: what the page shows, for Prometheus. `deploy/grafana` has a board that draws it.

use std::fmt::Error;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::super::snapshot::{CellState, Health, Snapshot};
use super::super::wire::State;
use super::view::{EngineView, View, seeds};

/// As OpenMetrics 1.0 asks for.
pub(super) const MEDIA: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Jobs to tell of: the latest. Each makes some dozens of series.
const MOST_JOBS: usize = 8;

type Level = [(&'static str, String); 2];
type Fraction = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Spheres {
    job: String,
    level: String,
    spheres: u64,
}

/// Every metric, as they are at one moment.
#[derive(Default)]
struct Metrics {
    seeds: Family<Level, Gauge>,
    done: Family<Level, Counter>,
    verified: Family<Level, Gauge>,
    dead: Family<Level, Counter>,
    found: Family<Level, Counter>,
    spheres: Family<Spheres, Gauge>,
    ranges: Family<Level, Gauge>,
    rate: Family<[(&'static str, String); 1], Fraction>,
    left: Family<[(&'static str, String); 1], Fraction>,
    disputes: Family<[(&'static str, String); 1], Gauge>,
    running: Family<[(&'static str, String); 1], Gauge>,
    node_seeds: Family<Level, Counter>,
    node_rate: Family<Level, Fraction>,
    node_lent: Family<Level, Gauge>,
    node_rejected: Family<Level, Counter>,
    node_trusted: Family<Level, Gauge>,
    node_silence: Family<Level, Fraction>,
    tasks: Family<[(&'static str, String); 1], Gauge>,
    tasks_wanted: Family<[(&'static str, String); 1], Gauge>,
    machine_ready: Family<[(&'static str, String); 1], Gauge>,
    clients: Gauge,
}

/// The text for Prometheus.
///
/// # Errors
/// None that can be expected: text is written to memory.
pub(super) fn text(view: &View, clients: usize) -> Result<String, Error> {
    let metrics = Metrics::default();
    metrics.clients.set(clients as i64);
    for job in view.jobs.iter().rev().take(MOST_JOBS) {
        metrics.job(job, view.at);
    }
    if let Some(engine) = &view.engine {
        metrics.engine(engine);
    }
    let mut registry = Registry::with_prefix("bramble_search");
    metrics.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

impl Metrics {
    fn job(&self, job: &Snapshot, now: f64) {
        let id = &job.job.id;
        let label = [("job", id.clone())];
        let running = job.job.state == State::Running;
        self.running.get_or_create(&label).set(running.into());
        self.disputes
            .get_or_create(&label)
            .set(job.disputes.len() as i64);
        let rate = if running { job.rate.now } else { 0.0 };
        self.rate.get_or_create(&label).set(rate);
        if let Some(left) = job.rate.seconds_left {
            self.left.get_or_create(&label).set(left);
        }
        for level in &job.levels {
            let label = [("job", id.clone()), ("level", level.level.clone())];
            self.seeds.get_or_create(&label).set(job.job.len as i64);
            self.done.get_or_create(&label).inc_by(level.tally.scanned);
            self.dead.get_or_create(&label).inc_by(level.tally.dead);
            if job.job.search.filter.is_some() {
                let found = level.tally.completable + level.tally.dead;
                self.found.get_or_create(&label).inc_by(found);
            }
            let verified = seeds(level, CellState::Verified);
            self.verified.get_or_create(&label).set(verified as i64);
            for (&spheres, &count) in &level.tally.spheres {
                let label = Spheres {
                    job: id.clone(),
                    level: level.level.clone(),
                    spheres: spheres.into(),
                };
                self.spheres.get_or_create(&label).set(count as i64);
            }
        }
        for (state, count) in [
            ("done", job.progress.ranges_done),
            ("verified", job.progress.ranges_verified),
            ("unverified", job.progress.ranges_unverified),
        ] {
            let label = [("job", id.clone()), ("state", state.to_owned())];
            self.ranges.get_or_create(&label).set(count as i64);
        }
        for (name, node) in &job.nodes {
            let label = [("job", id.clone()), ("node", name.clone())];
            self.node_seeds.get_or_create(&label).inc_by(node.seeds);
            self.node_rate
                .get_or_create(&label)
                .set(node.seeds_per_second);
            self.node_lent.get_or_create(&label).set(node.lent as i64);
            self.node_rejected
                .get_or_create(&label)
                .inc_by(node.rejected);
            let trusted = !matches!(node.health, Health::Suspect | Health::Faulty);
            self.node_trusted.get_or_create(&label).set(trusted.into());
            if let Some(heard) = node.heard {
                self.node_silence.get_or_create(&label).set(now - heard);
            }
        }
    }

    fn engine(&self, engine: &EngineView) {
        for service in &engine.services {
            let label = [("service", service.name.clone())];
            self.tasks.get_or_create(&label).set(service.running as i64);
            self.tasks_wanted
                .get_or_create(&label)
                .set(service.wanted as i64);
        }
        for machine in &engine.nodes {
            let label = [("machine", machine.name.clone())];
            let ready = machine.state == "ready";
            self.machine_ready.get_or_create(&label).set(ready.into());
        }
    }

    #[rustfmt::skip]
    fn register(self, registry: &mut Registry) {
        registry.register("seeds", "Seeds to look at", self.seeds);
        registry.register("seeds_done", "Seeds with a result that counts", self.done);
        registry.register("seeds_verified", "Seeds that two nodes agree about", self.verified);
        registry.register("seeds_dead", "Seeds that cannot be completed", self.dead);
        registry.register("seeds_found", "Seeds that are as the job's filter says", self.found);
        registry.register("seeds_by_spheres", "Seeds by the number of their spheres", self.spheres);
        registry.register("ranges", "Ranges: done, of these verified by another node, and to be verified", self.ranges);
        registry.register("rate_seeds_per_second", "Seeds per second, lately", self.rate);
        registry.register_with_unit("left", "Time until all is done, if it goes on as it does", Unit::Seconds, self.left);
        registry.register("disputes", "Ranges about which nodes do not agree", self.disputes);
        registry.register("running", "1 while the job is not done", self.running);
        registry.register("node_seeds", "Seeds that a node computed", self.node_seeds);
        registry.register("node_rate_seeds_per_second", "Seeds per second of a node while it computes", self.node_rate);
        registry.register("node_lent", "Ranges that a node has on loan", self.node_lent);
        registry.register("node_rejected", "Results of a node that were refused", self.node_rejected);
        registry.register("node_trusted", "0 if a node computed wrongly or may have", self.node_trusted);
        registry.register_with_unit("node_silence", "Time since a node was heard of", Unit::Seconds, self.node_silence);
        registry.register("tasks", "Tasks of a service that run", self.tasks);
        registry.register("tasks_wanted", "Tasks of a service that should run", self.tasks_wanted);
        registry.register("machine_ready", "1 if the engine says that a machine is ready", self.machine_ready);
        registry.register("page_clients", "Browsers that follow the page", self.clients);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use serde_json::Value;

    use super::super::sample;
    use super::*;

    #[test]
    fn the_text_is_as_agreed() {
        let text = text(&sample::view(sample::disputed()), 3).unwrap();
        // Families do not say in which order they tell.
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        insta::assert_snapshot!(lines.join("\n"));
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_board_asks_for_nothing_that_is_not_there() {
        let board = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../deploy/grafana/bramble-search.json"
        );
        let board: Value = serde_json::from_str(&std::fs::read_to_string(board).unwrap()).unwrap();
        let mut view = sample::view(sample::disputed());
        view.jobs.push(Arc::new(sample::filtered()));
        let text = text(&view, 3).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let there: BTreeSet<&str> = samples
            .filter_map(|line| line.split(['{', ' ']).next())
            .collect();
        let panels = board["panels"].as_array().unwrap();
        let targets = panels
            .iter()
            .filter_map(|panel| panel["targets"].as_array())
            .flatten();
        let expressions: Vec<&str> = targets
            .map(|target| target["expr"].as_str().unwrap())
            .collect();
        assert!(
            expressions.len() >= panels.len(),
            "a panel asks for nothing"
        );
        let mut asked = BTreeSet::new();
        for expression in expressions {
            let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            asked.extend(words.filter(|word| word.starts_with("bramble_")));
        }
        assert!(asked.is_subset(&there), "{:?}", asked.difference(&there));
        // And what is measured is shown.
        assert!(there.is_subset(&asked), "{:?}", there.difference(&asked));
    }
}
