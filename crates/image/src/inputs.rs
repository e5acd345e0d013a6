//! What builds are made from: the locked packages, by way of the store.

use std::path::Path;

use anyhow::{Context, Result};
use bramble_store::{LockFile, Package, Store};

use crate::debian::Set;
use crate::debian::fetch::{self, Deb};
use crate::debian::mirror::Mirrors;

/// A store, and the lock that says what may come into it.
#[derive(Debug)]
pub struct Inputs {
    /// Where everything is kept.
    pub store: Store,
    /// What stands in the lock file.
    pub lock: LockFile,
    mirrors: Mirrors,
}

impl Inputs {
    /// Reads the lock file `lock`. What is not in the store is fetched from `mirror`, or else from where apt on
    /// this machine has it from.
    ///
    /// # Errors
    /// There is no lock file, or it is damaged.
    pub fn open(store: Store, lock: &Path, mirror: Option<&str>) -> Result<Inputs> {
        Ok(Inputs {
            store,
            lock: LockFile::read(lock)?,
            mirrors: Mirrors::new(mirror),
        })
    }

    /// The packages of a set, as the lock has them.
    ///
    /// # Errors
    /// The lock does not have them: the error says how to mend that.
    pub fn packages(&self, set: &Set) -> Result<Packages<'_>> {
        let packages = self.lock.set(set.name, &set.packages)?;
        Ok(Packages {
            inputs: self,
            packages,
        })
    }
}

/// The locked packages of a set.
#[derive(Debug)]
pub struct Packages<'a> {
    inputs: &'a Inputs,
    packages: Vec<&'a Package>,
}

impl Packages<'_> {
    /// Names, versions and hashes, as an input of whatever is built from them.
    pub fn list(&self) -> String {
        let line = |package: &&Package| {
            let Package {
                name,
                version,
                sha256,
                ..
            } = package;
            format!("{name} {version} {sha256}\n")
        };
        self.packages.iter().map(line).collect()
    }

    /// The version of one of them.
    ///
    /// # Errors
    /// It is none of them.
    pub fn version(&self, name: &str) -> Result<&str> {
        let named = self.packages.iter().find(|package| package.name == name);
        let named = named.with_context(|| format!("the lock file has no package {name} there"))?;
        Ok(&named.version)
    }

    /// Their files, fetched where need be.
    ///
    /// # Errors
    /// As [`fetch::fetch`].
    pub fn fetch(&self) -> Result<Vec<Deb>> {
        fetch::fetch(&self.inputs.store, &self.inputs.mirrors, &self.packages)
    }
}
