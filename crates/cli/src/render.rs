//! `bramble render`: every file that follows from the cluster file, written to a directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use bramble_cluster::render;
use bramble_cluster::render::stacks::Images;
use serde::Serialize;
use similar::TextDiff;

use crate::context::Context;
use crate::failure::Usage;
use crate::own_stacks;
use crate::state::replace;
use crate::text::count;

/// Write the files that nodes, router and NAS need.
///
/// hosts, fstab, daemon.json, DHCP reservations for dnsmasq and as a table, NFS exports, stacks; once there are keys,
/// also known_hosts, the boot partition of each card, and a playbook for Ansible. None holds a secret but a password's
/// hash, if the cluster file has one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bramble render --out rendered
  bramble render --out rendered --check     exit with 1 and a diff if a file is not as it would be written")]
pub(crate) struct Args {
    /// The directory to write to. It is made if it does not exist.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Write nothing; compare with what is there.
    #[arg(long)]
    check: bool,

    /// Print what became of each file as JSON.
    #[arg(long)]
    json: bool,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// It is as it should be.
    Unchanged,
    /// It was not there, or not as it should be, and now is.
    Written,
    /// It is not there.
    Missing,
    /// It is not as it should be.
    Differs,
}

#[derive(Debug, Serialize)]
struct Rendered {
    path: PathBuf,
    outcome: Outcome,
    /// From what is there to what should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<String>,
}

pub(crate) fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    let cluster = context.cluster()?;
    let keys = match context.state(&cluster)?.public_keys(&cluster) {
        Ok(keys) => Some(keys),
        Err(error) if error.is::<Usage>() => None,
        Err(error) => return Err(error),
    };
    if keys.is_none() {
        eprintln!(
            "note: what follows from keys is left out, as there are none: make them with `bramble keys`"
        );
    }
    let mut files = render::files(&cluster, &Images::new(), keys.as_ref());
    for stack in own_stacks::read(context, &cluster)? {
        files.insert(
            PathBuf::from(format!("stacks/{}.yml", stack.name)),
            stack.text,
        );
    }
    let handle = if args.check { compare } else { write };
    let rendered: Vec<Rendered> = files
        .iter()
        .map(|(path, contents)| handle(&args.out, path, contents))
        .collect::<anyhow::Result<_>>()?;

    if args.json {
        println!("{}", serde_json::to_string_pretty(&rendered)?);
    } else {
        show(&rendered, args);
    }
    let stale = rendered
        .iter()
        .any(|file| matches!(file.outcome, Outcome::Missing | Outcome::Differs));
    Ok(if stale {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn write(out: &Path, path: &Path, contents: &str) -> anyhow::Result<Rendered> {
    let target = out.join(path);
    let parent = target.parent().unwrap_or(out);
    fs::create_dir_all(parent)
        .with_context(|| format!("cannot make the directory {}", parent.display()))?;
    let outcome = if replace(&target, contents.as_bytes())? {
        Outcome::Written
    } else {
        Outcome::Unchanged
    };
    Ok(Rendered {
        path: path.to_owned(),
        outcome,
        diff: None,
    })
}

fn compare(out: &Path, path: &Path, contents: &str) -> anyhow::Result<Rendered> {
    let target = out.join(path);
    let (outcome, found) = match fs::read(&target) {
        Ok(found) if found == contents.as_bytes() => (Outcome::Unchanged, None),
        Ok(found) => (
            Outcome::Differs,
            Some(String::from_utf8_lossy(&found).into_owned()),
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            (Outcome::Missing, Some(String::new()))
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", target.display()));
        }
    };
    let diff = found.map(|found| {
        let name = target.display().to_string();
        TextDiff::from_lines(found.as_str(), contents)
            .unified_diff()
            .header(&name, &name)
            .to_string()
    });
    Ok(Rendered {
        path: path.to_owned(),
        outcome,
        diff,
    })
}

fn show(rendered: &[Rendered], args: &Args) {
    for file in rendered {
        if let Some(diff) = &file.diff {
            print!("{diff}");
        }
    }
    let out = args.out.display();
    let stale: Vec<&Rendered> = rendered.iter().filter(|file| file.diff.is_some()).collect();
    let written = rendered
        .iter()
        .filter(|file| file.outcome == Outcome::Written)
        .count();
    match (args.check, stale.len(), written) {
        (true, 0, _) => println!("{out}: {} as they should be", count(rendered.len(), "file")),
        (true, n, _) => eprintln!(
            "{out}: {} not as rendered; write with `bramble render --out {out}`",
            count(n, "file")
        ),
        (false, _, 0) => println!(
            "{out}: {} already as rendered",
            count(rendered.len(), "file")
        ),
        (false, _, n) => println!(
            "{out}: {} written, {} unchanged",
            count(n, "file"),
            rendered.len() - n
        ),
    }
}
