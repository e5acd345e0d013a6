//! A new version of the search service takes the old one's place while it searches.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{EIGHT_PI, THREE};
use crate::job::Job;
use crate::life::until_whole;
use crate::pipeline;
use crate::scenario::{On, Rehearsal, Scenario, Stock, When};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rolling-update",
    shows: "a new version of the search takes the old one's place in mid-search, and no reservation is lost",
    when: When::Nightly,
    cluster: EIGHT_PI,
    nodes: THREE,
    stock: Stock::None,
    measured: Some(232),
    expects: &[],
    on: On::Cluster(run),
};

/// The images of the search: programs that may hold a reservation, or the ledger of all.
const RENEWED: [&str; 2] = ["seed-web", "seed-miner"];

/// Longest wait for the answer once all of the new version runs.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

fn run(rehearsal: &mut Rehearsal) -> Result<()> {
    let (report, operator) = (rehearsal.report, rehearsal.operator);
    let images = report.stage("a new version", |_| next_version(rehearsal))?;
    let before = running(rehearsal)?;
    let job = Job::under_way(rehearsal)?;
    report.stage("rolling update", |stage| {
        ensure!(
            job.runs_on(),
            "the search was over before this; give it more to do with --seeds"
        );
        let images = images.display().to_string();
        operator.bramble(&["stack", "deploy", "seeds", "--images", &images])?;
        let after = running(rehearsal)?;
        ensure!(
            before.lines().count() == after.lines().count()
                && before
                    .lines()
                    .zip(after.lines())
                    .all(|(old, new)| old != new),
            "not every service runs another image now\n--- before\n{before}\n--- after\n{after}"
        );
        // A miner that had been ended without handing back what it had would have two, until the older ran out.
        let loans = job.loans()?;
        ensure!(
            loans.values().all(|lent| *lent <= 1),
            "reservations were not handed back: {loans:?}"
        );
        stage.note(format!(
            "web, worker and miners are new; on loan: {loans:?}"
        ));
        Ok(())
    })?;
    rehearsal.answer = Some(report.stage("the answer all the same", |stage| {
        let found = job.answer(PATIENCE)?;
        let bench = rehearsal.bench;
        pipeline::compare(&found, &bench.alone(&bench.long_search)?)?;
        stage.note(pipeline::summary(&found));
        Ok(found)
    })?);
    report.stage("whole again", |_| until_whole(operator, rehearsal.cluster))
}

/// What the services of the search run, a line each.
fn running(rehearsal: &Rehearsal) -> Result<String> {
    let format = "{{.Spec.Name}} {{.Spec.TaskTemplate.ContainerSpec.Image}}";
    let inspect = format!(
        "sudo docker service inspect --format '{format}' seeds_web seeds_worker seeds_miner"
    );
    let manager = &rehearsal.cluster.first_manager().name;
    rehearsal.operator.look(manager, &["sh", "-c", &inspect])
}

/// The same images under other digests, in the registry; returns the directory of their layouts.
fn next_version(rehearsal: &Rehearsal) -> Result<PathBuf> {
    let old = &rehearsal.bench.programs.images;
    let new = rehearsal.place.scratch.join("next-version");
    copy(old, &new)?;
    for name in RENEWED {
        let layout = new.join(name);
        renew(&layout).with_context(|| format!("the image layout {}", layout.display()))?;
        let layout = layout.display().to_string();
        rehearsal.operator.bramble(&["image", "push", &layout])?;
    }
    Ok(new)
}

/// Gives the image in a layout one more annotation, and so another digest.
fn renew(layout: &Path) -> Result<()> {
    let read = |path: &Path| -> Result<Value> { Ok(serde_json::from_slice(&fs::read(path)?)?) };
    let blob = |digest: &str| layout.join("blobs").join(digest.replace(':', "/"));
    let path = layout.join("index.json");
    let mut index = read(&path)?;
    let descriptor = &mut index["manifests"][0];
    let digest = descriptor["digest"].as_str().context("no digest")?;
    let mut manifest = read(&blob(digest))?;
    manifest["annotations"]["org.opencontainers.image.revision"] = json!("next");
    let manifest = manifest.to_string();
    let hash = Sha256::digest(&manifest);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let digest = format!("sha256:{hash}");
    fs::write(blob(&digest), &manifest)?;
    descriptor["digest"] = json!(digest);
    descriptor["size"] = json!(manifest.len());
    Ok(fs::write(path, index.to_string())?)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => drop(fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}
