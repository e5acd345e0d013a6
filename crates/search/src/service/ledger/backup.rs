//! Copies of the ledger, and the way back.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Error, Result, bail, ensure};
use rusqlite::backup::Backup;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tempfile::NamedTempFile;

use super::{KNOWN, Ledger, VERSION, disk, salt};
use crate::service::page::words::{count, moment};
use crate::service::{now, token};

/// Copies to keep of each ledger.
const KEEP: usize = 7;
const PREFIX: &str = "ledger-";
const SUFFIX: &str = ".sqlite";
/// What SQLite has beside a database `x`: `x-wal` and so on. Beside another, it would be taken for a part of that.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];
/// Loans of a backup were numbered on after it was made; numbers beyond these were never given.
const SKIPPED_EPOCHS: u64 = 1 << 32;

/// The ledger as it was at a moment, on a local disk.
pub(crate) struct Copied {
    file: NamedTempFile,
    ledger: String,
}

impl Ledger {
    /// Copies the ledger as it is. SQLite writes to a local disk only; a plain copy of a closed file may then go anywhere.
    pub(crate) fn copied(&self) -> Result<Copied> {
        let copy = || {
            let file = NamedTempFile::new()?;
            let mut to = Connection::open(file.path())?;
            Backup::new(&self.connection, &mut to)?.run_to_completion(
                1024,
                Duration::ZERO,
                None,
            )?;
            to.pragma_update(None, "journal_mode", "DELETE")?;
            to.close().map_err(|(_, error)| error)?;
            let ledger = id(&self.connection)?;
            anyhow::Ok(Copied { file, ledger })
        };
        copy().context("cannot copy the ledger")
    }
}

/// Which ledger it is, the same in all its copies. It does not tell the salt.
fn id(connection: &Connection) -> Result<String> {
    let mut id = token::hash(&format!("ledger {}", salt(connection)?));
    id.truncate(8);
    Ok(id)
}

impl Copied {
    /// Keeps the copy in a directory, which may be on a network, and removes the oldest ones of this ledger there. Returns its path.
    /// May take as long as the network is away.
    pub(crate) fn keep(self, directory: &Path) -> Result<PathBuf> {
        let copy = || {
            fs::create_dir_all(directory)?;
            let prefix = format!("{PREFIX}{}-", self.ledger);
            let path = directory.join(format!("{prefix}{:013}{SUFFIX}", (now() * 1000.0) as u64));
            let part = path.with_extension("part");
            fs::copy(self.file.path(), &part)?;
            File::open(&part)?.sync_all()?;
            fs::rename(&part, &path)?;
            for old in copies(directory, &prefix)?.iter().rev().skip(KEEP) {
                fs::remove_file(old)?;
            }
            anyhow::Ok(path)
        };
        copy().with_context(|| format!("cannot back up to {}", directory.display()))
    }
}

/// The copies in a directory whose names begin like that, oldest first.
fn copies(directory: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.starts_with(prefix) && name.ends_with(SUFFIX) {
            found.push((made(&path), path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// When a copy was made, in milliseconds since 1970: as its name says, or else as the file system does.
fn made(copy: &Path) -> u64 {
    let name = copy.file_stem().and_then(|name| name.to_str());
    let told = name.and_then(|name| name.rsplit('-').next()?.parse().ok());
    told.unwrap_or_else(|| {
        let written = fs::metadata(copy).and_then(|found| found.modified());
        let since = written.map(|written| written.duration_since(UNIX_EPOCH).unwrap_or_default());
        since.map_or(0, |since| since.as_millis() as u64)
    })
}

/// A copy and what is in it.
#[derive(Debug)]
pub(crate) struct Copy {
    pub(crate) path: PathBuf,
    ledger: String,
    jobs: u64,
    results: u64,
}

impl Copy {
    fn look(path: &Path, connection: &Connection) -> Result<Self> {
        // No result was ever removed.
        let counts =
            "SELECT (SELECT count(*) FROM jobs), (SELECT coalesce(max(number), 0) FROM results)";
        let (jobs, results) =
            connection.query_row(counts, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Copy {
            path: path.to_owned(),
            ledger: id(connection)?,
            jobs,
            results,
        })
    }
}

impl fmt::Display for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (jobs, results) = (count(self.jobs, "job"), count(self.results, "result"));
        let made = moment(made(&self.path) as f64 / 1000.0);
        write!(f, "{} ({jobs}, {results}, of {made})", self.path.display())
    }
}

/// What came of `restore`.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) copy: Copy,
    /// What was there before.
    pub(crate) aside: Option<PathBuf>,
    /// The newest copies of the other ledgers in the directory.
    pub(crate) others: Vec<Copy>,
    /// What in the directory is no copy, though it has the name of one.
    pub(crate) unreadable: Vec<Error>,
}

/// Puts a copy, or the newest one of a directory, in the place of the ledger. What is there is kept beside it.
pub(crate) fn restore(from: &Path, ledger: &Path) -> Result<Restored> {
    let (path, others, unreadable) = match from.is_dir() {
        true => choose(from)?,
        false => (from.to_owned(), Vec::new(), Vec::new()),
    };
    disk::check_local(ledger)?;
    let part = local(&path, &disk::directory(ledger))?;
    let copy = prepare(part.path(), &path)
        .with_context(|| format!("{} cannot be restored", path.display()))?;
    part.as_file().sync_all()?;
    let aside = set_aside(ledger)?;
    let there = part.persist(ledger);
    there.with_context(|| format!("cannot write {}", ledger.display()))?;
    Ok(Restored {
        copy,
        aside,
        others,
        unreadable,
    })
}

/// The newest copy in a directory of a ledger that has jobs, the newest of each other one, and what cannot be read.
fn choose(directory: &Path) -> Result<(PathBuf, Vec<Copy>, Vec<Error>)> {
    let (mut found, mut unreadable): (Vec<Copy>, Vec<Error>) = (Vec::new(), Vec::new());
    for path in copies(directory, PREFIX)?.iter().rev() {
        match look(path) {
            Ok(copy) if copy.jobs == 0 => {}
            Ok(copy) if found.iter().any(|newer| newer.ledger == copy.ledger) => {}
            Ok(copy) => found.push(copy),
            Err(error) => unreadable.push(error.context(format!("cannot read {}", path.display()))),
        }
    }
    if found.is_empty() {
        let problem = unreadable.pop();
        let problem = problem.map_or_else(String::new, |error| format!("; {error:#}"));
        bail!(
            "{} has no copy of a ledger with jobs{problem}",
            directory.display()
        );
    }
    let chosen = found.remove(0);
    Ok((chosen.path, found, unreadable))
}

/// What is in a copy that may be on a network, where locks cannot be had and nobody writes to it.
fn look(path: &Path) -> Result<Copy> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    Copy::look(
        path,
        &Connection::open_with_flags_and_vfs(path, flags, "unix-none")?,
    )
}

/// The copy in a directory of this machine, readable for whom the directory belongs to, as worker is.
fn local(copy: &Path, directory: &Path) -> Result<NamedTempFile> {
    let local = || {
        let mut part = NamedTempFile::with_prefix_in("restoring-", directory)?;
        io::copy(&mut File::open(copy)?, part.as_file_mut())?;
        fs::set_permissions(part.path(), Permissions::from_mode(0o600))?;
        // Only root can give it to somebody else, and only root need do so.
        if nix::unistd::geteuid().is_root() {
            let owner = fs::metadata(directory)?;
            chown(part.path(), Some(owner.uid()), Some(owner.gid()))?;
        }
        anyhow::Ok(part)
    };
    local().with_context(|| format!("cannot copy {} to {}", copy.display(), directory.display()))
}

/// Sees whether it is a sound ledger, and makes sure that loans that are still out there are not taken for new ones.
fn prepare(part: &Path, copy: &Path) -> Result<Copy> {
    let connection = Connection::open_with_flags(part, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    ensure!(
        KNOWN.contains(&version),
        "it has version {version}, this program knows version {VERSION}"
    );
    let sound: String = connection.pragma_query_value(None, "integrity_check", |row| row.get(0))?;
    if sound != "ok" {
        bail!("it is damaged ({sound}); `--from FILE` takes an older one");
    }
    connection.execute_batch(&format!(
        "BEGIN;
         INSERT INTO sqlite_sequence SELECT 'loans', 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'loans');
         UPDATE sqlite_sequence SET seq = seq + {SKIPPED_EPOCHS} WHERE name = 'loans';
         DELETE FROM loans;
         COMMIT;"
    ))?;
    Copy::look(copy, &connection)
}

/// Moves the ledger out of the way with all that is beside it, whether it is sound or not. Returns where to, if there was anything.
fn set_aside(ledger: &Path) -> Result<Option<PathBuf>> {
    if ledger.exists() {
        close(ledger)?;
    }
    let aside = ledger.with_extension(format!("before-{}", (now() * 1000.0) as u64));
    let mut moved = false;
    for end in [""].iter().chain(&BESIDE) {
        let (from, to) = (with_end(ledger, end), with_end(&aside, end));
        match fs::rename(&from, &to) {
            Ok(()) => moved = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot move {}", from.display()));
            }
        }
    }
    Ok(moved.then_some(aside))
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(end);
    path.into()
}

/// Has SQLite enter in the ledger what is beside it, as far as it is sound. Fails if somebody has it open, or if that cannot be seen.
fn close(ledger: &Path) -> Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let closed = Connection::open_with_flags(ledger, flags)
        .and_then(|current| current.pragma_update(None, "journal_mode", "DELETE"));
    let Err(error) = closed else {
        return Ok(());
    };
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            bail!("{} is in use; stop the worker first", ledger.display())
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            Err(error).with_context(|| format!("cannot open {}", ledger.display()))
        }
        _ => Ok(()),
    }
}
