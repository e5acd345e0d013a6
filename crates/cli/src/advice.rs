//! What to do about failures that have one cause wherever they show.

/// Words that a failure says, and the next step.
const KNOWN: [(&str, &str); 2] = [
    (
        "No space left on device",
        "a disk of the node is full; `df -h` there says which. `sudo apt-get clean`, `sudo docker system prune` and \
         `sudo journalctl --vacuum-size=50M` make room",
    ),
    (
        "Read-only file system",
        "the kernel lets nobody write to the node's disk any more; `sudo dmesg` there says why. Cards that fail begin \
         like that: reboot the node, and flash another card if it comes back",
    ),
];

/// The next step, where it is known.
pub(crate) fn on(said: &str) -> Option<&'static str> {
    let known = KNOWN.iter().find(|(words, _)| said.contains(words));
    known.map(|(_, step)| *step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_known_whoever_tells() {
        for said in [
            "cannot write /etc/hosts: No space left on device (os error 28)",
            "head: error writing 'standard output': No space left on device",
        ] {
            assert!(on(said).is_some_and(|step| step.contains("apt-get clean")));
        }
        assert_eq!(on("permission denied"), None);
    }
}
