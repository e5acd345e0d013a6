use serde::{Deserialize, Serialize};

use super::{State, Verdict};
use crate::{CommandLine, Error, System};

/// Something a service has to be told after a change.
///
/// A resource leaves its notice *before* it changes anything; [`Notified`] acts on it later, once however
/// many left it. It is a file below `/run`, so an apply that was cut off in between is made good by the
/// next one, and a reboot, which does the same work, clears it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// systemd reads its units and `/etc/fstab` again.
    SystemdReload,
    /// A running Docker engine reads its configuration again.
    DockerReload,
    /// A running Docker engine is restarted.
    DockerRestart,
    /// A running SSH server reads its keys again; connections stay.
    SshReload,
    /// The node is rebooted. Not by itself: the operator's side does that, one manager after the other.
    Reboot,
}

/// Everybody who was left `notice` has been told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notified {
    /// What they had to be told.
    pub notice: Notice,
}

impl Notice {
    pub(super) fn leave(self, system: &System) -> Result<(), Error> {
        system.notify(self.name())
    }

    /// Takes it back: they know already.
    pub(super) fn withdraw(self, system: &System) -> Result<(), Error> {
        match system.is_notified(self.name()) {
            true => system.clear_notice(self.name()),
            false => Ok(()),
        }
    }

    pub(crate) fn is_left(self, system: &System) -> bool {
        system.is_notified(self.name())
    }

    fn name(self) -> &'static str {
        match self {
            Self::SystemdReload => "systemd-reload",
            Self::DockerReload => "docker-reload",
            Self::DockerRestart => "docker-restart",
            Self::SshReload => "ssh-reload",
            Self::Reboot => "reboot",
        }
    }

    /// What tells them. A service that is not running needs no telling, and that is no failure.
    fn command(self) -> CommandLine {
        CommandLine::new(
            "systemctl",
            match self {
                Self::SystemdReload => &["daemon-reload"][..],
                Self::DockerReload => &["try-reload-or-restart", "docker.service"],
                Self::DockerRestart => &["try-restart", "docker.service"],
                Self::SshReload => &["try-reload-or-restart", "ssh.service"],
                Self::Reboot => &["reboot"],
            }
            .iter()
            .copied(),
        )
    }
}

impl State for Notified {
    fn title(&self) -> String {
        match self.notice {
            Notice::SystemdReload => "reload of systemd",
            Notice::DockerReload => "reload of docker, if it runs",
            Notice::DockerRestart => "restart of docker, if it runs",
            Notice::SshReload => "reload of the SSH server",
            Notice::Reboot => "reboot",
        }
        .into()
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        Ok(match system.is_notified(self.notice.name()) {
            true => Verdict::change("something it reads has changed"),
            false => Verdict::Satisfied,
        })
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        system.run(&self.notice.command())?;
        system.clear_notice(self.notice.name())
    }
}
