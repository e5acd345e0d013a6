//! What is printed. Whoever reads it may leave, and a disk may be full: neither is a reason to panic, as `println!` does.

use std::io::{ErrorKind, Result, Write as _};

use anyhow::Context as _;

/// Prints a text to standard output. False if nobody reads it any more, as `head` when it has seen enough.
///
/// # Errors
/// When it cannot be written for another reason, such as a full disk.
pub(crate) fn print(text: &str) -> anyhow::Result<bool> {
    match write(text) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// Prints what must not get lost, so that it is an error if nobody reads it.
pub(crate) fn write(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Tells a person something on standard error. Whoever has closed that does not want to know.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
