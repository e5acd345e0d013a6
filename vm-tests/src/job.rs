//! A search that the cluster works on while other things happen.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::alarm::Alarm;
use crate::pipeline::{self, Answer};
use crate::scenario::Rehearsal;

/// How often to ask how far it is, and how long for one answer.
const INTERVAL: Duration = Duration::from_secs(1);

/// Longest wait for the first result.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// A search, by where its state is told.
pub struct Job {
    url: String,
    alarm: Alarm,
}

impl Job {
    /// Submits the rehearsal's long search, and returns when the first of it has been computed and the last has not.
    ///
    /// # Errors
    /// When it cannot be submitted, nothing is computed, or all is computed at once.
    pub fn under_way(rehearsal: &Rehearsal) -> Result<Job> {
        let (bench, web) = (rehearsal.bench, rehearsal.web);
        rehearsal.report.stage("search begins", |stage| {
            let submitted = pipeline::submit(rehearsal.operator, &bench.long_search)?;
            let job = Job {
                url: format!("http://127.0.0.1:{web}/v1/jobs/{submitted}"),
                alarm: rehearsal.operator.alarm().clone(),
            };
            let begin = Instant::now();
            loop {
                let status = job.status();
                if let Ok(status) = &status {
                    let done = status["progress"]["seeds_done"]
                        .as_u64()
                        .unwrap_or_default();
                    if done > 0 {
                        ensure!(
                            is_running(status),
                            "it was over at once; give it more to do with --seeds"
                        );
                        stage.note(format!(
                            "{done} seeds done of {}",
                            status["progress"]["seeds_total"]
                        ));
                        return Ok(job);
                    }
                }
                job.alarm.check()?;
                if begin.elapsed() > PATIENCE {
                    bail!(
                        "nothing was computed in {} s; the last answer was {status:?}",
                        PATIENCE.as_secs()
                    );
                }
                thread::sleep(INTERVAL);
            }
        })
    }

    /// Whether it is yet to end, as far as anybody knows: a service that does not answer has not told its end.
    pub fn runs_on(&self) -> bool {
        self.status().map_or(true, |status| is_running(&status))
    }

    /// Waits for its answer.
    ///
    /// # Errors
    /// When nodes disagree, a machine is in trouble, or patience ends: what was heard last is in the error.
    pub fn answer(&self, patience: Duration) -> Result<Answer> {
        let begin = Instant::now();
        loop {
            let status = self.status();
            if let Ok(status) = &status
                && !is_running(status)
            {
                ensure!(
                    status["state"] == "done",
                    "the nodes disagree: {}",
                    status["disputes"]
                );
                return pipeline::answer(&status["report"].to_string());
            }
            self.alarm.check()?;
            if begin.elapsed() > patience {
                bail!(
                    "no answer in {} s; heard last: {status:?}",
                    patience.as_secs()
                );
            }
            thread::sleep(INTERVAL);
        }
    }

    /// How many ranges each node has on loan.
    ///
    /// # Errors
    /// When the service does not answer.
    pub fn loans(&self) -> Result<BTreeMap<String, u64>> {
        let snapshot = self.ask("/snapshot")?;
        let nodes = snapshot["nodes"].as_object().into_iter().flatten();
        let lent = |(name, node): (&String, &Value)| {
            (name.clone(), node["lent"].as_u64().unwrap_or_default())
        };
        Ok(nodes.map(lent).collect())
    }

    /// Waits until a node computes a range.
    ///
    /// # Errors
    /// When it never does.
    pub fn until_on_loan(&self, node: &str) -> Result<()> {
        let begin = Instant::now();
        loop {
            let loans = self.loans();
            if loans.as_ref().is_ok_and(|loans| loans.get(node) > Some(&0)) {
                return Ok(());
            }
            ensure!(
                self.runs_on() && begin.elapsed() < PATIENCE,
                "{node} was lent nothing; give it more to do with --seeds; on loan: {loans:?}"
            );
            self.alarm.check()?;
            thread::sleep(INTERVAL / 4);
        }
    }

    fn status(&self) -> Result<Value> {
        self.ask("")
    }

    fn ask(&self, what: &str) -> Result<Value> {
        let url = format!("{}{what}", self.url);
        let request = ureq::get(&url)
            .config()
            .timeout_global(Some(10 * INTERVAL))
            .build();
        let mut response = request
            .call()
            .with_context(|| format!("nothing answers at {url}"))?;
        Ok(response.body_mut().read_json()?)
    }
}

fn is_running(status: &Value) -> bool {
    status["state"] == "running"
}
