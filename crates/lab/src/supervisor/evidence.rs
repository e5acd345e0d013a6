//! What is only in the machines, and in memory, is written to the logs before it is gone.

use std::fs;
use std::path::Path;
use std::sync::mpsc::Sender;
use std::thread;

use anyhow::{Context, Result, ensure};

use super::Supervisor;
use super::machines::Running;
use super::requests::Answer;
use crate::definition::Reply;
use crate::switch::GATEWAY;

/// A machine whose shell does not answer for so long, three seconds each, has no journal to give.
const KNOCKS: usize = 5;

/// The last of the journal, of this boot and of those before. A console is slow, so it is packed.
const JOURNAL: &str = "journalctl --no-pager --quiet --output=short-precise --lines=6000 | tail -c 1000000 | gzip -9 | base64 -w 0";

impl Supervisor {
    /// Writes the last frames of every port and the journal of every machine.
    pub(super) fn collect(&self, to: Sender<Answer>) {
        let logs = self.definition.logs.clone();
        let mut missing = Vec::new();
        for (name, capture) in self.switch.kept() {
            if let Err(error) = fs::write(logs.join(format!("{name}.pcap")), capture) {
                missing.push(format!("{name}.pcap: {error}"));
            }
        }
        let machines: Vec<(String, Running)> = self
            .machines
            .iter()
            .filter(|(name, _)| *name != GATEWAY)
            .map(|(name, running)| (name.clone(), running.clone()))
            .collect();
        // Takes its time, in which others are answered.
        thread::spawn(move || {
            let all: Vec<_> = machines
                .into_iter()
                .map(|(name, running)| {
                    let path = logs.join(format!("{name}.journal.log"));
                    thread::spawn(move || {
                        let written = journal(&running, &path);
                        written.map_err(|error| format!("{name}.journal.log: {error:#}"))
                    })
                })
                .collect();
            missing.extend(all.into_iter().filter_map(|one| one.join().ok()?.err()));
            to.send(Reply::Collected { missing }.into())
        });
    }
}

fn journal(running: &Running, path: &Path) -> Result<()> {
    let typing = &running.typing;
    let (code, packed) = typing.run_after(KNOCKS, &running.console, JOURNAL)?;
    ensure!(code == 0, "journalctl failed: {}", packed.trim());
    let text = unpacked(packed.trim()).context("what the console gave is no journal")?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// From base64 of gzip.
fn unpacked(packed: &str) -> Result<Vec<u8>> {
    use std::io::Read as _;

    use base64::Engine as _;
    let bytes = base64::prelude::BASE64_STANDARD.decode(packed)?;
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn what_a_shell_packs_is_unpacked() {
        let packed = Command::new("sh")
            .args([
                "-c",
                "echo Nov 28 12:00:00 bramble systemd: hello | gzip -9 | base64 -w 0",
            ])
            .output()
            .expect("a shell");
        let packed = String::from_utf8(packed.stdout).expect("ASCII");
        let text = unpacked(&packed).expect("unpacked");
        assert_eq!(text, b"Nov 28 12:00:00 bramble systemd: hello\n");
        assert!(unpacked("no journal").is_err());
    }
}
