//! Stacks of the operator's own: compose files, checked against the cluster that they are to run on.
//!
//! Docker itself says whether a file is valid. What is checked here is what Docker cannot know: which data lies on NFS,
//! which nodes and ports there are, and what the swarm ignores without a word.

mod known;
mod service;
mod yaml;

use std::collections::BTreeMap;
use std::ops::Range;

use super::problem::Problems;
use super::{Cluster, Invalid, Problem, names, secrets};
use yaml::Document;

/// Names of the stacks that are rendered.
const TAKEN_NAMES: [&str; 3] = ["registry", "seeds", "portainer"];

/// A compose file that can be deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnStack {
    /// What it is deployed as: the file's name without its ending.
    pub name: String,
    /// The file, as it is.
    pub text: String,
    /// What its services run, in the order of the file.
    pub images: Vec<ServiceImage>,
    /// Ports that it opens on every node, with the service that does.
    ports: BTreeMap<Port, String>,
}

/// A port of a node. Each protocol has ports of its own: DNS is at port 53 of two.
type Port = (u16, Protocol);

/// What is spoken at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// As Docker reads it: without one, it is TCP.
    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "" | "tcp" => Some(Self::Tcp),
            "udp" => Some(Self::Udp),
            "sctp" => Some(Self::Sctp),
            _ => None,
        }
    }

    /// What follows the number of a port.
    fn suffix(self) -> &'static str {
        match self {
            Self::Tcp => "",
            Self::Udp => "/udp",
            Self::Sctp => "/sctp",
        }
    }
}

/// The image of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceImage {
    /// The service's name in the file.
    pub service: String,
    /// The image, as the file has it: `lscr.io/linuxserver/plex:1.41.3`.
    pub reference: String,
    /// Where it ends in the file, in bytes.
    end: usize,
}

impl ServiceImage {
    /// Whether it may be another image tomorrow: it is named by a tag, or by none.
    pub fn is_movable(&self) -> bool {
        !self.reference.contains('@')
    }
}

/// Reads a stack and reports.
struct Check<'a> {
    cluster: &'a Cluster,
    document: &'a Document<'a>,
    problems: &'a mut Problems,
    /// Ports on every node, with who has them.
    ports: BTreeMap<Port, String>,
}

impl OwnStack {
    /// Reads a compose file. `file` is the name to call it by, `others` are the stacks that run beside it.
    ///
    /// Returns the stack and what is doubtful about it, in file order.
    ///
    /// # Errors
    /// All that is wrong with the file, each with its place.
    pub fn parse(
        name: &str,
        file: &str,
        text: &str,
        cluster: &Cluster,
        others: &[OwnStack],
    ) -> Result<(Self, Vec<Problem>), Invalid> {
        let (blanked, found) = secrets::blank_out(text);
        let invalid = |problems: Problems| Invalid {
            file: file.to_owned(),
            problems: problems.into_list(),
        };
        // Positions stay what they were, and no message can repeat a secret.
        let document = match Document::read(&blanked) {
            Ok(document) => document,
            Err((place, message)) => {
                let mut problems = Problems::new(file, blanked.clone());
                problems.error(place, message);
                return Err(invalid(problems));
            }
        };
        let passwords = service::passwords(&document);
        let shown = asterisks(&blanked, passwords.iter());
        let mut problems = Problems::new(file, shown);
        let within = |part: &Range<usize>, whole: &Range<usize>| {
            whole.start <= part.start && part.end <= whole.end
        };
        let is_new =
            |secret: &secrets::Secret| !passwords.iter().any(|whole| within(&secret.span, whole));
        for secret in found.into_iter().filter(is_new) {
            secret_at(&mut problems, secret.span, secret.what);
        }
        for place in passwords {
            secret_at(&mut problems, place, "a password");
        }
        if !names::is_label(name) || TAKEN_NAMES.contains(&name) {
            problems
                .error(0..0, format!("a stack of one's own cannot be called \"{name}\""))
                .help_is("call the file by lower-case letters, digits and hyphens, and not like a stack of bramble's");
        }
        let mut check = Check {
            cluster,
            document: &document,
            problems: &mut problems,
            ports: taken_ports(cluster, others),
        };
        let ports = check.stack();
        if problems.has_errors() {
            return Err(invalid(problems));
        }
        let stack = Self {
            name: name.to_owned(),
            text: text.to_owned(),
            images: service::images(&document),
            ports,
        };
        Ok((stack, problems.into_list()))
    }

    /// The file with images by digest, as far as `digest` knows one (`sha256:...`) for what the file calls them.
    pub fn pinned<'d>(&self, digest: impl Fn(&str) -> Option<&'d str>) -> String {
        let mut text = self.text.clone();
        // From the end, so that places stay right; an anchor is one place for all services that refer to it.
        let places: BTreeMap<usize, &ServiceImage> = self
            .images
            .iter()
            .filter(|image| image.is_movable())
            .map(|image| (image.end, image))
            .collect();
        for (end, image) in places.into_iter().rev() {
            if let Some(digest) = digest(&image.reference) {
                text.insert_str(end, &format!("@{digest}"));
            }
        }
        text
    }
}

fn secret_at(problems: &mut Problems, place: Range<usize>, what: &str) {
    problems
        .error(place, format!("{what} has no place in a compose file"))
        .help_is(
            "make it a secret of the swarm with `docker secret create`, and name it under `secrets`",
        );
}

/// Ports on every node that somebody has already.
fn taken_ports(cluster: &Cluster, others: &[OwnStack]) -> BTreeMap<Port, String> {
    use Protocol::{Tcp, Udp};
    let mut ports = BTreeMap::from([
        ((22, Tcp), "SSH".to_owned()),
        ((2377, Tcp), "Swarm".to_owned()),
        ((4789, Udp), "Swarm".to_owned()),
        ((7946, Tcp), "Swarm".to_owned()),
        ((7946, Udp), "Swarm".to_owned()),
        ((cluster.registry.port, Tcp), "the registry".to_owned()),
        ((cluster.search.port, Tcp), "the search".to_owned()),
    ]);
    if let Some(portainer) = &cluster.portainer {
        ports.insert((portainer.port, Tcp), "Portainer".to_owned());
    }
    for other in others {
        let theirs = other.ports.iter();
        ports.extend(
            theirs.map(|(port, service)| (*port, format!("{service} of the stack {}", other.name))),
        );
    }
    ports
}

/// The text with these places made unreadable; positions stay what they were.
fn asterisks<'a>(text: &str, places: impl Iterator<Item = &'a Range<usize>>) -> String {
    let mut bytes = text.to_owned().into_bytes();
    for place in places {
        for byte in &mut bytes[place.clone()] {
            if *byte != b'\n' {
                *byte = b'*';
            }
        }
    }
    String::from_utf8(bytes).expect("whole values were replaced by ASCII")
}
