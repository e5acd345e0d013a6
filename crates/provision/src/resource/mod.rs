//! The things a node is made of. Each one can be checked, explained and brought about.

mod account;
mod apt;
mod block;
mod boot;
mod docker;
mod file;
mod hostname;
mod membership;
mod mount;
mod notice;
mod package;
mod source;
mod tailscale;
mod timezone;
mod unit;
mod upgrade;

use serde::{Deserialize, Serialize};

pub use account::{AuthorizedKeys, GroupMember, PasswordHash, RevokedKeys, User};
pub use block::{Block, Lines};
pub use boot::{FirmwareConfig, KernelCmdline};
pub use docker::DockerConfig;
pub use file::{Absent, Content, Directory, File, Link};
pub use hostname::Hostname;
pub use membership::{RoutingMesh, SwarmInit, SwarmJoin, SwarmNode};
pub use mount::Mount;
pub(crate) use mount::{mounts, reachable};
pub use notice::{Notice, Notified};
pub use package::Packages;
pub use source::{AptSource, DockerScript};
pub use tailscale::Tailscale;
pub use timezone::Timezone;
pub use unit::{Units, WaitOnline};
pub use upgrade::Upgrade;

use crate::{Error, System};

/// Something that must hold on a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each variant is the type it holds")]
pub enum Resource {
    Hostname(Hostname),
    Timezone(Timezone),
    AptSource(AptSource),
    Upgrade(Upgrade),
    Packages(Packages),
    DockerScript(DockerScript),
    KernelCmdline(KernelCmdline),
    FirmwareConfig(FirmwareConfig),
    User(User),
    PasswordHash(PasswordHash),
    GroupMember(GroupMember),
    AuthorizedKeys(AuthorizedKeys),
    RevokedKeys(RevokedKeys),
    Directory(Directory),
    File(File),
    Absent(Absent),
    Link(Link),
    Block(Block),
    Mount(Mount),
    DockerConfig(DockerConfig),
    Notified(Notified),
    Units(Units),
    WaitOnline(WaitOnline),
    Tailscale(Tailscale),
    SwarmInit(SwarmInit),
    RoutingMesh(RoutingMesh),
    SwarmJoin(SwarmJoin),
    SwarmNode(SwarmNode),
}

/// Whether a resource holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Satisfied,
    /// It does not.
    Change(Change),
}

/// What applying a resource would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What differs, in a few words.
    pub reason: String,
    /// A unified diff, unless there is nothing to show or it is secret.
    pub diff: Option<String>,
}

/// What every kind of resource can do.
trait State {
    /// A few words that name it, unique within a plan.
    fn title(&self) -> String;
    /// Looks, and changes nothing.
    fn check(&self, system: &System) -> Result<Verdict, Error>;
    /// Makes it hold. May be called in any state, including half-way through an earlier call.
    fn apply(&self, system: &System) -> Result<(), Error>;
}

impl Resource {
    /// A few words that name it, unique within a sensible plan.
    pub fn title(&self) -> String {
        self.state().title()
    }

    /// Says whether it holds, and changes nothing.
    pub fn check(&self, system: &System) -> Result<Verdict, Error> {
        self.state().check(system)
    }

    /// Makes it hold, from whatever state the system is in.
    pub fn apply(&self, system: &System) -> Result<(), Error> {
        self.state().apply(system)
    }

    fn state(&self) -> &dyn State {
        match self {
            Self::Hostname(it) => it,
            Self::Timezone(it) => it,
            Self::AptSource(it) => it,
            Self::Upgrade(it) => it,
            Self::Packages(it) => it,
            Self::DockerScript(it) => it,
            Self::KernelCmdline(it) => it,
            Self::FirmwareConfig(it) => it,
            Self::PasswordHash(it) => it,
            Self::Tailscale(it) => it,
            Self::User(it) => it,
            Self::GroupMember(it) => it,
            Self::AuthorizedKeys(it) => it,
            Self::RevokedKeys(it) => it,
            Self::Directory(it) => it,
            Self::File(it) => it,
            Self::Absent(it) => it,
            Self::Link(it) => it,
            Self::Block(it) => it,
            Self::Mount(it) => it,
            Self::DockerConfig(it) => it,
            Self::Notified(it) => it,
            Self::Units(it) => it,
            Self::WaitOnline(it) => it,
            Self::SwarmInit(it) => it,
            Self::RoutingMesh(it) => it,
            Self::SwarmJoin(it) => it,
            Self::SwarmNode(it) => it,
        }
    }
}

impl Verdict {
    fn change(reason: impl Into<String>) -> Self {
        Self::Change(Change {
            reason: reason.into(),
            diff: None,
        })
    }

    /// A change for each of the reasons, or none.
    fn from_reasons(reasons: &[String], diff: Option<String>) -> Self {
        match reasons {
            [] => Self::Satisfied,
            reasons => Self::Change(Change {
                reason: reasons.join(", "),
                diff,
            }),
        }
    }
}
