//! Seeds computed again for those who ask after them, on the page and through the API.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, anyhow};
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::explain::Explanation;
use crate::spec::{Compiled, Spec};

/// Gives the spec of a job by its id, if there is such a job.
pub(crate) type Specs =
    Arc<dyn Fn(String) -> BoxFuture<'static, Result<Option<Spec>>> + Send + Sync>;

/// Worlds compiled at a time: each takes a moment of a processor, which a manager needs for other things.
const AT_ONCE: usize = 2;
/// Compiled jobs to keep, as people look at several seeds of one job.
const KEPT: usize = 4;

/// Whatever asks after seeds asks here, so that all together compile only so much.
pub(crate) struct Explainer {
    specs: Specs,
    /// By id, oldest first.
    kept: Mutex<Vec<(String, Arc<Job>)>>,
    slots: Semaphore,
}

/// A job ready to compute.
pub(crate) struct Job {
    spec: Spec,
    compiled: Compiled,
}

impl Explainer {
    pub(super) fn new(specs: Specs) -> Arc<Self> {
        Arc::new(Explainer {
            specs,
            kept: Mutex::default(),
            slots: Semaphore::new(AT_ONCE),
        })
    }

    /// A job by its id. `None` if there is none.
    pub(super) async fn job(&self, id: &str) -> Result<Option<Arc<Job>>> {
        let _slot = self.slots.acquire().await?;
        if let Some(job) = self.kept(id) {
            return Ok(Some(job));
        }
        let Some(spec) = (self.specs)(id.to_owned()).await? else {
            return Ok(None);
        };
        let compile = move || spec.compile().map(|compiled| Job { spec, compiled });
        let job = tokio::task::spawn_blocking(compile).await?;
        let job = Arc::new(job.map_err(|failure| anyhow!("{failure}"))?);
        self.keep(id, &job);
        Ok(Some(job))
    }

    fn kept(&self, id: &str) -> Option<Arc<Job>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, job) = kept.iter().find(|(known, _)| known == id)?;
        Some(Arc::clone(job))
    }

    fn keep(&self, id: &str, job: &Arc<Job>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((id.to_owned(), Arc::clone(job)));
    }
}

impl Job {
    /// The levels that it is about, by name.
    pub(super) fn levels(&self) -> &[String] {
        &self.spec.levels
    }

    /// What lies where in a seed of a level. `None` if there is no such level.
    pub(super) fn explain(&self, level: &str, seed: u32) -> Option<Explanation<'_>> {
        let index = self.spec.levels.iter().position(|name| name == level)?;
        let (position, program) = self.compiled.levels.get(index)?;
        Some(Explanation::new(
            &self.compiled.world,
            *position,
            &program.arrange(seed),
        ))
    }
}
