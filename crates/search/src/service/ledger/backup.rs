//! Copies of the ledger, and the way back.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};
use tempfile::NamedTempFile;

use super::{KNOWN, Ledger, VERSION, disk};
use crate::service::now;

/// Copies to keep.
const KEEP: usize = 7;
const PREFIX: &str = "ledger-";
const SUFFIX: &str = ".sqlite";
/// Loans of a backup were numbered on after it was made; numbers beyond these were never given.
const SKIPPED_EPOCHS: u64 = 1 << 32;

/// The ledger as it was at a moment, on a local disk.
pub(crate) struct Copied(NamedTempFile);

impl Ledger {
    /// Copies the ledger as it is. SQLite writes to a local disk only; a plain copy of a closed file may then go anywhere.
    pub(crate) fn copied(&self) -> Result<Copied> {
        let copy = || {
            let local = NamedTempFile::new()?;
            let mut to = Connection::open(local.path())?;
            Backup::new(&self.connection, &mut to)?.run_to_completion(
                1024,
                Duration::ZERO,
                None,
            )?;
            to.pragma_update(None, "journal_mode", "DELETE")?;
            to.close().map_err(|(_, error)| error)?;
            anyhow::Ok(Copied(local))
        };
        copy().context("cannot copy the ledger")
    }
}

impl Copied {
    /// Keeps the copy in a directory, which may be on a network, and removes the oldest ones there. Returns its path.
    /// May take as long as the network is away.
    pub(crate) fn keep(self, directory: &Path) -> Result<PathBuf> {
        let copy = || {
            fs::create_dir_all(directory)?;
            let path = directory.join(format!("{PREFIX}{:013}{SUFFIX}", (now() * 1000.0) as u64));
            let part = path.with_extension("part");
            fs::copy(self.0.path(), &part)?;
            File::open(&part)?.sync_all()?;
            fs::rename(&part, &path)?;
            let all = copies(directory)?;
            for old in all.iter().rev().skip(KEEP) {
                fs::remove_file(old)?;
            }
            anyhow::Ok(path)
        };
        copy().with_context(|| format!("cannot back up to {}", directory.display()))
    }
}

/// The copies in a directory, oldest first.
fn copies(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Puts a copy, or the newest one of a directory, in the place of the ledger. What is there is kept beside it.
/// Returns the copy, and what was put aside.
pub(crate) fn restore(from: &Path, ledger: &Path) -> Result<(PathBuf, Option<PathBuf>)> {
    let copy = if from.is_dir() {
        let newest = copies(from)?.pop();
        newest.with_context(|| format!("{} has no copy of a ledger", from.display()))?
    } else {
        from.to_owned()
    };
    disk::check_local(ledger)?;
    let part = ledger.with_extension("restoring");
    fs::copy(&copy, &part).with_context(|| format!("cannot copy {}", copy.display()))?;
    if let Err(error) = prepare(&part) {
        fs::remove_file(&part)?;
        return Err(error.context(format!("{} cannot be restored", copy.display())));
    }
    let aside = if ledger.exists() {
        // Fails if somebody has it open, and leaves nothing in files beside it.
        let current = Connection::open(ledger)?;
        current
            .pragma_update(None, "journal_mode", "DELETE")
            .with_context(|| format!("{} is in use; stop the worker first", ledger.display()))?;
        current.close().map_err(|(_, error)| error)?;
        let aside = ledger.with_extension(format!("before-{}", now() as u64));
        fs::rename(ledger, &aside)?;
        Some(aside)
    } else {
        None
    };
    fs::rename(&part, ledger)?;
    File::open(ledger)?.sync_all()?;
    Ok((copy, aside))
}

/// Sees whether it is a sound ledger, and makes sure that loans that are still out there are not taken for new ones.
fn prepare(copy: &Path) -> Result<()> {
    let connection = Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    ensure!(
        KNOWN.contains(&version),
        "it has version {version}, this program knows version {VERSION}"
    );
    let sound: String = connection.pragma_query_value(None, "integrity_check", |row| row.get(0))?;
    if sound != "ok" {
        bail!("it is damaged: {sound}");
    }
    connection.execute_batch(&format!(
        "BEGIN;
         INSERT INTO sqlite_sequence SELECT 'loans', 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'loans');
         UPDATE sqlite_sequence SET seq = seq + {SKIPPED_EPOCHS} WHERE name = 'loans';
         DELETE FROM loans;
         COMMIT;"
    ))?;
    Ok(())
}
