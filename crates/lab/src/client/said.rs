//! What a machine said last.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::trouble::plain;

/// The last line of a machine's console in a lab's `logs`, without colours; `None` before it has said anything.
pub fn last_line(logs: &Path, machine: &str) -> Option<String> {
    const ENOUGH: u64 = 4096;
    let mut log = File::open(logs.join(format!("{machine}.console.log"))).ok()?;
    let length = log.metadata().ok()?.len();
    log.seek(SeekFrom::Start(length.saturating_sub(ENOUGH)))
        .ok()?;
    let mut end = Vec::new();
    log.read_to_end(&mut end).ok()?;
    let end = String::from_utf8_lossy(&end);
    let lines = end.lines().rev().map(plain);
    lines
        .map(|line| line.trim().to_owned())
        .find(|line| !line.is_empty())
}

/// The last lines of a machine's console, for an error.
pub(super) fn console_tail(logs: &Path, machine: &str) -> String {
    let log = logs.join(format!("{machine}.console.log"));
    let bytes = fs::read(&log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let tail = lines[lines.len().saturating_sub(12)..].join("\n  ");
    format!("the last lines of {}:\n  {tail}", log.display())
}
