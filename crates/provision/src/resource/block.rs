use serde::{Deserialize, Serialize};

use super::{Change, Notice, State, Verdict};
use crate::{Error, System, diff, system::Access};

/// Lines that we keep in somebody else's file, between two marks. What is around them stays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// Absolute path of the file; it is created where it does not exist.
    pub path: String,
    /// Stands in the marks, so that several blocks can share a file.
    pub name: String,
    /// The lines between the marks. Without any there is to be no block, and no file is created for it.
    pub content: String,
    /// What makes up for the block where there is none.
    #[serde(default)]
    pub lines: Lines,
    /// Who has to know when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notifies: Option<Notice>,
}

/// When lines that somebody else wrote make up for a block that is not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lines {
    /// Never: the order of lines matters.
    #[default]
    Block,
    /// When each is there, whatever blanks are between its words.
    Anywhere,
    /// When each address has all its names, in however many lines of `/etc/hosts`.
    Hosts,
}

impl State for Block {
    fn title(&self) -> String {
        format!("block {} in {}", self.name, self.path)
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        let now = system.read(&self.path)?;
        let text = now.as_deref().unwrap_or_default();
        let wanted = self.place(text);
        let has_block = self.is_in(text);
        let holds = match self.content.is_empty() {
            true => !has_block,
            false => text == wanted || (!has_block && self.is_made_up_for(text)),
        };
        Ok(match holds {
            true => Verdict::Satisfied,
            false => Verdict::Change(Change {
                reason: match (has_block, self.content.is_empty()) {
                    (true, false) => "the block differs".into(),
                    (true, true) => "the block is still there".into(),
                    (false, _) => "there is no such block".into(),
                },
                diff: Some(diff::unified(&self.path, text, &wanted)),
            }),
        })
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        let text = system.read(&self.path)?.unwrap_or_default();
        if self.content.is_empty() && !self.is_in(&text) {
            return Ok(());
        }
        let access = match system.attributes(&self.path)? {
            Some(found) => Access {
                mode: found.mode,
                owner: Some((found.uid, found.gid)),
            },
            None => Access {
                mode: 0o644,
                owner: None,
            },
        };
        if let Some(notice) = self.notifies {
            notice.leave(system)?;
        }
        system.write(&self.path, self.place(&text).as_bytes(), access)
    }
}

impl Block {
    fn begin(&self) -> String {
        format!("# BEGIN bramble {}", self.name)
    }

    fn end(&self) -> String {
        format!("# END bramble {}", self.name)
    }

    fn is_in(&self, text: &str) -> bool {
        text.lines().any(|line| line == self.begin())
    }

    /// Whether others' lines say the same: a playbook's `lineinfile`, or a person.
    fn is_made_up_for(&self, text: &str) -> bool {
        let words = |line: &str| -> Vec<String> {
            let line = line.split('#').next().unwrap_or_default();
            line.split_whitespace().map(str::to_owned).collect()
        };
        let found: Vec<Vec<String>> = text.lines().map(words).collect();
        let is_there = |wanted: Vec<String>| match self.lines {
            Lines::Block => false,
            Lines::Anywhere => found.contains(&wanted),
            Lines::Hosts => {
                let same = found.iter().filter(|line| line.first() == wanted.first());
                let names: Vec<&String> = same.flat_map(|line| line.iter().skip(1)).collect();
                wanted.iter().skip(1).all(|name| names.contains(&name))
            }
        };
        self.content
            .lines()
            .map(words)
            .filter(|line| !line.is_empty())
            .all(is_there)
    }

    /// `text` with the block in it, where it was or else at the end; without it where it has no lines.
    ///
    /// Further copies go, and so does a mark without its partner; the lines beside a lone mark stay, because
    /// nobody can tell whose they are.
    fn place(&self, text: &str) -> String {
        let (begin, end) = (self.begin(), self.end());
        let block = || {
            [&*begin]
                .into_iter()
                .chain(self.content.lines())
                .chain([&*end])
        };
        let lines: Vec<&str> = text.lines().collect();
        let mut placed = Vec::new();
        let mut done = self.content.is_empty();
        let mut at = 0;
        while at < lines.len() {
            let partner = || {
                let rest = &lines[at + 1..];
                let mark = rest
                    .iter()
                    .position(|line| *line == begin || *line == end)?;
                (rest[mark] == end).then_some(at + 1 + mark)
            };
            if lines[at] == begin {
                if let Some(close) = partner() {
                    if !done {
                        placed.extend(block());
                        done = true;
                    }
                    at = close;
                }
            } else if lines[at] != end {
                placed.push(lines[at]);
            }
            at += 1;
        }
        if !done {
            placed.extend(block());
        }
        placed.iter().flat_map(|line| [line, "\n"]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> String {
        let block = Block {
            path: "/etc/hosts".into(),
            name: "hosts".into(),
            content: "192.168.1.200 manager1\n".into(),
            lines: Lines::Block,
            notifies: None,
        };
        block.place(text)
    }

    #[test]
    fn lines_of_others_count_where_they_say_the_same() {
        let hosts = "192.168.1.200 manager1.lan manager1\n192.168.1.201 worker1\n";
        let fstab = "nas:/plex /mnt/nfs/plex nfs4 rw 0 0\n";
        let cases = [
            (Lines::Block, hosts, hosts, false),
            (Lines::Hosts, hosts, hosts, true),
            (
                Lines::Hosts,
                hosts,
                "192.168.1.201\tworker1 # mine\n192.168.1.200 manager1\n192.168.1.200 manager1.lan x\n",
                true,
            ),
            (
                Lines::Hosts,
                hosts,
                "192.168.1.200 manager1 manager1.lan\n192.168.1.202 worker1\n",
                false,
            ),
            (
                Lines::Anywhere,
                fstab,
                "proc /proc proc\nnas:/plex  /mnt/nfs/plex\tnfs4 rw 0 0\n",
                true,
            ),
            (
                Lines::Anywhere,
                fstab,
                "#nas:/plex /mnt/nfs/plex nfs4 rw 0 0\n",
                false,
            ),
            (
                Lines::Anywhere,
                fstab,
                "nas:/plex /mnt/nfs/plex nfs4 ro 0 0\n",
                false,
            ),
        ];
        for (lines, content, text, holds) in cases {
            let block = Block {
                path: "/etc/hosts".into(),
                name: "hosts".into(),
                content: content.into(),
                lines,
                notifies: None,
            };
            assert_eq!(block.is_made_up_for(text), holds, "{lines:?} {text}");
        }
    }

    const BLOCK: &str = "# BEGIN bramble hosts\n192.168.1.200 manager1\n# END bramble hosts\n";

    #[test]
    fn the_block_has_one_place() {
        let cases = [
            ("an empty file", "", BLOCK.to_owned()),
            ("after what is there", "a\nb\n", format!("a\nb\n{BLOCK}")),
            (
                "after a last line without an end",
                "a",
                format!("a\n{BLOCK}"),
            ),
            (
                "where it was",
                "a\n# BEGIN bramble hosts\nold\n# END bramble hosts\nb\n",
                format!("a\n{BLOCK}b\n"),
            ),
            ("once", &format!("{BLOCK}a\n{BLOCK}"), format!("{BLOCK}a\n")),
            (
                "beside another's",
                "# BEGIN bramble x\n# END bramble x\n",
                format!("# BEGIN bramble x\n# END bramble x\n{BLOCK}"),
            ),
            (
                "a lone beginning",
                "# BEGIN bramble hosts\na\n",
                format!("a\n{BLOCK}"),
            ),
            (
                "a lone end",
                "a\n# END bramble hosts\nb\n",
                format!("a\nb\n{BLOCK}"),
            ),
        ];
        for (case, text, wanted) in cases {
            assert_eq!(place(text), wanted, "{case}");
        }
    }

    #[test]
    fn a_block_without_lines_goes() {
        let cases = [
            ("no file", None, None),
            ("nothing of ours", Some("a"), Some("a")),
            ("the whole file", Some(BLOCK), Some("")),
            (
                "what is around it stays",
                Some("a\n# BEGIN bramble hosts\nold\n# END bramble hosts\nb\n"),
                Some("a\nb\n"),
            ),
            (
                "nobody can tell whose lines are beside a lone mark",
                Some("# BEGIN bramble hosts\na\n"),
                Some("a\n"),
            ),
        ];
        for (case, before, wanted) in cases {
            let root = tempfile::tempdir().unwrap();
            let (system, file) = (System::rooted(root.path()), root.path().join("etc/hosts"));
            if let Some(text) = before {
                std::fs::create_dir(root.path().join("etc")).unwrap();
                std::fs::write(&file, text).unwrap();
            }
            let gone = Block {
                path: "/etc/hosts".into(),
                name: "hosts".into(),
                content: String::new(),
                lines: Lines::Anywhere,
                notifies: Some(Notice::Reboot),
            };
            let changes = before != wanted;
            let verdict = gone.check(&system).unwrap();
            assert_eq!(verdict != Verdict::Satisfied, changes, "{case}");
            gone.apply(&system).unwrap();
            assert_eq!(gone.check(&system).unwrap(), Verdict::Satisfied, "{case}");
            let found = std::fs::read_to_string(&file).ok();
            assert_eq!(found.as_deref(), wanted, "{case}");
            assert_eq!(Notice::Reboot.is_left(&system), changes, "{case}");
        }
    }
}
