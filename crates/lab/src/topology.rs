//! Machines on a network of their own, by name: what most labs begin with.

use std::fs::{self, DirBuilder};
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bramble_image::layer::Layer;

use crate::client::{Lab, Waiting};
use crate::definition::{Definition, Gateway};
use crate::identity::Identity;
use crate::launcher::Backend;
use crate::rundir;
use crate::switch::GATEWAY;
use crate::template::Template;

/// Longest wait for all machines to come online. A handful takes half a minute on two cores that have nothing else to do.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// The network, none of Docker's own, of which machines have the addresses from 1 on, and the host's way onto it those that no machine has.
const NETWORK: [u8; 3] = [192, 168, 77];
const MOST: usize = 250;

/// Machines that are clones of templates, on one network, `192.168.77.0/24`. The first has the address `192.168.77.1`, the next
/// `192.168.77.2`, and each knows all the others by their names. They have no keys for SSH, and so nobody listens at that
/// port: [`Guest`](crate::Guest) is the way in. Any name that a host may have will do, but `gateway`.
#[derive(Debug, Clone)]
pub struct Topology<'a> {
    name: String,
    place: PathBuf,
    backend: Backend,
    members: Vec<(String, &'a Template, Layer)>,
}

impl<'a> Topology<'a> {
    /// No machines yet. The lab is called `name`, a short word. In the directory `place`, `scratch` is the machines' and
    /// goes with the lab, and `logs` stays; what an earlier lab left in these is removed when this one is launched.
    pub fn new(name: &str, place: impl Into<PathBuf>) -> Topology<'a> {
        Topology {
            name: name.to_owned(),
            place: place.into(),
            backend: Backend::Processes,
            members: Vec::new(),
        }
    }

    /// What the machines run as, instead of processes.
    #[must_use]
    pub fn on(mut self, backend: Backend) -> Topology<'a> {
        self.backend = backend;
        self
    }

    /// One more machine, a clone of `template`.
    #[must_use]
    pub fn machine(self, name: &str, template: &'a Template) -> Topology<'a> {
        self.machine_with(name, template, Layer::new())
    }

    /// As [`Topology::machine`], with files of its own. What runs already has not read them.
    #[must_use]
    pub fn machine_with(
        mut self,
        name: &str,
        template: &'a Template,
        files: Layer,
    ) -> Topology<'a> {
        self.members.push((name.to_owned(), template, files));
        self
    }

    /// Where the logs are.
    pub fn logs(&self) -> PathBuf {
        self.place.join("logs")
    }

    /// The address of the machine `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn address(&self, name: &str) -> Result<Ipv4Addr> {
        let mut names = self.members.iter().map(|(name, ..)| name);
        let place = names.position(|other| other == name);
        Ok(address(place.with_context(|| {
            format!("the topology has no machine {name}")
        })?))
    }

    /// Starts the lab, and returns when every machine is online. `supervisor` is as in [`Lab::launch`].
    ///
    /// # Errors
    /// When a name is no host name or occurs twice, or a machine does not come online: the end of its console is in the
    /// error.
    pub fn launch(&self, supervisor: &[String]) -> Result<Lab> {
        let names: Vec<&str> = self.members.iter().map(|(name, ..)| &**name).collect();
        check(&names)?;
        let (scratch, logs) = (self.place.join("scratch"), self.logs());
        for dir in [&scratch, &logs] {
            fresh_directory(dir)?;
        }
        let mut machines = Vec::new();
        for (number, (name, template, files)) in self.members.iter().enumerate() {
            let path = scratch.join(format!("{name}.identity"));
            self.identity(number, name, files).write(&path)?;
            let mac = format!("52:54:00:00:00:{:02x}", number + 1);
            machines.push(template.clone_as(name, &mac, &path, &scratch)?);
        }
        let definition = Definition {
            logs,
            scratch: Some(scratch),
            backend: self.backend.clone(),
            machines,
            gateway: Some(Gateway {
                subnet: format!("{}/24", within(0)),
                address: within(254),
                name_server: within(253),
                forwards: Vec::new(),
            }),
        };
        let mut lab = Lab::launch(&self.name, &definition, supervisor)?;
        let names = self.members.iter().map(|(name, ..)| name);
        lab.wait(&Waiting::online(names, PATIENCE), |_| {})?;
        Ok(lab)
    }

    fn identity(&self, number: usize, name: &str, files: &Layer) -> Identity {
        let network = format!(
            "[Match]\nName=eth0\n[Network]\nAddress={}/24\n",
            address(number)
        );
        let hosts: String = self
            .members
            .iter()
            .enumerate()
            .map(|(number, (name, ..))| format!("{} {name}\n", address(number)))
            .collect();
        let own = Layer::new()
            .file("etc/systemd/network/05-own.network", 0o644, network)
            .file("etc/hosts", 0o644, format!("127.0.0.1 localhost\n{hosts}"));
        Identity {
            hostname: name.to_owned(),
            user: "pi".to_owned(),
            authorized_keys: String::new(),
            host_key: None,
            files: own.with(files),
            configure: Some("#!/bin/sh\nnetworkctl reload\n".to_owned()),
        }
    }
}

fn check(names: &[&str]) -> Result<()> {
    ensure!(
        (1..=MOST).contains(&names.len()),
        "a topology has 1 to {MOST} machines, not {}",
        names.len()
    );
    for (number, name) in names.iter().enumerate() {
        let is_host_name = name.len() <= 32
            && name.starts_with(|first: char| first.is_ascii_lowercase())
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        ensure!(
            is_host_name,
            "a machine's name is a lower-case letter and at most 31 more, digits or hyphens, not `{name}`"
        );
        ensure!(
            *name != GATEWAY,
            "no machine can be called {GATEWAY}, which is the host's way in"
        );
        ensure!(
            !names[..number].contains(name),
            "two machines are called {name}"
        );
    }
    Ok(())
}

/// The address of the machine that is the `number`th, from 0 on.
fn address(number: usize) -> Ipv4Addr {
    within(u8::try_from(number + 1).unwrap_or(u8::MAX))
}

fn within(last: u8) -> Ipv4Addr {
    let [a, b, c] = NETWORK;
    Ipv4Addr::new(a, b, c, last)
}

/// Makes an empty directory that nobody else can enter, for a lab's scratch or logs: what an earlier lab left there is
/// removed.
///
/// # Errors
/// When it is the scratch of a lab that runs, what is there cannot be removed, or the directory cannot be made.
pub fn fresh_directory(dir: &Path) -> Result<()> {
    if let Some(lab) = rundir::owner(dir)? {
        bail!(
            "{} is in use by the lab {lab}, which runs; `cargo xtask vm down` ends it",
            dir.display()
        );
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .with_context(|| format!("cannot make {}", dir.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_host_names_and_each_is_one_machines() {
        check(&["alice", "bob-2"]).expect("two machines");
        for (names, why) in [
            (&["Alice"][..], "not `Alice`"),
            (&["2nd"], "not `2nd`"),
            (&["a/../b"], "not `a/../b`"),
            (&[""], "not ``"),
            (&["alice", "bob", "alice"], "two machines are called alice"),
            (&["x"; MOST + 1], "not 251"),
            (&[], "not 0"),
            (&["gateway"], "the host's way in"),
        ] {
            let error = check(names).expect_err(why).to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn addresses_are_counted_from_one_and_leave_the_gateway_its_own() {
        assert_eq!(address(0), Ipv4Addr::new(192, 168, 77, 1));
        assert!(address(MOST - 1) < within(253));
        let lab = Topology::new("two", "nowhere");
        let error = lab.address("alice").expect_err("no machine").to_string();
        assert_eq!(error, "the topology has no machine alice");
    }
}
