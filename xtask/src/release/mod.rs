//! `cargo xtask release`: everything that is handed out, in one directory.

mod check;
mod elsewhere;
mod programs;
mod provenance;
mod sbom;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use bramble_cluster::render::stacks;
use bramble_cluster::spec::Cluster;
use bramble_image::{EPOCH, card};
use bramble_store::sha256_of_file;

use crate::{image, lock, oci, project, tools};

/// Make everything that is handed out: programs, images, stacks, and what they are made of
///
/// Writes programs for operators and nodes, container images, the SD card's image, stacks, a software bill of
/// materials (CycloneDX), the provenance (in-toto, SLSA) and SHA256SUMS. The same commit and the same lock file give
/// the same bytes: --check builds everything a second time, elsewhere and under other circumstances, and compares.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask release
  cargo xtask release --sign ~/.ssh/id_ed25519
  cargo xtask release --no-card --check        as in CI
  cargo xtask release --only-nodes --check

To verify: sha256sum --check SHA256SUMS, and if it was signed,
  ssh-keygen -Y verify -f allowed_signers -I WHO -n bramble-release -s SHA256SUMS.sig < SHA256SUMS")]
pub(crate) struct Args {
    /// The directory to write, which is replaced if it holds a release; until all is made, it is DIR.partial
    #[arg(long, value_name = "DIR", default_value = "dist")]
    out: PathBuf,
    /// Leave out the image of the SD card, which takes longest
    #[arg(long)]
    no_card: bool,
    /// Leave out the SD card and the operators' programs: what is left is what nodes get from an operator
    #[arg(long)]
    only_nodes: bool,
    /// Build a second time: in another directory, by another user (where this one is root), a day later, with another
    /// home, time zone, locale, umask and number of jobs, and without the store; then compare
    #[arg(long)]
    check: bool,
    /// Sign SHA256SUMS with this SSH key
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// Build although there are changes that no commit has
    #[arg(long, conflicts_with = "check")]
    dirty: bool,
}

/// By this file a directory is known as a release, and may be replaced.
const SUMS: &str = "SHA256SUMS";

pub(crate) fn run(args: &Args) -> Result<()> {
    let source = provenance::Source::here()?;
    if source.dirty && !args.dirty {
        bail!(
            "there are changes that no commit has, so nobody could build this release again: commit them, or say --dirty"
        );
    }
    if args.check {
        elsewhere::is_possible(args.extent())?;
    }
    let out = project::root().join(&args.out);
    let sums = replace(&out, |partial| {
        build(partial, &source, args.extent())?;
        let sums = write_sums(partial)?;
        if let Some(key) = &args.sign {
            sign(partial, key)?;
        }
        Ok(sums)
    })?;
    for (name, sum) in &sums {
        println!("{sum}  {name}");
    }
    match args.check {
        true => check::run(&source.commit, &sums, &out, args.extent()),
        false => Ok(()),
    }
}

/// Builds all but the card twice, and compares; whether it could, since changes that no commit has cannot be built
/// elsewhere.
///
/// # Errors
/// A build's, or that they differ.
pub(crate) fn check_without_card() -> Result<bool> {
    if provenance::Source::here()?.dirty {
        return Ok(false);
    }
    run(&Args {
        out: project::target_dir().join("dist"),
        no_card: true,
        only_nodes: false,
        check: true,
        sign: None,
        dirty: false,
    })?;
    Ok(true)
}

/// How much of a release is made; each holds the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Extent {
    Nodes,
    WithoutCard,
    All,
}

impl Args {
    fn extent(&self) -> Extent {
        match self {
            Args {
                only_nodes: true, ..
            } => Extent::Nodes,
            Args { no_card: true, .. } => Extent::WithoutCard,
            _ => Extent::All,
        }
    }
}

impl Extent {
    /// What it takes beside what compiles for the nodes.
    fn tools(self) -> &'static [&'static str] {
        match self {
            Extent::Nodes => &[],
            Extent::WithoutCard => tools::FOR_HERE,
            Extent::All => tools::ALL,
        }
    }

    /// What asks for it on the command line.
    fn flag(self) -> Option<&'static str> {
        match self {
            Extent::Nodes => Some("--only-nodes"),
            Extent::WithoutCard => Some("--no-card"),
            Extent::All => None,
        }
    }
}

/// Has `make` fill a directory beside `out`, which takes its place when it is whole: what was cut off is no release, and in
/// nobody's way.
fn replace<T>(out: &Path, make: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    refuse_what_is_no_release(out)?;
    let mut name = out
        .file_name()
        .with_context(|| format!("--out: {} names no directory to make", out.display()))?
        .to_owned();
    name.push(".partial");
    let partial = out.with_file_name(name);
    remove(&partial)?;
    fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
    let made = make(&partial)?;
    remove(out)?;
    fs::rename(&partial, out).with_context(|| format!("cannot make {}", out.display()))?;
    Ok(made)
}

fn refuse_what_is_no_release(out: &Path) -> Result<()> {
    let holds_something = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    if holds_something && !out.join(SUMS).exists() {
        bail!(
            "{} holds something that is no release: name another directory with --out",
            out.display()
        );
    }
    Ok(())
}

/// Removes a directory, if there is one.
fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

fn build(out: &Path, source: &provenance::Source, extent: Extent) -> Result<()> {
    let put = |from: &Path, name: &str| -> Result<()> {
        fs::copy(from, out.join(name)).with_context(|| format!("cannot write {name}"))?;
        Ok(())
    };
    say("programs");
    let programs = programs::build(extent >= Extent::WithoutCard)?;
    for (name, path) in &programs.all {
        put(path, name)?;
    }
    say("container images");
    let layouts = out.join("layouts");
    let mut images = stacks::Images::new();
    let cluster = example_cluster()?;
    for layout in oci::build(&programs.search, &layouts, None)? {
        let name = layout
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let reference = format!(
            "{}/{name}@{}",
            cluster.registry.authority(),
            digest_of(&layout)?
        );
        archive(&layout, &out.join(format!("{name}.oci.tar")))?;
        images.insert(name, reference);
    }
    fs::remove_dir_all(&layouts)?;
    for (name, text) in stacks::all(&cluster, &images) {
        fs::write(out.join(format!("stack-{name}.yml")), text)?;
    }
    let inputs = lock::inputs(None)?;
    if extent == Extent::All {
        say("SD card");
        image::pack(&card::get(&inputs)?.path.join(card::IMAGE), out, "card")?;
    }
    say("what it is made of");
    put(&project::root().join("bramble.lock"), "bramble.lock")?;
    fs::write(out.join("bramble.cdx.json"), sbom::render(&inputs.lock)?)?;
    let tools = tools::used(extent.tools(), Some(programs.choice));
    for note in tools::notes(&inputs.lock.tools, &tools) {
        eprintln!("{note}");
    }
    let products = sums(out)?;
    fs::write(
        out.join("provenance.json"),
        provenance::render(source, &tools, &products)?,
    )?;
    Ok(())
}

fn say(what: &str) {
    eprintln!("release: {what}");
}

/// The stacks of a release are those of the cluster that is rehearsed.
fn example_cluster() -> Result<Cluster> {
    const PATH: &str = "fixtures/clusters/eight-pi.toml";
    let text = fs::read_to_string(project::root().join(PATH))
        .with_context(|| format!("cannot read {PATH}"))?;
    Ok(Cluster::parse(PATH, &text)?.0)
}

/// The digest of an image layout's only manifest.
fn digest_of(layout: &Path) -> Result<String> {
    let index = fs::read(layout.join("index.json"))?;
    let index: serde_json::Value = serde_json::from_slice(&index)?;
    let digest = index["manifests"][0]["digest"].as_str();
    Ok(digest
        .with_context(|| format!("{} has no manifest", layout.display()))?
        .to_owned())
}

/// A tar archive of a directory that is the same wherever and whenever it is made.
fn archive(dir: &Path, to: &Path) -> Result<()> {
    let mut archive = tar::Builder::new(
        File::create(to).with_context(|| format!("cannot write {}", to.display()))?,
    );
    for path in files(dir)? {
        let content = fs::read(dir.join(&path))?;
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(EPOCH);
        archive.append_data(&mut header, &path, content.as_slice())?;
    }
    archive.into_inner()?;
    Ok(())
}

/// The files below a directory, sorted, by their paths from there.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(dir.join(&next))? {
            let entry = entry?;
            let path = next.join(entry.file_name());
            match entry.file_type()?.is_dir() {
                true => open.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The SHA-256 of each file of a release, by its name.
fn sums(out: &Path) -> Result<BTreeMap<String, String>> {
    let is_about_others = |name: &str| name.starts_with(SUMS);
    let mut sums = BTreeMap::new();
    for path in files(out)? {
        let name = path.display().to_string();
        if !is_about_others(&name) {
            sums.insert(name, sha256_of_file(&out.join(&path))?);
        }
    }
    Ok(sums)
}

fn write_sums(out: &Path) -> Result<BTreeMap<String, String>> {
    let sums = sums(out)?;
    let lines: String = sums
        .iter()
        .map(|(name, sum)| format!("{sum}  {name}\n"))
        .collect();
    fs::write(out.join(SUMS), lines).with_context(|| format!("cannot write {SUMS}"))?;
    Ok(sums)
}

/// By SSH's own means: whoever provisions a cluster has such a key, and a tool to verify with.
fn sign(out: &Path, key: &Path) -> Result<()> {
    let mut command = Command::new("ssh-keygen");
    command
        .args(["-Y", "sign", "-n", "bramble-release", "-f"])
        .arg(key);
    let output = command
        .arg(out.join(SUMS))
        .stdin(Stdio::null())
        .output()
        .context("cannot run ssh-keygen")?;
    if !output.status.success() {
        bail!(
            "cannot sign with {}: {}",
            key.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_says_nothing_of_where_it_was_made() {
        let made = |order: &[&str]| {
            let dir = tempfile::tempdir().unwrap();
            for name in order {
                let path = dir.path().join("in").join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, name).unwrap();
            }
            let to = dir.path().join("out.tar");
            archive(&dir.path().join("in"), &to).unwrap();
            fs::read(to).unwrap()
        };
        assert!(made(&["b", "a/c", "a/b"]) == made(&["a/b", "b", "a/c"]));
    }

    #[test]
    fn sums_are_of_all_but_themselves_and_can_be_signed() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("b"), "content").unwrap();
        fs::write(path("a"), "").unwrap();
        write_sums(dir.path()).unwrap();
        let key = tempfile::tempdir().unwrap().keep().join("key");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key)
            .status()
            .unwrap();
        assert!(made.success());
        sign(dir.path(), &key).unwrap();
        assert_eq!(
            write_sums(dir.path())
                .unwrap()
                .into_keys()
                .collect::<Vec<_>>(),
            ["a", "b"]
        );
        let text = fs::read_to_string(path(SUMS)).unwrap();
        assert!(
            text.ends_with("ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73  b\n"),
            "{text}"
        );
        assert!(path("SHA256SUMS.sig").exists());
        fs::remove_dir_all(key.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_second_build_is_as_large_as_the_first() {
        use clap::Parser;
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        for extent in [Extent::Nodes, Extent::WithoutCard, Extent::All] {
            let line = ["release"].into_iter().chain(extent.flag());
            assert_eq!(Line::parse_from(line).args.extent(), extent);
        }
    }

    #[test]
    fn only_a_release_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("dist");
        let made = |name: &'static str| {
            move |partial: &Path| -> Result<()> {
                fs::write(partial.join(SUMS), "")?;
                Ok(fs::write(partial.join(name), "")?)
            }
        };
        replace(&out, made("one")).unwrap();
        replace(&out, made("two")).unwrap();
        assert_eq!(
            files(&out).unwrap(),
            ["SHA256SUMS", "two"].map(PathBuf::from)
        );
        fs::remove_file(out.join(SUMS)).unwrap();
        let error = replace(&out, made("three")).unwrap_err().to_string();
        assert!(error.contains("no release"), "{error}");
        assert!(out.join("two").exists());
    }

    #[test]
    fn a_release_that_was_cut_off_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("dist");
        let cut_off = |partial: &Path| -> Result<()> {
            fs::write(partial.join("bramble"), "half of it")?;
            bail!("cut off")
        };
        replace(&out, cut_off).unwrap_err();
        assert!(!out.exists());
        replace(&out, |partial| Ok(fs::write(partial.join(SUMS), "")?)).unwrap();
        assert_eq!(files(dir.path()).unwrap(), [Path::new("dist").join(SUMS)]);
        // The one before stays until there is another.
        replace(&out, cut_off).unwrap_err();
        assert!(out.join(SUMS).exists());
    }
}
