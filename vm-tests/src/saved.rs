//! Clusters that were made once and saved, for scenarios that begin with one.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use bramble_cluster::spec::Cluster;
use bramble_lab::checkpoint::Checkpoint;
use bramble_lab::{Attached, Backend};
use bramble_store::Key;

use crate::operator::Operator;
use crate::report::Report;
use crate::runner::{self, Options, Standing};
use crate::scenario::{Bench, Scenario};
use crate::setting;

/// Raised when the same inputs would give another cluster.
const VERSION: u32 = 1;

/// The cluster that `scenario` begins with, going on from where it was saved; `None` where it was not.
///
/// # Errors
/// When what is there is no checkpoint, or does not go on.
pub(crate) fn stand_up(
    scenario: &Scenario,
    report: &Report,
    bench: &Bench,
    options: &Options,
) -> Result<Option<Standing>> {
    let (cluster, file) = runner::cluster(scenario, options)?;
    let place = SavedCluster::of(&cluster, &file, bench, options)?;
    if !place.dir.exists() {
        return Ok(None);
    }
    let directory = options.directory.join(scenario.name);
    let stands = report.stage("a saved cluster", |stage| {
        let checkpoint = Checkpoint::open(&place.dir)?;
        let lab = checkpoint.restore(&cluster.name, &directory, &bench.supervisor)?;
        lab.set_clocks()?;
        stage.note(format!("{} MiB", checkpoint.bytes()? >> 20));
        let place = setting::Place::in_directory(&directory);
        let operator = Operator::new(&bench.programs.bramble, &place.files(), &place.logs);
        operator.alarm().listen(lab.watch());
        anyhow::Ok(Standing {
            web: setting::web(checkpoint.saved(), &cluster)?,
            file,
            cluster,
            place,
            operator,
            lab,
            is_cluster: true,
            cards: Vec::new(),
            runs: Vec::new(),
        })
    })?;
    Ok(Some(stands))
}

/// Saves a cluster that has just been made, in place of one that was made of something else.
///
/// # Errors
/// When it cannot be saved.
pub(crate) fn save(stands: &Standing, bench: &Bench, options: &Options) -> Result<()> {
    SavedCluster::of(&stands.cluster, &stands.file, bench, options)?.save(stands.lab.attached())
}

/// Where a cluster is saved, or would be.
struct SavedCluster {
    /// What all are in.
    above: PathBuf,
    /// How those begin that this one takes the place of.
    kind: String,
    dir: PathBuf,
}

impl SavedCluster {
    /// That of the cluster whose file is `file`, made of what is on the bench.
    fn of(cluster: &Cluster, file: &str, bench: &Bench, options: &Options) -> Result<SavedCluster> {
        let programs = &bench.programs;
        let launcher = match bench.backend {
            Backend::Processes => "processes",
            Backend::Containers { .. } => "containers",
        };
        let mut key = Key::builder("saved-cluster", VERSION)
            .text("file", file)
            .text("launcher", launcher)
            .text("node", bench.node.path().display())
            .text("household", bench.household.path().display())
            .file("bramble", &programs.bramble)
            .file("bramble-node", &programs.node);
        let images = fs::read_dir(&programs.images)
            .with_context(|| format!("cannot list {}", programs.images.display()))?;
        let mut images: Vec<PathBuf> = images.flatten().map(|it| it.path()).collect();
        images.sort();
        for image in images {
            let name = image.file_name().unwrap_or_default().to_string_lossy();
            key = key.file(&name, image.join("index.json"));
        }
        let key = key.finish()?;
        let above = options.directory.join("saved");
        let kind = format!("{}-of-{}-", cluster.name, cluster.nodes.len());
        Ok(SavedCluster {
            dir: above.join(format!("{kind}{}", key.hex())),
            above,
            kind,
        })
    }

    /// Saves the cluster that runs in `lab`.
    fn save(&self, lab: &Attached) -> Result<()> {
        fs::create_dir_all(&self.above)?;
        for entry in fs::read_dir(&self.above)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&self.kind) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        lab.checkpoint(&self.dir)
    }
}
