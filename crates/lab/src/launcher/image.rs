//! The container image that machines run from: the QEMU of this machine, and a shell that watches over it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bramble_image::layer::Layer;
use bramble_image::oci::layout::Run;
use bramble_image::oci::local;
use bramble_store::Store;

use super::containers::Engine;
use crate::qemu;

/// The watching shell's script.
const MACHINE: &str = include_str!("machine.sh");

/// Makes the image, has the engine load it unless it has it, and returns what the engine calls it.
pub(super) fn load(store: &Store) -> Result<String> {
    let engine = Engine::find()?;
    let files = Layer::new().file("machine", 0o755, MACHINE);
    let run = Run {
        entrypoint: &["/machine"],
        user: super::containers::NOBODY,
        directory: "/",
        ..Run::default()
    };
    let programs = [PathBuf::from("/bin/sh"), program()?];
    let description = "An emulated machine of a rehearsal";
    let image = local::installed(
        store,
        "bramble-machine",
        description,
        &programs,
        &files,
        &run,
    )?;
    if !engine.has_image(&image.reference)? {
        engine.load(&image.layout.path)?;
    }
    Ok(image.reference)
}

/// Where QEMU is, here and in the image.
pub(super) fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&path).map(|dir| dir.join(qemu::PROGRAM));
    candidates
        .find(|path: &PathBuf| Path::is_file(path))
        .with_context(|| {
            let name = qemu::PROGRAM;
            format!("there is no {name}; `cargo xtask doctor` says how to install it")
        })
}
