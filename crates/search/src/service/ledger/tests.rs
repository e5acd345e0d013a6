//! The ledger as a file.

use bramble_kernel::{Summary, mix};
use serde_json::json;

use super::*;
use crate::service::book::{Outcome, Place, Rules};
use crate::service::packed::Packed;
use crate::spec::SEEDS;

const RULES: Rules = Rules {
    lease: 60.0,
    target: 60.0,
    share: 0.0,
    first: 0,
    salt: 0,
};

fn job(len: u64) -> Entry {
    let spec = json!({ "world": "", "fill": "forward", "rng": "pcg32", "levels": ["a", "b", "c"], "start": 0, "len": len });
    let request = serde_json::from_value(json!({ "spec": spec })).unwrap();
    Entry::Job {
        number: 1,
        id: "job".into(),
        request,
        at: 1.7e9,
    }
}

/// A result as they are found in the Axiom Verge model: a dozen numbers of spheres, and some dead seeds.
fn result(number: u64, level: usize, start: u32, len: u64, node: &str) -> Entry {
    let mut summary = Summary {
        scanned: len,
        completable: len - 10,
        stuck: 10,
        digest: mix(number),
        audit: mix(!number),
        ..Summary::EMPTY
    };
    for spheres in 5..16 {
        summary.spheres[spheres] = len / 12 + mix(number ^ spheres as u64) % 1000;
    }
    summary.spheres[16] = len - summary.spheres.iter().sum::<u64>().min(len);
    (0..10).for_each(|at| {
        summary
            .first_dead
            .insert(start + (mix(at ^ number) % len) as u32)
    });
    Entry::Result(Outcome {
        epoch: number,
        place: Place {
            job: 1,
            level,
            start,
        },
        stretch: Stretch {
            start,
            len,
            twins: false,
        },
        node: node.into(),
        seconds: 59.731 + number as f64 * 1e-6,
        at: 1.7e9 + number as f64 * 0.517,
        chosen: number.is_multiple_of(50),
        packed: Packed::new(&summary.into()),
    })
}

/// 3 x 2^32 seeds in reservations of 131,072 each, a few seconds' work of the slowest of Raspberry Pis where a minute's is the
/// rule, and 2 % of them computed twice: thirty times as many results as are to be expected.
#[test]
fn the_whole_space_takes_less_than_50_megabytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    let mut ledger = Ledger::open(&path).unwrap();
    ledger.write(&[job(SEEDS)]).unwrap();
    let len = 1 << 17;
    let per_level = SEEDS / len;
    let mut number = 0;
    for level in 0..3 {
        let mut entries = Vec::new();
        for index in 0..per_level {
            let start = (index * len) as u32;
            number += 1;
            entries.push(result(
                number,
                level,
                start,
                len,
                &format!("worker{}", number % 8),
            ));
            if index % 50 == 0 {
                number += 1;
                entries.push(result(number, level, start, len, "worker9"));
            }
        }
        ledger.write(&entries).unwrap();
    }
    let book = ledger.read(RULES, 1.8e9).unwrap();
    assert_eq!(book.size().0, 1);
    ledger
        .connection
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    let size: u64 = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    println!("{number} results take {size} bytes, {} each", size / number);
    assert!(
        number > 98_304 && size < 50_000_000,
        "{number} results take {size} bytes"
    );
}

#[test]
fn only_one_has_it_and_another_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    let first = Ledger::open(&path).unwrap();
    let second = format!("{:#}", Ledger::open(&path).err().unwrap());
    assert!(second.contains("locked"), "{second}");
    first
        .connection
        .pragma_update(None, "user_version", 1)
        .unwrap();
    drop(first);
    let old = format!("{:#}", Ledger::open(&path).err().unwrap());
    assert!(
        old.ends_with("it has version 1, this program knows version 3"),
        "{old}"
    );
}

#[test]
fn a_ledger_of_the_version_before_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    let before = "
        CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
        CREATE TABLE jobs (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, request TEXT NOT NULL, created REAL NOT NULL, ended REAL) STRICT;
        CREATE TABLE nodes (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, faulty INTEGER NOT NULL DEFAULT 0) STRICT;
        CREATE TABLE loans (epoch INTEGER PRIMARY KEY AUTOINCREMENT, job INTEGER NOT NULL, level INTEGER NOT NULL, start INTEGER NOT NULL,
            len INTEGER NOT NULL, twins INTEGER NOT NULL, node INTEGER NOT NULL, lent REAL NOT NULL) STRICT;
        CREATE TABLE results (number INTEGER PRIMARY KEY, job INTEGER NOT NULL, level INTEGER NOT NULL, start INTEGER NOT NULL,
            len INTEGER NOT NULL, twins INTEGER NOT NULL, node INTEGER NOT NULL, epoch INTEGER NOT NULL, seconds REAL NOT NULL,
            received REAL NOT NULL, chosen INTEGER NOT NULL, found BLOB NOT NULL) STRICT;
        CREATE TABLE tokens (name TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, created REAL NOT NULL, revoked INTEGER NOT NULL DEFAULT 0) STRICT;
        PRAGMA user_version = 2;";
    // With what it found, or cut off when it had been made.
    for salt in ["INSERT INTO facts VALUES ('salt', 7);", ""] {
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(&format!("{before} {salt}"))
            .unwrap();
        drop(connection);
        if !salt.is_empty() {
            let restored = dir.path().join("restored.sqlite");
            backup::restore(&path, &restored).unwrap();
            assert!(Ledger::open(&restored).is_ok());
        }
        let mut ledger = Ledger::open(&path).unwrap();
        ledger
            .write(&[job(1000), result(1, 0, 0, 1000, "a")])
            .unwrap();
        ledger
            .write(&[Entry::Faulty {
                node: "a".into(),
                faulty: false,
            }])
            .unwrap();
        drop(ledger);
        let ledger = Ledger::open(&path).unwrap();
        assert_eq!(ledger.read(RULES, 0.0).unwrap().size(), (1, 1, 0));
        let kept: i64 = ledger
            .connection
            .query_row("SELECT value FROM facts", [], |row| row.get(0))
            .unwrap();
        assert_eq!(kept == 7, !salt.is_empty());
        drop(ledger);
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn what_is_made_is_made_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    // The tables are made, and then something goes wrong.
    let broken = "CREATE TABLE jobs (number INTEGER);";
    assert!(make(&mut Connection::open(&path).unwrap(), broken).is_err());
    let ledger = Ledger::open(&path).unwrap();
    assert_eq!(ledger.read(RULES, 0.0).unwrap().size(), (0, 0, 0));
}

#[test]
fn backups_are_kept_and_restored() {
    let dir = tempfile::tempdir().unwrap();
    let (path, backups) = (dir.path().join("ledger.sqlite"), dir.path().join("backups"));
    let mut ledger = Ledger::open(&path).unwrap();
    ledger.write(&[job(1000)]).unwrap();
    let mut copies = Vec::new();
    for _ in 0..9 {
        copies.push(ledger.copied().unwrap().keep(&backups).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let kept = copies.iter().filter(|copy| copy.exists()).count();
    assert_eq!((kept, copies[8].exists()), (7, true));
    let refused = format!("{:#}", backup::restore(&backups, &path).unwrap_err());
    assert!(refused.contains("stop the worker first"), "{refused}");

    ledger.write(&[result(1, 0, 0, 1000, "late")]).unwrap();
    drop(ledger);
    let restored = backup::restore(&backups, &path).unwrap();
    assert_eq!(restored.copy.path, copies[8]);
    assert!(restored.aside.unwrap().exists());
    let book = Ledger::open(&path).unwrap().read(RULES, 0.0).unwrap();
    assert_eq!(book.size(), (1, 1, 0));

    std::fs::write(&copies[8], "damaged").unwrap();
    let damaged = format!("{:#}", backup::restore(&copies[8], &path).unwrap_err());
    assert!(damaged.contains("cannot be restored"), "{damaged}");
    assert!(Ledger::open(&path).is_ok());
    let restored = backup::restore(&backups, &path).unwrap();
    assert_eq!(restored.copy.path, copies[7]);
    let left_out = format!("{:#}", restored.unreadable[0]);
    assert!(left_out.contains(copies[8].to_str().unwrap()), "{left_out}");
}

/// One and then another were in the same place.
#[test]
fn copies_of_several_ledgers_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (path, backups) = (dir.path().join("ledger.sqlite"), dir.path().join("backups"));
    let mut copies = Vec::new();
    for entries in [
        vec![job(1000), result(1, 0, 0, 1000, "a")],
        vec![job(10)],
        vec![],
    ] {
        let mut ledger = Ledger::open(&path).unwrap();
        ledger.write(&entries).unwrap();
        for _ in 0..8 {
            copies.push(ledger.copied().unwrap().keep(&backups).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        drop(ledger);
        std::fs::remove_file(&path).unwrap();
    }
    // As they were named when only one was reckoned with.
    let unnamed = backups.join("ledger-0000000000001.sqlite");
    std::fs::copy(&copies[7], &unnamed).unwrap();
    let kept = copies.iter().filter(|copy| copy.exists()).count();
    assert_eq!(kept, 3 * 7);

    let restored = backup::restore(&backups, &path).unwrap();
    assert_eq!(restored.copy.path, copies[15]);
    let others: Vec<String> = restored.others.iter().map(ToString::to_string).collect();
    assert_eq!(others.len(), 1, "{others:?}");
    let other = format!("{} (1 job, 1 result, of ", copies[7].display());
    assert!(others[0].starts_with(&other), "{others:?}");
    for chosen in [&copies[7], &unnamed] {
        let restored = backup::restore(chosen, &path).unwrap();
        assert!(restored.others.is_empty());
        let book = Ledger::open(&path).unwrap().read(RULES, 0.0).unwrap();
        assert_eq!(book.size(), (1, 1, 0));
    }

    let none = dir.path().join("none");
    std::fs::create_dir(&none).unwrap();
    std::fs::copy(&copies[23], none.join("ledger-1.sqlite")).unwrap();
    std::fs::write(none.join("ledger-2.sqlite"), "damaged").unwrap();
    let error = format!("{:#}", backup::restore(&none, &path).unwrap_err());
    let expected = format!(
        "{} has no copy of a ledger with jobs; cannot read ",
        none.display()
    );
    assert!(error.starts_with(&expected), "{error}");
}

/// Whatever is left of a ledger is set aside whole, and nothing of it gets into what is restored.
#[test]
fn a_ledger_that_is_damaged_makes_way() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    let mut ledger = Ledger::open(&path).unwrap();
    ledger.write(&[job(1000)]).unwrap();
    let copy = ledger
        .copied()
        .unwrap()
        .keep(&dir.path().join("backups"))
        .unwrap();
    drop(ledger);

    let damage = vec![7u8; 8192];
    let mut cut = std::fs::read(&path).unwrap();
    cut[100..].fill(7);
    let cases = [
        ("no database", Some(&damage[..]), "-wal"),
        ("a database in its first bytes", Some(&cut[..]), "-shm"),
        ("lost", None, "-wal"),
        ("lost in the midst of a transaction", None, "-journal"),
    ];
    for (case, left, beside) in cases {
        let _ = std::fs::remove_file(&path);
        if let Some(left) = left {
            std::fs::write(&path, left).unwrap();
        }
        let stale = dir.path().join(format!("ledger.sqlite{beside}"));
        std::fs::write(&stale, "stale").unwrap();
        let restored = backup::restore(&copy, &path).unwrap();
        let aside = restored.aside.unwrap();
        assert!(!stale.exists(), "{case}");
        assert_eq!(aside.exists(), left.is_some(), "{case}");
        if left.is_none() {
            let moved = format!("{}{beside}", aside.display());
            assert_eq!(std::fs::read(moved).unwrap(), b"stale", "{case}");
        }
        let book = Ledger::open(&path).unwrap().read(RULES, 0.0).unwrap();
        assert_eq!(book.size(), (1, 1, 0), "{case}");
    }
}

#[test]
fn what_root_restores_belongs_to_whom_the_directory_does() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    let mut ledger = Ledger::open(&path).unwrap();
    ledger.write(&[job(1000)]).unwrap();
    let copy = ledger
        .copied()
        .unwrap()
        .keep(&dir.path().join("backups"))
        .unwrap();
    let place = dir.path().join("place");
    std::fs::create_dir(&place).unwrap();
    if chown(&place, Some(1000), Some(1001)).is_err() {
        eprintln!("SKIPPED: only root can give a directory away");
        return;
    }
    backup::restore(&copy, &place.join("ledger.sqlite")).unwrap();
    let found = std::fs::metadata(place.join("ledger.sqlite")).unwrap();
    assert_eq!(
        (found.uid(), found.gid(), found.mode() & 0o777),
        (1000, 1001, 0o600)
    );
}
