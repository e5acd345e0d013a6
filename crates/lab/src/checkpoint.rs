//! A whole lab saved while it runs, for as many labs as one likes to go on from there.
//!
//! [`Attached::checkpoint`] has all machines stand still at once, writes what they are, and lets them go on.
//! [`Checkpoint::restore`] starts a lab of the same machines, which go on together from that very moment: with their
//! processes, their connections to each other, and whatever they had not written to their disks yet. What costs
//! minutes, such as to provision a cluster, is done once, and every experiment with it begins in seconds.
//!
//! ```no_run
//! # use std::path::Path;
//! # use bramble_lab::{Fault, Lab, checkpoint::Checkpoint};
//! # fn doc(lab: Lab, supervisor: &[String]) -> anyhow::Result<()> {
//! let dir = Path::new("target/checkpoints/before-the-cut");
//! lab.attached().checkpoint(dir)?;
//! lab.guest("worker3").suffers(&Fault::cut())?;
//! lab.down()?;
//!
//! // As if the cut had never been.
//! let lab = Checkpoint::open(dir)?.restore("again", Path::new("target/again"), supervisor)?;
//! lab.set_clocks()?;
//! # lab.down()
//! # }
//! ```
//!
//! What machines know of the world stays as it was, too: their clocks, until [`Lab::set_clocks`]; their random numbers,
//! which are the same in every lab that goes on from there; and connections with the host, of which nobody knows any more.
//! They are online as they were, and do not say so again: there is nothing for [`Lab::wait`] to wait for.
//!
//! Labs may go on from there side by side, with names and places of their own, and with ports of their own where the host
//! reaches them by some: those are in [`Checkpoint::definition`]. What goes on can be saved, too; and the directory of a
//! checkpoint may be moved.
//!
//! # What there is in it
//!
//! ```text
//! DIR/lab.json         what the lab consisted of
//!     states/MACHINE   memory and devices: what QEMU would send to another QEMU
//!     scratch/         the lab's scratch, with the disks
//! ```
//!
//! The disks stand on those of templates, which the store must still have. Nobody but its owner can enter the directory, as it
//! holds what the machines held: keys, and memory. What has befallen machines is no part of it, so that nothing may be in
//! force; nor can it be saved what runs on the emulated board of a Pi, or is off.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::client::{Attached, Lab};
use crate::definition::{Definition, Machine, Request, Start};
use crate::qemu::MACHINE_TYPE;
use crate::rundir::RunDir;
use crate::switch::GATEWAY;
use crate::template::bases;
use crate::topology::fresh_directory;
use crate::watch::State;

/// Longest wait for all machines to go on. They take seconds, and longer on a busy host.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

impl Attached {
    /// Saves the whole lab in the directory `dir`, which is made. Its machines stand still meanwhile, for some seconds,
    /// and then go on, with clocks that are as late ([`Lab::set_clocks`]). What is being typed at a console goes on, too.
    /// A checkpoint that is to be made anew is removed by whoever made it, as directories are.
    ///
    /// # Errors
    /// When `dir` is there already; when a machine is off or on the board of a Pi, or something has befallen one; or when
    /// it cannot be written. The machines go on all the same, or the error says which does not.
    pub fn checkpoint(&self, dir: &Path) -> Result<()> {
        let dir = std::path::absolute(dir)?;
        self.request(&Request::Checkpoint { dir }).map(drop)
    }
}

impl Lab {
    /// Sets every machine's clock by this host's, typed at their consoles. In a lab that goes on from a checkpoint, it is
    /// as late as it was then; that of a clone is set by when its identity was written, which is some seconds before.
    ///
    /// # Errors
    /// When nobody answers at a console.
    pub fn set_clocks(&self) -> Result<()> {
        let mut machines = self.watch().machines();
        machines.remove(GATEWAY);
        let setting = machines.into_keys().map(|machine| {
            let lab = self.attached().clone();
            thread::spawn(move || {
                let now = seconds(SystemTime::now());
                lab.type_in(&machine, &format!("date --set @{now}"))
            })
        });
        // All at once: a busy machine takes its time.
        let setting: Vec<_> = setting.collect();
        for set in setting {
            set.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        Ok(())
    }
}

/// A saved lab.
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    saved: Saved,
}

impl Checkpoint {
    /// The lab that was saved in `dir`.
    ///
    /// # Errors
    /// When there is none, or one of machines that are not those of today.
    pub fn open(dir: &Path) -> Result<Checkpoint> {
        let dir = std::path::absolute(dir)?;
        let file = Files(&dir).lab();
        let text = fs::read(&file).with_context(|| {
            format!(
                "there is no checkpoint in {}: cannot read {}",
                dir.display(),
                file.display()
            )
        })?;
        let saved: Saved = serde_json::from_slice(&text)
            .with_context(|| format!("{} is broken, or another version's", file.display()))?;
        ensure!(
            saved.board == MACHINE_TYPE,
            "the checkpoint in {} is of machines of the board {}, and machines are of {MACHINE_TYPE} now; make it anew",
            dir.display(),
            saved.board
        );
        Ok(Checkpoint { dir, saved })
    }

    /// What the lab was called.
    pub fn lab(&self) -> &str {
        &self.saved.lab
    }

    /// When it was saved.
    pub fn taken(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.saved.taken)
    }

    /// How many bytes of the host's disk it takes.
    ///
    /// # Errors
    /// When it cannot be looked through.
    pub fn bytes(&self) -> Result<u64> {
        bytes_below(&self.dir)
            .with_context(|| format!("cannot look through {}", self.dir.display()))
    }

    /// What the lab consisted of.
    pub fn saved(&self) -> &Definition {
        &self.saved.definition
    }

    /// A lab that goes on from there, to be launched or to be changed before: with its scratch in `scratch`, a directory
    /// that is made or emptied, and its logs in `logs`. The ports by which the host reaches it are those that it had.
    ///
    /// # Errors
    /// When what it stands on is no longer there, or a file cannot be written.
    pub fn definition(&self, scratch: &Path, logs: &Path) -> Result<Definition> {
        let before = &self.saved.definition;
        let move_to = Move {
            files: Files(&self.dir),
            from: self.scratch_before()?,
            to: &std::path::absolute(scratch)?,
        };
        fresh_directory(move_to.to)?;
        copy_into(&move_to.files.scratch(), move_to.to)?;
        let machines = before.machines.iter();
        Ok(Definition {
            logs: logs.to_owned(),
            scratch: Some(move_to.to.to_owned()),
            machines: machines
                .map(|machine| move_to.machine(machine))
                .collect::<Result<_>>()?,
            ..before.clone()
        })
    }

    /// Starts a lab called `name` that goes on from there, and returns when all its machines do. In the directory
    /// `place`, `scratch` is the machines' and goes with the lab, and `logs` stays; what an earlier lab left in these is
    /// removed. `supervisor` is as in [`Lab::launch`].
    ///
    /// # Errors
    /// As [`Checkpoint::definition`]; when a lab of that name runs, or a machine does not go on.
    pub fn restore(&self, name: &str, place: &Path, supervisor: &[String]) -> Result<Lab> {
        RunDir::refuse_if_running(name)?;
        let (scratch, logs) = (place.join("scratch"), place.join("logs"));
        // The scratch first, which tells whether a lab runs here.
        let definition = self.definition(&scratch, &logs)?;
        fresh_directory(&logs)?;
        let lab = Lab::launch(name, &definition, supervisor)?;
        for machine in &self.saved.definition.machines {
            let goes_on = lab
                .watch()
                .until(&machine.name, PATIENCE, |now| now.state == State::Online)?;
            ensure!(goes_on, "{} does not go on", machine.name);
        }
        Ok(lab)
    }

    fn scratch_before(&self) -> Result<&Path> {
        let scratch = self.saved.definition.scratch.as_deref();
        scratch.with_context(|| {
            format!(
                "{} is broken: it has no scratch",
                Files(&self.dir).lab().display()
            )
        })
    }
}

/// From where the lab's scratch was to where that of the lab is that goes on.
struct Move<'a> {
    files: Files<'a>,
    from: &'a Path,
    to: &'a Path,
}

impl Move<'_> {
    fn moved(&self, file: &Path) -> Result<PathBuf> {
        Ok(self.to.join(within(self.from, file)?))
    }

    /// The machine that goes on from where `before` stood.
    fn machine(&self, before: &Machine) -> Result<Machine> {
        let name = &before.name;
        let (identity, mac) = match &before.start {
            Start::Clone { identity, mac, .. } => (Some(identity), mac),
            Start::Restored { identity, mac, .. } => (identity.as_ref(), mac),
            Start::Cold { mac } => (None, mac),
            Start::Boot { .. } => bail!("{name} is a template"),
        };
        let after = Machine {
            disk: self.moved(&before.disk)?,
            start: Start::Restored {
                state: self.files.state(name),
                identity: identity.map(|file| self.moved(file)).transpose()?,
                mac: mac.clone(),
            },
            ..before.clone()
        };
        let gone = "gone from the store, perhaps; make the checkpoint anew";
        for file in after.borrowed() {
            ensure!(file.exists(), "{name} needs {}: {gone}", file.display());
        }
        bases(&after.disk)
            .with_context(|| format!("{name} needs the disk under its own: {gone}"))?;
        Ok(after)
    }
}

/// What is written of a lab beside its machines' states and files.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Saved {
    /// What the lab was called.
    lab: String,
    /// Seconds since 1970.
    taken: u64,
    /// What its machines were machines of: a state means something to this board alone.
    board: String,
    pub(crate) definition: Definition,
}

impl Saved {
    pub(crate) fn now(lab: &str, definition: &Definition) -> Saved {
        Saved {
            lab: lab.to_owned(),
            taken: seconds(SystemTime::now()),
            board: MACHINE_TYPE.to_owned(),
            definition: definition.clone(),
        }
    }

    pub(crate) fn write(&self, files: &Files) -> Result<()> {
        let path = files.lab();
        fs::write(&path, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Where things are in a checkpoint.
pub(crate) struct Files<'a>(pub(crate) &'a Path);

impl Files<'_> {
    fn lab(&self) -> PathBuf {
        self.0.join("lab.json")
    }

    pub(crate) fn states(&self) -> PathBuf {
        self.0.join("states")
    }

    pub(crate) fn state(&self, machine: &str) -> PathBuf {
        self.states().join(machine)
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        self.0.join("scratch")
    }

    /// Where a file of the lab's scratch is.
    pub(crate) fn saved(&self, scratch: &Path, file: &Path) -> Result<PathBuf> {
        Ok(self.scratch().join(within(scratch, file)?))
    }
}

/// The way from a lab's scratch to a file that must be in it.
fn within<'a>(scratch: &Path, file: &'a Path) -> Result<&'a Path> {
    file.strip_prefix(scratch).with_context(|| {
        format!(
            "{} is not in the lab's scratch, {}, and only what is can be saved",
            file.display(),
            scratch.display()
        )
    })
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Copies a directory: files, links, and directories. Sockets and pipes are no use to anybody else.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to).with_context(|| format!("cannot make {}", to.display()))?;
    copy_into(from, to)
}

fn copy_into(from: &Path, to: &Path) -> Result<()> {
    let entries = fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        let (path, to, kind) = (entry.path(), to.join(entry.file_name()), entry.file_type()?);
        let copied = if kind.is_dir() {
            copy(&path, &to)?;
            fs::set_permissions(&to, entry.metadata()?.permissions())
        } else if kind.is_symlink() {
            fs::read_link(&path).and_then(|target| std::os::unix::fs::symlink(target, &to))
        } else if kind.is_file() {
            fs::copy(&path, &to).map(drop)
        } else {
            Ok(())
        };
        copied.with_context(|| format!("cannot copy {} to {}", path.display(), to.display()))?;
    }
    Ok(())
}

/// Disks have holes, which take no room.
fn bytes_below(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += match metadata.is_dir() {
            true => bytes_below(&entry.path())?,
            false => metadata.blocks() * 512,
        };
    }
    Ok(bytes)
}
