//! What a line on a console says when a machine is in trouble: a pure function, and a table of what it knows.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of trouble that a machine can be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// The kernel has given up.
    Panic,
    /// The kernel has found a mistake in itself.
    Oops,
    /// The kernel has killed a process for want of memory, be it the machine's or a container's.
    OutOfMemory,
    /// A processor or a task has not moved for long.
    Lockup,
    /// A unit of systemd has failed, or could not be started.
    FailedUnit,
    /// The machine's QEMU has ended without having been asked to, or the machine has switched itself off. No console says
    /// so; the lab does.
    Gone,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(match self {
            Trouble::Panic => "kernel panic",
            Trouble::Oops => "kernel oops",
            Trouble::OutOfMemory => "out of memory",
            Trouble::Lockup => "lockup",
            Trouble::FailedUnit => "failed unit",
            Trouble::Gone => "gone",
        })
    }
}

/// Trouble that is part of the plan, and so no reason to fail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// Whose; anybody's, if `None`.
    pub machine: Option<String>,
    /// Which kind.
    pub trouble: Trouble,
    /// What its line has in it, wherever: `a.service` would be in a line about `extra.service`, too, but not with a space
    /// before it. Empty for any line.
    pub text: String,
}

impl Expected {
    pub(crate) fn covers(&self, machine: &str, trouble: Trouble, text: &str) -> bool {
        self.machine.as_deref().is_none_or(|own| own == machine)
            && self.trouble == trouble
            && text.contains(&self.text)
    }
}

/// What the kernel's lines of trouble begin with, after their time: `[   12.345678] `. What programs log has their
/// name there.
const KERNEL: &[(&str, Trouble)] = &[
    ("Kernel panic - not syncing", Trouble::Panic),
    ("Internal error: ", Trouble::Oops),
    ("Unable to handle kernel ", Trouble::Oops),
    ("kernel BUG at ", Trouble::Oops),
    ("Oops: ", Trouble::Oops),
    ("BUG: ", Trouble::Oops),
    ("Out of memory: Killed process ", Trouble::OutOfMemory),
    (
        "Memory cgroup out of memory: Killed process ",
        Trouble::OutOfMemory,
    ),
    ("watchdog: BUG: soft lockup", Trouble::Lockup),
];

/// The same for systemd, by its log on the console; while it boots, also after `[FAILED]`, which it writes itself.
const SYSTEMD: &[&str] = &[
    "Failed to start ",
    "Failed to mount ",
    "Failed to listen on ",
    "Failed to activate ",
    "Dependency failed for ",
];

/// The trouble that a line on a console tells of, and what of the line says so.
///
/// Stalls that the kernel's RCU detects are left out: they tell of a busy host.
pub(crate) fn trouble(line: &str) -> Option<(Trouble, String)> {
    let line = plain(line);
    // After a prompt, too, or after half a line that somebody types.
    let mut places = line.match_indices('[').map(|(at, _)| &line[at..]);
    places.find_map(|text| Some((kind(text)?, text.trim_end().to_owned())))
}

fn kind(text: &str) -> Option<Trouble> {
    let (mark, rest) = text.strip_prefix('[')?.split_once("] ")?;
    // That something did not stop in time when the machine goes down is no matter.
    let is_failure = |text: &str| SYSTEMD.iter().any(|begin| text.starts_with(begin));
    if matches!(mark.trim(), "FAILED" | "DEPEND") {
        return is_failure(rest).then_some(Trouble::FailedUnit);
    }
    if !is_time(mark) {
        return None;
    }
    if let Some(log) = rest.strip_prefix("systemd[1]: ") {
        let failed = is_failure(log) || log.contains(": Failed with result '");
        return failed.then_some(Trouble::FailedUnit);
    }
    if rest.starts_with("INFO: task ") && rest.contains(" blocked for more than ") {
        return Some(Trouble::Lockup);
    }
    let known = KERNEL.iter().find(|(begin, _)| rest.starts_with(begin));
    known.map(|(_, trouble)| *trouble)
}

/// Seconds since boot, as the kernel and the journal write them.
fn is_time(mark: &str) -> bool {
    let mut parts = mark.trim_start().splitn(2, '.');
    let [Some(seconds), Some(fraction)] = [parts.next(), parts.next()] else {
        return false;
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(seconds) && digits(fraction)
}

/// A line without the escape sequences that terminals take for colours and cursors (ECMA-48), and other control
/// characters.
pub(crate) fn plain(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => match chars.next() {
                // Control sequences end with a letter or its like.
                Some('[') => drop(chars.find(|c| ('@'..='~').contains(c))),
                // Commands to the system end with a bell, or with another escape and a backslash.
                Some(']') => {
                    let end = chars.find(|c| matches!(c, '\x07' | '\x1b'));
                    chars.next_if(|c| end == Some('\x1b') && *c == '\\');
                }
                _ => {}
            },
            '\t' => plain.push(c),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_trouble() {
        use Trouble::*;
        let table = [
            (
                "[  132.054321] Kernel panic - not syncing: sysrq triggered crash\r",
                Panic,
            ),
            (
                "[    1.203187] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
                Panic,
            ),
            (
                "[   88.100200] Internal error: Oops: 0000000096000045 [#1] SMP",
                Oops,
            ),
            (
                "[   88.100100] Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000",
                Oops,
            ),
            ("[  301.5] kernel BUG at fs/ext4/inode.c:2742!", Oops),
            (
                "[  301.500000] BUG: Bad page state in process redis-server  pfn:5e2a1",
                Oops,
            ),
            (
                "[  412.000001] Out of memory: Killed process 812 (dockerd) total-vm:1412340kB, anon-rss:91234kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:400kB oom_score_adj:-500",
                OutOfMemory,
            ),
            (
                "[  412.000001] Memory cgroup out of memory: Killed process 1811 (bramble-search) total-vm:71232kB, anon-rss:65300kB",
                OutOfMemory,
            ),
            (
                "[  520.123456] watchdog: BUG: soft lockup - CPU#0 stuck for 23s! [kworker/0:1:17]",
                Lockup,
            ),
            (
                "[  725.000000] INFO: task mount.nfs4:911 blocked for more than 120 seconds.",
                Lockup,
            ),
            (
                "[\x1b[0;1;31mFAILED\x1b[0m] Failed to start \x1b[0;1;39mdocker.service\x1b[0m - Docker Application Container Engine.\r",
                FailedUnit,
            ),
            (
                "[\x1b[0;1;38:5:185mDEPEND\x1b[0m] Dependency failed for \x1b[0;1;39msrv-nfs.mount\x1b[0m - /srv/nfs.",
                FailedUnit,
            ),
            (
                "[   45.678901] systemd[1]: docker.service: Failed with result 'exit-code'.",
                FailedUnit,
            ),
            (
                "[   45.679001] systemd[1]: Failed to start docker.service - Docker Application Container Engine.",
                FailedUnit,
            ),
            (
                "[   45.679001] systemd[1]: Failed to mount mnt-plex.mount - /mnt/plex.",
                FailedUnit,
            ),
            (
                "\x1b[?2004hroot@bramble:~# [   45.679001] systemd[1]: Dependency failed for mnt-plex.mount - /mnt/plex.",
                FailedUnit,
            ),
        ];
        for (line, expected) in table {
            let (found, text) = trouble(line).expect(line);
            assert_eq!(found, expected, "{line}");
            assert!(
                text.starts_with('[') && !text.contains(['\x1b', '\r']),
                "{text}"
            );
        }
    }

    #[test]
    fn lines_of_no_trouble() {
        for line in [
            "",
            "bramble login: root (automatic login)",
            "[FAILED] Failed unmounting shared.mount - /shared.",
            "[  OK  ] Started docker.service - Docker Application Container Engine.",
            "[    0.000000] Kernel command line: console=ttyAMA0 root=/dev/vda panic=0 oops=panic",
            "[   12.000000] systemd[1]: Started docker.service - Docker Application Container Engine.",
            "[   12.000000] systemd[1]: docker.service: Scheduled restart job, restart counter is at 1.",
            "[   12.000000] systemd[812]: foot.service: Failed with result 'exit-code'.",
            "[   12.000000] dockerd[700]: level=warning msg=\"Failed to start foo\"",
            "[   12.000000] app[1]: Kernel panic - not syncing: only a quotation",
            "root@bramble:~# grep 'Kernel panic - not syncing' /var/log/old",
            "[   31.100000] rcu: INFO: rcu_preempt self-detected stall on CPU",
            "[   31.100000] WARNING: CPU: 0 PID: 1 at kernel/x.c:1 f+0x1/0x2",
            "[   31.100000] oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null)",
            "[not a time] Kernel panic - not syncing",
            "[",
            "[1.] [.1] []",
        ] {
            assert_eq!(trouble(line), None, "{line}");
        }
    }

    #[test]
    fn escapes_are_left_out() {
        for (line, expected) in [
            ("\x1b[1;31mred\x1b[0m\ttab\r", "red\ttab"),
            ("\x1b]0;title\x07prompt", "prompt"),
            ("\x1b]8;;link\x1b\\text", "text"),
            ("\x1b", ""),
            ("\x1b[", ""),
            ("caf\u{e9}\x08", "caf\u{e9}"),
        ] {
            assert_eq!(plain(line), expected, "{line:?}");
        }
    }

    #[test]
    fn what_is_expected_is_named() {
        let expected = |machine: Option<&str>, trouble, text: &str| Expected {
            machine: machine.map(str::to_owned),
            trouble,
            text: text.to_owned(),
        };
        let line = "[ 1.5] systemd[1]: docker.service: Failed with result 'exit-code'.";
        let covers = |expected: &Expected| expected.covers("worker1", Trouble::FailedUnit, line);
        for (is, given) in [
            (true, expected(None, Trouble::FailedUnit, "")),
            (
                true,
                expected(Some("worker1"), Trouble::FailedUnit, "docker.service"),
            ),
            (false, expected(Some("worker2"), Trouble::FailedUnit, "")),
            (false, expected(None, Trouble::Panic, "")),
            (false, expected(None, Trouble::FailedUnit, "ssh.service")),
        ] {
            assert_eq!(covers(&given), is, "{given:?}");
        }
    }
}
