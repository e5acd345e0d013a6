//! What became of a lab, as one page that needs nothing else: its machines and their network, stages and machines on
//! a time axis, every log with search, and the first error. It is made of what lies in the lab's logs, so it can be
//! made while the lab runs, and when it is gone. While it runs, [`serve`] shows it as it is now.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use bramble_lab::report::{self, Run};
//!
//! let logs = Path::new("target/example/logs");
//! let mut run = Run::begin("bob loses his power");
//! let comes_back = || -> anyhow::Result<()> { anyhow::bail!("he did not come back") };
//! let outcome = run.stage("bob's power", logs, comes_back);
//! run.failure = outcome.err().map(|error| format!("{error:#}"));
//! let page = report::write(&[run], logs)?;
//! println!("see {}", page.display());
//! # Ok::<(), anyhow::Error>(())
//! ```

mod html;
mod kept;
mod live;
mod material;
mod times;

use std::fs;
use std::path::{Path, PathBuf};
use std::slice;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::definition::Definition;
use crate::trouble::Expected;
pub(crate) use kept::Kept;
pub use kept::keep;
pub use live::serve;
use material::Material;

/// What was done with a lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// What it is called.
    pub title: String,
    /// What it is to show, in a sentence; may be empty.
    pub shows: String,
    /// Trouble that is part of its plan, as [`Watch::expect`](crate::Watch::expect) was told.
    #[serde(default)]
    pub expected: Vec<Expected>,
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// Why it could show nothing here, if it could not, which is no failure.
    pub skipped: Option<String>,
    /// What it consisted of.
    pub stages: Vec<Stage>,
    /// When it began, before the lab was started or after.
    pub began: SystemTime,
}

impl Run {
    /// One that begins now, of which nothing is known yet.
    pub fn begin(title: &str) -> Run {
        Run {
            title: title.to_owned(),
            shows: String::new(),
            expected: Vec::new(),
            failure: None,
            skipped: None,
            stages: Vec::new(),
            began: SystemTime::now(),
        }
    }

    /// Does a part of it. Whoever looks on ([`keep`]) at the lab that has `logs` is told when it begins, and what came of
    /// it; that nobody could be told, as where no lab has been started there, is no matter.
    ///
    /// # Errors
    /// That of `work`.
    pub fn stage<T>(
        &mut self,
        name: &str,
        logs: &Path,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let (start, begin) = (self.began.elapsed().unwrap_or_default(), Instant::now());
        let number = self.stages.len();
        self.stages.push(Stage {
            name: name.to_owned(),
            start: start.as_secs_f64(),
            is_running: true,
            ..Stage::default()
        });
        let _ = keep(slice::from_ref(self), logs);
        let outcome = work();
        let stage = &mut self.stages[number];
        stage.is_running = false;
        stage.seconds = begin.elapsed().as_secs_f64();
        stage.failure = outcome.as_ref().err().map(|error| format!("{error:#}"));
        let _ = keep(slice::from_ref(self), logs);
        outcome
    }
}

/// A part of a [`Run`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// What it was called.
    pub name: String,
    /// When it began, in seconds since the run did.
    pub start: f64,
    /// Whether it has yet to end. How long it takes, and what it comes to, is not known until then.
    #[serde(default)]
    pub is_running: bool,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// CPU time that all machines of the lab used meanwhile, in seconds, where it is known.
    pub cpu: Option<f64>,
    /// What it came to, in a few words.
    pub note: String,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

/// What a lab leaves in its logs for whoever looks at them later: the file `lab.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Left {
    /// When the lab was started, in seconds since 1970.
    pub(crate) started: f64,
    pub(crate) definition: Definition,
}

impl Left {
    const FILE: &str = "lab.json";

    pub(crate) fn write(&self) -> Result<()> {
        let path = self.definition.logs.join(Left::FILE);
        fs::write(&path, serde_json::to_string_pretty(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Writes `report.html` to a lab's `logs`, about all `runs` that the lab was used for, which are over, and returns where
/// it is.
///
/// # Errors
/// When the logs of no lab are there, or it cannot be written.
pub fn write(runs: &[Run], logs: &Path) -> Result<PathBuf> {
    let page = html::page(runs, &Material::read(logs)?).into_string();
    Kept::over(runs).write(logs)?;
    let path = logs.join("report.html");
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
#[path = "../../../search/src/service/page/tests/chromium.rs"]
#[allow(dead_code, clippy::all)] // The search's page is looked at with it, too.
mod chromium;
#[cfg(test)]
mod tests;
