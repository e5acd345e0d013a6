//! Debian 12's backports, derived from where this machine already gets Debian 12.

use std::fs;
use std::path::Path;

/// A file for `/etc/apt/sources.list.d`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceFile {
    pub(crate) name: &'static str,
    pub(crate) text: String,
}

/// Everything in apt's source files, each with whether it is in the deb822 format.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources(pub(crate) Vec<(bool, String)>);

impl Sources {
    pub(crate) fn read(apt: &Path) -> Sources {
        let mut paths = vec![apt.join("sources.list")];
        if let Ok(entries) = fs::read_dir(apt.join("sources.list.d")) {
            paths.extend(entries.flatten().map(|entry| entry.path()));
        }
        paths.sort();
        let read = |path: &Path| {
            let deb822 = match path.extension()?.to_str()? {
                "sources" => true,
                "list" => false,
                _ => return None,
            };
            Some((deb822, fs::read_to_string(path).ok()?))
        };
        Sources(paths.iter().filter_map(|path| read(path)).collect())
    }

    /// Is `suite` among the sources?
    pub(crate) fn have(&self, suite: &str) -> bool {
        self.entries().any(|entry| entry.suites().contains(&suite))
    }

    /// The first entry for the suite `from`, as a file for the suite `to`: same place, same keys.
    pub(crate) fn derive(&self, from: &str, to: &str) -> Option<SourceFile> {
        let entry = self
            .entries()
            .find(|entry| entry.suites().contains(&from))?;
        Some(entry.with_suite(to))
    }

    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.0.iter().flat_map(|(deb822, text)| match deb822 {
            true => stanzas(text),
            false => text.lines().filter_map(one_line).collect(),
        })
    }
}

/// An entry that is in use and brings binary packages over the network.
enum Entry<'a> {
    /// The fields of a deb822 stanza, each with its continuation lines.
    Stanza(Vec<(&'a str, String)>),
    /// The words of a one-line entry: `deb`, options if any, URI, suite, components.
    Line {
        options: Option<&'a str>,
        words: Vec<&'a str>,
    },
}

impl Entry<'_> {
    fn suites(&self) -> Vec<&str> {
        match self {
            Entry::Stanza(fields) => field(fields, "Suites").split_whitespace().collect(),
            Entry::Line { words, .. } => words[1..2].to_vec(),
        }
    }

    fn with_suite(&self, suite: &str) -> SourceFile {
        match self {
            Entry::Stanza(fields) => SourceFile {
                name: "bramble-backports.sources",
                text: fields
                    .iter()
                    .map(|(name, value)| match name.eq_ignore_ascii_case("Suites") {
                        true => format!("{name}: {suite}\n"),
                        false => format!("{name}:{value}\n"),
                    })
                    .collect(),
            },
            Entry::Line { options, words } => {
                let options = options.map(|o| format!("{o} ")).unwrap_or_default();
                let components = words[2..].join(" ");
                SourceFile {
                    name: "bramble-backports.list",
                    text: format!("deb {options}{} {suite} {components}\n", words[0]),
                }
            }
        }
    }
}

fn field<'a>(fields: &'a [(&str, String)], name: &str) -> &'a str {
    let found = fields
        .iter()
        .find(|(field, _)| field.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim()).unwrap_or_default()
}

fn stanzas(text: &str) -> Vec<Entry<'_>> {
    let mut entries = vec![Vec::new()];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let last = entries.len() - 1;
        let fields: &mut Vec<(&str, String)> = &mut entries[last];
        if line.trim().is_empty() {
            entries.push(Vec::new());
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                *value += "\n";
                *value += line;
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name, value.to_owned()));
        }
    }
    let usable = |fields: &Vec<(&str, String)>| {
        let types = field(fields, "Types");
        let on = !matches!(field(fields, "Enabled"), "no" | "false" | "0" | "off");
        on && types.split_whitespace().any(|kind| kind == "deb")
            && !field(fields, "URIs").starts_with("cdrom:")
    };
    let usable = entries.into_iter().filter(usable);
    usable.map(Entry::Stanza).collect()
}

fn one_line(line: &str) -> Option<Entry<'_>> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?;
    let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(inner) => {
            let end = rest.len() - inner.len() + inner.find(']')? + 1;
            (Some(&rest[..end]), &rest[end..])
        }
        None => (None, rest),
    };
    let words: Vec<&str> = rest.split_whitespace().collect();
    let usable = words.len() >= 2 && !words[0].starts_with("cdrom:");
    usable.then_some(Entry::Line { options, words })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derive(deb822: bool, text: &str) -> Option<String> {
        let sources = Sources(vec![(deb822, text.to_owned())]);
        let file = sources.derive("bookworm", "bookworm-backports")?;
        let extension = if deb822 { ".sources" } else { ".list" };
        assert!(file.name.ends_with(extension));
        Some(file.text)
    }

    #[test]
    fn a_stanza_keeps_its_place_and_keys() {
        let text = "\
# comment
Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main

Types: deb deb-src
# another
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDME
";
        assert_eq!(
            derive(true, text).unwrap(),
            "\
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm-backports
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDME
"
        );
    }

    #[test]
    fn a_line_keeps_its_options() {
        let check = |line: &str, expected: Option<&str>| {
            assert_eq!(derive(false, line).as_deref(), expected, "{line}");
        };
        check(
            "deb http://mirror.example/debian bookworm main contrib # note\n",
            Some("deb http://mirror.example/debian bookworm-backports main contrib\n"),
        );
        check(
            "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/d bookworm main",
            Some(
                "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/d bookworm-backports main\n",
            ),
        );
        check("# deb http://mirror.example/debian bookworm main", None);
        check("deb-src http://mirror.example/debian bookworm main", None);
        check("deb cdrom:[Debian]/ bookworm main", None);
        check("deb http://mirror.example/debian trixie main", None);
    }

    #[test]
    fn what_is_switched_off_does_not_count() {
        let text = "Types: deb\nURIs: http://mirror.example\nSuites: bookworm\nEnabled: no\n";
        assert_eq!(derive(true, text), None);
    }

    #[test]
    fn a_suite_that_is_there_is_seen() {
        let line = "deb http://mirror.example/debian bookworm-backports main";
        assert!(Sources(vec![(false, line.to_owned())]).have("bookworm-backports"));
        assert!(!Sources::default().have("bookworm-backports"));
    }
}
