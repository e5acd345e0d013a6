//! `apt-get`, which asks nothing, and waits for whoever else uses it.

use std::{
    os::unix::fs::MetadataExt,
    thread,
    time::{Duration, Instant},
};

use crate::{CommandLine, Error, Ran, System};

/// What programs lock that install or fetch packages.
const LOCKS: [&str; 4] = [
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/lib/apt/lists/lock",
    "/var/cache/apt/archives/lock",
];

/// The machine's own updates may take minutes after a boot.
const PATIENCE: Duration = Duration::from_secs(600);

/// A program that is in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    pid: u32,
    name: String,
    lock: &'static str,
}

/// Runs `apt-get`, once nobody else does.
pub(super) fn get<S: Into<String>>(
    system: &System,
    args: impl IntoIterator<Item = S>,
) -> Result<Ran, Error> {
    let command = apt(args);
    wait(system, PATIENCE)?;
    system.run(&command)
}

/// Completes what an earlier run left unpacked when it was cut off.
pub(super) fn configure(system: &System) -> Result<(), Error> {
    let args = ["--configure", "-a", "--force-confdef", "--force-confold"];
    let command = noninteractive("dpkg", args);
    undisturbed(system, || system.run(&command)).map(drop)
}

/// Runs what does not wait for others itself, and once more where somebody took a lock between our look and its turn.
fn undisturbed<T>(system: &System, mut run: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    loop {
        wait(system, PATIENCE)?;
        match run() {
            Err(_) if holder(system)?.is_some() => {}
            outcome => return outcome,
        }
    }
}

/// Fetches a file from a web server by what every Debian has; `sha256` is what it must be, if that is known.
pub(super) fn fetch(
    system: &System,
    url: &str,
    path: &str,
    sha256: Option<&str>,
) -> Result<(), Error> {
    let mut args = vec!["download-file".to_owned(), url.to_owned(), path.to_owned()];
    args.extend(sha256.map(|hash| format!("SHA256:{hash}")));
    system
        .run(&CommandLine::new("/usr/lib/apt/apt-helper", args))
        .map(drop)
}

/// Waits until no other program has one of the locks, and says for which it does.
pub(super) fn wait(system: &System, patience: Duration) -> Result<(), Error> {
    let start = Instant::now();
    let mut told = None;
    while let Some(holder) = holder(system)? {
        let Holder { pid, name, lock } = &holder;
        if start.elapsed() >= patience {
            return Err(Error::state(format!(
                "{name} (process {pid}) has held {lock} for {} seconds; let it end, or see with \
                 `systemctl status {pid}` what it is, and run this again",
                patience.as_secs()
            )));
        }
        if told.as_ref() != Some(&holder) {
            system.waiting(&format!(
                "waiting for {name} (process {pid}), which holds {lock}"
            ));
            told = Some(holder);
        }
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

/// Who has one of the locks, as the kernel's table of locks tells.
fn holder(system: &System) -> Result<Option<Holder>, Error> {
    let table = system.read("/proc/locks")?.unwrap_or_default();
    for lock in LOCKS {
        let Some(file) = system.metadata(lock)? else {
            continue;
        };
        if let Some(pid) = table.lines().find_map(|line| locker(line, file.ino())) {
            let name = system.read(&format!("/proc/{pid}/comm"))?;
            return Ok(Some(Holder {
                pid,
                name: name.map_or("a program".into(), |name| name.trim().to_owned()),
                lock,
            }));
        }
    }
    Ok(None)
}

/// The process of a line like `1: POSIX  ADVISORY  WRITE 812 08:02:131090 0 EOF`, if it is about that inode.
fn locker(line: &str, inode: u64) -> Option<u32> {
    let mut fields = line.split_whitespace();
    let pid = fields.nth(4)?.parse().ok()?;
    let found: u64 = fields.next()?.rsplit(':').next()?.parse().ok()?;
    (found == inode && line.contains("POSIX")).then_some(pid)
}

fn apt<S: Into<String>>(args: impl IntoIterator<Item = S>) -> CommandLine {
    let options = [
        "-o",
        // Somebody may take it between our look and our turn.
        "DPkg::Lock::Timeout=300",
        "-o",
        "Dpkg::Options::=--force-confdef",
        "-o",
        "Dpkg::Options::=--force-confold",
        "--quiet",
    ];
    noninteractive(
        "apt-get",
        options
            .map(String::from)
            .into_iter()
            .chain(args.into_iter().map(Into::into)),
    )
}

fn noninteractive<S: Into<String>>(
    program: &str,
    args: impl IntoIterator<Item = S>,
) -> CommandLine {
    CommandLine::new(program, args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("NEEDRESTART_MODE", "l")
}

#[cfg(test)]
mod tests {
    use nix::{fcntl, libc};
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn apt_waits_for_the_lock_and_asks_nothing() {
        insta::assert_snapshot!(apt(["install", "--yes", "nfs-common"]), @"DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold --quiet install --yes nfs-common");
    }

    #[test]
    fn what_somebody_got_in_the_way_of_is_run_again() {
        let root = tempfile::tempdir().unwrap();
        let lock = root.path().join("var/lib/dpkg/lock");
        let table = root.path().join("proc/locks");
        for path in [&lock, &table] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let inode = fs::metadata(&lock).unwrap().ino();
        let held = format!("1: POSIX  ADVISORY  WRITE 812 08:02:{inode} 0 EOF\n");

        let let_go = table.clone();
        let system = System::rooted(root.path()).heard_by(move |message| {
            assert!(message.contains("process 812"), "{message}");
            fs::write(&let_go, "").unwrap();
        });
        let mut attempts = 0;
        let outcome = undisturbed(&system, || {
            attempts += 1;
            match attempts {
                1 => fs::write(&table, &held).unwrap(),
                2 => return Ok("done"),
                _ => unreachable!("it was done"),
            }
            Err(Error::state("locked"))
        });
        assert_eq!(outcome.unwrap(), "done");

        let mut attempts = 0;
        let outcome = undisturbed(&system, || {
            attempts += 1;
            Err::<(), _>(Error::state("broken"))
        });
        assert!(outcome.is_err());
        assert_eq!(attempts, 1, "nobody was in the way");
    }

    /// A real lock of this process, seen in the kernel's real table.
    #[test]
    fn who_holds_a_lock_is_known() {
        let root = tempfile::tempdir().unwrap();
        let system = System::rooted(root.path());
        assert_eq!(holder(&system).unwrap(), None, "there is nothing to lock");

        let path = root.path().join("var/lib/dpkg/lock-frontend");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = File::create(&path).unwrap();
        let pid = std::process::id();
        let process = root.path().join(format!("proc/{pid}"));
        fs::create_dir_all(&process).unwrap();
        fs::write(process.join("comm"), "unattended-upgr\n").unwrap();
        let look = || {
            fs::copy("/proc/locks", root.path().join("proc/locks")).unwrap();
            holder(&system).unwrap()
        };
        assert_eq!(look(), None);

        let lock = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        fcntl::fcntl(&file, fcntl::FcntlArg::F_SETLK(&lock)).unwrap();
        let found = look().unwrap();
        assert_eq!((found.pid, &*found.name), (pid, "unattended-upgr"));

        let error = wait(&system, Duration::ZERO).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "unattended-upgr (process {pid}) has held /var/lib/dpkg/lock-frontend for 0 seconds; let it end, or \
                 see with `systemctl status {pid}` what it is, and run this again"
            )
        );
    }
}
