//! What `run` has done so far, kept in a file so that it can go on later.
//!
//! The file is one JSON object: the search it belongs to, by a hash of everything that decides the result, and for each level
//! the stretches that are done with their tally. It is written beside its place and renamed, so that whatever ends the program leaves
//! the last good one.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bramble_kernel::Summary;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::failure::Failure;
use crate::plan::{Plan, Step};
use crate::spec::Spec;
use crate::tally::Tally;

/// Of the file.
const VERSION: u32 = 1;

/// How much of a search is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Checkpoint {
    version: u32,
    /// Hash of the search.
    search: String,
    /// What it is, for people who look into the file.
    fill: String,
    rng: String,
    goal: String,
    start: u32,
    len: u64,
    pub(crate) levels: Vec<LevelDone>,
}

/// How much of a level is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LevelDone {
    pub(crate) level: String,
    /// How many steps of the level's [`Plan`] are done, from the first.
    pub(crate) steps: u64,
    /// What they found.
    pub(crate) tally: Tally,
    /// How long that took.
    pub(crate) seconds: f64,
}

impl LevelDone {
    /// What the steps that are done found.
    ///
    /// # Errors
    /// What does not fit together in the file.
    pub(crate) fn summary(&self, plan: &Plan) -> Result<Summary, String> {
        let seeds: u64 = (0..self.steps.min(plan.steps()))
            .filter_map(|number| plan.step(number))
            .map(Step::seeds)
            .sum();
        let problem = |problem| format!("the checkpoint for level {:?}: {problem}", self.level);
        self.tally.summary_of_any(seeds).map_err(problem)
    }
}

impl Checkpoint {
    /// Nothing done yet.
    pub(crate) fn new(spec: &Spec) -> Self {
        let level = |level: &String| LevelDone {
            level: level.clone(),
            steps: 0,
            tally: Tally::from(&Summary::EMPTY),
            seconds: 0.0,
        };
        Checkpoint {
            version: VERSION,
            search: fingerprint(spec),
            fill: spec.fill.clone(),
            rng: spec.rng.clone(),
            goal: spec.goal.clone(),
            start: spec.start,
            len: spec.len,
            levels: spec.levels.iter().map(level).collect(),
        }
    }

    /// What an earlier run left. `None` if there is no such file.
    pub(crate) fn read(path: &Path, spec: &Spec) -> Result<Option<Self>, Failure> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let wrong = |problem: &str| Failure::Usage(format!("{}: {problem}", path.display()));
        let found: Checkpoint = serde_json::from_str(&text)
            .map_err(|error| wrong(&format!("this is no checkpoint: {error}")))?;
        if found.version != VERSION {
            return Err(wrong(&format!(
                "this checkpoint has version {}, and only {VERSION} is known here; name another with --checkpoint, or remove the file",
                found.version
            )));
        }
        if found.search != fingerprint(spec) || found.levels.len() != spec.levels.len() {
            return Err(wrong(
                "this checkpoint belongs to another search: the world, the engine, the generator, the goal, the levels \
                 and the range must be the same; name another with --checkpoint, or remove the file",
            ));
        }
        Ok(Some(found))
    }

    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let beside = beside(path);
        let write = || -> anyhow::Result<()> {
            let mut file = std::fs::File::create(&beside)?;
            serde_json::to_writer_pretty(&file, self)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            std::fs::rename(&beside, path)?;
            Ok(())
        };
        write().with_context(|| format!("cannot write the checkpoint {}", path.display()))
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

/// All that decides the result, and how the work is cut.
fn fingerprint(spec: &Spec) -> String {
    let mut hash = Sha256::new();
    hash.update(crate::plan::STEP.to_le_bytes());
    for part in [&spec.world, &spec.fill, &spec.rng, &spec.goal]
        .into_iter()
        .chain(&spec.levels)
    {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(spec.start.to_le_bytes());
    hash.update(spec.len.to_le_bytes());
    let hash = hash.finalize();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
