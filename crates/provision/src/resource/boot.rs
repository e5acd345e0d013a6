use serde::{Deserialize, Serialize};

use super::{Block, Change, Notice, State, Verdict};
use crate::{Error, System, diff, system::Access};

/// Where the firmware reads from, on newer systems and on older ones.
const PARTITIONS: [&str; 2] = ["/boot/firmware", "/boot"];

/// Words that the kernel is told at boot; others stay, except those that deny one of these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelCmdline {
    /// `cgroup_enable=memory`.
    pub words: Vec<String>,
}

/// Lines in a block of the firmware's `config.txt`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FirmwareConfig {
    /// The lines. Without any there is to be no block, which holds wherever there is no such file.
    pub content: String,
}

impl State for KernelCmdline {
    fn title(&self) -> String {
        "kernel command line".into()
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        let Some(path) = file(system, "cmdline.txt")? else {
            return self.check_running(system);
        };
        let now = system.read(&path)?.unwrap_or_default();
        let wanted = self.line(&now);
        Ok(match now.split_whitespace().eq(wanted.split_whitespace()) {
            true => Verdict::Satisfied,
            false => Verdict::Change(Change {
                reason: "it does not say all that it should".into(),
                diff: Some(diff::unified(&path, &now, &wanted)),
            }),
        })
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        let Some(path) = file(system, "cmdline.txt")? else {
            return Err(no_file("cmdline.txt"));
        };
        let now = system.read(&path)?.unwrap_or_default();
        Notice::Reboot.leave(system)?;
        let access = Access {
            mode: 0o755,
            owner: None,
        };
        system.write(&path, self.line(&now).as_bytes(), access)
    }
}

impl KernelCmdline {
    /// A machine that is not a Pi is started by something else: only what runs can be looked at.
    fn check_running(&self, system: &System) -> Result<Verdict, Error> {
        let running = system.read("/proc/cmdline")?.unwrap_or_default();
        let controllers = system
            .read("/sys/fs/cgroup/cgroup.controllers")?
            .unwrap_or_default();
        let holds = |word: &&String| {
            running.split_whitespace().any(|found| found == **word)
                || word.strip_prefix("cgroup_enable=").is_some_and(|wanted| {
                    controllers.split_whitespace().any(|found| found == wanted)
                })
        };
        match self.words.iter().find(|word| !holds(word)) {
            None => Ok(Verdict::Satisfied),
            Some(word) => Err(Error::state(format!(
                "the kernel was started without `{word}`, and there is no cmdline.txt to put it into: \
                 tell it to whatever starts this machine"
            ))),
        }
    }

    /// One line with all words; what is switched on is not switched off in it.
    fn line(&self, now: &str) -> String {
        let denied: Vec<String> = self
            .words
            .iter()
            .filter_map(|word| {
                Some(format!(
                    "cgroup_disable={}",
                    word.strip_prefix("cgroup_enable=")?
                ))
            })
            .collect();
        let kept = now
            .split_whitespace()
            .filter(|word| !denied.iter().any(|denied| denied == word));
        let mut words: Vec<&str> = kept.collect();
        for word in &self.words {
            if !words.contains(&word.as_str()) {
                words.push(word);
            }
        }
        words.join(" ") + "\n"
    }
}

impl State for FirmwareConfig {
    fn title(&self) -> String {
        "firmware settings".into()
    }

    fn check(&self, system: &System) -> Result<Verdict, Error> {
        match self.block(system)? {
            Some(block) => block.check(system),
            None => Ok(Verdict::Satisfied),
        }
    }

    fn apply(&self, system: &System) -> Result<(), Error> {
        match self.block(system)? {
            Some(block) => block.apply(system),
            None => Ok(()),
        }
    }
}

impl FirmwareConfig {
    /// Nothing, where none is wanted and nowhere is one.
    fn block(&self, system: &System) -> Result<Option<Block>, Error> {
        let path = match file(system, "config.txt")? {
            Some(path) => path,
            None if self.content.is_empty() => return Ok(None),
            None => return Err(no_file("config.txt")),
        };
        Ok(Some(Block {
            path,
            name: "boot".into(),
            content: self.content.clone(),
            lines: Default::default(),
            notifies: Some(Notice::Reboot),
        }))
    }
}

/// The file of that name on the boot partition.
fn file(system: &System, name: &str) -> Result<Option<String>, Error> {
    for partition in PARTITIONS {
        let path = format!("{partition}/{name}");
        if system.metadata(&path)?.is_some() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn no_file(name: &str) -> Error {
    let [new, old] = PARTITIONS;
    Error::state(format!(
        "there is no {name} in {new} or {old}: is this a Raspberry Pi, and its boot partition mounted?"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    fn memory() -> KernelCmdline {
        KernelCmdline {
            words: vec!["cgroup_enable=memory".into(), "panic=10".into()],
        }
    }

    #[test]
    fn words_are_added_once_and_denials_go() {
        let cases = [
            (
                "root=LABEL=rootfs rootwait\n",
                "root=LABEL=rootfs rootwait cgroup_enable=memory panic=10\n",
            ),
            (
                "a cgroup_disable=memory  b",
                "a b cgroup_enable=memory panic=10\n",
            ),
            (
                "panic=10 cgroup_enable=memory\n",
                "panic=10 cgroup_enable=memory\n",
            ),
            ("", "cgroup_enable=memory panic=10\n"),
        ];
        for (now, wanted) in cases {
            assert_eq!(memory().line(now), wanted);
            assert_eq!(memory().line(wanted), wanted);
        }
    }

    #[test]
    fn a_pi_is_told_and_rebooted() {
        let root = root(&[("boot/firmware/cmdline.txt", "rootwait\n")]);
        let system = System::rooted(root.path());
        assert!(matches!(
            memory().check(&system).unwrap(),
            Verdict::Change(_)
        ));
        memory().apply(&system).unwrap();
        assert_eq!(memory().check(&system).unwrap(), Verdict::Satisfied);
        assert!(root.path().join("run/bramble/notices/reboot").exists());
    }

    #[test]
    fn another_machine_is_looked_at() {
        let root = root(&[
            ("proc/cmdline", "console=ttyAMA0 panic=10\n"),
            ("sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n"),
        ]);
        let system = System::rooted(root.path());
        assert_eq!(memory().check(&system).unwrap(), Verdict::Satisfied);
        std::fs::write(
            root.path().join("sys/fs/cgroup/cgroup.controllers"),
            "cpu\n",
        )
        .unwrap();
        let error = memory().check(&system).unwrap_err().to_string();
        assert!(error.contains("without `cgroup_enable=memory`"), "{error}");
    }

    #[test]
    fn firmware_settings_stand_in_a_block() {
        let root = root(&[("boot/config.txt", "arm_64bit=1\n")]);
        let system = System::rooted(root.path());
        let config = FirmwareConfig {
            content: "gpu_mem=16\n[all]\n".into(),
        };
        config.apply(&system).unwrap();
        assert_eq!(config.check(&system).unwrap(), Verdict::Satisfied);
        assert_eq!(
            std::fs::read_to_string(root.path().join("boot/config.txt")).unwrap(),
            "arm_64bit=1\n# BEGIN bramble boot\ngpu_mem=16\n[all]\n# END bramble boot\n"
        );
        let nothing = FirmwareConfig {
            content: String::new(),
        };
        Notice::Reboot.withdraw(&system).unwrap();
        assert_ne!(nothing.check(&system).unwrap(), Verdict::Satisfied);
        nothing.apply(&system).unwrap();
        assert_eq!(
            std::fs::read_to_string(root.path().join("boot/config.txt")).unwrap(),
            "arm_64bit=1\n"
        );
        assert!(Notice::Reboot.is_left(&system));
        std::fs::remove_file(root.path().join("boot/config.txt")).unwrap();
        assert!(
            config
                .check(&system)
                .unwrap_err()
                .to_string()
                .contains("is this a Raspberry Pi")
        );
        assert_eq!(nothing.check(&system).unwrap(), Verdict::Satisfied);
        nothing.apply(&system).unwrap();
        assert!(!root.path().join("boot/config.txt").exists());
    }
}
