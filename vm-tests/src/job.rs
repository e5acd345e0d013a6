//! A search that the cluster works on while other things happen.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::pipeline::{self, Answer};
use crate::scenario::Rehearsal;

/// How often to ask how far it is, and how long for one answer.
const INTERVAL: Duration = Duration::from_secs(1);

/// Longest wait for the first result.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// A search, by where its state is told.
pub struct Job {
    url: String,
}

impl Job {
    /// Submits the rehearsal's search, and returns when the first of it has been computed and the last has not.
    ///
    /// # Errors
    /// When it cannot be submitted, nothing is computed, or all is computed at once.
    pub fn under_way(rehearsal: &Rehearsal) -> Result<Job> {
        let (bench, web) = (rehearsal.bench, rehearsal.web);
        rehearsal.report.stage("search begins", |stage| {
            let submitted = pipeline::submit(rehearsal.operator, &bench.search)?;
            let job = Job {
                url: format!("http://127.0.0.1:{web}/v1/jobs/{submitted}"),
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
    /// When nodes disagree, or patience ends: what was heard last is in the error.
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
            if begin.elapsed() > patience {
                bail!(
                    "no answer in {} s; heard last: {status:?}",
                    patience.as_secs()
                );
            }
            thread::sleep(INTERVAL);
        }
    }

    fn status(&self) -> Result<Value> {
        let request = ureq::get(&self.url)
            .config()
            .timeout_global(Some(10 * INTERVAL))
            .build();
        let mut response = request
            .call()
            .with_context(|| format!("nothing answers at {}", self.url))?;
        Ok(response.body_mut().read_json()?)
    }
}

fn is_running(status: &Value) -> bool {
    status["state"] == "running"
}
