//! The small set of functions through which a node is read and changed.

use std::{
    cell::RefCell,
    fmt, fs,
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    process,
};

use serde::{Deserialize, Serialize};

use crate::Error;

/// Where notices between resources are kept: gone after a reboot, as is the need for them.
const NOTICES: &str = "/run/bramble/notices";

/// A node's files and commands, below one root directory.
pub struct System {
    root: PathBuf,
    ran: RefCell<Vec<Ran>>,
    listener: Option<Listener>,
}

/// Hears what a node is waiting for.
type Listener = Box<dyn Fn(&str)>;

/// A command to run: program and arguments. Secrets have no place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    program: String,
    args: Vec<String>,
    environment: Vec<(String, String)>,
}

/// A command that was run, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// As one could type it.
    pub command: String,
    /// `exit status: 0`, or the signal.
    pub status: String,
    /// Standard output and error, one after the other.
    pub output: String,
}

/// What a path holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Link,
    Other,
}

/// The attributes of a path itself; a link is not followed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Mode and owner that a path is to have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access {
    pub(crate) mode: u32,
    pub(crate) owner: Option<(u32, u32)>,
}

impl System {
    /// The machine this runs on.
    pub fn host() -> Self {
        Self::rooted("/")
    }

    /// A system that lives below `root`. Anywhere but `/`, commands are refused.
    pub fn rooted(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            ran: RefCell::default(),
            listener: None,
        }
    }

    /// The same, with somebody who hears what it is waiting for.
    pub fn heard_by(self, listener: impl Fn(&str) + 'static) -> Self {
        Self {
            listener: Some(Box::new(listener)),
            ..self
        }
    }

    /// Says what it is waiting for.
    pub(crate) fn waiting(&self, message: &str) {
        if let Some(listener) = &self.listener {
            listener(message);
        }
    }

    /// Where an absolute path of the node is found.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a file, `None` when it does not exist.
    pub(crate) fn read(&self, path: &str) -> Result<Option<String>, Error> {
        Ok(self
            .read_bytes(path)?
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    pub(crate) fn read_bytes(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path(path);
        absent_is_none(fs::read(&path)).map_err(Error::io("read", path))
    }

    pub(crate) fn attributes(&self, path: &str) -> Result<Option<Attributes>, Error> {
        let path = self.path(path);
        let found =
            absent_is_none(fs::symlink_metadata(&path)).map_err(Error::io("look at", path))?;
        Ok(found.map(|data| Attributes {
            kind: match data.file_type() {
                kind if kind.is_file() => Kind::File,
                kind if kind.is_dir() => Kind::Directory,
                kind if kind.is_symlink() => Kind::Link,
                _ => Kind::Other,
            },
            mode: data.mode() & 0o7777,
            uid: data.uid(),
            gid: data.gid(),
        }))
    }

    /// Replaces a file in one step: a reader sees the old or the new content, and a lost node has one of
    /// them too. Access is right before the first byte is written. A link is replaced, not followed.
    pub(crate) fn write(&self, path: &str, content: &[u8], access: Access) -> Result<(), Error> {
        let path = self.path(path);
        let directory = path.parent().unwrap_or(&self.root).to_owned();
        fs::create_dir_all(&directory).map_err(Error::io("create", &directory))?;
        let publish = || -> io::Result<()> {
            let mut new = tempfile::Builder::new()
                .prefix(".bramble-")
                .tempfile_in(&directory)?;
            self.set_access(new.path(), access)?;
            new.write_all(content)?;
            new.as_file().sync_all()?;
            new.persist(&path)?;
            fs::File::open(&directory)?.sync_all()
        };
        publish().map_err(Error::io("write", &path))
    }

    pub(crate) fn create_directory(&self, path: &str) -> Result<(), Error> {
        let path = self.path(path);
        fs::create_dir_all(&path).map_err(Error::io("create", path))
    }

    pub(crate) fn change_access(&self, path: &str, access: Access) -> Result<(), Error> {
        let path = self.path(path);
        self.set_access(&path, access)
            .map_err(Error::io("change the owner or mode of", path))
    }

    fn set_access(&self, path: &Path, access: Access) -> io::Result<()> {
        if let Some((uid, gid)) = access.owner {
            chown(path, Some(uid), Some(gid))?;
        }
        // After the owner: a change of owner clears the special bits.
        fs::set_permissions(path, fs::Permissions::from_mode(access.mode))
    }

    pub(crate) fn link_target(&self, path: &str) -> Result<Option<String>, Error> {
        let path = self.path(path);
        let target =
            absent_is_none(fs::read_link(&path)).map_err(Error::io("read the link", path))?;
        Ok(target.map(|target| target.to_string_lossy().into_owned()))
    }

    /// Makes or replaces a link in one step.
    pub(crate) fn link(&self, path: &str, target: &str) -> Result<(), Error> {
        let path = self.path(path);
        let directory = path.parent().unwrap_or(&self.root).to_owned();
        let publish = || -> io::Result<()> {
            fs::create_dir_all(&directory)?;
            let staging = tempfile::Builder::new()
                .prefix(".bramble-")
                .tempdir_in(&directory)?;
            let new = staging.path().join("link");
            symlink(target, &new)?;
            fs::rename(new, &path)
        };
        publish().map_err(Error::io("link", &path))
    }

    /// Writes into a file of `/proc` or `/sys`, where replacing makes no sense.
    pub(crate) fn poke(&self, path: &str, content: &str) -> Result<(), Error> {
        let path = self.path(path);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        }
        fs::write(&path, content).map_err(Error::io("write", path))
    }

    /// Removes a file, which need not exist.
    pub(crate) fn remove(&self, path: &str) -> Result<(), Error> {
        let path = self.path(path);
        absent_is_none(fs::remove_file(&path)).map_err(Error::io("remove", path))?;
        Ok(())
    }

    /// Names in a directory, sorted; none if it does not exist.
    pub(crate) fn names_in(&self, path: &str) -> Result<Vec<String>, Error> {
        let path = self.path(path);
        let Some(entries) =
            absent_is_none(fs::read_dir(&path)).map_err(Error::io("list", &path))?
        else {
            return Ok(Vec::new());
        };
        let mut names = entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()
            .map_err(Error::io("list", path))?;
        names.sort();
        Ok(names)
    }

    /// What the kernel knows of a file, if it exists.
    pub(crate) fn metadata(&self, path: &str) -> Result<Option<fs::Metadata>, Error> {
        let path = self.path(path);
        absent_is_none(fs::metadata(&path)).map_err(Error::io("look at", path))
    }

    /// Leaves a notice for a later resource of this or the next run.
    pub(crate) fn notify(&self, notice: &str) -> Result<(), Error> {
        self.poke(&format!("{NOTICES}/{notice}"), "")
    }

    pub(crate) fn is_notified(&self, notice: &str) -> bool {
        self.path(NOTICES).join(notice).exists()
    }

    pub(crate) fn clear_notice(&self, notice: &str) -> Result<(), Error> {
        self.remove(&format!("{NOTICES}/{notice}"))
    }

    /// Runs a command to its end, with no input. A failing one is an error that carries its output.
    pub(crate) fn run(&self, command: &CommandLine) -> Result<Ran, Error> {
        let (ran, success) = self.run_unchecked(command)?;
        if success {
            Ok(ran)
        } else {
            Err(Error::Command(ran))
        }
    }

    /// Like [`System::run`], for commands whose failure is an answer: the second value is success.
    pub(crate) fn run_unchecked(&self, command: &CommandLine) -> Result<(Ran, bool), Error> {
        self.run_with_input(command, "")
    }

    /// The same, with something to read that must not stand in a command line.
    pub(crate) fn run_with_input(
        &self,
        command: &CommandLine,
        input: &str,
    ) -> Result<(Ran, bool), Error> {
        if self.root != Path::new("/") {
            return Err(Error::state(format!(
                "`{command}` cannot run below {}",
                self.root.display()
            )));
        }
        let mut child = process::Command::new(&command.program)
            .args(&command.args)
            .envs(
                command
                    .environment
                    .iter()
                    .map(|(name, value)| (name, value)),
            )
            .env("LC_ALL", "C.UTF-8")
            .stdin(process::Stdio::piped())
            .stdout(process::Stdio::piped())
            .stderr(process::Stdio::piped())
            .spawn()
            .map_err(Error::io("run", &command.program))?;
        if let Some(mut stdin) = child.stdin.take() {
            // What it does not want to read, its exit code explains.
            stdin.write_all(input.as_bytes()).ok();
        }
        let output = child
            .wait_with_output()
            .map_err(Error::io("run", &command.program))?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        let ran = Ran {
            command: command.to_string(),
            status: output.status.to_string(),
            output: text,
        };
        self.ran.borrow_mut().push(ran.clone());
        Ok((ran, output.status.success()))
    }

    /// The commands run since this was last asked.
    pub(crate) fn take_ran(&self) -> Vec<Ran> {
        self.ran.take()
    }
}

fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

impl CommandLine {
    /// A program and its arguments.
    pub fn new<S: Into<String>>(program: &str, args: impl IntoIterator<Item = S>) -> Self {
        let args = args.into_iter().map(Into::into).collect();
        Self {
            program: program.into(),
            args,
            environment: Vec::new(),
        }
    }

    /// Adds a variable to its environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.environment {
            write!(f, "{name}={value} ")?;
        }
        f.write_str(&self.program)?;
        self.args
            .iter()
            .try_for_each(|arg| match arg.contains([' ', '\'', '"', '$', '*']) {
                true => write!(f, " '{}'", arg.replace('\'', r"'\''")),
                false => write!(f, " {arg}"),
            })
    }
}
