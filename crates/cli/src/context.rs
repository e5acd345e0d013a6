//! What every verb may need: which cluster, where its keys are, how to reach it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bramble_cluster::spec::Cluster;
use bramble_provision::Secret;

use crate::failure::{self, Usage};
use crate::state::State;

/// The flags that every verb takes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Context {
    /// The cluster file.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "BRAMBLE_CLUSTER",
        default_value = "cluster.toml"
    )]
    pub(crate) cluster: PathBuf,

    /// The directory of the cluster's keys [default: ~/.local/state/bramble/NAME].
    #[arg(long, global = true, value_name = "DIR", env = "BRAMBLE_STATE")]
    state: Option<PathBuf>,

    /// An ssh_config whose settings win over those in the state directory.
    #[arg(long, global = true, value_name = "FILE", env = "BRAMBLE_SSH_CONFIG")]
    pub(crate) ssh_config: Option<PathBuf>,

    /// A file with the account's password, for nodes on which sudo asks for it.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "BRAMBLE_SUDO_PASSWORD_FILE"
    )]
    sudo_password_file: Option<PathBuf>,
}

impl Context {
    /// Reads the cluster file; what is doubtful about it goes to standard error.
    pub(crate) fn cluster(&self) -> anyhow::Result<Cluster> {
        let name = self.cluster.display().to_string();
        let bytes = std::fs::read(&self.cluster).map_err(|error| {
            Usage::new(format!("cannot read the cluster file {name}: {error}"))
                .help("name another with --cluster FILE, or write one with `bramble init`")
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            Usage::new(format!(
                "line {line} of the cluster file {name} is no UTF-8 text"
            ))
            .help("save it as UTF-8 in your editor, or take out what is odd in that line")
        })?;
        let (cluster, warnings) = Cluster::parse(&name, &text)?;
        for warning in &warnings {
            failure::show(warning);
        }
        Ok(cluster)
    }

    /// A file that the cluster file names, relative to itself.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        let dir = self.cluster.parent().unwrap_or(Path::new(""));
        dir.join(name)
    }

    /// The password that sudo asks for on the nodes, where a file with it was named.
    pub(crate) fn sudo_password(&self) -> anyhow::Result<Option<Secret>> {
        let Some(path) = &self.sudo_password_file else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(path).map_err(|error| {
            Usage::new(format!(
                "cannot read the password in {}: {error}",
                path.display()
            ))
        })?;
        let password = text.lines().next().unwrap_or_default();
        if password.is_empty() {
            let usage = Usage::new(format!("there is no password in {}", path.display()));
            return Err(usage.help("its first line is the password").into());
        }
        Ok(Some(Secret::new(password)))
    }

    /// The state directory of `cluster`, which need not exist yet.
    pub(crate) fn state(&self, cluster: &Cluster) -> anyhow::Result<State> {
        let dir = match &self.state {
            Some(dir) => std::path::absolute(dir)
                .with_context(|| format!("cannot resolve {}", dir.display()))?,
            None => default_state_dir()?.join(&cluster.name),
        };
        Ok(State::at(dir))
    }
}

/// `$XDG_STATE_HOME/bramble`, or what stands for it.
fn default_state_dir() -> anyhow::Result<PathBuf> {
    let absolute = |variable: &str| {
        std::env::var_os(variable)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = absolute("XDG_STATE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(Path::new(".local/state"))));
    let base = base.ok_or_else(|| {
        Usage::new("there is no place for the cluster's keys: HOME is not set")
            .help("name one with --state DIR")
    })?;
    Ok(base.join("bramble"))
}
