//! Redis for the machine that this runs on, of what is installed there: for those who try the service where no registry is reached.

use std::path::Path;

use anyhow::{Result, ensure};

use super::layout::{self, Architecture, Image};
use super::{REDIS, base, local};

/// Writes the layout of an image of the Redis that is installed here, with the libraries that it links to, into `out`. It is as this
/// machine is, and so nothing to hand on.
///
/// # Errors
/// Redis is not installed, or a file cannot be read or written.
pub fn redis_of_here(version: &str, out: &Path) -> Result<()> {
    let mut files = base(REDIS.run.user, REDIS.name).directory_of(REDIS.run.user, "data", 0o755);
    for program in REDIS.programs {
        let path = Path::new("/").join(program);
        ensure!(
            path.exists(),
            "{} is missing: apt-get install redis-server busybox-static",
            path.display()
        );
        for path in local::libraries(&path)?.into_iter().chain([path]) {
            files = local::with_file(files, &path)?;
        }
    }
    for (path, content) in REDIS.config {
        files = files.file(path, 0o644, *content);
    }
    let image = Image {
        name: REDIS.name,
        version: version.to_owned(),
        architecture: Architecture::OfThisMachine,
        description: REDIS.description,
        licences: None,
        files,
        run: REDIS.run,
    };
    layout::write(&image, out).map(drop)
}
