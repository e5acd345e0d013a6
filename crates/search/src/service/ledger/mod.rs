//! The ledger on disk: what was entered, in SQLite. It is the truth; all else can be lost.

pub(crate) mod backup;
mod disk;
mod read;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::book::{Entry, Stretch};

/// Raised when a table changes its meaning.
const VERSION: i64 = 3;
/// Versions that can be opened, and are brought to this one then.
const KNOWN: RangeInclusive<i64> = 2..=VERSION;

const SCHEMA: &str = "
-- What never changes: `salt`, by which results are chosen to be computed again.
CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE jobs (
    number  INTEGER PRIMARY KEY,
    id      TEXT NOT NULL UNIQUE,
    request TEXT NOT NULL,
    created REAL NOT NULL,
    ended   REAL
) STRICT;
CREATE TABLE nodes (
    number INTEGER PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE,
    faulty INTEGER NOT NULL DEFAULT 0,
    -- The number of the last result there was when it was last forgiven.
    forgiven INTEGER NOT NULL DEFAULT 0
) STRICT;
-- Ranges that somebody has. Never is a number given twice.
CREATE TABLE loans (
    epoch INTEGER PRIMARY KEY AUTOINCREMENT,
    job   INTEGER NOT NULL,
    level INTEGER NOT NULL,
    start INTEGER NOT NULL,
    len   INTEGER NOT NULL,
    twins INTEGER NOT NULL,
    node  INTEGER NOT NULL,
    lent  REAL NOT NULL
) STRICT;
-- Every result that was taken, in order. Times in seconds; what was found as `packed.rs` has it.
CREATE TABLE results (
    number   INTEGER PRIMARY KEY,
    job      INTEGER NOT NULL,
    level    INTEGER NOT NULL,
    start    INTEGER NOT NULL,
    len      INTEGER NOT NULL,
    twins    INTEGER NOT NULL,
    node     INTEGER NOT NULL,
    epoch    INTEGER NOT NULL,
    seconds  REAL NOT NULL,
    received REAL NOT NULL,
    chosen   INTEGER NOT NULL,
    found    BLOB NOT NULL
) STRICT;
-- Who may lend power from outside, by the SHA-256 of a token.
CREATE TABLE tokens (
    name    TEXT PRIMARY KEY,
    hash    TEXT NOT NULL UNIQUE,
    created REAL NOT NULL,
    revoked INTEGER NOT NULL DEFAULT 0
) STRICT;
";

/// What the version before lacks.
const SINCE_2: &str = "ALTER TABLE nodes ADD COLUMN forgiven INTEGER NOT NULL DEFAULT 0;";

/// An open ledger. Only one process can have it open at a time.
pub(crate) struct Ledger {
    connection: Connection,
    /// Numbers of nodes that are in the table.
    nodes: HashMap<String, i64>,
}

impl Ledger {
    /// Opens the ledger at `path`, making it if it is not there.
    ///
    /// # Errors
    /// When it lies on a network file system, somebody else has it open, or it is none.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let open = || {
            disk::check_local(path)?;
            Ledger::new(Connection::open(path)?)
        };
        open().with_context(|| format!("cannot use the ledger {}", path.display()))
    }

    /// One that is forgotten when the process ends.
    pub(crate) fn in_memory() -> Result<Self> {
        Ledger::new(Connection::open_in_memory()?)
    }

    fn new(mut connection: Connection) -> Result<Self> {
        // One writer, on a local disk: the lock is held as long as the process lives, and survives no crash.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.set_prepared_statement_cache_capacity(32);
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match version {
            0 => make(&mut connection, SCHEMA)?,
            2 => make(&mut connection, SINCE_2)?,
            VERSION => connection.execute_batch("BEGIN IMMEDIATE; COMMIT;")?,
            _ => bail!("it has version {version}, this program knows version {VERSION}"),
        }
        Ok(Ledger {
            connection,
            nodes: HashMap::new(),
        })
    }

    /// Writes together what belongs together: all of it is on disk when this returns, or none.
    pub(crate) fn write(&mut self, entries: &[Entry]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let Ledger { connection, nodes } = self;
        let transaction = connection.transaction().context("ledger")?;
        for entry in entries {
            write(&transaction, nodes, entry).context("ledger")?;
        }
        transaction.commit().context("ledger")
    }
}

/// Makes tables, or what they lack, and all else that a ledger cannot do without: if the process ends on the way, none of it.
fn make(connection: &mut Connection, tables: &str) -> Result<()> {
    let mut salt = [0; 8];
    getrandom::fill(&mut salt).context("no random numbers")?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(tables)?;
    transaction.execute(
        "INSERT OR IGNORE INTO facts VALUES ('salt', ?1)",
        [i64::from_le_bytes(salt)],
    )?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}

fn salt(connection: &Connection) -> Result<u64> {
    let salt: i64 =
        connection.query_row("SELECT value FROM facts WHERE name = 'salt'", [], |row| {
            row.get(0)
        })?;
    Ok(salt as u64)
}

fn write(to: &Transaction<'_>, nodes: &mut HashMap<String, i64>, entry: &Entry) -> Result<()> {
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| -> Result<()> {
        to.prepare_cached(sql)?.execute(values)?;
        Ok(())
    };
    match entry {
        Entry::Job {
            number,
            id,
            request,
            at,
        } => run(
            "INSERT INTO jobs VALUES (?1, ?2, ?3, ?4, NULL)",
            params![number, id, serde_json::to_string(request)?, at],
        ),
        Entry::Ended { job, at } => run(
            "UPDATE jobs SET ended = ?2 WHERE number = ?1",
            params![job, at],
        ),
        Entry::Lent(loan) => {
            let node = node_number(to, nodes, &loan.node)?;
            let (place, Stretch { start, len, twins }) = (loan.place, loan.stretch);
            run(
                "INSERT INTO loans VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    loan.epoch,
                    place.job,
                    place.level,
                    start,
                    len,
                    twins,
                    node,
                    loan.at
                ],
            )
        }
        Entry::Freed { epoch } => run("DELETE FROM loans WHERE epoch = ?1", params![epoch]),
        Entry::Result(result) => {
            let node = node_number(to, nodes, &result.node)?;
            let (place, Stretch { start, len, twins }) = (result.place, result.stretch);
            run("DELETE FROM loans WHERE epoch = ?1", params![result.epoch])?;
            run(
                "INSERT INTO results VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                params![
                    place.job,
                    place.level,
                    start,
                    len,
                    twins,
                    node,
                    result.epoch,
                    result.seconds,
                    result.at,
                    result.chosen,
                    result.packed.bytes()
                ],
            )
        }
        Entry::Faulty { node, faulty } => {
            let node = node_number(to, nodes, node)?;
            run(
                "UPDATE nodes SET faulty = ?2,
                     forgiven = iif(?2, forgiven, (SELECT coalesce(max(results.number), 0) FROM results))
                 WHERE number = ?1",
                params![node, faulty],
            )
        }
        Entry::Token { name, hash, at } => run(
            "INSERT OR REPLACE INTO tokens VALUES (?1, ?2, ?3, 0)",
            params![name, hash, at],
        ),
        // What it did stays, and stays known as from outside.
        Entry::Revoked { name } => run(
            "UPDATE tokens SET revoked = 1 WHERE name = ?1",
            params![name],
        ),
    }
}

fn node_number(to: &Transaction<'_>, nodes: &mut HashMap<String, i64>, name: &str) -> Result<i64> {
    if let Some(number) = nodes.get(name) {
        return Ok(*number);
    }
    let found = to
        .prepare_cached("SELECT number FROM nodes WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    let number = match found {
        Some(number) => number,
        None => to
            .prepare_cached("INSERT INTO nodes (name) VALUES (?1)")?
            .insert([name])?,
    };
    nodes.insert(name.to_owned(), number);
    Ok(number)
}

#[cfg(test)]
mod tests;
