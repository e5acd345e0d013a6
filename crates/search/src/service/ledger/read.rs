//! The ledger read back: a book as it was.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use rusqlite::Row;

use super::{Ledger, salt};
use crate::service::book::{Book, Entry, Loan, Outcome, Place, Rules, Stretch};
use crate::service::packed::Packed;

impl Ledger {
    /// Reads everything. Loans that go on get their full length anew, from `now` on.
    pub(crate) fn read(&self, rules: Rules, now: f64) -> Result<Book> {
        let rules = Rules {
            salt: salt(&self.connection)?,
            ..rules
        };
        let next_epoch: u64 = self.connection.query_row(
            "SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'loans'",
            [],
            |row| row.get(0),
        )?;
        let mut book = Book::new(rules, next_epoch);
        // Names first, so that what is said of them can be weighed; results before loans, so that a loan of a range that has
        // a result is known for one that confirms it.
        self.each(
            "SELECT name, hash, created, revoked FROM tokens",
            |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get::<_, bool>(3)?,
                ))
            },
            |(name, hash, at, revoked): (String, String, f64, bool)| {
                book.enter(
                    &Entry::Token {
                        name: name.clone(),
                        hash,
                        at,
                    },
                    now,
                );
                if revoked {
                    book.enter(&Entry::Revoked { name }, now);
                }
                Ok(())
            },
        )?;
        self.each(
            "SELECT number, id, request, created, ended FROM jobs ORDER BY number",
            |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get::<_, String>(2)?,
                    row.get(3)?,
                    row.get(4)?,
                ))
            },
            |(number, id, request, at, ended): (u32, String, String, f64, Option<f64>)| {
                let request = serde_json::from_str(&request).context("a job")?;
                book.enter(
                    &Entry::Job {
                        number,
                        id,
                        request,
                        at,
                    },
                    now,
                );
                if let Some(at) = ended {
                    book.enter(&Entry::Ended { job: number, at }, now);
                }
                Ok(())
            },
        )?;
        // Each between the results that came before and after it, so that only these count for the node.
        let mut forgiven = self.forgiven()?.into_iter().peekable();
        self.each(
            "SELECT job, level, start, len, twins, name, epoch, seconds, received, chosen, found, results.number
             FROM results JOIN nodes ON node = nodes.number ORDER BY results.number",
            |row| {
                let (place, stretch, node) = range(row)?;
                let result = Outcome {
                    epoch: row.get(6)?,
                    place,
                    stretch,
                    node,
                    seconds: row.get(7)?,
                    at: row.get(8)?,
                    chosen: row.get(9)?,
                    packed: Packed::from_bytes(row.get(10)?),
                };
                Ok((row.get(11)?, result))
            },
            |(number, result): (i64, Outcome)| {
                while let Some((_, entry)) = forgiven.next_if(|(last, _)| *last < number) {
                    book.enter(&entry, now);
                }
                book.enter(&Entry::Result(result), now);
                Ok(())
            },
        )?;
        forgiven.for_each(|(_, entry)| book.enter(&entry, now));
        self.each(
            "SELECT name FROM nodes WHERE faulty",
            |row| row.get::<_, String>(0),
            |name| {
                book.enter(
                    &Entry::Faulty {
                        node: name.into(),
                        faulty: true,
                    },
                    now,
                );
                Ok(())
            },
        )?;
        self.each(
            "SELECT job, level, start, len, twins, name, epoch, lent
             FROM loans JOIN nodes ON node = nodes.number ORDER BY epoch",
            |row| {
                let (place, stretch, node) = range(row)?;
                let (epoch, at) = (row.get(6)?, row.get(7)?);
                Ok(Loan {
                    epoch,
                    place,
                    stretch,
                    node,
                    at,
                })
            },
            |loan| {
                book.enter(&Entry::Lent(loan), now);
                Ok(())
            },
        )?;
        book.settle_all(now);
        Ok(book)
    }

    /// Who was forgiven, and the last result before that.
    fn forgiven(&self) -> Result<Vec<(i64, Entry)>> {
        let mut found = Vec::new();
        self.each(
            "SELECT forgiven, name FROM nodes WHERE forgiven > 0 ORDER BY forgiven",
            |row| Ok((row.get(0)?, row.get::<_, String>(1)?)),
            |(last, name)| {
                let (node, faulty) = (name.into(), false);
                found.push((last, Entry::Faulty { node, faulty }));
                Ok(())
            },
        )?;
        Ok(found)
    }

    fn each<T>(
        &self,
        sql: &str,
        from: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
        mut to: impl FnMut(T) -> Result<()>,
    ) -> Result<()> {
        let mut select = self.connection.prepare(sql)?;
        for row in select.query_map([], from)? {
            to(row?)?;
        }
        Ok(())
    }
}

/// The first six columns.
fn range(row: &Row<'_>) -> rusqlite::Result<(Place, Stretch, Arc<str>)> {
    let start = row.get(2)?;
    let (job, level) = (row.get(0)?, row.get(1)?);
    let (len, twins) = (row.get(3)?, row.get(4)?);
    let place = Place { job, level, start };
    let node: String = row.get(5)?;
    Ok((place, Stretch { start, len, twins }, node.into()))
}
