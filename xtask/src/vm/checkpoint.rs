//! `cargo xtask vm checkpoint` and `restore`: a lab as it was.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use bramble_lab::Attached;
use bramble_lab::checkpoint::Checkpoint;
use serde::Serialize;

use super::supervisor;
use crate::project;
use crate::store::{age, size};

/// Save a whole lab while it runs: memory, devices, disks and keys
///
/// All machines stand still at once, and go on when they are saved. What has befallen them must be cleared before.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask vm-test pipeline --keep
  cargo xtask vm checkpoint provisioned
  cargo xtask vm fault worker3 --power-cut
  cargo xtask vm down
  cargo xtask vm restore provisioned
  cargo xtask vm checkpoint --list
  cargo xtask vm checkpoint --remove provisioned")]
pub(super) struct Args {
    /// What to call it
    #[arg(required_unless_present = "list")]
    name: Option<String>,
    /// Take the place of one that is called so
    #[arg(long)]
    force: bool,
    /// List those that there are
    #[arg(long, conflicts_with_all = ["name", "force", "remove"])]
    list: bool,
    /// List them as JSON
    #[arg(long, requires = "list")]
    json: bool,
    /// Remove the one that is called so
    #[arg(long, conflicts_with = "force")]
    remove: bool,
}

/// Start a lab that goes on from where it was saved, and leave it running
///
/// It has the files and the ports that it had. Its clocks are set; whatever else its machines know of the world is as old
/// as the checkpoint, which stays, and can be restored again.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  cargo xtask vm restore provisioned")]
pub(super) struct RestoreArgs {
    /// The checkpoint's name
    name: String,
}

/// A checkpoint, as it is listed.
#[derive(Serialize)]
struct Row {
    name: String,
    lab: String,
    machines: usize,
    bytes: u64,
    taken: String,
    #[serde(skip)]
    age: String,
}

pub(super) fn run(args: &Args, lab: impl FnOnce() -> Result<Attached>) -> Result<()> {
    let directory = directory();
    let Some(name) = &args.name else {
        let rows = rows(&directory)?;
        match args.json {
            true => println!("{}", serde_json::to_string_pretty(&rows)?),
            false => print!("{}", table(&rows)),
        }
        return Ok(());
    };
    let dir = directory.join(checked(name)?);
    match args.remove {
        true => {
            ensure!(dir.exists(), "there is no checkpoint in {}", dir.display());
            remove(&dir)
        }
        false => save(&lab()?, &dir, args.force),
    }
}

pub(super) fn restore(args: &RestoreArgs) -> Result<()> {
    let begin = Instant::now();
    let checkpoint = Checkpoint::open(&directory().join(checked(&args.name)?))?;
    let scratch = checkpoint.saved().scratch.as_deref();
    let place = scratch
        .and_then(Path::parent)
        .context("the lab had no place")?;
    let name = checkpoint.lab();
    eprintln!("restoring {name}: {}", size(checkpoint.bytes()?));
    let lab = checkpoint.restore(name, place, &supervisor()?)?;
    lab.set_clocks()?;
    lab.detach()?;
    eprintln!(
        "the lab {name} goes on from where it was {} ago, after {:.1} s; `cargo xtask vm --help` says what to do with it",
        age(since(checkpoint.taken())),
        begin.elapsed().as_secs_f64()
    );
    Ok(())
}

fn save(lab: &Attached, dir: &Path, force: bool) -> Result<()> {
    ensure!(
        force || !dir.exists(),
        "there is a checkpoint in {}; --force takes its place",
        dir.display()
    );
    let begin = Instant::now();
    eprintln!(
        "saving {}, whose machines stand still meanwhile",
        lab.name()
    );
    fs::create_dir_all(directory())?;
    // The old one goes when the new one is whole.
    let next = dir.with_extension("next");
    if next.exists() {
        remove(&next)?;
    }
    lab.checkpoint(&next)?;
    if dir.exists() {
        remove(dir)?;
    }
    fs::rename(&next, dir).with_context(|| format!("cannot name {}", dir.display()))?;
    let bytes = Checkpoint::open(dir)?.bytes()?;
    let took = begin.elapsed().as_secs_f64();
    eprintln!("saved in {}: {}, {took:.1} s", dir.display(), size(bytes));
    Ok(())
}

fn directory() -> PathBuf {
    project::target_dir().join("vm-checkpoints")
}

/// The name of a directory, and of nothing that is above it or half made.
fn checked(name: &str) -> Result<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        bail!("a checkpoint's name is of letters, digits, `-` and `_`, not `{name}`");
    }
    Ok(name)
}

fn remove(dir: &Path) -> Result<()> {
    fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))
}

fn since(time: SystemTime) -> std::time::Duration {
    SystemTime::now().duration_since(time).unwrap_or_default()
}

/// Those that are whole, by name.
fn rows(directory: &Path) -> Result<Vec<Row>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot list {}", directory.display()))?,
    };
    let mut rows = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if checked(&name).is_err() {
            continue;
        }
        let checkpoint = Checkpoint::open(&entry.path())?;
        rows.push(Row {
            lab: checkpoint.lab().to_owned(),
            machines: checkpoint.saved().machines.len(),
            bytes: checkpoint.bytes()?,
            taken: humantime::format_rfc3339_seconds(checkpoint.taken()).to_string(),
            age: age(since(checkpoint.taken())),
            name,
        });
    }
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(rows)
}

fn table(rows: &[Row]) -> String {
    if rows.is_empty() {
        return "no lab is saved; `cargo xtask vm checkpoint NAME` saves one\n".to_owned();
    }
    let row = |row: &Row| {
        format!(
            "{:<20} {:<16} {:>3} machines {:>10} {:>8} ago\n",
            row.name,
            row.lab,
            row.machines,
            size(row.bytes),
            row.age
        )
    };
    rows.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        for name in ["provisioned", "before-the-cut_2"] {
            checked(name).expect(name);
        }
        for name in ["", "..", "a/b", "a.next", "a.unfinished"] {
            checked(name).expect_err(name);
        }
    }

    #[test]
    fn each_checkpoint_is_a_line() {
        let rows = [Row {
            name: "provisioned".to_owned(),
            lab: "eight-pi".to_owned(),
            machines: 9,
            bytes: 4 << 30,
            taken: "2026-11-29T22:00:00Z".to_owned(),
            age: "5 min".to_owned(),
        }];
        insta::assert_snapshot!(format!("{}{}", table(&rows), table(&[])));
    }
}
