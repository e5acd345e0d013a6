use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::doctor::apt::Sources;
use crate::doctor::facts::System;
use crate::doctor::report;

const BOOKWORM: &str = "ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME=\"Debian 12\"\n";
const TRIXIE: &str = "ID=debian\nVERSION_CODENAME=trixie\nPRETTY_NAME=\"Debian 13\"\n";
const NOBLE: &str =
    "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\nPRETTY_NAME=\"Ubuntu 24.04\"\n";
const FEDORA: &str = "ID=fedora\nPRETTY_NAME=\"Fedora Linux 42\"\n";

/// A machine on which nothing was installed yet.
fn bare(os_release: &str) -> Facts {
    let list = "deb http://mirror.example/debian bookworm main\n";
    Facts {
        system: System::parse(os_release),
        root: true,
        user: "ada".to_owned(),
        sources: Sources(vec![(false, list.to_owned())]),
        foreign_arm64: false,
        programs: BTreeMap::new(),
        capabilities: BTreeSet::new(),
        binfmt_mounted: false,
        binfmt_registered: false,
        rustup: false,
        rustup_refused: false,
    }
}

/// A machine on which everything is as it should be.
fn complete(os_release: &str) -> Facts {
    let mut facts = bare(os_release);
    for requirement in REQUIREMENTS {
        match requirement.probe {
            Probe::Program { name, .. } => {
                facts.programs.insert(name, Some(Version::new(&[999, 1])));
            }
            Probe::Capability(what) => {
                facts.capabilities.insert(what);
            }
        }
    }
    facts
}

fn shown(facts: &Facts) -> String {
    report::text(&plan(Scope::Rehearse, facts), facts)
}

#[test]
fn nothing_to_do() {
    let plan = plan(Scope::Ci, &complete(BOOKWORM));
    assert!(plan.is_fine());
    assert_eq!(plan.commands, []);
}

#[test]
fn a_bare_debian_12() {
    insta::assert_snapshot!(shown(&bare(BOOKWORM)));
}

#[test]
fn a_bare_debian_12_without_root_but_with_rustup() {
    let facts = Facts {
        root: false,
        rustup: true,
        ..bare(BOOKWORM)
    };
    insta::assert_snapshot!(shown(&facts));
}

#[test]
fn a_bare_debian_13() {
    insta::assert_snapshot!(shown(&bare(TRIXIE)));
}

#[test]
fn an_ubuntu_with_an_old_qemu() {
    let mut facts = complete(NOBLE);
    let old = Some(Version::new(&[8, 2, 2]));
    facts.programs.insert("qemu-system-aarch64", old);
    insta::assert_snapshot!(shown(&facts));
}

#[test]
fn a_bare_fedora() {
    insta::assert_snapshot!(shown(&bare(FEDORA)));
}

#[test]
fn rustup_that_cannot_download_gives_way_to_packages() {
    let mut facts = complete(BOOKWORM);
    facts.capabilities.remove(&Capability::CompileRustForArm64);
    facts.rustup = true;
    let commands = |facts: &Facts| -> Vec<String> {
        let plan = plan(Scope::Rehearse, facts);
        plan.commands.into_iter().map(|c| c.shell).collect()
    };
    assert_eq!(
        commands(&facts),
        ["timeout 180 rustup target add aarch64-unknown-linux-gnu"]
    );
    facts.rustup_refused = true;
    assert_eq!(
        commands(&facts),
        [
            "dpkg --add-architecture arm64",
            "apt-get update",
            "DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
             rustc-web libstd-rust-web-dev:arm64",
        ]
    );
}

#[test]
fn emulation_that_is_installed_but_not_registered() {
    let mut facts = complete(BOOKWORM);
    facts.capabilities.remove(&Capability::RunArm64Programs);
    facts.sources = Sources(vec![(
        false,
        "deb http://mirror.example/debian bookworm-backports main".into(),
    )]);
    facts.binfmt_mounted = true;
    let plan = plan(Scope::Rehearse, &facts);
    let last = plan.commands.last().unwrap();
    assert!(last.shell.ends_with("> /proc/sys/fs/binfmt_misc/register"));
    assert!(!plan.commands.iter().any(|c| c.shell.contains("mount")));
    assert!(
        !plan
            .commands
            .iter()
            .any(|c| c.shell.contains("sources.list.d"))
    );
}

#[test]
fn no_source_to_derive_backports_from() {
    let facts = Facts {
        sources: Sources::default(),
        ..bare(BOOKWORM)
    };
    let plan = plan(Scope::Rehearse, &facts);
    assert!(plan.notes[0].starts_with("apt has no source for bookworm-backports"));
    assert!(!plan.commands.iter().any(|c| c.shell.contains("apt-get")));
}

#[test]
fn the_line_for_root_survives_the_shell() {
    let commands = [write_source(&SourceFile {
        name: "x.sources",
        text: "a 'b' \"c\" $d `e` \\f\ng\n".to_owned(),
    })];
    let line = line_for_root(&commands).unwrap();
    let inner = line.strip_prefix("sudo ").unwrap();
    let to_stdout = inner.replace("> /etc/apt/sources.list.d/x.sources", "");
    let output = std::process::Command::new("sh")
        .args(["-c", &to_stdout])
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed, "a 'b' \"c\" $d `e` \\f\ng\n");
}
