//! Users and groups, as the node's own files list them.

use crate::{Error, System};

/// A line of `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: String,
    pub(crate) shell: String,
}

/// A line of `/etc/group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) gid: u32,
    pub(crate) members: Vec<String>,
}

/// The account called `name`, if there is one.
pub(crate) fn account(system: &System, name: &str) -> Result<Option<Account>, Error> {
    let table = system.read("/etc/passwd")?.unwrap_or_default();
    Ok(fields_of(&table, name).and_then(|fields| match fields[..] {
        [_, uid, gid, _, home, shell] => Some(Account {
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            home: home.into(),
            shell: shell.into(),
        }),
        _ => None,
    }))
}

/// The group called `name`, if there is one.
pub(crate) fn group(system: &System, name: &str) -> Result<Option<Group>, Error> {
    let table = system.read("/etc/group")?.unwrap_or_default();
    Ok(fields_of(&table, name).and_then(|fields| match fields[..] {
        [_, gid, members] => Some(Group {
            gid: gid.parse().ok()?,
            members: members
                .split(',')
                .filter(|member| !member.is_empty())
                .map(Into::into)
                .collect(),
        }),
        _ => None,
    }))
}

/// User and group id of an owner, who must exist.
pub(crate) fn owner(system: &System, name: &str) -> Result<(u32, u32), Error> {
    account(system, name)?
        .map(|account| (account.uid, account.gid))
        .ok_or_else(|| Error::state(format!("there is no user `{name}` on this node")))
}

/// The fields after the name.
fn fields_of<'a>(table: &'a str, name: &str) -> Option<Vec<&'a str>> {
    table.lines().find_map(|line| {
        Some(
            line.strip_prefix(name)?
                .strip_prefix(':')?
                .split(':')
                .collect(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_whole() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(
            root.path().join("etc/passwd"),
            "pip:x:1:1::/home/pip:/bin/sh\npi:x:1000:1001:Pi,,,:/home/pi:/bin/bash\nbroken:x\n",
        )
        .unwrap();
        std::fs::write(
            root.path().join("etc/group"),
            "docker:x:998:pi,ada\nempty:x:5:\n",
        )
        .unwrap();
        let system = System::rooted(root.path());

        let pi = account(&system, "pi").unwrap().unwrap();
        assert_eq!(
            (pi.uid, pi.gid, &*pi.home, &*pi.shell),
            (1000, 1001, "/home/pi", "/bin/bash")
        );
        assert_eq!(account(&system, "broken").unwrap(), None);
        assert_eq!(account(&system, "p").unwrap(), None);
        assert_eq!(
            group(&system, "docker").unwrap().unwrap().members,
            ["pi", "ada"]
        );
        assert_eq!(group(&system, "empty").unwrap().unwrap().members, [""; 0]);
        assert!(owner(&system, "ghost").is_err());
    }
}
