//! The tools that decide how bytes come out, and which ones of them are here.

use std::collections::BTreeMap;
use std::process::Command;

use crate::cross::{self, Choice};
use crate::doctor::Version;

/// Versions, by the names of the tools.
pub(crate) type Versions = BTreeMap<String, String>;

/// What compiles for the machine that builds.
pub(crate) const FOR_HERE: &[&str] = &["rustc"];

/// That, and what makes file systems.
pub(crate) const ALL: &[&str] = &["rustc", "mmdebstrap", "mke2fs"];

/// The lock knows one compiler; this is the same or another, which compiles for the nodes.
const RUSTC_FOR_NODES: &str = "rustc (aarch64)";

/// The versions of `tools`, and of what compiles and links for the nodes by `choice`. What is not on this machine is
/// not among them.
pub(crate) fn used(tools: &[&'static str], choice: Option<Choice>) -> Versions {
    found(programs(tools, choice))
}

/// What to ask for its version, and what to call it.
fn programs(tools: &[&'static str], choice: Option<Choice>) -> Vec<(&'static str, &'static str)> {
    let tools = tools.iter().map(|&tool| (tool, tool));
    let linker = (cross::LINKER, cross::LINKER);
    let compiler = choice.and_then(|choice| choice.toolchain.rustc());
    let compiler = compiler.map(|program| (RUSTC_FOR_NODES, program));
    tools.chain([linker]).chain(compiler).collect()
}

fn found(programs: Vec<(&'static str, &'static str)>) -> Versions {
    let version = |(name, program): (&str, &str)| {
        let flag = match program {
            "mke2fs" => "-V",
            _ => "--version",
        };
        let output = Command::new(program).arg(flag).output().ok()?;
        let said = [output.stdout, output.stderr].concat();
        let version = Version::find(&String::from_utf8_lossy(&said))?;
        Some((name.to_owned(), version.to_string()))
    };
    programs.into_iter().filter_map(version).collect()
}

/// A note for each tool of which the lock has another version.
pub(crate) fn notes(locked: &Versions, found: &Versions) -> Vec<String> {
    let note = |(tool, found): (&String, &String)| {
        let name = match tool.as_str() {
            RUSTC_FOR_NODES => "rustc",
            name => name,
        };
        let locked = locked.get(name).filter(|locked| *locked != found)?;
        Some(format!(
            "note: {tool} is {found} here and was {locked} when the lock was written: \
             what is built may differ from what others build"
        ))
    };
    found.iter().filter_map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cross::Toolchain;

    #[test]
    fn who_compiles_for_the_nodes_is_asked() {
        let asked = |toolchain: Option<Toolchain>| {
            let choice = toolchain.map(|toolchain| Choice {
                toolchain,
                because: "of this test",
            });
            let programs = programs(&["rustc"], choice);
            let compiler = programs.iter().find(|(name, _)| *name == RUSTC_FOR_NODES);
            compiler.map(|(_, program)| *program)
        };
        for (toolchain, expected) in [
            (Some(Toolchain::Native), Some("rustc")),
            (Some(Toolchain::Debian), Some("/usr/bin/rustc")),
            (Some(Toolchain::Cross), None),
            (None, None),
        ] {
            assert_eq!(asked(toolchain), expected, "{toolchain:?}");
        }
    }

    #[test]
    fn a_note_names_both_versions() {
        let versions = |all: &[(&str, &str)]| -> Versions {
            let owned = |(name, version): &(&str, &str)| ((*name).into(), (*version).into());
            all.iter().map(owned).collect()
        };
        let locked = versions(&[
            ("mke2fs", "1.47.2"),
            ("mmdebstrap", "1.5.5"),
            ("rustc", "1.95.0"),
        ]);
        let found = versions(&[
            ("aarch64-linux-gnu-gcc", "14.2.0"),
            ("mke2fs", "1.47.3"),
            ("rustc", "1.95.0"),
            ("rustc (aarch64)", "1.96.0"),
        ]);
        insta::assert_snapshot!(notes(&locked, &found).join("\n"));
        assert!(notes(&locked, &locked).is_empty());
    }
}
