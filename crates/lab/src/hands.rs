//! What a scenario does with one machine, in the words of somebody who sits before it.
//!
//! All of it is typed at the console, so that it works with the network cut, and no key is needed.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::client::{Attached, Lab};
use crate::fault::Fault;
use crate::watch::{Condition, State, Watch};

/// Longest wait for a machine that boots. It takes under half a minute alone on two cores; a busy host needs longer.
const BOOT: Duration = Duration::from_secs(15 * 60);

/// How long the machine itself goes on trying before it is asked anew, in seconds: it is asked little, and trouble is
/// heard of soon.
const TURN: u64 = 20;

/// What a console is good for, in bytes. A shell takes lines of any length, but the echo of each costs as much again.
const MOST: usize = 64 << 10;
const LINE: usize = 2 << 10;

/// The number of this machine's present boot.
const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

/// One machine of a running lab, from [`Lab::guest`]. It may go to other threads, and commands at different machines run
/// side by side.
#[derive(Debug, Clone)]
pub struct Guest {
    name: String,
    attached: Attached,
    watch: Watch,
}

impl Lab {
    /// The machine `name`, to do something with. One that the lab has not got is missed when something is done.
    pub fn guest(&self, name: &str) -> Guest {
        Guest {
            name: name.to_owned(),
            attached: self.attached().clone(),
            watch: self.watch().clone(),
        }
    }
}

impl Guest {
    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Has root run a shell command of one line, and returns what it wrote to either output, as [`Attached::type_in`]
    /// does: a machine that boots is waited for, and so is one that stands still, for five minutes at most.
    ///
    /// # Errors
    /// When it fails, with what it wrote; when it has not ended after five minutes; when a machine of the lab is in trouble
    /// that nobody expected, at once, while the command goes on; or nobody answers at the console, as of a machine that is
    /// off, which takes ten seconds to be sure of.
    pub fn run(&self, command: &str) -> Result<String> {
        let typed = self.typed(command)?;
        self.succeeded(typed, || format!("`{command}` failed"))
    }

    /// As [`Guest::run`], of a command that is to fail. Returns what it wrote.
    ///
    /// # Errors
    /// When it succeeds; otherwise as [`Guest::run`].
    pub fn fails(&self, command: &str) -> Result<String> {
        match self.typed(command)? {
            (0, output) => bail!(
                "`{command}` was to fail on {} and has not: {}",
                self.name,
                output.trim()
            ),
            (_, output) => Ok(output),
        }
    }

    /// Has root run a command once a second until it succeeds, and returns what it wrote then.
    ///
    /// # Errors
    /// When it has not succeeded in time: why it failed last is in the error. When a machine of the lab is in trouble that
    /// nobody expected, at once; or nobody answers at the console.
    pub fn until(&self, command: &str, patience: Duration) -> Result<String> {
        let begin = Instant::now();
        loop {
            let left = patience.saturating_sub(begin.elapsed()).as_secs();
            match self.typed(&attempts(command, left.min(TURN)))? {
                (0, output) => return Ok(output),
                (code, output) if begin.elapsed() >= patience => bail!(
                    "`{command}` has not succeeded on {} in {} s; at last it failed with exit code {code} and {}",
                    self.name,
                    patience.as_secs(),
                    match output.trim() {
                        "" => "said nothing".to_owned(),
                        said => format!("said `{said}`"),
                    }
                ),
                _ => {}
            }
        }
    }

    /// Waits until a unit of systemd's is active.
    ///
    /// # Errors
    /// When it has failed, with its last lines in the journal; otherwise as [`Guest::until`].
    pub fn until_active(&self, unit: &str, patience: Duration) -> Result<()> {
        let state = self
            .until(&settled(unit), patience)
            .with_context(|| format!("{unit} is not active on {}", self.name))?;
        if state.trim() == "active" {
            return Ok(());
        }
        // That it has failed may be trouble that nobody expected; why it has is worth more.
        let journal = format!("journalctl -q -n 10 -u {}", quoted(unit));
        let said = self.attached.type_in(&self.name, &journal)?;
        bail!("{unit} has failed on {}:\n{}", self.name, said.trim_end())
    }

    /// Waits until somebody listens on a TCP port.
    ///
    /// # Errors
    /// As [`Guest::until`].
    pub fn until_open(&self, port: u16, patience: Duration) -> Result<()> {
        let listening = format!("ss -Hltn 'sport = :{port}' | grep .");
        self.until(&listening, patience)
            .with_context(|| format!("nobody listens on port {port} of {}", self.name))
            .map(drop)
    }

    /// Writes a file of at most 64 KiB, and makes the directories above it. What is larger belongs to the machine's
    /// [`Identity`](crate::identity::Identity), or comes by SSH.
    ///
    /// # Errors
    /// When it is larger, or cannot be written.
    pub fn write(&self, path: &str, contents: impl AsRef<[u8]>) -> Result<()> {
        let contents = contents.as_ref();
        ensure!(
            contents.len() <= MOST,
            "{path} has {} bytes, and a console takes {MOST} of a file",
            contents.len()
        );
        let file = quoted(path);
        let begins = format!("mkdir -p -- \"$(dirname -- {file})\" && : > {file}");
        let pieces = contents.chunks(LINE).map(|piece| {
            let text = BASE64.encode(piece);
            format!("echo {text} | base64 -d >> {file}")
        });
        for command in [begins].into_iter().chain(pieces) {
            let typed = self.typed(&command)?;
            self.succeeded(typed, || format!("{path} cannot be written"))?;
        }
        Ok(())
    }

    /// Reads a file of at most 64 KiB.
    ///
    /// # Errors
    /// When it is larger, is not there or cannot be read.
    pub fn read(&self, path: &str) -> Result<Vec<u8>> {
        // A pipe would hide that the first of its programs failed.
        let head = format!("head -c {} -- {}", MOST + 1, quoted(path));
        let typed = self.typed(&format!("{head} > /dev/null && {head} | base64 -w 0"))?;
        let text = self.succeeded(typed, || format!("{path} cannot be read"))?;
        let bytes = BASE64
            .decode(text.trim())
            .with_context(|| format!("{} did not give {path} whole: {text}", self.name))?;
        ensure!(
            bytes.len() <= MOST,
            "{path} on {} has more than {MOST} bytes, which is what a console gives of a file",
            self.name
        );
        Ok(bytes)
    }

    /// Has a fault befall it, until it recovers.
    ///
    /// # Errors
    /// As [`Attached::inflict`].
    pub fn suffers(&self, fault: &Fault) -> Result<()> {
        self.attached.inflict(&self.name, fault)
    }

    /// Has a fault befall it that is over after so long: it is then cleared by the lab.
    ///
    /// # Errors
    /// As [`Attached::inflict_for`].
    pub fn suffers_for(&self, fault: &Fault, lasting: Duration) -> Result<()> {
        self.attached.inflict_for(&self.name, fault, lasting)
    }

    /// Clears all that has befallen it. Without power it boots then, which [`Guest::run`] waits for; a power cut that is
    /// waited for is [`Guest::loses_power`]. The clock of one that stood still is behind: [`Lab::set_clocks`].
    ///
    /// # Errors
    /// As [`Attached::clear`].
    pub fn recovers(&self) -> Result<()> {
        self.attached.clear(&self.name)
    }

    /// Clears what is of this kind, and leaves what else has befallen it.
    ///
    /// # Errors
    /// As [`Attached::clear_one`].
    pub fn recovers_from(&self, fault: &Fault) -> Result<()> {
        self.attached.clear_one(&self.name, fault)
    }

    /// Cuts its power for so long, and returns when it has booted from its disk and is online again. That it said so is
    /// still news to [`Lab::wait`].
    ///
    /// # Errors
    /// When it does not come back, or a machine of the lab is in trouble that nobody expected.
    pub fn loses_power(&self, lasting: Duration) -> Result<()> {
        let before = self.condition().starts;
        self.attached
            .inflict_for(&self.name, &Fault::PowerCut, lasting)?;
        self.until_it_is(BOOT + lasting, |now| {
            now.starts > before && now.state == State::Online
        })
    }

    /// Has it reboot in order, and returns when it is online again; see [`Guest::loses_power`].
    ///
    /// # Errors
    /// As [`Guest::loses_power`].
    pub fn restarts(&self) -> Result<()> {
        let boot = self.run(BOOT_ID)?;
        let mut before = self.condition().online;
        // It may be gone before it could say that it has begun.
        writeln!(self.attached.console(&self.name)?, " systemctl reboot")?;
        let begin = Instant::now();
        loop {
            let left = BOOT.saturating_sub(begin.elapsed());
            self.until_it_is(left, |now| now.online > before)?;
            if self.run(BOOT_ID)? != boot {
                return Ok(());
            }
            // What was heard only now was said of the boot before.
            before = self.condition().online;
        }
    }

    /// How it is, as far as it has told; `Starting`, of one that the lab has not got.
    pub fn condition(&self) -> Condition {
        self.watch.machines().remove(&self.name).unwrap_or_default()
    }

    /// The exit code of a command, and what it wrote; unless there is trouble.
    fn typed(&self, command: &str) -> Result<(i32, String)> {
        let (lab, name, command) = (self.attached.clone(), self.name.clone(), command.to_owned());
        // What is typed goes on, should there be trouble: nobody waits for it then.
        self.watch
            .unless_trouble(move || lab.type_for(&name, &command))?
    }

    fn succeeded(
        &self,
        (code, output): (i32, String),
        what: impl FnOnce() -> String,
    ) -> Result<String> {
        ensure!(
            code == 0,
            "{} on {} with exit code {code}: {}",
            what(),
            self.name,
            output.trim()
        );
        Ok(output)
    }

    fn until_it_is(&self, patience: Duration, enough: impl Fn(&Condition) -> bool) -> Result<()> {
        let is_so = self.watch.until(&self.name, patience, enough)?;
        ensure!(
            is_so,
            "{} is not online again after {} s; it is {}",
            self.name,
            patience.as_secs(),
            self.condition().state
        );
        Ok(())
    }
}

/// Tries a command once a second for so many seconds, and at least once. By the machine's own uptime: its clock may
/// jump.
fn attempts(command: &str, seconds: u64) -> String {
    let command = quoted(command);
    format!(
        "now() {{ cut -d. -f1 /proc/uptime; }}; end=$(($(now) + {seconds})); \
         until o=$(sh -c {command} 2>&1; code=$?; echo .; exit $code); do code=$?; \
         [ $(now) -lt $end ] || {{ printf %s \"${{o%.}}\"; exit $code; }}; sleep 1; done; printf %s \"${{o%.}}\""
    )
}

/// Says how a unit is, and succeeds when that will not change by itself.
fn settled(unit: &str) -> String {
    let unit = quoted(unit);
    format!(
        "s=$(systemctl is-active -- {unit}); \
         [ \"$(systemctl show -P LoadState -- {unit})\" != not-found ] || s='no unit of that name'; \
         echo \"$s\"; [ \"$s\" = active ] || [ \"$s\" = failed ]"
    )
}

/// A word, as a shell takes it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn sh(command: &str) -> (bool, String) {
        let output = Command::new("sh")
            .args(["-c", command])
            .output()
            .expect("a shell");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }

    #[test]
    fn words_reach_the_shell_as_they_are() {
        for word in ["plain", "it's", "$HOME `x` \"y\" \\ *", ""] {
            assert_eq!(
                sh(&format!("printf %s {}", quoted(word))),
                (true, word.to_owned())
            );
        }
    }

    #[test]
    fn attempts_end_with_the_first_that_succeeds_or_with_why_the_last_failed() {
        // A shell would have lost the ends of lines.
        for (command, output) in [
            ("echo it\\'s", "it's\n"),
            ("true", ""),
            ("printf x", "x"),
            ("printf 'x\\n\\n'", "x\n\n"),
        ] {
            assert_eq!(
                sh(&attempts(command, 0)),
                (true, output.to_owned()),
                "{command}"
            );
        }
        assert_eq!(
            sh(&attempts("echo bad >&2; exit 3", 0)),
            (false, "bad\n".to_owned())
        );
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file").display().to_string();
        let third = format!("echo >> {file}; [ $(wc -l < {file}) -eq 3 ] && echo there");
        assert_eq!(sh(&attempts(&third, 60)), (true, "there\n".to_owned()));
    }
}
