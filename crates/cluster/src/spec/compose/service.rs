//! Checks of the services of a stack.

use std::collections::BTreeMap;
use std::ops::Range;

use super::known::is_database;
use super::yaml::{Document, Value, elements, entries, entry, get, text, text_of};
use super::{Check, Port, Problem, Protocol, ServiceImage};
use crate::spec::{NFS_ROOT, Role, SHARED_LINK};

/// What a swarm ignores, and what to do instead.
const IGNORED: [(&str, &str); 8] = [
    ("container_name", "a swarm names containers itself"),
    (
        "depends_on",
        "services start in any order, and must bear that",
    ),
    (
        "devices",
        "pin the service to a node, and use a bind mount of the device if its program can",
    ),
    ("links", "services find each other by their names"),
    (
        "network_mode",
        "name networks under `networks`, or publish ports with `mode: host`",
    ),
    ("privileged", "grant single capabilities with `cap_add`"),
    ("restart", "say it as `deploy.restart_policy`"),
    ("security_opt", "leave it out"),
];

/// Endings of the names of variables that hold secrets.
const SECRETS: [&str; 6] = [
    "PASSWORD",
    "PASSWD",
    "SECRET",
    "TOKEN",
    "API_KEY",
    "PRIVATE_KEY",
];

/// Directories that every node has by itself: binding them ties nothing to a node.
const EVERYWHERE: [&str; 7] = [
    "/var/run",
    "/run",
    "/var/lib/docker",
    "/proc",
    "/sys",
    "/dev",
    "/etc",
];

/// A volume of a service.
struct Volume<'v, 'a> {
    /// Where it is written.
    value: &'v Value<'a>,
    /// A path of the node, or the name of a volume.
    source: String,
    /// A path of the container.
    target: String,
}

/// Places of passwords that stand in the environment of a service.
pub(super) fn passwords(document: &Document) -> Vec<Range<usize>> {
    let services = get(document.root(), "services")
        .map(entries)
        .unwrap_or_default();
    let environments = services
        .iter()
        .filter_map(|(_, service)| get(service, "environment"));
    environments
        .flat_map(|environment| {
            let pairs = entries(environment).into_iter();
            let named = pairs.filter_map(|(key, value)| {
                let is_literal =
                    text(value).is_some_and(|value| !value.is_empty() && !value.starts_with('$'));
                (is_secret(&text(key)?) && is_literal).then_some(value)
            });
            let listed = elements(environment).iter().filter(|item| {
                let item = text(item).unwrap_or_default();
                let (key, value) = item.split_once('=').unwrap_or((&item, ""));
                is_secret(key) && !value.is_empty() && !value.starts_with('$')
            });
            named.chain(listed).collect::<Vec<_>>()
        })
        .map(|value| document.span(value))
        .collect()
}

/// What the services run; not what only the environment of a deployment tells.
pub(super) fn images(document: &Document) -> Vec<ServiceImage> {
    let services = get(document.root(), "services")
        .map(entries)
        .unwrap_or_default();
    let image = |(name, service): (&Value, &Value)| {
        let image = get(service, "image")?;
        let reference = text(image).filter(|reference| !reference.contains('$'))?;
        Some(ServiceImage {
            service: text(name)?,
            end: document.end_of(image, &reference)?,
            reference,
        })
    };
    services.into_iter().filter_map(image).collect()
}

fn is_secret(variable: &str) -> bool {
    let variable = variable.to_ascii_uppercase();
    SECRETS.iter().any(|ending| variable.ends_with(ending))
}

impl Check<'_> {
    /// Checks all of it, and returns the ports that it opens on every node.
    pub(super) fn stack(&mut self) -> BTreeMap<Port, String> {
        let document = self.document;
        let services = get(document.root(), "services")
            .map(entries)
            .unwrap_or_default();
        if services.is_empty() {
            self.problems
                .error(0..0, "a compose file needs `services`")
                .help_is("a service has at least an `image`");
        }
        let taken: Vec<Port> = self.ports.keys().copied().collect();
        for (name, service) in services {
            let called = text(name).unwrap_or_default();
            self.service(name, &called, service);
        }
        let own = self.ports.iter().filter(|(port, _)| !taken.contains(port));
        own.map(|(port, service)| (*port, service.clone()))
            .collect()
    }

    fn service(&mut self, name: &Value, called: &str, service: &Value) {
        let image = text_of(service, "image").unwrap_or_default();
        match (get(service, "image"), entry(service, "build")) {
            (_, Some((build, _))) => {
                self.error(build, "a swarm builds no images")
                    .help_is("build and push the image first, and name it under `image`");
            }
            (None, None) => {
                self.error(name, format!("the service {called} has no `image`"));
            }
            (Some(value), None) => self.image(value, &image),
        }
        for (key, instead) in IGNORED {
            if let Some((place, _)) = entry(service, key) {
                let span = self.document.span(place);
                self.problems
                    .warning(span, format!("a swarm ignores `{key}`"))
                    .help_is(instead);
            }
        }
        self.constraints(service);
        for volume in volumes(service) {
            self.volume(service, &image, &volume);
        }
        for port in get(service, "ports").map(elements).unwrap_or_default() {
            self.port(called, port);
        }
    }

    fn error(&mut self, place: &Value, message: impl Into<String>) -> &mut Problem {
        let span = self.document.span(place);
        self.problems.error(span, message)
    }

    /// An image that is another one tomorrow makes a cluster that nobody can set up again.
    fn image(&mut self, place: &Value, image: &str) {
        let name = image.rsplit('/').next().unwrap_or_default();
        let floats =
            !image.contains('@') && matches!(name.split_once(':'), None | Some((_, "latest")));
        if floats {
            let span = self.document.span(place);
            self.problems
                .warning(
                    span,
                    format!("{image} is another image whenever its maker likes"),
                )
                .help_is("name a version: `image: name:1.2.3`, or better a digest");
        }
    }

    fn constraints(&mut self, service: &Value) {
        for constraint in constraints(service) {
            let written = text(constraint).unwrap_or_default();
            let Some((what, value)) = written.split_once("==") else {
                continue;
            };
            let (what, value) = (what.trim(), value.trim());
            let nodes = &self.cluster.nodes;
            let known = match what.strip_prefix("node.labels.") {
                Some(label) => nodes
                    .iter()
                    .any(|node| node.labels.get(label).is_some_and(|found| found == value)),
                None if what == "node.hostname" => nodes.iter().any(|node| node.name == value),
                None if what == "node.role" => nodes.iter().any(|node| match node.role {
                    Role::Manager => value == "manager",
                    Role::Worker => value == "worker",
                }),
                None => true,
            };
            if !known {
                self.error(
                    constraint,
                    format!("no node has {what}=={value}, so this would never run"),
                )
                .help_is("names, roles and labels of nodes are in the cluster file");
            }
        }
    }

    fn volume(&mut self, service: &Value, image: &str, volume: &Volume) {
        let Volume {
            value,
            source,
            target,
        } = volume;
        let is_path = source.starts_with(['/', '.', '~']);
        if is_path && !source.starts_with('/') {
            self.error(value, format!("{source} is no absolute path"))
                .help_is("a swarm does not know from where a relative one would lead");
            return;
        }
        let on_nfs = if is_path {
            self.is_on_nfs(value, source)
        } else {
            self.is_nfs_volume(source)
        };
        if on_nfs && is_database(image, target) {
            self.error(value, format!("{image} keeps a database in {target}, and {source} is on NFS"))
                .help_is(
                    "databases get corrupted there: use a volume on one node, and pin the service to it \
                     with `deploy.placement.constraints: [node.hostname==NAME]`",
                );
            return;
        }
        let everywhere = EVERYWHERE.iter().any(|dir| source.starts_with(dir));
        if !on_nfs && !everywhere && !is_pinned(service) && !source.is_empty() {
            let span = self.document.span(value);
            self.problems
                .warning(
                    span,
                    format!("{source} stays on whichever node runs this service first"),
                )
                .help_is("pin the service to a node, or put its data on an export of the NAS");
        }
    }

    /// Whether a path of the nodes is on the NAS, which must be there then.
    fn is_on_nfs(&mut self, place: &Value, path: &str) -> bool {
        let below = |root: &str| {
            path.strip_prefix(root)
                .filter(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let cluster = self.cluster;
        let Some(nas) = &cluster.nas else {
            let on_nas = below(SHARED_LINK).or(below(NFS_ROOT)).is_some();
            if on_nas {
                self.error(
                    place,
                    format!("{path} is on a NAS, and the cluster file has none"),
                );
            }
            return on_nas;
        };
        if below(SHARED_LINK).is_some() {
            return true;
        }
        let Some(rest) = below(NFS_ROOT) else {
            return false;
        };
        let export = rest
            .trim_start_matches('/')
            .split('/')
            .next()
            .unwrap_or_default();
        if !nas.exports.iter().any(|found| found == export) {
            self.error(place, format!("nothing is mounted at {NFS_ROOT}/{export}"))
                .help_is(format!("the NAS has: {}", nas.exports.join(", ")));
        }
        true
    }

    /// Whether a volume of that name is made of an export.
    fn is_nfs_volume(&self, name: &str) -> bool {
        let volumes = get(self.document.root(), "volumes");
        let options = volumes.and_then(|volumes| get(get(volumes, name)?, "driver_opts"));
        options.is_some_and(|options| {
            text_of(options, "type").is_some_and(|kind| kind.starts_with("nfs"))
        })
    }

    fn port(&mut self, called: &str, port: &Value) {
        let by_mesh = text_of(port, "mode").as_deref() != Some("host");
        if by_mesh && !self.cluster.docker.routing_mesh {
            self.error(
                port,
                format!("{called} publishes this port through the routing mesh, and the cluster has none"),
            )
            .help_is(
                "publish it on the node that runs the service, with `mode: host` beside `target` and `published`; \
                 or take `routing_mesh = false` out of the cluster file",
            );
        }
        let written = text_of(port, "published").or_else(|| {
            let short = text(port)?;
            let short = short.split('/').next()?.to_owned();
            let mut parts = short.rsplit(':');
            parts.next()?;
            Some(parts.next()?.to_owned())
        });
        // One number, or a range of them.
        let Some(written) = written else { return };
        let (first, last) = written.split_once('-').unwrap_or((&written, &written));
        let (Ok(first), Ok(last)) = (first.trim().parse::<u16>(), last.trim().parse::<u16>())
        else {
            self.error(port, format!("\"{written}\" is not a port"))
                .help_is("ports go from 1 to 65535");
            return;
        };
        let protocol = protocol_of(port);
        let Some(protocol) = Protocol::parse(&protocol) else {
            self.error(port, format!("\"{protocol}\" is no protocol of ports"))
                .help_is("it is tcp, unless udp or sctp is named");
            return;
        };
        for number in first..=last {
            if let Some(whose) = self.ports.insert((number, protocol), called.to_owned()) {
                let number = format!("{number}{}", protocol.suffix());
                self.error(
                    port,
                    format!("{whose} and {called} both want port {number} on every node"),
                );
            }
        }
    }
}

/// What a port of a service speaks, as it is written; empty where nothing is said.
fn protocol_of(port: &Value) -> String {
    text_of(port, "protocol")
        .or_else(|| Some(text(port)?.split_once('/')?.1.to_owned()))
        .unwrap_or_default()
}

fn constraints<'v, 'a>(service: &'v Value<'a>) -> &'v [Value<'a>] {
    let placement = get(service, "deploy").and_then(|deploy| get(deploy, "placement"));
    placement
        .and_then(|placement| get(placement, "constraints"))
        .map(elements)
        .unwrap_or_default()
}

/// Whether its tasks find their data again: they run on one node, or on each.
fn is_pinned(service: &Value) -> bool {
    let mode = get(service, "deploy").and_then(|deploy| text_of(deploy, "mode"));
    let pins = |constraint: &Value| {
        let constraint = text(constraint).unwrap_or_default();
        ["node.hostname", "node.id", "node.labels."]
            .iter()
            .any(|what| constraint.starts_with(what) && constraint.contains("=="))
    };
    mode.as_deref() == Some("global") || constraints(service).iter().any(pins)
}

/// Volumes of a service, in the short form and in the long one. Temporary ones are left out.
fn volumes<'v, 'a>(service: &'v Value<'a>) -> Vec<Volume<'v, 'a>> {
    let volume = |value: &'v Value<'a>| {
        if let Some(short) = text(value) {
            let mut parts = short.split(':');
            let (first, second) = (parts.next()?.to_owned(), parts.next());
            // Alone it is a path of the container.
            let target = second?.to_owned();
            return Some(Volume {
                value,
                source: first,
                target,
            });
        }
        (text_of(value, "type")? != "tmpfs").then_some(())?;
        Some(Volume {
            value,
            source: text_of(value, "source").unwrap_or_default(),
            target: text_of(value, "target")?,
        })
    };
    let all = get(service, "volumes").map(elements).unwrap_or_default();
    all.iter().filter_map(volume).collect()
}
