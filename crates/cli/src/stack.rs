//! `bramble stack`: the services of the cluster.

pub(crate) mod attached;
mod lock;
mod progress;
mod rollout;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use bramble_cluster::render::stacks::{self, Images};
use bramble_cluster::spec::{Cluster, OwnStack};
use bramble_provision::{Service, SwarmView};
use indicatif::{ProgressBar, ProgressStyle};

use crate::agent;
use crate::context::Context;
use crate::failure::Usage;
use crate::layout::Layout;
use crate::own_stacks;
use crate::remote::{Remote, quoted};
use crate::text::{count, table};
use lock::Lock;
use progress::{Progress, is_running};
use rollout::Rollout;

/// How often the swarm is asked how far it is, in seconds.
const INTERVAL: u64 = 2;

/// The image that cannot come from the registry, being the registry: it is loaded, and known by its tag.
const LOADED: &str = "registry";

const OCI: &str = "`cargo xtask oci` makes them all, in target/oci";

/// Deploy the services of the cluster, and see where they run.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bramble stack deploy registry
  bramble stack deploy seeds --images images
  bramble stack deploy plex                     stacks/plex.yml, beside the cluster file
  bramble stack deploy plex --update            the images that its tags mean today
  bramble stack deploy portainer --check
  bramble stack ls")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Deploy a stack, and wait until all of it runs
    Deploy(Deploy),
    /// List services, how many run, and where
    #[command(
        after_help = "Examples:\n  bramble stack ls\n  bramble stack ls --json | jq '.[].running'"
    )]
    Ls {
        /// Print the services as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove a stack, and wait until its tasks have ended; its volumes stay
    #[command(after_help = "Examples:\n  bramble stack rm seeds")]
    Rm {
        /// The stack.
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct Deploy {
    /// The stack: registry, seeds, portainer, or the name of a file in `stacks`.
    name: String,
    /// A directory of OCI image layouts, whose digests are deployed instead of tags.
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// For a stack of one's own: take the images that its tags mean now, not those of stacks.lock.
    #[arg(long)]
    update: bool,
    /// Have Docker check the stack on a manager, and deploy nothing.
    #[arg(long)]
    check: bool,
    /// How long all services may take to run, in minutes.
    #[arg(long, value_name = "MINUTES", default_value_t = 10)]
    timeout: u16,
}

pub(crate) fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    let cluster = context.cluster()?;
    match &args.verb {
        Verb::Deploy(args) => {
            let stack = stack(context, &cluster, args)?;
            let remote = Remote::open(context, &cluster)?;
            match args.check {
                true => check(&cluster, &remote, &args.name, &stack.text)?,
                false => {
                    let services = deploy(context, &cluster, &remote, args, &stack)?;
                    stack.keep_locked(&services)?;
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Ls { json } => {
            let (_, view) = agent::manager(&Remote::open(context, &cluster)?, &cluster)?;
            match json {
                true => println!("{}", serde_json::to_string_pretty(&view.services)?),
                false => print!("{}", listed(&view.services)),
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Rm { name } => {
            let remote = Remote::open(context, &cluster)?;
            let (manager, view) = agent::manager(&remote, &cluster)?;
            if remote.output(manager, &parts(name), b"")?.trim().is_empty() {
                return Err(not_deployed(&view, name));
            }
            print!("{}", remote.output(manager, &removal(name), b"")?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Lists all that a stack consists of: a removal that was cut off may have left networks and no service.
fn parts(name: &str) -> String {
    let label = quoted(&format!("label=com.docker.stack.namespace={name}"));
    format!(
        "for kind in service network secret config; do sudo -n docker $kind ls --quiet --filter {label} || exit; done"
    )
}

/// Docker takes any name, and says that there was nothing to remove where nobody looks.
fn not_deployed(view: &SwarmView, name: &str) -> anyhow::Error {
    let stacks = view.services.iter();
    let stacks: BTreeSet<&str> = stacks
        .filter_map(|service| service.stack.as_deref())
        .collect();
    let there = match stacks.is_empty() {
        true => "there are none".to_owned(),
        false => format!("there are {}", Vec::from_iter(stacks).join(", ")),
    };
    Usage::new(format!("no stack `{name}` is deployed: {there}")).into()
}

/// How long the tasks of a stack that was removed may take to end, in seconds: on a node that is down they never do.
const ENDING: u32 = 180;

/// Removes a stack, and waits for its tasks to end: until then none of this name can be deployed again. Docker's own
/// `--detach=false` was seen to ask without end when there was no task left (version 26). Whatever else Docker says than
/// that there is none, as when it does not answer, is waited out.
fn removal(name: &str) -> String {
    let name = quoted(name);
    let task = "{{.Name}} on {{.Node}}: {{.CurrentState}}";
    let ended = ": (Complete|Shutdown|Failed|Rejected|Remove|Orphaned)";
    format!(
        "sudo -n docker stack rm {name} || exit; for _ in $(seq {ENDING}); do \
         left=$(sudo -n docker stack ps --format '{task}' {name} 2>&1 | grep -Ev '{ended}|^[Nn]othing found in stack'); \
         [ -n \"$left\" ] || exit 0; sleep 1; done; \
         echo \"it is removed, but what it ran has not ended in {ENDING} s; is a node down? $left\" >&2; exit 1"
    )
}

/// What is deployed, and how images are found.
struct Stack {
    text: String,
    /// Whether the manager asks registries for the digests of its images, so that all nodes run the same.
    resolve: &'static str,
    /// For a stack of the operator's own: itself, and what its images are known to be.
    own: Option<(OwnStack, Lock)>,
}

/// The compose file of the stack that was asked for.
fn stack(context: &Context, cluster: &Cluster, args: &Deploy) -> anyhow::Result<Stack> {
    let own = own_stacks::read(context, cluster)?;
    if let Some(own) = own.iter().find(|own| own.name == args.name) {
        let mut lock = Lock::read(context)?;
        if args.update {
            lock.forget(own);
        }
        return Ok(Stack {
            text: own.pinned(|image| lock.digest(image)),
            // Those that are locked already need no answer.
            resolve: "always",
            own: Some((own.clone(), lock)),
        });
    }
    // Nodes find images by themselves; the manager need not ask the registry for them first.
    Ok(Stack {
        text: rendered(cluster, args, &own)?,
        resolve: "never",
        own: None,
    })
}

impl Stack {
    /// Writes down what the swarm found the images of a stack of one's own to be.
    fn keep_locked(self, services: &[Service]) -> anyhow::Result<()> {
        let Some((own, mut lock)) = self.own else {
            return Ok(());
        };
        for image in lock.take(&own, services)? {
            eprintln!(
                "note: {image} is not locked, because its registry did not say what it is: each node runs what it \
                 gets under that name"
            );
        }
        Ok(())
    }
}

fn rendered(cluster: &Cluster, args: &Deploy, own: &[OwnStack]) -> anyhow::Result<String> {
    let images = args
        .images
        .as_deref()
        .map(|dir| by_digest(cluster, dir))
        .transpose()?;
    if let (stacks::SEEDS, Some(images), Some(dir)) = (&*args.name, &images, &args.images) {
        is_complete(images, dir)?;
    }
    let mut stacks = stacks::all(cluster, &images.unwrap_or_default());
    let own = own.iter().map(|own| &*own.name);
    let known = stacks.keys().copied().chain(own);
    let known = known.collect::<Vec<_>>().join(", ");
    stacks.remove(&*args.name).ok_or_else(|| {
        Usage::new(format!("there is no stack {}", args.name))
            .help(format!("there is {known}"))
            .into()
    })
}

/// References by digest of the images whose layouts are in `dir`.
fn by_digest(cluster: &Cluster, dir: &Path) -> anyhow::Result<Images> {
    let entries = fs::read_dir(dir).map_err(|error| {
        Usage::new(format!(
            "cannot read the images in {}: {error}",
            dir.display()
        ))
    })?;
    let mut images = Images::new();
    for entry in entries {
        let path = entry?.path();
        if path.join("oci-layout").exists() {
            let layout = Layout::read(&path)?;
            let reference = format!(
                "{}/{}@{}",
                cluster.registry.authority(),
                layout.name,
                layout.manifest.digest
            );
            images.insert(layout.name, reference);
        }
    }
    images.remove(LOADED);
    if images.is_empty() {
        return Err(Usage::new(format!(
            "{} holds no image: an image is a directory in it, with a file `oci-layout`",
            dir.display()
        ))
        .help(OCI)
        .into());
    }
    Ok(images)
}

/// Those that the search cannot do without; where one had no digest, its tag would be deployed instead.
fn is_complete(images: &Images, dir: &Path) -> anyhow::Result<()> {
    let wanted = stacks::IMAGES.into_iter().filter(|name| *name != LOADED);
    let missing: Vec<&str> = wanted.filter(|name| !images.contains_key(*name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(", ");
    Err(
        Usage::new(format!("{} has no image {missing}", dir.display()))
            .help(OCI)
            .into(),
    )
}

/// Whether Docker takes the stack, as far as it can be known without running it.
fn check(cluster: &Cluster, remote: &Remote, name: &str, text: &str) -> anyhow::Result<()> {
    let (manager, _) = agent::manager(remote, cluster)?;
    let command = "sudo -n docker stack config --compose-file - >/dev/null";
    remote.output(manager, command, text.as_bytes())?;
    println!("Docker on {manager} accepts the stack {name}.");
    Ok(())
}

/// Deploys it, and returns its services when all of them run.
fn deploy(
    context: &Context,
    cluster: &Cluster,
    remote: &Remote,
    args: &Deploy,
    stack: &Stack,
) -> anyhow::Result<Vec<Service>> {
    let (manager, view) = agent::manager(remote, cluster)?;
    // A stack of the operator's own is deployed as it stands.
    let (text, rollout) = match stack.own {
        Some(_) => (stack.text.clone(), Rollout::default()),
        None => Rollout::begin(&args.name, &stack.text, &view.services)?,
    };
    if args.name == stacks::SEEDS {
        attached::provide(context, cluster, remote, manager)?;
    }
    let command = format!(
        "sudo -n docker stack deploy --compose-file - --with-registry-auth --resolve-image {} {}",
        stack.resolve,
        quoted(&args.name)
    );
    print!("{}", remote.output(manager, &command, text.as_bytes())?);

    let deadline = Instant::now() + Duration::from_secs(60 * u64::from(args.timeout));
    let bar = spinner();
    let mut told = BTreeSet::new();
    let mut last = Vec::new();
    // Again from the start where the connection is lost: the stack goes on without us.
    while Instant::now() < deadline {
        for view in agent::watch(remote, manager, INTERVAL)? {
            let services = of_stack(view, &args.name);
            scale(remote, manager, &rollout.next(&services))?;
            last = rollout.in_the_end(services);
            let state = Progress::of(&last);
            for trouble in &state.troubles {
                if told.insert(trouble.clone()) {
                    bar.suspend(|| eprintln!("{trouble}"));
                }
            }
            if state.waiting.is_empty() {
                bar.finish_and_clear();
                print!("{}", listed(&last));
                return Ok(last);
            }
            bar.set_message(state.waiting.join(", "));
            if state.stuck || Instant::now() > deadline {
                return Err(given_up(args, &last, &bar));
            }
        }
        thread::sleep(Duration::from_secs(INTERVAL));
    }
    Err(given_up(args, &last, &bar))
}

/// Gives services as many tasks as is said with each.
fn scale(remote: &Remote, manager: &str, services: &[(String, u64)]) -> anyhow::Result<()> {
    if services.is_empty() {
        return Ok(());
    }
    let services = services
        .iter()
        .map(|(name, tasks)| format!(" {}={tasks}", quoted(name)));
    let command = format!(
        "sudo -n docker service scale --detach{}",
        services.collect::<String>()
    );
    remote.output(manager, &command, b"").map(drop)
}

/// Shows all that is known of a stack that does not run, and says why it is given up.
fn given_up(args: &Deploy, services: &[Service], bar: &ProgressBar) -> anyhow::Error {
    bar.finish_and_clear();
    print!("{}{}", listed(services), tasks(services));
    let state = Progress::of(services);
    let why = match state.stuck {
        true => "swarm stopped the update because a task failed".into(),
        false => format!(
            "not all of it runs after {}",
            count(args.timeout.into(), "minute")
        ),
    };
    anyhow!(
        "stack {}: {why}; waiting for {}",
        args.name,
        state.waiting.join(", ")
    )
}

fn of_stack(view: SwarmView, name: &str) -> Vec<Service> {
    view.services
        .into_iter()
        .filter(|service| service.stack.as_deref() == Some(name))
        .collect()
}

/// Services, how many of their tasks run, and where.
pub(crate) fn listed(services: &[Service]) -> String {
    let mut rows = vec![["SERVICE", "RUNNING", "NODES", "IMAGE"].map(String::from)];
    rows.extend(services.iter().map(|service| {
        let mut nodes: Vec<_> = service
            .tasks
            .iter()
            .filter(|task| is_running(task))
            .map(|task| task.node.clone())
            .collect();
        nodes.sort();
        let running = format!("{}/{}", service.running, service.desired);
        [
            service.name.clone(),
            running,
            nodes.join(" "),
            service.image.clone(),
        ]
    }));
    table(&rows)
}

/// Every task with its state and error, the latest last.
fn tasks(services: &[Service]) -> String {
    let mut rows = vec![["TASK OF", "NODE", "STATE", "SINCE", "ERROR"].map(String::from)];
    for service in services {
        rows.extend(service.tasks.iter().rev().map(|task| {
            [
                &service.name,
                &task.node,
                &task.state,
                &task.since,
                &task.error,
            ]
            .map(String::clone)
        }));
    }
    table(&rows)
}

fn spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {elapsed} waiting for {wide_msg}");
    let bar =
        ProgressBar::new_spinner().with_style(style.unwrap_or(ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    /// Runs a removal where Docker says these things of the tasks, one after the other and the last for ever, and no time
    /// passes. Returns whether it ended well, how often Docker was asked, and what was said about it.
    fn removed(answers: &[&str]) -> (bool, usize, String) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().display();
        for (number, answer) in answers.iter().enumerate() {
            fs::write(dir.path().join(number.to_string()), answer).expect("written");
        }
        let last = answers.len() - 1;
        let docker = format!(
            "#!/bin/sh\n[ \"$4\" = ps ] || exit 0\necho >> {path}/asked\nn=$(( $(wc -l < {path}/asked) - 1 ))\n\
             [ $n -le {last} ] || n={last}\ncat {path}/$n >&2\n"
        );
        for (name, script) in [("sudo", docker.as_str()), ("sleep", "#!/bin/sh\n")] {
            let program = dir.path().join(name);
            fs::write(&program, script).expect("written");
            fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("executable");
        }
        let output = Command::new("sh")
            .args(["-c", &removal("seeds")])
            .env("PATH", format!("{path}:/usr/bin:/bin"))
            .output()
            .expect("a shell");
        let asked = fs::read_to_string(dir.path().join("asked")).unwrap_or_default();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), asked.lines().count(), said)
    }

    #[test]
    fn a_removal_waits_for_the_tasks_and_not_for_ever() {
        let none = "nothing found in stack: seeds\n";
        let runs = "seeds_web.1 on manager1: Running 5 seconds ago\n";
        let ended = "seeds_web.1 on manager1: Shutdown 1 second ago\n";
        for (answers, asked) in [
            (&[none][..], 1),
            (&[ended], 1),
            (&[runs, ended], 2),
            (&[runs, "Cannot connect to the Docker daemon\n", none], 3),
        ] {
            assert_eq!(
                removed(answers),
                (true, asked, String::new()),
                "{answers:?}"
            );
        }
        let (is_well, asked, said) = removed(&[runs]);
        assert_eq!((is_well, asked), (false, ENDING as usize));
        assert!(said.contains("seeds_web.1 on manager1: Running"), "{said}");
    }
}
