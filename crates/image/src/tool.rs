//! The programs that make file systems: another version of one may make something else of the same inputs.

use std::process::Command;

use anyhow::{Context, Result};

/// What `program` says of itself when it is asked by `flag`: the first line.
///
/// # Errors
/// It is not installed.
pub(crate) fn version(program: &str, flag: &str) -> Result<String> {
    let output = Command::new(program).arg(flag).output().with_context(|| {
        format!("cannot run {program}; `cargo xtask doctor` says how to install it")
    })?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().next().unwrap_or_default();
    Ok(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_first_line_wherever_it_is_said() {
        let said = version("mke2fs", "-V").expect("mke2fs");
        assert!(said.starts_with("mke2fs 1."), "{said}");
        assert!(!said.contains('\n'), "{said}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = version("no-such-program", "-V").expect_err("there is none");
        let error = format!("{error:#}");
        assert!(error.contains("no-such-program"), "{error}");
        assert!(error.contains("cargo xtask doctor"), "{error}");
    }
}
