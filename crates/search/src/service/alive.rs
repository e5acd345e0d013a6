//! A sign of life of those who answer nobody: a file that is written anew while they work.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use tracing::warn;

use super::now;

/// Seconds between two signs.
const EVERY: u64 = 5;
/// After so long without one, somebody hangs: longer than any request takes, a full disk and a slow machine included.
const LONGEST: Duration = Duration::from_secs(90);

/// Where to give signs, if somebody looks for them.
pub(super) struct Alive {
    file: Option<PathBuf>,
    /// When the last one was given, in seconds since 1970.
    last: AtomicU64,
}

impl Alive {
    pub(super) fn new(file: Option<&Path>) -> Self {
        Alive {
            file: file.map(Path::to_owned),
            last: AtomicU64::new(0),
        }
    }

    /// Gives a sign, unless one was given just now.
    pub(super) fn sign(&self) {
        let Some(file) = &self.file else { return };
        let now = now() as u64;
        let last = self.last.swap(now, Ordering::Relaxed);
        if now.abs_diff(last) < EVERY {
            self.last.store(last, Ordering::Relaxed);
        } else if let Err(error) = fs::write(file, format!("{now}\n")) {
            warn!("cannot write {}: {error}", file.display());
        }
    }
}

/// Whether there was a sign lately.
pub(super) fn check(file: &Path) -> Result<()> {
    let written = fs::metadata(file).and_then(|found| found.modified());
    let written = written.with_context(|| format!("no sign of life: {}", file.display()))?;
    // A clock that was set back says nothing.
    let age = SystemTime::now()
        .duration_since(written)
        .unwrap_or_default();
    ensure!(
        age <= LONGEST,
        "the last sign of life is {} seconds old",
        age.as_secs()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_of_life_grows_old() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("alive");
        assert!(check(&file).is_err());
        Alive::new(None).sign();
        Alive::new(Some(&file)).sign();
        check(&file).unwrap();
        let old = SystemTime::now() - LONGEST - Duration::from_secs(5);
        let opened = fs::File::options().write(true).open(&file).unwrap();
        opened.set_modified(old).unwrap();
        let error = check(&file).unwrap_err().to_string();
        assert!(error.contains("seconds old"), "{error}");
    }
}
