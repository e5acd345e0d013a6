//! Under which licences the packages in an image come, for the label that says so.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

/// The licence of most of a package's files as SPDX writes it, by its `/usr/share/doc/PACKAGE/copyright`, which is in
/// the image and also names the licences of the rest.
const LICENCES: &[(&str, &str)] = &[
    ("busybox-static", "GPL-2.0-only"),
    ("docker-registry", "Apache-2.0"),
    ("libatomic1", GCC),
    ("libc6", "LGPL-2.1-or-later"),
    ("libcap2", "BSD-3-Clause OR GPL-2.0-only"),
    ("libgcc-s1", GCC),
    ("libjemalloc2", "BSD-2-Clause"),
    ("liblzf1", "BSD-2-Clause OR GPL-2.0-or-later"),
    ("libssl3t64", "Apache-2.0"),
    ("libstdc++6", GCC),
    ("libsystemd0", "LGPL-2.1-or-later"),
    ("libzstd1", "BSD-3-Clause OR GPL-2.0-only"),
    ("redis-server", REDIS),
    ("redis-tools", REDIS),
    ("zlib1g", "Zlib"),
];

const GCC: &str = "GPL-3.0-or-later WITH GCC-exception-3.1";

const REDIS: &str = "AGPL-3.0-only OR SSPL-1.0 OR LicenseRef-RSALv2";

/// The SPDX expression for all of `packages`.
///
/// # Errors
/// Nobody has looked up the licence of one of them yet.
pub(super) fn of<'a>(packages: impl IntoIterator<Item = &'a str>) -> Result<String> {
    let mut all = BTreeSet::new();
    for package in packages {
        let known = LICENCES.iter().find(|(name, _)| *name == package);
        let (_, licence) = known.with_context(|| {
            format!(
                "nobody has said yet which licence {package} has: look at its /usr/share/doc/{package}/copyright, and \
                 write it down in {}",
                file!()
            )
        })?;
        all.insert(match licence.contains(" OR ") {
            true => format!("({licence})"),
            false => (*licence).to_owned(),
        });
    }
    Ok(all.into_iter().collect::<Vec<_>>().join(" AND "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_come_under_all_their_licences() {
        for (packages, expected) in [
            (&["libc6"][..], "LGPL-2.1-or-later"),
            (&["libssl3t64", "docker-registry"], "Apache-2.0"),
            (
                &["zlib1g", "libzstd1", "libc6"],
                "(BSD-3-Clause OR GPL-2.0-only) AND LGPL-2.1-or-later AND Zlib",
            ),
        ] {
            assert_eq!(of(packages.iter().copied()).unwrap(), expected);
        }
        let error = of(["libnew1"]).unwrap_err().to_string();
        assert!(
            error.contains("/usr/share/doc/libnew1/copyright"),
            "{error}"
        );
    }
}
