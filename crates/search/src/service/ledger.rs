//! The ledger on disk: jobs, ranges and results in SQLite. It is the truth; all else can be lost.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use rusqlite::{Connection, Transaction, params};

use super::book::{Book, Outcome};
use super::wire::{JobRequest, Range, Return, Submission};

/// Raised when a table changes its meaning.
const VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE jobs (
    id      TEXT PRIMARY KEY,
    request TEXT NOT NULL
) STRICT;
CREATE TABLE ranges (
    job      TEXT NOT NULL REFERENCES jobs (id),
    level    INTEGER NOT NULL,
    start    INTEGER NOT NULL,
    len      INTEGER NOT NULL,
    epoch    INTEGER NOT NULL,
    state    TEXT NOT NULL CHECK (state IN ('open', 'done')),
    PRIMARY KEY (job, level, start)
) STRICT, WITHOUT ROWID;
-- Every result that was taken: one that counts for each range that is done, and any that differ from it.
CREATE TABLE results (
    number     INTEGER PRIMARY KEY,
    received   REAL NOT NULL,
    submission TEXT NOT NULL
) STRICT;
";

/// An open ledger. Only one process can have it open at a time.
pub(crate) struct Ledger {
    connection: Connection,
}

impl Ledger {
    /// Opens the ledger at `path`, making it if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ledger::try_open(path).with_context(|| format!("cannot use the ledger {}", path.display()))
    }

    fn try_open(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        // One writer, on a local disk: the lock is held as long as the process lives, and survives no crash.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match version {
            0 => connection.execute_batch(&format!(
                "BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;"
            ))?,
            VERSION => connection.execute_batch("BEGIN IMMEDIATE; COMMIT;")?,
            _ => bail!("it has version {version}, this program knows version {VERSION}"),
        }
        Ok(Ledger { connection })
    }

    /// Reads everything.
    pub(crate) fn read(&self) -> Result<Book> {
        let mut book = Book::default();
        let mut jobs = self
            .connection
            .prepare("SELECT id, request FROM jobs ORDER BY rowid")?;
        for row in jobs.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })? {
            let (id, request) = row?;
            book.add(&id, &serde_json::from_str(&request)?);
        }
        let mut epochs = self
            .connection
            .prepare("SELECT job, level, start, len, epoch FROM ranges WHERE epoch > 0")?;
        let epoch = |row: &rusqlite::Row<'_>| {
            let range = Range {
                job: row.get(0)?,
                level: row.get(1)?,
                start: row.get(2)?,
                len: row.get(3)?,
            };
            Ok((range, row.get(4)?))
        };
        for row in epochs.query_map([], epoch)? {
            let (range, epoch) = row?;
            book.set_epoch(&range, epoch);
        }
        let mut results = self
            .connection
            .prepare("SELECT received, submission FROM results ORDER BY number")?;
        for row in results.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))? {
            let (received, submission) = row?;
            book.submit(&serde_json::from_str(&submission)?, received);
        }
        Ok(book)
    }

    /// Writes together what belongs together: all of it is on disk when this returns, or none.
    pub(crate) fn write<T>(
        &mut self,
        entries: impl FnOnce(&Entries<'_>) -> Result<T>,
    ) -> Result<T> {
        let transaction = self.connection.transaction().context("ledger")?;
        let done = entries(&Entries {
            transaction: &transaction,
        })
        .context("ledger")?;
        transaction.commit().context("ledger")?;
        Ok(done)
    }
}

/// A transaction in progress.
pub(crate) struct Entries<'a> {
    transaction: &'a Transaction<'a>,
}

impl Entries<'_> {
    /// Enters a job that the book has just taken, with all its ranges.
    pub(crate) fn job(&self, id: &str, request: &JobRequest, book: &Book) -> Result<()> {
        self.transaction.execute(
            "INSERT INTO jobs VALUES (?1, ?2)",
            params![id, serde_json::to_string(request)?],
        )?;
        let mut insert = self
            .transaction
            .prepare_cached("INSERT INTO ranges VALUES (?1, ?2, ?3, ?4, 0, 'open')")?;
        for (range, _) in book.open().filter(|(range, _)| range.job == id) {
            insert.execute(params![range.job, range.level, range.start, range.len])?;
        }
        Ok(())
    }

    /// Enters a result of which the book said `outcome`.
    pub(crate) fn result(
        &self,
        submission: &Submission,
        received: f64,
        outcome: Outcome,
    ) -> Result<()> {
        if matches!(outcome, Outcome::Repeated | Outcome::Unknown) {
            return Ok(());
        }
        let mut insert = self
            .transaction
            .prepare_cached("INSERT INTO results (received, submission) VALUES (?1, ?2)")?;
        insert.execute(params![received, serde_json::to_string(submission)?])?;
        let Range {
            job, level, start, ..
        } = &submission.range;
        let mut update = self.transaction.prepare_cached(
            "UPDATE ranges SET state = 'done' WHERE job = ?1 AND level = ?2 AND start = ?3",
        )?;
        update.execute(params![job, level, start])?;
        Ok(())
    }

    /// Enters how often a range was offered.
    pub(crate) fn epoch(&self, range: &Range, epoch: u64) -> Result<()> {
        let mut update = self.transaction.prepare_cached(
            "UPDATE ranges SET epoch = ?4 WHERE job = ?1 AND level = ?2 AND start = ?3",
        )?;
        update.execute(params![range.job, range.level, range.start, epoch])?;
        Ok(())
    }

    /// Enters a return, if the book made a new epoch of it.
    pub(crate) fn give_back(&self, returned: &Return, epoch: Option<u64>) -> Result<()> {
        epoch.map_or(Ok(()), |epoch| self.epoch(&returned.range, epoch))
    }
}
