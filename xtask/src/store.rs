//! `cargo xtask store`: what was built and fetched, and is kept.

use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use bramble_store::{Entry, Garbage, Store};
use serde::Serialize;

/// Look at the store of what was built and fetched, and clear it
///
/// Whatever is removed is built or fetched again when it is asked for. It lies in `$BRAMBLE_STORE`, else in
/// `$XDG_CACHE_HOME/bramble`, else in `~/.cache/bramble`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask store ls
  cargo xtask store gc --dry-run
  cargo xtask store gc --unused-for 2d
  cargo xtask store verify")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// List what is there, and what it takes on the disk; what was not asked for longest comes first
    Ls {
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Read all of it against its hashes, whatever the file system says of it
    ///
    /// What is damaged is built again by whoever next asks for it, and ends this with exit code 1.
    Verify,
    /// Remove what nobody asked for lately, and what killed builds have left
    ///
    /// What somebody is using or building stays: a build, or a lab's machines.
    Gc {
        /// How long nobody has asked for it
        #[arg(long, value_name = "TIME", default_value = "14d")]
        unused_for: humantime::Duration,
        /// Only show it
        #[arg(long)]
        dry_run: bool,
    },
}

/// An artefact, as JSON has it.
#[derive(Debug, Serialize)]
struct Row {
    kind: String,
    key: String,
    path: String,
    bytes: u64,
    unused_for_seconds: u64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let store = Store::open()?;
    let now = SystemTime::now();
    match &args.verb {
        Verb::Ls { json } => {
            let mut entries = store.list()?;
            entries.sort_by_key(|entry| entry.last_used);
            match json {
                true => println!("{}", serde_json::to_string_pretty(&rows(entries, now))?),
                false => print!("{}", table(&entries, now)),
            }
        }
        Verb::Verify => verify(&store)?,
        Verb::Gc {
            unused_for,
            dry_run,
        } => {
            let garbage = store.gc((*unused_for).into(), *dry_run)?;
            print!("{}", shown(&garbage, now, *dry_run));
        }
    }
    Ok(())
}

/// Reading gigabytes takes a while, so it says what it has come to.
fn verify(store: &Store) -> Result<()> {
    let (mut whole, mut damaged) = (0, 0);
    store.verify(|entry, damage| {
        let verdict = damage.map_or("whole".to_owned(), |why| format!("DAMAGED: {why}"));
        println!("{} {}  {verdict}", entry.kind, entry.hex);
        *if damage.is_some() {
            &mut damaged
        } else {
            &mut whole
        } += 1;
    })?;
    ensure!(
        damaged == 0,
        "{damaged} of {} are damaged; whoever next asks for them builds them again",
        whole + damaged
    );
    Ok(())
}

fn rows(entries: Vec<Entry>, now: SystemTime) -> Vec<Row> {
    let row = |entry: Entry| Row {
        unused_for_seconds: unused_for(&entry, now).as_secs(),
        path: entry.path.display().to_string(),
        kind: entry.kind,
        key: entry.hex,
        bytes: entry.bytes,
    };
    entries.into_iter().map(row).collect()
}

fn table(entries: &[Entry], now: SystemTime) -> String {
    let lines: String = entries.iter().map(|entry| line(entry, now)).collect();
    let all = entries.iter().map(|entry| entry.bytes).sum();
    format!("{lines}{}: {}\n", size(all), count(entries.len()))
}

fn shown(garbage: &Garbage, now: SystemTime, is_dry_run: bool) -> String {
    let Garbage {
        artefacts,
        left_over,
    } = garbage;
    let mut shown: String = artefacts.iter().map(|entry| line(entry, now)).collect();
    for left in left_over {
        let path = left.path.display();
        shown += &format!("{:>10}   left over  {path}\n", size(left.bytes));
    }
    let artefact_bytes: u64 = artefacts.iter().map(|entry| entry.bytes).sum();
    let left_over_bytes: u64 = left_over.iter().map(|left| left.bytes).sum();
    let all = size(artefact_bytes + left_over_bytes);
    let what = format!("{}, {} left over", count(artefacts.len()), left_over.len());
    shown
        + &match is_dry_run {
            true => format!("{all} would be freed: {what}; without --dry-run they are removed\n"),
            false => format!("{all} freed: {what}\n"),
        }
}

fn line(entry: &Entry, now: SystemTime) -> String {
    let (size, age) = (size(entry.bytes), age(unused_for(entry, now)));
    format!("{size:>10}  {age:>10}  {}/{}\n", entry.kind, entry.hex)
}

fn count(artefacts: usize) -> String {
    match artefacts {
        1 => "1 artefact".to_owned(),
        _ => format!("{artefacts} artefacts"),
    }
}

fn unused_for(entry: &Entry, now: SystemTime) -> Duration {
    now.duration_since(entry.last_used).unwrap_or_default()
}

pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// In one unit.
pub(crate) fn age(unused_for: Duration) -> String {
    match unused_for.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use bramble_store::LeftOver;

    use super::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(100 * 86_400)
    }

    fn entry(kind: &str, bytes: u64, age: u64) -> Entry {
        Entry {
            kind: kind.to_owned(),
            hex: "3f9c".repeat(16),
            path: format!("/store/{kind}").into(),
            bytes,
            last_used: now() - Duration::from_secs(age),
        }
    }

    fn entries() -> Vec<Entry> {
        vec![
            entry("template-node", 1_234_567_890, 40 * 86_400),
            entry("rootfs-node", 575_668_224, 7_300),
            entry("blob", 4_096, 59),
        ]
    }

    #[test]
    fn each_artefact_is_a_line() {
        insta::assert_snapshot!(table(&entries(), now()));
        insta::assert_json_snapshot!("json", rows(entries(), now()));
    }

    #[test]
    fn what_is_freed_is_said() {
        let garbage = Garbage {
            artefacts: vec![entry("rootfs-node", 575_668_224, 20 * 86_400)],
            left_over: vec![LeftOver {
                path: "/store/card/3f9c.partial".into(),
                bytes: 2_424_307_712,
            }],
        };
        let both = [true, false].map(|is_dry_run| shown(&garbage, now(), is_dry_run));
        let nothing = shown(&Garbage::default(), now(), false);
        insta::assert_snapshot!(format!("{}\n{nothing}", both.join("\n")));
    }
}
