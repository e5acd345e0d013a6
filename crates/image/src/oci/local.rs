//! Images of what is installed on this machine: its programs, with the libraries that its loader gives them.
//!
//! They are for this machine's own engine and go nowhere else, so that a program does the same inside a container as
//! outside of it, being the same.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use bramble_store::{Artifact, Key, Store};

use super::layout::{self, Architecture, Image, Run};
use super::{RECIPE, SERVICE_USER, base};
use crate::layer::Layer;

/// Such an image.
#[derive(Debug)]
pub struct Installed {
    /// Its layout.
    pub layout: Artifact,
    /// What engines know it as: its name, and the beginning of its key as its tag.
    pub reference: String,
}

/// Builds the image `name` of `programs`, which are paths, and of further `files`.
///
/// # Errors
/// A program that is not there or lacks a library, or a store that cannot be written.
pub fn installed(
    store: &Store,
    name: &'static str,
    description: &'static str,
    programs: &[PathBuf],
    files: &Layer,
    run: &Run,
) -> Result<Installed> {
    let mut closure: BTreeSet<PathBuf> = programs.iter().cloned().collect();
    for program in programs {
        closure.extend(libraries(program)?);
    }
    let mut key = Key::builder(&format!("oci-{name}"), RECIPE)
        .text("files", files.digest())
        .text("run", format!("{run:#?}"));
    for path in &closure {
        key = key.file(&path.display().to_string(), path);
    }
    let key = key.finish()?;
    let tag: String = key.hex().chars().take(12).collect();
    let layout = store.get_or_build(&key, |dir| {
        let mut layer = base(SERVICE_USER, name).with(files);
        for path in &closure {
            layer = with_file(layer, path)?;
        }
        let image = Image {
            name,
            version: tag.clone(),
            description,
            licences: None,
            architecture: Architecture::OfThisMachine,
            files: layer,
            run: run.clone(),
        };
        layout::write(&image, dir).map(drop)
    })?;
    let reference = format!("{name}:{tag}");
    Ok(Installed { layout, reference })
}

/// The layer with a file of this machine at its path.
pub(super) fn with_file(layer: Layer, path: &Path) -> Result<Layer> {
    let read = || -> std::io::Result<(u32, Vec<u8>)> {
        let mode = fs::metadata(path)?.permissions().mode() & 0o777;
        Ok((mode, fs::read(path)?))
    };
    let (mode, content) = read().with_context(|| format!("cannot read {}", path.display()))?;
    let inside = path.display().to_string();
    Ok(layer.file(inside.trim_start_matches('/'), mode, content))
}

/// Whatever the loader would give a program: files at the paths where the loader looks.
pub(super) fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let output = Command::new("ldd").arg(program).env("LC_ALL", "C").output();
    let output = output.context("cannot run ldd")?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        if is_about_a_static_program(&said, &why) {
            return Ok(BTreeSet::new());
        }
        bail!("ldd {}: {}{}", program.display(), said.trim(), why.trim());
    }
    listed(&said).with_context(|| program.display().to_string())
}

/// glibc's `ldd` calls a program that needs no loader a failure, in one of two ways; the second is an error message.
fn is_about_a_static_program(said: &str, why: &str) -> bool {
    said.contains("statically linked") || why.trim() == "not a dynamic executable"
}

/// What `ldd` says, which is `NAME => PATH (ADDRESS)` or, for the loader itself, `PATH (ADDRESS)`.
fn listed(said: &str) -> Result<BTreeSet<PathBuf>> {
    let mut paths = BTreeSet::new();
    for line in said.lines().map(str::trim) {
        let found = line.split_once(" => ").map_or(line, |(_, found)| found);
        if found == "not found" {
            bail!("a library is missing: {line}");
        }
        // What has no path is the kernel's own, or says that there is nothing to load.
        if found.starts_with('/') {
            paths.insert(found.split(" (").next().unwrap_or(found).into());
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_is_understood() -> Result<()> {
        let said = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let paths = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(listed(said)?, paths.map(PathBuf::from).into());
        assert!(listed("\tstatically linked\n")?.is_empty());
        assert!(is_about_a_static_program(
            "",
            "\tnot a dynamic executable\n"
        ));
        assert!(!is_about_a_static_program("", "ldd: ./x: No such file\n"));
        let missing = listed("\tlibslirp.so.0 => not found\n").expect_err("missing");
        assert!(missing.to_string().contains("libslirp.so.0"));
        Ok(())
    }

    #[test]
    fn a_static_program_needs_nothing() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let source = dir.path().join("program.c");
        fs::write(&source, "int main(void) { return 0; }\n")?;
        for how in ["-static", "-static-pie"] {
            let program = dir.path().join(how);
            let mut compile = Command::new("cc");
            compile.args([how, "-o"]).args([&program, &source]);
            assert!(compile.status()?.success());
            assert!(libraries(&program)?.is_empty(), "{how}");
        }
        Ok(())
    }

    #[test]
    fn an_image_has_what_the_program_needs() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let store = Store::at(dir.path())?;
        let files = Layer::new().file("hello", 0o755, "#!/bin/sh\n");
        let run = Run::default();
        let shell = [PathBuf::from("/bin/sh")];
        let image = installed(&store, "shell", "A shell", &shell, &files, &run)?;
        let load = fs::read_to_string(image.layout.path.join("manifest.json"))?;
        assert!(load.contains(&image.reference), "{load}");
        Ok(())
    }
}
