use serde::{Deserialize, Serialize};

use super::{Change, State, Verdict};
use crate::{
    CommandLine, Error, Secret, System,
    accounts::{account, group, owner},
    diff,
    system::Access,
};

/// A person's account. Its password is not touched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Home directory; an existing account must already have it.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

/// A user's password, by what `crypt` makes of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PasswordHash {
    /// Login name.
    pub user: String,
    /// As in `/etc/shadow`.
    pub hash: Secret,
}

/// A user's membership in an existing group; other memberships stay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupMember {
    /// Login name.
    pub user: String,
    /// Name of the group.
    pub group: String,
}

/// Public keys with which a user can log in; other keys stay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuthorizedKeys {
    /// Login name.
    pub user: String,
    /// Lines as in a `.pub` file: type, key, comment.
    pub keys: Vec<String>,
}

/// Public keys with which a user cannot log in any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RevokedKeys {
    /// Login name.
    pub user: String,
    /// Lines as in a `.pub` file: type, key, comment.
    pub keys: Vec<String>,
}

impl State for RevokedKeys {
    fn title(&self) -> String {
        format!("revoked keys of {}", self.user)
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        let file = authorized_keys(system, &self.user)?;
        let now = system.read(&file)?.unwrap_or_default();
        let wanted = self.without(&now);
        Ok(match now == wanted {
            true => Verdict::Satisfied,
            false => Verdict::Change(Change {
                reason: "they still let in".into(),
                diff: Some(diff::unified(&file, &now, &wanted)),
            }),
        })
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        let file = authorized_keys(system, &self.user)?;
        let now = system.read(&file)?.unwrap_or_default();
        let owner = Some(owner(system, &self.user)?);
        let access = Access { mode: 0o600, owner };
        system.write(&file, self.without(&now).as_bytes(), access)
    }
}

impl RevokedKeys {
    fn without(&self, text: &str) -> String {
        let stays = |line: &&str| !self.keys.iter().any(|key| authorizes(line, key.trim()));
        text.split_inclusive('\n').filter(stays).collect()
    }
}

impl State for User {
    fn title(&self) -> String {
        format!("user {}", self.name)
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        let Some(found) = account(system, &self.name)? else {
            return Ok(Verdict::change("there is no such user"));
        };
        if found.home != self.home {
            return Err(Error::state(format!(
                "the home of user `{}` is {}, and {} is expected; move it with `usermod --move-home --home {} {}`",
                self.name, found.home, self.home, self.home, self.name
            )));
        }
        Ok(match found.shell == self.shell {
            true => Verdict::Satisfied,
            false => Verdict::change(format!("the shell is {}, not {}", found.shell, self.shell)),
        })
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        let command = match account(system, &self.name)? {
            None => CommandLine::new(
                "useradd",
                [
                    "--create-home",
                    "--home-dir",
                    &self.home,
                    "--shell",
                    &self.shell,
                    &self.name,
                ],
            ),
            Some(_) => CommandLine::new("usermod", ["--shell", &self.shell, &self.name]),
        };
        system.run(&command).map(drop)
    }
}

impl State for PasswordHash {
    fn title(&self) -> String {
        format!("password of {}", self.user)
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        owner(system, &self.user)?;
        let shadow = system.read("/etc/shadow")?.unwrap_or_default();
        let mut hashes = shadow.lines().filter_map(|line| line.split_once(':'));
        let found = hashes.find(|(name, _)| *name == self.user);
        let hash = found.and_then(|(_, rest)| rest.split(':').next());
        Ok(match hash == Some(self.hash.reveal()) {
            true => Verdict::Satisfied,
            false => Verdict::change("it is another"),
        })
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        let line = format!("{}:{}\n", self.user, self.hash.reveal());
        let command = CommandLine::new("chpasswd", ["--encrypted"]);
        match system.run_with_input(&command, &line)? {
            (_, true) => Ok(()),
            (ran, false) => Err(Error::Command(ran)),
        }
    }
}

impl State for GroupMember {
    fn title(&self) -> String {
        format!("user {} in group {}", self.user, self.group)
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        let (_, primary) = owner(system, &self.user)?;
        let group = group(system, &self.group)?.ok_or_else(|| {
            Error::state(format!("there is no group `{}` on this node", self.group))
        })?;
        Ok(
            match group.gid == primary || group.members.contains(&self.user) {
                true => Verdict::Satisfied,
                false => Verdict::change("not a member"),
            },
        )
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        let command =
            CommandLine::new("usermod", ["--append", "--groups", &self.group, &self.user]);
        system.run(&command).map(drop)
    }
}

impl State for AuthorizedKeys {
    fn title(&self) -> String {
        format!("authorized keys of {}", self.user)
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        let file = self.path(system)?;
        let now = system.read(&file)?.unwrap_or_default();
        let missing = self.missing(&now);
        let mut reasons = Vec::new();
        if !missing.is_empty() {
            let comments: Vec<_> = missing
                .iter()
                .map(|key| key.split(' ').nth(2).unwrap_or("a key"))
                .collect();
            reasons.push(format!("not authorized: {}", comments.join(", ")));
        }
        let owner = owner(system, &self.user)?;
        for (path, mode) in [(directory(&file), 0o700), (&*file, 0o600)] {
            // The SSH server ignores the file unless both are its owner's alone.
            match system.attributes(path)? {
                Some(found) if found.mode != mode => {
                    reasons.push(format!("mode of {path} is {:o}", found.mode))
                }
                Some(found) if (found.uid, found.gid) != owner => {
                    reasons.push(format!("owner of {path}"))
                }
                _ => {}
            }
        }
        Ok(match &*reasons {
            [] => Verdict::Satisfied,
            reasons => Verdict::Change(Change {
                reason: reasons.join(", "),
                diff: Some(diff::unified(&file, &now, &with_lines(&now, &missing))),
            }),
        })
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        let file = self.path(system)?;
        let owner = Some(owner(system, &self.user)?);
        let now = system.read(&file)?.unwrap_or_default();
        system.create_directory(directory(&file))?;
        system.change_access(directory(&file), Access { mode: 0o700, owner })?;
        let wanted = with_lines(&now, &self.missing(&now));
        system.write(&file, wanted.as_bytes(), Access { mode: 0o600, owner })
    }
}

impl AuthorizedKeys {
    fn path(&self, system: &System) -> Result<String, Error> {
        authorized_keys(system, &self.user)
    }

    fn missing(&self, now: &str) -> Vec<&str> {
        self.keys
            .iter()
            .map(|key| key.trim())
            .filter(|key| !now.lines().any(|line| authorizes(line, key)))
            .collect()
    }
}

/// The file that lists who may log in as a user.
fn authorized_keys(system: &System, user: &str) -> Result<String, Error> {
    let account = account(system, user)?
        .ok_or_else(|| Error::state(format!("there is no user `{user}` on this node")))?;
    Ok(format!("{}/.ssh/authorized_keys", account.home))
}

/// Whether a line of the file lets `key` in; it may have another comment.
fn authorizes(line: &str, key: &str) -> bool {
    let identity = |text: &str| {
        text.split_whitespace()
            .take(2)
            .map(String::from)
            .collect::<Vec<_>>()
    };
    identity(line) == identity(key)
}

fn with_lines(text: &str, lines: &[&str]) -> String {
    let mut text = text.to_owned();
    for line in lines {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

fn directory(file: &str) -> &str {
    file.rsplit_once('/')
        .map_or("/", |(directory, _)| directory)
}
