//! From the file as written to a [`Cluster`], with every mistake on the way collected.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;

use super::problem::Problems;
use super::recover::{Recovered, is_meant};
use super::services::Ports;
use super::{Access, Cluster, Search, Updates};
use super::{names, wire};

/// Names that lead every machine to itself.
pub(super) const TAKEN_HOST_NAMES: [&str; 2] = ["localhost", "localhost.localdomain"];

/// Checks a file. What comes back may be used only if no error was added to `problems`; `None` means that something
/// without a default is missing or unreadable.
pub(super) fn cluster(recovered: Recovered, problems: &mut Problems) -> Option<Cluster> {
    let Recovered { file, removed } = recovered;
    let mut check = Check { problems, removed };
    let top = 0..0;

    check.version(file.version);
    let name = check.required(file.name, "name", &top);
    if let Some(name) = &name {
        check.label(name, "a cluster name");
    }
    let network = check.required(file.network, "network", &top);
    let subnet = network
        .as_ref()
        .and_then(|network| Some(network.get_ref().subnet.as_ref()?.span()))
        .unwrap_or(top.clone());
    let network = network.and_then(|network| check.network(network));
    let has_nas = file.nas.is_some() || check.was_removed("nas");
    let nas = file.nas.and_then(|nas| check.nas(nas, network.as_ref()));
    let timezone = file.timezone.map(|zone| check.timezone(zone));
    let updates = Updates {
        upgrade: file
            .updates
            .upgrade
            .map(Spanned::into_inner)
            .unwrap_or_default(),
        reboot: file
            .updates
            .reboot
            .map(Spanned::into_inner)
            .unwrap_or_default(),
    };
    let tailscale = file
        .tailscale
        .and_then(|tailscale| check.tailscale(tailscale));
    let access = check.access(file.access);
    let docker = check.docker(file.docker);
    let boot = check.boot(file.boot);
    let packages = check.packages(file.packages);
    let nodes = file.nodes.map(Spanned::into_inner).unwrap_or_default();
    let server = nas.as_ref().map(|(nas, _)| nas);
    // One address outside is a mistake of its own; all of them are one of the subnet's.
    let here = network
        .as_ref()
        .filter(|network| check.has_nodes(network, &nodes, &subnet));
    let mut nodes = check.nodes(nodes, here, server);
    check.node_exports(nas.as_ref(), &mut nodes);
    let mut ports = Ports::default();
    let search = Search {
        port: check.port(&mut ports, "the search", file.search.port, 3000),
    };
    let registry_port = check.port(&mut ports, "the registry", file.registry.port.clone(), 5000);
    let registry = check.registry(
        file.registry,
        registry_port,
        &mut nodes,
        network.as_ref(),
        has_nas,
        nas.as_ref().map(|(nas, _)| nas),
    );
    let portainer = file
        .portainer
        .map(|portainer| check.portainer(portainer.into_inner(), &mut ports));

    Some(Cluster {
        name: name?.into_inner(),
        network: network?,
        timezone,
        access,
        nas: nas.map(|(nas, _)| nas),
        updates,
        docker,
        tailscale,
        boot,
        registry: registry?,
        search,
        portainer,
        packages,
        nodes: nodes.into_iter().map(|node| node.node).collect(),
    })
}

/// Reads and reports.
pub(super) struct Check<'a> {
    pub(super) problems: &'a mut Problems,
    /// Keys that are there, but were unreadable and reported already.
    removed: Vec<String>,
}

impl Check<'_> {
    /// Whether `key` is in the file, though its value could not be read, or it was misspelt.
    pub(super) fn was_removed(&self, key: &str) -> bool {
        self.removed.iter().any(|removed| is_meant(removed, key))
    }

    /// The value, or an error that the table at `table` lacks it.
    pub(super) fn required<T>(
        &mut self,
        value: Option<Spanned<T>>,
        key: &str,
        table: &Range<usize>,
    ) -> Option<Spanned<T>> {
        if value.is_none() && !self.was_removed(key) {
            let whose = if table.is_empty() {
                "the file"
            } else {
                "this table"
            };
            self.problems
                .error(table.clone(), format!("`{key}` is missing"))
                .here(format!("{whose} has no `{key}`"));
        }
        value
    }

    fn version(&mut self, version: Option<Spanned<i64>>) {
        let Some(version) = self.required(version, "version", &(0..0)) else {
            return;
        };
        if *version.get_ref() != 1 {
            self.problems
                .error(
                    version.span(),
                    format!("file format version {} is not known", version.get_ref()),
                )
                .help_is("this bramble reads `version = 1`");
        }
    }

    /// Reports a name of one label that is none. `what` has its article.
    pub(super) fn label(&mut self, name: &Spanned<String>, what: &str) {
        if !names::is_label(name.get_ref()) {
            self.problems
                .error(name.span(), format!("\"{}\" cannot be {what}", name.get_ref()))
                .help_is("use at most 63 lower-case letters, digits and hyphens, with no hyphen at either end");
        }
    }

    /// Reports a name with dots that is none.
    pub(super) fn host_name(&mut self, name: &Spanned<String>, what: &str) {
        if !names::is_host_name(name.get_ref()) {
            let help = match name.get_ref().contains("://") {
                true => "a name alone: leave out what comes before and after it in a web address",
                false => {
                    "use labels of lower-case letters, digits and hyphens, joined by dots, with no hyphen at either end"
                }
            };
            self.problems
                .error(
                    name.span(),
                    format!("\"{}\" cannot be {what}", name.get_ref()),
                )
                .help_is(help);
        }
    }

    fn access(&mut self, access: wire::Access) -> Access {
        if let Some(user) = access
            .user
            .as_ref()
            .filter(|user| !names::is_user(user.get_ref()))
        {
            self.problems.error(user.span(), format!("\"{}\" cannot be the account", user.get_ref())).help_is(
                "use at most 32 lower-case letters, digits and hyphens, starting with a letter, and not `root`",
            );
        }
        if let Some(hash) = access
            .password_hash
            .as_ref()
            .filter(|hash| !names::is_password_hash(hash.get_ref()))
        {
            self.problems
                .error(hash.span(), "this is no password hash")
                .help_is("make one with `openssl passwd -6`; a password itself has no place in this file");
        }
        let identity = |key: &Spanned<String>| {
            key.get_ref()
                .split_whitespace()
                .take(2)
                .collect::<Vec<_>>()
                .join(" ")
        };
        self.unique(
            "the key",
            access
                .authorized_keys
                .iter()
                .map(|key| (identity(key), key.span())),
        );
        for key in &access.authorized_keys {
            if let Err(error) = ssh_key::PublicKey::from_openssh(key.get_ref()) {
                self.problems
                    .error(
                        key.span(),
                        format!("this is not an OpenSSH public key: {error}"),
                    )
                    .help_is("paste the line of a `.pub` file: `ssh-ed25519 AAAA... name`");
            }
        }
        Access {
            password_hash: access.password_hash.map(Spanned::into_inner),
            user: access
                .user
                .map_or_else(|| "pi".to_owned(), Spanned::into_inner),
            authorized_keys: access
                .authorized_keys
                .into_iter()
                .map(Spanned::into_inner)
                .collect(),
        }
    }

    fn packages(&mut self, packages: Vec<Spanned<String>>) -> Vec<String> {
        for package in &packages {
            if !names::is_package(package.get_ref()) {
                self.problems.error(
                    package.span(),
                    format!("\"{}\" is not a package name", package.get_ref()),
                );
            }
        }
        self.unique(
            "package",
            packages
                .iter()
                .map(|package| (package.get_ref().clone(), package.span())),
        );
        packages.into_iter().map(Spanned::into_inner).collect()
    }

    /// Reports every item that was there before, and points at the first.
    pub(super) fn unique(
        &mut self,
        what: &str,
        items: impl IntoIterator<Item = (String, Range<usize>)>,
    ) {
        let mut seen = BTreeMap::new();
        for (item, span) in items {
            if let Some(first) = seen.get(&item) {
                let first: &Range<usize> = first;
                self.problems
                    .error(span, format!("{what} {item} is used twice"))
                    .here("again here")
                    .also(first.clone(), "first here");
            } else {
                seen.insert(item, span);
            }
        }
    }
}
