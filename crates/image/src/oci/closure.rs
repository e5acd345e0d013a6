//! What a program needs to start: its loader, its libraries, and theirs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use object::Endianness;
use object::elf::{DT_NEEDED, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};

use crate::debian::unpacked::{Node, Unpacked};

/// Where Debian's ARM64 loader looks.
const LIBRARY_DIRS: [&str; 2] = ["usr/lib/aarch64-linux-gnu", "usr/lib"];

/// The paths of `programs` and of everything that they need, links included.
///
/// # Errors
/// A program that is not there, a library that nothing brings, or a file that is no ELF file.
pub(crate) fn closure(files: &Unpacked, programs: &[&str]) -> Result<BTreeSet<PathBuf>> {
    let mut needed = BTreeSet::new();
    let mut open: Vec<PathBuf> = programs.iter().map(PathBuf::from).collect();
    while let Some(path) = open.pop() {
        let steps = files
            .resolve(&path)
            .with_context(|| format!("no package has {}", path.display()))?;
        let file = steps.last().cloned().unwrap_or_default();
        needed.extend(steps);
        let Some(Node::File(_, bytes)) = files.get(&file).map(|file| &file.node) else {
            continue;
        };
        let needs = needs(bytes).with_context(|| format!("{} is no ELF file", file.display()))?;
        // A loader is named by its path, and Debian's `/lib` is `/usr/lib`.
        open.extend(needs.loader.map(|path| PathBuf::from(format!("usr{path}"))));
        for name in needs.libraries {
            let library = find(files, &name).with_context(|| {
                format!("{} needs {name}, which no package has", file.display())
            })?;
            if !needed.contains(&library) {
                open.push(library);
            }
        }
    }
    Ok(needed)
}

fn find(files: &Unpacked, name: &str) -> Option<PathBuf> {
    let mut candidates = LIBRARY_DIRS.iter().map(|dir| Path::new(dir).join(name));
    candidates.find(|path| files.get(path).is_some())
}

#[derive(Default)]
struct Needs {
    /// The path of the program that loads it.
    loader: Option<String>,
    /// Names of libraries.
    libraries: Vec<String>,
}

fn needs(bytes: &[u8]) -> object::Result<Needs> {
    let header = FileHeader64::<Endianness>::parse(bytes)?;
    let endian = header.endian()?;
    let mut needs = Needs::default();
    for segment in header.program_headers(endian, bytes)? {
        if let Some(path) = segment.interpreter(endian, bytes)? {
            needs.loader = Some(String::from_utf8_lossy(path).into_owned());
        }
    }
    let sections = header.sections(endian, bytes)?;
    if let Some((entries, strings)) = sections.dynamic(endian, bytes)? {
        let strings = sections.strings(endian, bytes, strings)?;
        for entry in entries
            .iter()
            .filter(|entry| entry.tag32(endian) == Some(DT_NEEDED))
        {
            let name = entry.string(endian, strings)?;
            needs
                .libraries
                .push(String::from_utf8_lossy(name).into_owned());
        }
    }
    Ok(needs)
}
