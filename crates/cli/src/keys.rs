//! `bramble keys`: everything that proves who is who, made once and kept out of the repository.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use bramble_cluster::spec::Cluster;
use serde::Serialize;
use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey};
use tempfile::NamedTempFile;

use crate::context::Context;
use crate::state::{State, private_dir, public_half, read_public};
use crate::text::table;

/// Make the cluster's keys, where they are missing.
///
/// One pair lets the operator in, one lets the nodes in to each other, and every node has its host key, which is
/// flashed with its card: so the first contact is known already. What is there is kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bramble keys
  bramble keys --state ~/vault/bramble --json")]
pub(crate) struct Args {
    /// Print what there is as JSON. Public facts only.
    #[arg(long)]
    json: bool,
}

/// A key pair in the state directory, as it may be shown.
#[derive(Debug, Serialize)]
pub(crate) struct Pair {
    /// Who holds the private half.
    holder: String,
    /// The file of the private half; the public one has `.pub` appended.
    file: PathBuf,
    fingerprint: String,
    public_key: String,
    /// Whether it was made just now.
    made: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    let cluster = context.cluster()?;
    let state = context.state(&cluster)?;
    private_dir(state.dir())?;
    let pairs = make_all(&cluster, &state)?;
    state.write_ssh_files(&cluster, context.ssh_config.as_deref())?;

    if args.json {
        let all = serde_json::json!({
            "state": state.dir(),
            "keys": pairs,
            "known_hosts": state.known_hosts(),
            "ssh_config": state.ssh_config(),
        });
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(ExitCode::SUCCESS);
    }
    let rows = pairs.iter().map(|pair| {
        let what = if pair.made { "made" } else { "kept" };
        let file = pair
            .file
            .strip_prefix(state.dir())
            .unwrap_or(&pair.file)
            .display()
            .to_string();
        [what.to_owned(), file, pair.fingerprint.clone()]
    });
    print!("{}", table(&rows.collect::<Vec<_>>()));
    println!(
        "\nAll in {}. Keep it: who has it can log in to the nodes.",
        state.dir().display()
    );
    println!(
        "Log in with: ssh -F {} {}",
        state.ssh_config().display(),
        cluster.first_manager().name
    );
    Ok(ExitCode::SUCCESS)
}

/// Makes all pairs, where they are missing.
pub(crate) fn make_all(cluster: &Cluster, state: &State) -> anyhow::Result<Vec<Pair>> {
    let mut pairs = vec![
        make(&state.operator_key(), &format!("operator@{}", cluster.name))?,
        make(&state.cluster_key(), &format!("cluster@{}", cluster.name))?,
    ];
    for node in &cluster.nodes {
        let file = state.host_key(&node.name);
        if let Some(dir) = file.parent() {
            private_dir(dir)?;
        }
        pairs.push(make(&file, &format!("root@{}", node.name))?);
    }
    Ok(pairs)
}

/// Makes a key pair, or finds it. A public half that is missing is derived; one that does not fit is an error.
fn make(file: &Path, holder: &str) -> anyhow::Result<Pair> {
    let (private, made) = match existing(file)? {
        Some(key) => (key, false),
        None => (create(file, holder)?, true),
    };
    let public = private.public_key();
    let public_file = public_half(file);
    if !public_file.exists() {
        publish(
            &public_file,
            format!("{}\n", public.to_openssh()?).as_bytes(),
            0o644,
        )?;
    } else if read_public(&public_file)?.key_data() != public.key_data() {
        bail!(
            "{} is not the public half of {}: one of them was changed",
            public_file.display(),
            file.display()
        );
    }
    Ok(Pair {
        holder: holder.to_owned(),
        file: file.to_owned(),
        fingerprint: public.fingerprint(HashAlg::Sha256).to_string(),
        public_key: shown(public)?,
        made,
    })
}

fn shown(key: &PublicKey) -> anyhow::Result<String> {
    Ok(key.to_openssh()?.trim_end().to_owned())
}

/// Reads a private key, if there is one, and closes the file if it is open to others.
fn existing(file: &Path) -> anyhow::Result<Option<PrivateKey>> {
    let read_failed = || format!("cannot read {}", file.display());
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(read_failed),
    };
    let mode = fs::metadata(file)
        .with_context(read_failed)?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).with_context(read_failed)?;
    }
    let key = PrivateKey::from_openssh(&text).with_context(|| {
        format!(
            "{} is no OpenSSH private key; move it away to have a new one made",
            file.display()
        )
    })?;
    Ok(Some(key))
}

fn create(file: &Path, holder: &str) -> anyhow::Result<PrivateKey> {
    let mut key =
        PrivateKey::random(&mut OsRng, Algorithm::Ed25519).context("cannot make a key")?;
    key.set_comment(holder);
    publish(file, key.to_openssh(LineEnding::LF)?.as_bytes(), 0o600)?;
    Ok(key)
}

/// Writes a new file whole or not at all, never wider open than `mode`, and never over another.
pub(crate) fn publish(path: &Path, contents: &[u8], mode: u32) -> anyhow::Result<()> {
    let failed = || format!("cannot write {}", path.display());
    // Temporary files are 0600 from the start.
    let mut file =
        NamedTempFile::new_in(path.parent().unwrap_or(Path::new("."))).with_context(failed)?;
    file.write_all(contents).with_context(failed)?;
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(mode))
        .with_context(failed)?;
    file.as_file().sync_all().with_context(failed)?;
    file.persist_noclobber(path).with_context(failed)?;
    Ok(())
}
