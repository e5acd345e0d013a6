//! Checks of the file server and of what nodes mount.

use toml::Spanned;

use super::check::Check;
use super::nodes::Draft;
use super::{Nas, Network, names, wire};

/// Waits for the server in the foreground, with Docker behind it, instead of letting containers start on an empty
/// directory.
const MOUNT_OPTIONS: &str =
    "rw,relatime,hard,_netdev,x-systemd.before=docker.service,x-systemd.mount-timeout=2min";

/// Mount options with which exports would not be there, what is wrong with them, and what to do.
const MOUNTS_NOTHING: [(&str, &str, &str); 2] = [
    (
        "noauto",
        "with mount option `noauto` nothing mounts the exports at boot",
        "leave it out, or add `x-systemd.automount`, which mounts an export when it is first used",
    ),
    (
        "vers=3",
        "exports are mounted as nfs4, and `vers=3` is not that",
        "leave it out, or use `vers=4.2`",
    ),
];

impl Check<'_> {
    /// The file server, and its exports where they are written.
    pub(super) fn nas(
        &mut self,
        nas: Spanned<wire::Nas>,
        network: Option<&Network>,
    ) -> Option<(Nas, Vec<Spanned<String>>)> {
        let table = nas.span();
        let nas = nas.into_inner();
        let server = self
            .required(nas.server, "server", &table)
            .and_then(|text| {
                let ip = self.address(&text)?;
                // It may well be behind the router, or be the router.
                if let Some(network) = network.filter(|network| network.subnet.contains(&ip)) {
                    self.address_on(network, ip, &text.span());
                }
                Some(ip)
            });
        let written = nas.exports.map(|exports| self.exports(exports));
        let exports: Vec<String> = match &written {
            Some(written) => written
                .iter()
                .map(|export| export.get_ref().clone())
                .collect(),
            None => vec!["pi-cluster".to_owned()],
        };
        let shared = match nas.shared {
            Some(shared) => {
                if !exports.is_empty() && !exports.contains(shared.get_ref()) {
                    self.problems
                        .error(
                            shared.span(),
                            format!("\"{}\" is not among the exports", shared.get_ref()),
                        )
                        .help_is(format!("`/shared` can lead to: {}", exports.join(", ")));
                }
                Some(shared.into_inner())
            }
            None => exports.first().cloned(),
        };
        let options = match nas.options {
            Some(options) => {
                self.mount_options(&options);
                options.into_inner()
            }
            None => MOUNT_OPTIONS.to_owned(),
        };
        let nas = Nas {
            server: server?,
            exports,
            shared: shared?,
            options,
        };
        Some((nas, written.unwrap_or_default()))
    }

    fn exports(&mut self, exports: Spanned<Vec<Spanned<String>>>) -> Vec<Spanned<String>> {
        if exports.get_ref().is_empty() {
            self.problems
                .error(exports.span(), "a NAS without exports is of no use")
                .help_is("name at least one export, or leave out the table `nas`");
        }
        let exports = exports.into_inner();
        for export in &exports {
            if !names::is_path_component(export.get_ref()) {
                self.problems.error(export.span(), format!("\"{}\" cannot be an export", export.get_ref())).help_is(
                    "give its name below the server's NFSv4 root, without slashes: letters, digits, `-`, `_` and `.`",
                );
            }
        }
        self.unique(
            "export",
            exports
                .iter()
                .map(|export| (export.get_ref().clone(), export.span())),
        );
        exports
    }

    fn mount_options(&mut self, options: &Spanned<String>) {
        let text = options.get_ref();
        if text.is_empty()
            || text.contains(|c: char| c.is_whitespace())
            || text.split(',').any(str::is_empty)
        {
            self.problems
                .error(options.span(), format!("\"{text}\" are no mount options"))
                .help_is(format!(
                    "join options by commas, without blanks, like \"{MOUNT_OPTIONS}\""
                ));
            return;
        }
        if text.split(',').any(|option| option == "bg") {
            self.problems
                .error(
                    options.span(),
                    "mount option `bg` lets Docker start before the export is there",
                )
                .help_is(
                    "leave out `bg`: containers would write to the empty directory below the mount",
                );
        }
        for (option, trouble, help) in MOUNTS_NOTHING {
            let has = |wanted: &str| text.split(',').any(|found| found == wanted);
            if has(option) && !has("x-systemd.automount") {
                self.problems.error(options.span(), trouble).help_is(help);
            }
        }
        if text.split(',').any(|option| option == "soft") {
            self.problems
                .warning(
                    options.span(),
                    "mount option `soft` loses data when the server is slow",
                )
                .help_is("use `hard`: programs then wait for the server instead of getting errors");
        }
    }

    /// What each node mounts: what it asks for, and the shared export in any case.
    pub(super) fn node_exports(
        &mut self,
        nas: Option<&(Nas, Vec<Spanned<String>>)>,
        nodes: &mut [Draft],
    ) {
        for draft in nodes.iter_mut() {
            let Some(wanted) = draft.exports.take() else {
                draft.node.exports = nas.map(|(nas, _)| nas.exports.clone()).unwrap_or_default();
                continue;
            };
            let Some((nas, _)) = nas else {
                if !self.was_removed("nas") {
                    self.problems
                        .error(
                            wanted.span(),
                            "there is no table `nas` whose exports could be mounted",
                        )
                        .help_is("add the table, or leave out `exports`");
                }
                continue;
            };
            for export in wanted.get_ref() {
                if !nas.exports.contains(export.get_ref()) {
                    self.problems
                        .error(
                            export.span(),
                            format!("the NAS has no export \"{}\"", export.get_ref()),
                        )
                        .help_is(format!("the table `nas` has: {}", nas.exports.join(", ")));
                }
            }
            let is_wanted = |export: &&String| {
                **export == nas.shared
                    || wanted
                        .get_ref()
                        .iter()
                        .any(|wanted| wanted.get_ref() == *export)
            };
            draft.node.exports = nas.exports.iter().filter(is_wanted).cloned().collect();
        }
        let Some((_, written)) = nas else { return };
        for export in written {
            let mounts = |draft: &Draft| draft.node.exports.contains(export.get_ref());
            if !nodes.is_empty() && !nodes.iter().any(mounts) {
                self.problems
                    .error(export.span(), format!("nothing mounts the export \"{}\"", export.get_ref()))
                    .help_is("every node has a list `exports` without it: add it to one, or take it out here");
            }
        }
    }
}
