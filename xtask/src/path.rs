//! Where programs are found: Debian keeps mke2fs, sfdisk and dnsmasq off the PATH of all but root.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// Where root would look, too.
const SYSTEM: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Becomes this same program with the system's directories on its PATH, unless they are: all that it starts inherits it.
///
/// # Errors
/// When this very program cannot be started again.
pub(crate) fn complete() -> Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    let Some(path) = completed(&path) else {
        return Ok(());
    };
    let xtask = env::current_exe().context("cannot find this very program")?;
    let mut again = Command::new(xtask);
    again.args(env::args_os().skip(1)).env("PATH", path);
    Err(again.exec()).context("cannot start this very program again")
}

/// `path` with what it lacks of the system's directories, at its end; nothing if it lacks none.
fn completed(path: &OsStr) -> Option<OsString> {
    let dirs: Vec<_> = env::split_paths(path).collect();
    let lacking = SYSTEM
        .iter()
        .map(Path::new)
        .filter(|system| !dirs.iter().any(|dir| dir == system));
    let completed = dirs.iter().map(|dir| dir.as_path()).chain(lacking);
    let completed = env::join_paths(completed).ok()?;
    (completed != path).then_some(completed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_comes_last() {
        let completed =
            |path: &str| completed(path.as_ref()).map(|path| path.into_string().unwrap());
        assert_eq!(
            completed("/usr/bin:/usr/sbin").as_deref(),
            Some("/usr/bin:/usr/sbin:/usr/local/sbin:/sbin")
        );
        assert_eq!(completed("/usr/local/sbin:/usr/sbin:/usr/bin:/sbin"), None);
        assert_eq!(completed("/sbin:/usr/sbin:/usr/local/sbin"), None);
    }
}
