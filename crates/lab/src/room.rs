//! Whether the host has the memory that a lab's machines may come to need.

use std::fs;

use crate::definition::Definition;

/// What to tell whoever starts a lab that may outgrow this host; `None` where it cannot, or the host does not say.
pub(crate) fn warning(definition: &Definition) -> Option<String> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    too_large(definition, free(&meminfo)?)
}

/// Clones share what none of them has written to, so this is the most that they can take, and they begin with far less.
fn too_large(definition: &Definition, free: u64) -> Option<String> {
    let machines = definition.machines.iter();
    let most: u64 = machines.map(|machine| u64::from(machine.memory)).sum();
    (most > free).then(|| {
        format!(
            "the lab's {} machines have {most} MiB of memory, and this one has {free} MiB to give: should they come to \
             use all of theirs, the kernel ends one of them",
            definition.machines.len()
        )
    })
}

/// What programs could still take, in MiB: memory and swap.
fn free(meminfo: &str) -> Option<u64> {
    let kibibytes = |key: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    };
    Some((kibibytes("MemAvailable:")? + kibibytes("SwapFree:")?) / 1024)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::definition::{Board, Machine, Start};
    use crate::launcher::Backend;

    #[test]
    fn who_starts_more_than_the_host_can_hold_is_told() {
        let machine = |name: &str| Machine {
            name: name.to_owned(),
            board: Board::Virt,
            kernel: PathBuf::new(),
            initramfs: PathBuf::new(),
            device_tree: None,
            command_line: String::new(),
            disk: PathBuf::new(),
            memory: 768,
            cpus: 1,
            niceness: 0,
            start: Start::Cold { mac: String::new() },
        };
        let definition = Definition {
            logs: PathBuf::new(),
            scratch: None,
            backend: Backend::Processes,
            machines: ["alice", "bob"].map(machine).into(),
            gateway: None,
        };
        let meminfo = "MemTotal:  4096000 kB\nMemAvailable:  1048576 kB\nSwapFree:  524288 kB\n";
        let free = free(meminfo).unwrap();
        assert_eq!(free, 1536);
        assert_eq!(too_large(&definition, free), None);
        insta::assert_snapshot!(too_large(&definition, free - 1).unwrap(), @"the lab's 2 machines have 1536 MiB of memory, and this one has 1535 MiB to give: should they come to use all of theirs, the kernel ends one of them");
    }

    #[test]
    fn a_host_that_does_not_say_is_not_guessed_at() {
        for meminfo in [
            "",
            "MemAvailable:  many kB\nSwapFree: 0 kB\n",
            "MemTotal: 1 kB\n",
        ] {
            assert_eq!(free(meminfo), None, "{meminfo}");
        }
    }
}
