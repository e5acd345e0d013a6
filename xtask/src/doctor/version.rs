use std::fmt;

use serde::{Serialize, Serializer};

/// The leading numbers of a program's version: as many as it prints, compared number by number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(Vec<u32>);

impl Version {
    pub(crate) fn new(numbers: &[u32]) -> Version {
        Version(numbers.to_vec())
    }

    /// Finds the first dotted number in what a program prints about itself.
    pub(crate) fn find(text: &str) -> Option<Version> {
        let dotted = |c: char| c.is_ascii_digit() || c == '.';
        text.split(|c| !dotted(c))
            .map(|word| word.trim_matches('.'))
            .find(|word| word.contains('.'))
            .and_then(|word| word.split('.').map(|number| number.parse().ok()).collect())
            .map(Version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_print() {
        let cases = [
            (
                "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)",
                "10.0.2",
            ),
            ("qemu-img version 7.2.19 (Debian 1:7.2+dfsg-7)", "7.2.19"),
            ("mke2fs 1.47.2 (1-Jan-2025)\n\tUsing EXT2FS", "1.47.2"),
            ("mmdebstrap 1.5.6", "1.5.6"),
            (
                "OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.17 1 Jul 2025",
                "9.2",
            ),
            ("gcc (Debian 12.2.0-14+deb12u1) 12.2.0", "12.2.0"),
            ("Redis server v=7.0.15 sha=00000000:0", "7.0.15"),
            ("Dnsmasq version 2.90  Copyright (c) 2000-2024", "2.90"),
            (
                "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)",
                "1.96.0",
            ),
        ];
        for (printed, expected) in cases {
            assert_eq!(Version::find(printed).unwrap().to_string(), expected);
        }
        assert_eq!(Version::find("no number in here 7"), None);
    }

    #[test]
    fn numbers_compare_as_numbers() {
        let ascending = ["7.2", "7.2.19", "9.0", "9.0.1", "10.0.2"];
        for pair in ascending.windows(2) {
            assert!(Version::find(pair[0]) < Version::find(pair[1]));
        }
    }
}
