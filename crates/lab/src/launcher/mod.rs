//! What starts a lab's QEMUs and ends them: as processes of this machine, or in containers.

pub(crate) mod containers;
mod image;
pub(crate) mod processes;

use std::path::PathBuf;

use anyhow::Result;
use bramble_store::Store;
use serde::{Deserialize, Serialize};

/// Where the machines of a lab run. The same definition gives the same machines on either.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "as")]
pub enum Backend {
    /// As processes: no root, no daemon.
    #[default]
    Processes,
    /// Each in a container of a Docker engine: without a network, without capabilities, as nobody, and with nothing
    /// but its own files.
    Containers {
        /// An image with QEMU in it, which the engine has.
        image: String,
    },
}

impl Backend {
    /// Containers, with an image of the QEMU that is installed here, which is made and loaded where needed.
    ///
    /// # Errors
    /// When no engine answers, or it does not take the image.
    pub fn containers(store: &Store) -> Result<Backend> {
        let image = image::load(store)?;
        Ok(Backend::Containers { image })
    }

    /// Whether there is a Docker engine for [`Backend::containers`].
    pub fn engine_answers() -> bool {
        containers::Engine::find().is_ok()
    }
}

/// Starts QEMUs. What it starts ends with this very process, however that ends.
pub(crate) trait Launcher {
    /// Starts one, which connects to its sockets by itself; `ended` is called once, from another thread, when it has
    /// ended. To be called from a thread that lives as long as the lab.
    fn start(&mut self, program: Program, ended: Ended) -> Result<Box<dyn Started>>;
}

/// What is told that a QEMU has ended.
pub(crate) type Ended = Box<dyn FnOnce() + Send>;

/// A QEMU that was started.
pub(crate) trait Started {
    /// Whether it has not ended.
    fn is_running(&mut self) -> Result<bool>;

    /// Kills it, if it runs, and waits until nothing of it is left.
    fn end(&mut self) -> Result<()>;

    /// Its processes on this machine, for what they use.
    fn processes(&self) -> Vec<u32>;
}

/// A QEMU to be started.
#[derive(Debug)]
pub(crate) struct Program {
    /// Unique in the lab.
    pub(crate) name: String,
    /// Its arguments.
    pub(crate) argv: Vec<String>,
    /// As in [`crate::Machine`].
    pub(crate) niceness: u8,
    /// What it says on standard error is added to this file.
    pub(crate) log: PathBuf,
    /// What it opens, beside libraries.
    pub(crate) files: Files,
}

/// The files of a QEMU, for launchers that hand it nothing else.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    /// Those of the lab's, which it may write; directories come with what is in them.
    pub(crate) own: Vec<PathBuf>,
    /// Its disk, which is the lab's as well, and which may have others under it that are not.
    pub(crate) disk: Option<PathBuf>,
    /// Those of the store's, which it shares with others.
    pub(crate) shared: Vec<PathBuf>,
}
