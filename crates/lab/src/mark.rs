//! Processes that are known by what stands in their environment, which they hand down to those they start.

use std::fs;

use anyhow::{Context, Result};
use nix::unistd::Pid;

/// Processes with the environment variable `variable`, and its value. Those of others cannot be looked into, and are
/// not ours.
///
/// # Errors
/// When processes cannot be listed.
pub fn bearers(variable: &str) -> Result<Vec<(Pid, String)>> {
    let processes = fs::read_dir("/proc").context("cannot list processes")?;
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let bearer = |id: i32| {
        let environment = fs::read(format!("/proc/{id}/environ")).ok()?;
        Some((Pid::from_raw(id), value(&environment, variable)?))
    };
    Ok(ids.filter_map(bearer).collect())
}

/// What a process was called with.
pub(crate) fn command_line(id: Pid) -> String {
    let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line)
        .replace('\0', " ")
        .trim()
        .to_owned()
}

/// The value of a variable in an environment, as proc(5) shows it.
fn value(environment: &[u8], variable: &str) -> Option<String> {
    let prefix = format!("{variable}=");
    let mut entries = environment.split(|&byte| byte == 0);
    let value = entries.find_map(|entry| entry.strip_prefix(prefix.as_bytes()))?;
    String::from_utf8(value.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_told_from_what_looks_like_it() {
        let environment = b"A=MARK=1\0MARK=2\0MARKED=3\0";
        assert_eq!(value(environment, "MARK").as_deref(), Some("2"));
        assert_eq!(value(environment, "ARK"), None);
    }
}
