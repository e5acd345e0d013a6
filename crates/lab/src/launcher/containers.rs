//! QEMUs in containers of a Docker engine, by means of `testcontainers`.
//!
//! A container has no network, no capability and no file of the engine's machine but its own: the sockets by which the
//! supervisor, which stays outside, speaks with it, its disk, and what of the store it reads. Its first process reads
//! the lifeline, a named pipe that only the supervisor holds open: the container ends with the supervisor, by whatever
//! it ends, and the engine removes a container that has ended. One that the engine has made but not started yet is
//! found by its label, see [`crate::remains()`].

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use futures_util::{Stream, TryStreamExt};
use nix::sys::stat::Mode;
use nix::unistd::{getgid, getuid, mkfifo};
use testcontainers::bollard::errors::Error;
use testcontainers::bollard::models::{ContainerState, HostConfig, HostConfigLogConfig};
use testcontainers::bollard::query_parameters::{
    ImportImageOptions, InspectContainerOptions, ListContainersOptions, RemoveContainerOptions,
    WaitContainerOptions,
};
use testcontainers::bollard::{Docker, body_full};
use testcontainers::core::client::docker_client_instance;
use testcontainers::core::{AccessMode, Mount};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerRequest, GenericImage, ImageExt};
use tokio::runtime::{Builder, Runtime};

use super::{Ended, Launcher, Program, Started};
use crate::rundir::RunId;
use crate::template::bases;

/// Whom machines run as where the supervisor is root: nobody else's id.
pub(super) const NOBODY: u32 = 65532;

/// The label of a container: the run that it belongs to.
const RUN: &str = "bramble.lab.run";

/// ... and the machine that it is.
const MACHINE: &str = "bramble.lab.machine";

/// A QEMU has a thread for each emulated CPU, and some more for its disk.
const MOST_THREADS: i64 = 256;

/// A Docker engine that answers.
pub(crate) struct Engine {
    runtime: Runtime,
    docker: Docker,
}

impl Engine {
    /// The engine that `docker` would speak with.
    pub(crate) fn find() -> Result<Engine> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let answered = runtime.block_on(async {
            let docker = docker_client_instance().await?;
            docker.ping().await?;
            anyhow::Ok(docker)
        });
        let docker = answered.context(
            "no Docker engine answers (DOCKER_HOST says where, or /var/run/docker.sock); \
             machines can run without one, as processes",
        )?;
        Ok(Engine { runtime, docker })
    }

    pub(super) fn has_image(&self, reference: &str) -> Result<bool> {
        let found = self.runtime.block_on(self.docker.inspect_image(reference));
        there(found).with_context(|| format!("cannot look for the image {reference}"))
    }

    /// Loads an image layout.
    pub(super) fn load(&self, layout: &Path) -> Result<()> {
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_dir_all(".", layout)?;
        let body = body_full(archive.into_inner()?.into());
        let loaded = self
            .docker
            .import_image(ImportImageOptions::default(), body, None);
        self.runtime
            .block_on(drained(loaded))
            .with_context(|| format!("the engine does not take the image {}", layout.display()))
    }

    /// Ids of the containers of labs, with their machines' names and runs.
    pub(crate) fn containers(&self) -> Result<Vec<(String, String, RunId)>> {
        let labelled = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), vec![RUN.to_owned()])])),
            ..ListContainersOptions::default()
        };
        let found = self
            .runtime
            .block_on(self.docker.list_containers(Some(labelled)));
        let known = found
            .context("cannot list containers")?
            .into_iter()
            .filter_map(|it| {
                let labels = it.labels.unwrap_or_default();
                let run = RunId::parse(labels.get(RUN)?)?;
                Some((
                    it.id?,
                    labels.get(MACHINE).cloned().unwrap_or_default(),
                    run,
                ))
            });
        Ok(known.collect())
    }

    /// Ends a container, if it runs, and returns when it is gone.
    pub(crate) fn remove(&self, id: &str) -> Result<()> {
        self.runtime.block_on(remove(&self.docker, id))
    }

    /// The id, here, of a container's first process.
    fn first_process(&self, id: &str) -> Result<Option<u32>> {
        let state = self.inspect(id)?;
        let process = state.and_then(|state| state.pid).filter(|id| *id > 0);
        Ok(process.and_then(|id| u32::try_from(id).ok()))
    }

    /// The state of a container, if it is there.
    fn inspect(&self, id: &str) -> Result<Option<ContainerState>> {
        let options = None::<InspectContainerOptions>;
        let found = self
            .runtime
            .block_on(self.docker.inspect_container(id, options));
        match found {
            Ok(found) => Ok(found.state),
            Err(error) => there::<()>(Err(error)).map(|_| None),
        }
    }

    /// The user that is this process's outside of the container, and whom files must be given to so that it can use
    /// them, if they are not its own.
    fn user(&self) -> Result<(String, Option<u32>)> {
        let info = self.runtime.block_on(self.docker.info())?;
        let rootless = info.security_options.unwrap_or_default();
        let rootless = rootless
            .iter()
            .any(|option| option.contains("name=rootless"));
        Ok(match (rootless, getuid()) {
            (true, _) => ("0:0".to_owned(), None),
            (false, uid) if uid.is_root() => (format!("{NOBODY}:{NOBODY}"), Some(NOBODY)),
            (false, uid) => (format!("{uid}:{}", getgid()), None),
        })
    }
}

/// Starts containers.
pub(crate) struct Containers {
    engine: Arc<Engine>,
    image: (String, String),
    run: RunId,
    qemu: PathBuf,
    user: String,
    give_to: Option<u32>,
    lifeline: PathBuf,
    /// Held open, never written to.
    _lifeline: File,
}

impl Containers {
    /// Containers of `image` for a lab whose sockets are in `sockets`.
    pub(crate) fn new(image: &str, run: RunId, sockets: &Path) -> Result<Containers> {
        let engine = Engine::find()?;
        let (name, tag) = image.split_once(':').context("an image without a tag")?;
        let (user, give_to) = engine.user()?;
        let lifeline = sockets.join("lifeline");
        mkfifo(&lifeline, Mode::S_IRUSR | Mode::S_IWUSR)?;
        give(&lifeline, give_to)?;
        Ok(Containers {
            engine: Arc::new(engine),
            image: (name.to_owned(), tag.to_owned()),
            run,
            qemu: super::image::program()?,
            user,
            give_to,
            // To write alone would have to wait for somebody who reads.
            _lifeline: File::options().read(true).write(true).open(&lifeline)?,
            lifeline,
        })
    }

    fn request(&self, program: &Program) -> Result<ContainerRequest<GenericImage>> {
        let arguments =
            [&self.lifeline, &program.log, &self.qemu].map(|path| path.display().to_string());
        let (name, tag) = self.image.clone();
        let mut request = GenericImage::new(name, tag)
            .with_cmd(arguments.into_iter().chain(program.argv.clone()))
            .with_label(RUN, self.run.to_string())
            .with_label(MACHINE, &program.name)
            .with_user(&self.user)
            .with_cap_drop("ALL")
            .with_security_opt("no-new-privileges")
            .with_readonly_rootfs(true);
        let own = (program.files.own.iter())
            .chain(&program.files.disk)
            .chain([&program.log]);
        let shared = program.files.shared.iter().chain([&self.lifeline]);
        // Each once; what a machine may write comes last and counts.
        let modes = shared
            .map(|path| (path, AccessMode::ReadOnly))
            .chain(own.map(|path| (path, AccessMode::ReadWrite)));
        for (path, mode) in BTreeMap::from_iter(modes) {
            let path = path
                .canonicalize()
                .with_context(|| format!("there is no {}", path.display()))?;
            let path = path.to_str().context("a path that is no UTF-8")?;
            request = request.with_mount(Mount::bind_mount(path, path).with_access_mode(mode));
        }
        let niceness = program.niceness;
        Ok(request.with_host_config_modifier(move |host| confine(host, niceness)))
    }
}

/// What `testcontainers` has no words for.
fn confine(host: &mut HostConfig, niceness: u8) {
    host.network_mode = Some("none".to_owned());
    host.publish_all_ports = None;
    host.port_bindings = None;
    host.pids_limit = Some(MOST_THREADS);
    host.cpu_shares = Some(shares(niceness));
    host.auto_remove = Some(true);
    // What it says goes to its log, and what there is to say about it is its lab's to say.
    host.log_config = Some(HostConfigLogConfig {
        typ: Some("none".to_owned()),
        config: None,
    });
}

/// Processes of different containers are weighed by these, where 1024 is a container's usual share; each step of
/// niceness is worth a quarter more or less, as the kernel has it.
fn shares(niceness: u8) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "1024 at most")]
    let shares = (1024.0 / 1.25_f64.powi(niceness.into())).round() as i64;
    shares
}

impl Launcher for Containers {
    fn start(&mut self, mut program: Program, ended: Ended) -> Result<Box<dyn Started>> {
        for path in program.files.own.iter().chain([&program.log]) {
            give(path, self.give_to)?;
        }
        if let Some(disk) = &program.files.disk {
            give(disk, self.give_to)?;
            program.files.shared.extend(bases(disk)?);
        }
        let container = self
            .engine
            .runtime
            .block_on(self.request(&program)?.start());
        let container =
            container.with_context(|| format!("cannot start a container for {}", program.name))?;
        let id = container.id().to_owned();
        // Dropped, it would remove the container; whoever does so here wants to know that it is done.
        std::mem::forget(container);
        let (docker, awaited) = (self.engine.docker.clone(), id.clone());
        self.engine.runtime.spawn(async move {
            // However this comes to its end, the container is no more.
            let _ = drained(docker.wait_container(&awaited, None)).await;
            ended();
        });
        Ok(Box::new(Contained {
            first_process: self.engine.first_process(&id)?,
            engine: self.engine.clone(),
            id,
        }))
    }
}

/// A container that was started.
struct Contained {
    engine: Arc<Engine>,
    id: String,
    /// Where the engine's processes are this machine's.
    first_process: Option<u32>,
}

impl Started for Contained {
    fn is_running(&mut self) -> Result<bool> {
        let found = self.engine.inspect(&self.id)?;
        Ok(found.is_some_and(|state| state.running.unwrap_or_default()))
    }

    fn end(&mut self) -> Result<()> {
        self.engine.remove(&self.id)
    }

    fn processes(&self) -> Vec<u32> {
        let Some(first) = self.first_process else {
            return Vec::new();
        };
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().filter_map(|id| id.parse().ok());
        [first].into_iter().chain(children).collect()
    }
}

/// Ends a container, if it runs, and waits until the engine has removed it, as it does by itself, too.
async fn remove(docker: &Docker, id: &str) -> Result<()> {
    let removed = WaitContainerOptions {
        condition: "removed".to_owned(),
    };
    let by_force = RemoveContainerOptions {
        force: true,
        v: true,
        ..RemoveContainerOptions::default()
    };
    // Either may come too late, and says so.
    let (_, why) = tokio::join!(
        drained(docker.wait_container(id, Some(removed))),
        docker.remove_container(id, Some(by_force))
    );
    let left = docker
        .inspect_container(id, None::<InspectContainerOptions>)
        .await;
    match there(left.map(drop))? {
        false => Ok(()),
        true => bail!("the engine does not remove the container {id}: {why:?}"),
    }
}

/// Whether the engine has what it was asked for.
fn there<T>(found: Result<T, Error>) -> Result<bool> {
    match found {
        Ok(_) => Ok(true),
        Err(Error::DockerResponseServerError {
            status_code: 404, ..
        }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Takes all that an engine answers, and the first error.
async fn drained<T>(answers: impl Stream<Item = Result<T, Error>>) -> Result<(), Error> {
    answers.try_for_each(|_| std::future::ready(Ok(()))).await
}

/// Gives a file, or a directory and what is in it, to another user.
fn give(path: &Path, to: Option<u32>) -> Result<()> {
    if to.is_none() {
        return Ok(());
    }
    chown(path, to, to).with_context(|| format!("cannot give away {}", path.display()))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn niceness_is_weighed_as_the_kernel_does() {
        assert_eq!([0, 1, 10, 19].map(shares), [1024, 819, 110, 15]);
    }
}
