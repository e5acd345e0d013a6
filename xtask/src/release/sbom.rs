//! What a release is made of, as a CycloneDX document: the crates of the programs, the packages of the images.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, anyhow, bail};
use bramble_store::{LockFile, Package};
use cyclonedx_bom::external_models::normalized_string::NormalizedString;
use cyclonedx_bom::external_models::spdx::SpdxExpression;
use cyclonedx_bom::external_models::uri::Purl;
use cyclonedx_bom::models::bom::Bom;
use cyclonedx_bom::models::component::{Classification, Component, Components};
use cyclonedx_bom::models::hash::{Hash, HashAlgorithm, HashValue, Hashes};
use cyclonedx_bom::models::license::{LicenseChoice, Licenses};
use cyclonedx_bom::models::metadata::Metadata;
use cyclonedx_bom::models::property::{Properties, Property};
use cyclonedx_bom::prelude::{SpecVersion, Validate};
use serde::Deserialize;

use crate::project;

/// The packages whose programs are handed out.
const PROGRAMS: [&str; 3] = ["bramble-cli", "bramble-node", "bramble-search"];

/// The document as JSON, without a time or a number of its own.
///
/// # Errors
/// Cargo cannot say what the programs are made of.
pub(super) fn render(lock: &LockFile) -> Result<String> {
    let mut components = crates(&metadata()?)?;
    components.extend(
        lock.package
            .iter()
            .map(debian)
            .collect::<Result<Vec<_>>>()?,
    );
    document(components)
}

fn document(components: Vec<Component>) -> Result<String> {
    let whole = Component::new(
        Classification::Application,
        "bramble",
        env!("CARGO_PKG_VERSION"),
        Some("bramble".to_owned()),
    );
    let bom = Bom {
        serial_number: None,
        metadata: Some(Metadata {
            component: Some(whole),
            ..Metadata::default()
        }),
        components: Some(Components(components)),
        spec_version: SpecVersion::V1_5,
        ..Bom::default()
    };
    let problems = bom.validate();
    if problems.has_errors() {
        bail!("the bill of materials would be invalid: {problems:?}");
    }
    let mut text = Vec::new();
    bom.output_as_json_v1_5(&mut text)
        .context("cannot write the bill of materials")?;
    text.push(b'\n');
    Ok(String::from_utf8(text)?)
}

fn debian(package: &Package) -> Result<Component> {
    let Package {
        name,
        version,
        architecture,
        ..
    } = package;
    let address = format!(
        "pkg:deb/debian/{}@{}?arch={architecture}",
        escaped(name),
        escaped(version)
    );
    let property = |name: &str, value: &str| Property {
        name: name.to_owned(),
        value: NormalizedString::new(value),
    };
    let sets: Vec<&str> = package.sets.iter().map(String::as_str).collect();
    Ok(Component {
        purl: Some(purl(&address)?),
        hashes: Some(sha256(&package.sha256)),
        properties: Some(Properties(vec![property(
            "bramble:images",
            &sets.join(" "),
        )])),
        ..Component::new(
            Classification::Library,
            name,
            version,
            Some(address.clone()),
        )
    })
}

fn purl(address: &str) -> Result<Purl> {
    let parsed = address.parse();
    parsed.map_err(|()| anyhow!("{address} is no package URL"))
}

fn sha256(digits: &str) -> Hashes {
    Hashes(vec![Hash {
        alg: HashAlgorithm::SHA_256,
        content: HashValue(digits.to_owned()),
    }])
}

/// What of a name or a version means something else in a package URL.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte.is_ascii_alphanumeric() || b".-_~".contains(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// What cargo says of the workspace, as far as it is of use here.
#[derive(Deserialize)]
struct CargoMetadata {
    packages: Vec<Crate>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Crate {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dep>,
}

#[derive(Deserialize)]
struct Dep {
    pkg: String,
    dep_kinds: Vec<DepKind>,
}

#[derive(Deserialize)]
struct DepKind {
    kind: Option<String>,
}

fn metadata() -> Result<CargoMetadata> {
    let mut cargo = project::cargo();
    cargo.args(["metadata", "--locked", "--format-version", "1"]);
    for target in ["x86_64-unknown-linux-gnu", crate::cross::TARGET] {
        cargo.args(["--filter-platform", target]);
    }
    let output = cargo.output().context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    serde_json::from_slice(&output.stdout)
        .context("cargo metadata prints something else than it did")
}

/// Everything that the programs are compiled from; not what only tests need.
fn crates(metadata: &CargoMetadata) -> Result<Vec<Component>> {
    let nodes: BTreeMap<&str, &Node> = metadata
        .resolve
        .nodes
        .iter()
        .map(|node| (node.id.as_str(), node))
        .collect();
    let programs = metadata
        .packages
        .iter()
        .filter(|package| PROGRAMS.contains(&package.name.as_str()));
    let mut open: Vec<&str> = programs.map(|package| package.id.as_str()).collect();
    let mut reached = BTreeSet::new();
    while let Some(id) = open.pop() {
        if reached.insert(id) {
            let needed = |dep: &&Dep| {
                dep.dep_kinds
                    .iter()
                    .any(|kind| kind.kind.as_deref() != Some("dev"))
            };
            let deps = nodes
                .get(id)
                .map(|node| node.deps.as_slice())
                .unwrap_or_default();
            open.extend(deps.iter().filter(needed).map(|dep| dep.pkg.as_str()));
        }
    }
    let mut found: Vec<&Crate> = metadata
        .packages
        .iter()
        .filter(|package| reached.contains(package.id.as_str()))
        .collect();
    found.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    found.into_iter().map(component).collect()
}

fn component(package: &Crate) -> Result<Component> {
    let Crate { name, version, .. } = package;
    let address = format!("pkg:cargo/{}@{}", escaped(name), escaped(version));
    let licence = |text: &String| SpdxExpression::parse_lax(text.clone()).ok();
    Ok(Component {
        // Ours are not in a registry.
        purl: match package.source {
            Some(_) => Some(purl(&address)?),
            None => None,
        },
        licenses: package
            .license
            .as_ref()
            .and_then(licence)
            .map(|licence| Licenses(vec![LicenseChoice::Expression(licence)])),
        ..Component::new(
            Classification::Library,
            name,
            version,
            Some(address.clone()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_and_packages_are_named_by_url_licence_and_hash() {
        let metadata = r#"{
            "packages": [
                { "id": "cli", "name": "bramble-cli", "version": "0.1.0", "license": "MIT OR Apache-2.0", "source": null },
                { "id": "tar", "name": "tar", "version": "0.4.1+a", "license": "MIT/Apache-2.0", "source": "registry" },
                { "id": "cc", "name": "cc", "version": "1.0.0", "license": null, "source": "registry" },
                { "id": "insta", "name": "insta", "version": "1.0.0", "license": "MIT", "source": "registry" }
            ],
            "resolve": { "nodes": [
                { "id": "cli", "deps": [
                    { "pkg": "tar", "dep_kinds": [{ "kind": null }] },
                    { "pkg": "insta", "dep_kinds": [{ "kind": "dev" }] }
                ] },
                { "id": "tar", "deps": [{ "pkg": "cc", "dep_kinds": [{ "kind": "build" }, { "kind": "dev" }] }] }
            ] }
        }"#;
        let mut components = crates(&serde_json::from_str(metadata).unwrap()).unwrap();
        let package = Package {
            name: "libstdc++6".to_owned(),
            version: "1:14.2~rc1-19".to_owned(),
            architecture: "arm64".to_owned(),
            archive: "debian".to_owned(),
            file: "pool/l.deb".to_owned(),
            size: 1,
            sha256: "0123456789abcdef".repeat(4),
            sets: ["node".to_owned(), "redis".to_owned()].into(),
        };
        components.push(debian(&package).unwrap());
        let text = document(components).unwrap();
        insta::assert_snapshot!(text);
        let read = Bom::parse_from_json_v1_5(text.as_bytes()).unwrap();
        assert_eq!(
            read.components.unwrap().0.len(),
            4,
            "insta is only for tests"
        );
    }
}
