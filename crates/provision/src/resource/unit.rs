use serde::{Deserialize, Serialize};

use super::{Notice, State, Verdict};
use crate::{CommandLine, Error, System};

/// systemd units that are enabled and running.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Units {
    /// With their suffix: `docker.service`.
    pub names: Vec<String>,
}

/// Services that need the network start after it is up, whichever network manager the node has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaitOnline {}

impl State for Units {
    fn title(&self) -> String {
        format!("running {}", self.names.join(" "))
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        let all_run = self.names.iter().map(|unit| runs(system, unit));
        match all_run.collect::<Result<Vec<_>, _>>()?.contains(&false) {
            false => Ok(Verdict::Satisfied),
            true => judge(&self.show(system)?),
        }
    }

    /// Enabling makes systemd read its units again, and what starts now reads its configuration: whoever was
    /// to be told of either need not be told again, which would cost a busy node many seconds.
    fn apply(&self, system: &System) -> Result<(), Error> {
        let docker_starts = stopped(&self.show(system)?).any(|unit| unit == "docker.service");
        // Debian's units often have an init script beside them, whose links nothing reads, and each of which
        // would cost two more reloads.
        let args = ["SYSTEMCTL_SKIP_SYSV=1", "systemctl", "enable", "--now"].map(String::from);
        let command = CommandLine::new("env", args.into_iter().chain(self.names.clone()));
        system.run(&command)?;
        Notice::SystemdReload.withdraw(system)?;
        if docker_starts {
            Notice::DockerReload.withdraw(system)?;
            Notice::DockerRestart.withdraw(system)?;
        }
        Ok(())
    }
}

impl Units {
    fn show(&self, system: &System) -> Result<String, Error> {
        let args = ["show", "--property=Id,LoadState,ActiveState,UnitFileState"].map(String::from);
        let command = CommandLine::new("systemctl", args.into_iter().chain(self.names.clone()));
        Ok(system.run(&command)?.output)
    }
}

/// Whether files alone show that a unit is enabled and has processes. If they do not, it is for systemd to say more.
///
/// `systemctl` would be the only program to be started on a node where all is well.
fn runs(system: &System, unit: &str) -> Result<bool, Error> {
    let masked = system.link_target(&format!("/etc/systemd/system/{unit}"))?;
    let wanted = format!("/etc/systemd/system/multi-user.target.wants/{unit}");
    let events = format!("/sys/fs/cgroup/system.slice/{unit}/cgroup.events");
    let populated = system.read(&events)?.unwrap_or_default();
    Ok(masked.as_deref() != Some("/dev/null")
        && system.attributes(&wanted)?.is_some()
        && populated.lines().any(|line| line == "populated 1"))
}

/// One unit of what `systemctl show` says: lines of `Property=value`.
struct Shown<'a>(&'a str);

impl<'a> Shown<'a> {
    /// The units, which are apart by an empty line.
    fn all(shown: &'a str) -> impl Iterator<Item = Shown<'a>> {
        let units = shown.split("\n\n").filter(|unit| !unit.trim().is_empty());
        units.map(Shown)
    }

    /// Empty if it is not there.
    fn property(&self, name: &str) -> &'a str {
        let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix('=');
        self.0.lines().find_map(value).unwrap_or_default()
    }
}

/// The units that do not run.
fn stopped(shown: &str) -> impl Iterator<Item = &str> {
    let stopped = Shown::all(shown).filter(|unit| unit.property("ActiveState") != "active");
    stopped.map(|unit| unit.property("Id"))
}

/// What `systemctl show` says, held against units that are enabled and running.
fn judge(shown: &str) -> Result<Verdict, Error> {
    let mut reasons = Vec::new();
    for unit in Shown::all(shown) {
        let id = unit.property("Id");
        if unit.property("LoadState") == "masked" {
            return Err(Error::state(format!(
                "{id} is masked; `systemctl unmask {id}` gives it back"
            )));
        }
        if unit.property("UnitFileState") != "enabled" {
            reasons.push(format!("{id} is not enabled"));
        }
        match unit.property("ActiveState") {
            "active" => {}
            state => reasons.push(format!("{id} is {state}")),
        }
    }
    Ok(Verdict::from_reasons(&reasons, None))
}

impl State for WaitOnline {
    fn title(&self) -> String {
        "wait for the network at boot".into()
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        let unit = wait_unit(system)?;
        let wanted = system.attributes(&format!(
            "/etc/systemd/system/network-online.target.wants/{unit}"
        ))?;
        Ok(match wanted {
            Some(_) => Verdict::Satisfied,
            None => Verdict::change(format!("{unit} is not enabled")),
        })
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        // It matters at the next boot only, and a reload takes seconds on a busy node. On files alone: had systemd done it,
        // it would say of every unit that it wants to be reloaded.
        system
            .run(&CommandLine::new(
                "systemctl",
                ["--root=/", "enable", wait_unit(system)?],
            ))
            .map(drop)
    }
}

/// The unit that belongs to the network manager in use, which is seen from what it keeps in `/run`.
fn wait_unit(system: &System) -> Result<&'static str, Error> {
    for (trace, unit) in [
        ("/run/NetworkManager", "NetworkManager-wait-online.service"),
        (
            "/run/systemd/netif/state",
            "systemd-networkd-wait-online.service",
        ),
        ("/run/network/ifstate", "ifupdown-wait-online.service"),
    ] {
        if system.attributes(trace)?.is_some() {
            return Ok(unit);
        }
    }
    Err(Error::state(
        "none of NetworkManager, systemd-networkd and ifupdown runs here: which one brings the network up?",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_must_be_enabled_and_active() {
        let shown = "Id=docker.service\nLoadState=loaded\nActiveState=inactive\nUnitFileState=disabled\n\n\
                     Id=containerd.service\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\n";
        assert_eq!(
            judge(shown).unwrap(),
            Verdict::change("docker.service is not enabled, docker.service is inactive")
        );
        assert_eq!(stopped(shown).collect::<Vec<_>>(), ["docker.service"]);
        assert_eq!(
            judge("Id=a\nActiveState=active\nUnitFileState=enabled\n").unwrap(),
            Verdict::Satisfied
        );
        assert!(
            judge("Id=a\nLoadState=masked\n")
                .unwrap_err()
                .to_string()
                .contains("unmask a")
        );
    }

    #[test]
    fn what_files_show_need_not_be_asked() {
        let root = tempfile::tempdir().unwrap();
        let system = System::rooted(root.path());
        let units = Units {
            names: vec!["docker.service".into()],
        };
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let asks = || units.check(&system).is_err();
        assert!(asks(), "commands cannot run below a root");

        write(
            "etc/systemd/system/multi-user.target.wants/docker.service",
            "",
        );
        let events = "sys/fs/cgroup/system.slice/docker.service/cgroup.events";
        write(events, "populated 0\nfrozen 0\n");
        assert!(asks());
        write(events, "populated 1\nfrozen 0\n");
        assert_eq!(units.check(&system).unwrap(), Verdict::Satisfied);
        std::os::unix::fs::symlink(
            "/dev/null",
            root.path().join("etc/systemd/system/docker.service"),
        )
        .unwrap();
        assert!(asks(), "it is masked");
    }

    #[test]
    fn the_unit_follows_the_network_manager() {
        let root = tempfile::tempdir().unwrap();
        let system = System::rooted(root.path());
        assert!(WaitOnline {}.check(&system).is_err());

        std::fs::create_dir_all(root.path().join("run/systemd/netif")).unwrap();
        std::fs::write(root.path().join("run/systemd/netif/state"), "").unwrap();
        assert_eq!(
            WaitOnline {}.check(&system).unwrap(),
            Verdict::change("systemd-networkd-wait-online.service is not enabled")
        );

        std::fs::create_dir_all(root.path().join("run/NetworkManager")).unwrap();
        let wants = root
            .path()
            .join("etc/systemd/system/network-online.target.wants");
        std::fs::create_dir_all(&wants).unwrap();
        std::fs::write(wants.join("NetworkManager-wait-online.service"), "").unwrap();
        assert_eq!(WaitOnline {}.check(&system).unwrap(), Verdict::Satisfied);
    }
}
