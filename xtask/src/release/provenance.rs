//! What a release was made from and by what: an in-toto statement with a SLSA provenance, version 1
//! (<https://slsa.dev/spec/v1.0/provenance>). It says nothing that a second build would say otherwise: no time, no
//! host, no user.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, bail};
use bramble_store::sha256_of_file;
use serde_json::{Value, json};

use crate::project;
use crate::tools::Versions;

/// The commit that is built.
pub(super) struct Source {
    pub(super) commit: String,
    /// Whether there are changes that it does not have.
    pub(super) dirty: bool,
}

impl Source {
    /// Of this checkout.
    ///
    /// # Errors
    /// It is none, or git is missing.
    pub(super) fn here() -> Result<Source> {
        Ok(Source {
            commit: git(&["rev-parse", "HEAD"])?,
            dirty: !git(&["status", "--porcelain"])?.is_empty(),
        })
    }
}

fn git(arguments: &[&str]) -> Result<String> {
    let root = project::root();
    let mut command = Command::new("git");
    // In a container, a checkout belongs to whoever started that.
    command
        .arg("-c")
        .arg(format!("safe.directory={}", root.display()));
    command.current_dir(root).args(arguments);
    let output = command.output().context("cannot run git")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("a release is made from a git checkout: {}", said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The statement about `products`, names and SHA-256, which were made by `tools`.
///
/// # Errors
/// A file of the checkout cannot be read.
pub(super) fn render(
    source: &Source,
    tools: &Versions,
    products: &BTreeMap<String, String>,
) -> Result<String> {
    let mut materials = vec![json!({
        "uri": format!("git+{}", env!("CARGO_PKG_REPOSITORY")),
        "digest": { "gitCommit": source.commit },
    })];
    for name in ["Cargo.lock", "bramble.lock"] {
        let sha256 = sha256_of_file(&project::root().join(name))?;
        materials.push(json!({ "name": name, "digest": { "sha256": sha256 } }));
    }
    Ok(statement(source, tools, products, &materials).to_string() + "\n")
}

fn statement(
    source: &Source,
    tools: &Versions,
    products: &BTreeMap<String, String>,
    materials: &[Value],
) -> Value {
    let subject = |(name, sha256): (&String, &String)| json!({ "name": name, "digest": { "sha256": sha256 } });
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": products.iter().map(subject).collect::<Vec<_>>(),
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": format!("{}/blob/main/docs/images.md#releases", env!("CARGO_PKG_REPOSITORY")),
                "externalParameters": {
                    "command": "cargo xtask release",
                    "version": env!("CARGO_PKG_VERSION"),
                    "uncommittedChanges": source.dirty,
                },
                "resolvedDependencies": materials,
            },
            "runDetails": {
                "builder": {
                    "id": format!("{}/tree/main/xtask", env!("CARGO_PKG_REPOSITORY")),
                    "version": tools,
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_says_from_what_and_by_what() {
        let source = Source {
            commit: "0123".to_owned(),
            dirty: false,
        };
        let tools = [("rustc", "1.95.0"), ("rustc (aarch64)", "1.96.0")];
        let tools = tools.map(|(name, version)| (name.to_owned(), version.to_owned()));
        let products = BTreeMap::from([("bramble-aarch64".to_owned(), "ab".to_owned())]);
        let materials = [json!({ "name": "Cargo.lock", "digest": { "sha256": "cd" } })];
        insta::assert_json_snapshot!(statement(&source, &tools.into(), &products, &materials));
    }
}
