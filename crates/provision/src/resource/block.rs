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
    /// The lines between the marks.
    pub content: String,
    /// Who has to know when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notifies: Option<Notice>,
}

impl State for Block {
    fn title(&self) -> String {
        format!("block {} in {}", self.name, self.path)
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        let now = system.read(&self.path)?;
        let text = now.as_deref().unwrap_or_default();
        let wanted = self.place(text);
        Ok(match text == wanted {
            true => Verdict::Satisfied,
            false => Verdict::Change(Change {
                reason: match text.lines().any(|line| line == self.begin()) {
                    true => "the block differs".into(),
                    false => "there is no such block".into(),
                },
                diff: Some(diff::unified(&self.path, text, &wanted)),
            }),
        })
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        let text = system.read(&self.path)?.unwrap_or_default();
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

    /// `text` with the block in it, where it was or else at the end.
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
        let mut done = false;
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
            notifies: None,
        };
        block.place(text)
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
}
