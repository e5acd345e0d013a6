//! Facts in, findings and commands out.

use serde::Serialize;

use super::apt::SourceFile;
use super::facts::Facts;
use super::table::{Capability, Package, Probe, REQUIREMENTS, Requirement, Scope};
use super::version::Version;
use crate::cross::TARGET;

const BACKPORTS: &str = "bookworm-backports";

/// What was found, and what would put it right.
#[derive(Debug, Serialize)]
pub(crate) struct Plan {
    pub(crate) findings: Vec<Finding>,
    /// To be run in this order.
    pub(crate) commands: Vec<Command>,
    /// What no command here can put right.
    pub(crate) notes: Vec<String>,
}

/// One requirement against this machine.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) name: &'static str,
    pub(crate) why: &'static str,
    #[serde(flatten)]
    pub(crate) state: State,
    /// The packages that bring it, in Debian's names.
    pub(crate) packages: Vec<&'static str>,
}

/// How it stands with a requirement.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub(crate) enum State {
    Fine {
        version: Option<Version>,
    },
    TooOld {
        found: Option<Version>,
        least: Version,
    },
    Missing,
}

/// A line for the shell.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Command {
    pub(crate) shell: String,
    /// Only root can.
    pub(crate) root: bool,
}

impl Plan {
    pub(crate) fn is_fine(&self) -> bool {
        self.findings.iter().all(Finding::is_fine)
    }
}

impl Finding {
    pub(crate) fn is_fine(&self) -> bool {
        matches!(self.state, State::Fine { .. })
    }

    fn is_too_old(&self) -> bool {
        matches!(self.state, State::TooOld { .. })
    }
}

/// Compares the machine with the table.
pub(crate) fn plan(scope: Scope, facts: &Facts) -> Plan {
    let required = || REQUIREMENTS.iter().filter(|r| r.scope <= scope);
    let unmet: Vec<&Requirement> = required()
        .filter(|requirement| !matches!(state(requirement, facts), State::Fine { .. }))
        .collect();
    let mut plan = Plan {
        findings: required()
            .map(|requirement| Finding {
                name: requirement.name,
                why: requirement.why,
                state: state(requirement, facts),
                packages: package_names(requirement.packages, facts).collect(),
            })
            .collect(),
        commands: Vec::new(),
        notes: Vec::new(),
    };
    if unmet.is_empty() {
        return plan;
    }
    let rust_by_rustup = facts.rustup && !facts.rustup_refused;
    let (by_rustup, rest): (Vec<&Requirement>, Vec<&Requirement>) =
        unmet.into_iter().partition(|requirement| {
            rust_by_rustup && is(requirement, Capability::CompileRustForArm64)
        });
    if !by_rustup.is_empty() {
        plan.commands.push(Command {
            shell: format!("timeout 180 rustup target add {TARGET}"),
            root: false,
        });
    }
    if facts.system.debian_like {
        install_packages(&rest, facts, &mut plan);
        if rest.iter().any(|r| is(r, Capability::RunArm64Programs)) {
            register_arm64(facts, &mut plan);
        }
        if rest.iter().any(|r| is(r, Capability::MapUserIds)) {
            plan.root(&give_user_ids(&facts.user));
        }
        if facts.system.codename != "bookworm" && plan.findings.iter().any(Finding::is_too_old) {
            plan.notes.push(format!(
                "if the packages of {} are as old as what was found, it cannot be helped here: \
                 Debian 13, and Debian 12 with its backports, have new enough ones",
                facts.system.name
            ));
        }
    } else if !rest.is_empty() {
        plan.notes.push(format!(
            "{} is not one of the systems whose packages are known here: the names above are Debian's, \
             and most systems' package search also finds a package by the program in it",
            facts.system.name
        ));
    }
    plan
}

fn state(requirement: &Requirement, facts: &Facts) -> State {
    match requirement.probe {
        Probe::Capability(what) => match facts.capabilities.contains(&what) {
            true => State::Fine { version: None },
            false => State::Missing,
        },
        Probe::Program { name, least, .. } => {
            let Some(found) = facts.programs.get(name) else {
                return State::Missing;
            };
            let least = Version::new(least);
            let enough = found.as_ref().is_some_and(|found| *found >= least);
            match enough || least == Version::new(&[]) {
                true => State::Fine {
                    version: found.clone(),
                },
                false => State::TooOld {
                    found: found.clone(),
                    least,
                },
            }
        }
    }
}

fn install_packages(unmet: &[&Requirement], facts: &Facts, plan: &mut Plan) {
    let bookworm = facts.system.codename == "bookworm";
    let packages = || unmet.iter().flat_map(|requirement| requirement.packages);
    let backported = packages().filter(|package| bookworm && package.bookworm_backport);
    let backported = unique(package_names(backported, facts));
    let plain = packages().filter(|package| !(bookworm && package.bookworm_backport));
    let plain = unique(package_names(plain, facts));

    if !backported.is_empty() && !facts.sources.have(BACKPORTS) {
        match facts.sources.derive("bookworm", BACKPORTS) {
            Some(file) => plan.commands.push(write_source(&file)),
            None => {
                plan.notes.push(format!(
                    "apt has no source for {BACKPORTS}, and none for bookworm to derive it from: \
                     add {BACKPORTS} to apt's sources"
                ));
                return;
            }
        }
    }
    if plain.iter().any(|name| name.ends_with(":arm64")) && !facts.foreign_arm64 {
        plan.root("dpkg --add-architecture arm64");
    }
    if !backported.is_empty() || !plain.is_empty() {
        plan.root("apt-get update");
    }
    let install = "DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends";
    if !backported.is_empty() {
        plan.root(&format!(
            "{install} -t {BACKPORTS} {}",
            backported.join(" ")
        ));
    }
    if !plain.is_empty() {
        plan.root(&format!("{install} {}", plain.join(" ")));
    }
}

/// Containers and machines without systemd have nobody who would do this after the installation.
fn register_arm64(facts: &Facts, plan: &mut Plan) {
    let registry = "/proc/sys/fs/binfmt_misc";
    if !facts.binfmt_mounted {
        plan.root(&format!(
            "test -e {registry}/register || mount -t binfmt_misc binfmt_misc {registry}"
        ));
    }
    if !facts.binfmt_registered {
        plan.root(&format!(
            "test -e {registry}/qemu-aarch64 || \
             cat /usr/lib/binfmt.d/qemu-aarch64.conf > {registry}/register"
        ));
    }
}

/// Users made by Debian's adduser have a range already.
fn give_user_ids(user: &str) -> String {
    let range = "100000-165535";
    format!(
        "grep -q '^{user}:' /etc/subuid || \
         usermod --add-subuids {range} --add-subgids {range} {user}"
    )
}

impl Plan {
    fn root(&mut self, shell: &str) {
        self.commands.push(Command {
            shell: shell.to_owned(),
            root: true,
        });
    }
}

fn write_source(file: &SourceFile) -> Command {
    let lines: Vec<String> = file.text.lines().map(double_quoted).collect();
    Command {
        shell: format!(
            "printf '%s\\n' {} > /etc/apt/sources.list.d/{}",
            lines.join(" "),
            file.name
        ),
        root: true,
    }
}

fn double_quoted(text: &str) -> String {
    let escape = |c: char| match c {
        '"' | '\\' | '$' | '`' => format!("\\{c}"),
        _ => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

/// The commands that only root can run, as one line to paste.
pub(crate) fn line_for_root(commands: &[Command]) -> Option<String> {
    let lines: Vec<&str> = commands
        .iter()
        .filter(|command| command.root)
        .map(|command| command.shell.as_str())
        .collect();
    let script = lines.join("; ").replace('\'', r"'\''");
    (!lines.is_empty()).then(|| format!("sudo sh -ec '{script}'"))
}

fn is(requirement: &Requirement, what: Capability) -> bool {
    matches!(requirement.probe, Probe::Capability(capability) if capability == what)
}

fn package_names<'a>(
    packages: impl IntoIterator<Item = &'a Package>,
    facts: &Facts,
) -> impl Iterator<Item = &'static str> {
    let bookworm = facts.system.codename == "bookworm";
    packages
        .into_iter()
        .map(move |package| match package.bookworm_name {
            Some(name) if bookworm => name,
            _ => package.name,
        })
}

fn unique(names: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut unique = Vec::new();
    for name in names {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    unique
}

#[cfg(test)]
mod tests;
