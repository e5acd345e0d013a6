//! What goes wrong while nodes are provisioned is said clearly, and the next run heals it.

mod said;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bramble_lab::{Fault, Trouble};

use said::{Said, provision};

use super::{EIGHT_PI, THREE};
use crate::pipeline;
use crate::scenario::{Expects, On, Rehearsal, Scenario, Stock, When};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "provision-interrupted",
    shows: "a cut network, a full disk, a held lock, a wrong password, another host key: each is said, and the next run heals",
    when: When::Nightly,
    cluster: EIGHT_PI,
    nodes: THREE,
    stock: Stock::None,
    measured: Some(207),
    // Where nothing can be written, units may fail.
    expects: &[Expects {
        machine: Some(VICTIM),
        trouble: Trouble::FailedUnit,
        text: "",
    }],
    on: On::NewMachines(run),
};

/// The node that everything befalls; the others must not care.
const VICTIM: &str = "worker1";

/// Holds a lock of apt's until it is ended, as unattended-upgrades does for minutes: by numbers in the order of
/// struct flock.
const HOLD_LOCK: &str = "sudo perl -e 'use Fcntl; open my $f, q(>>), q(/var/lib/dpkg/lock-frontend) or die; \
    my $l = pack(q(s s x4 q q i x4), F_WRLCK, 0, 0, 0, 0); fcntl $f, F_SETLK, $l or die; \
    open my $held, q(>), q(/run/held) or die; sleep 600' </dev/null >/dev/null 2>&1 & \
    timeout 60 sh -c 'until test -e /run/held; do sleep 0.2; done'";

/// Ends who holds it; not itself, whose words the pattern does not match.
const LET_GO: &str = "sudo pkill -f '[F]_SETLK' || true";

/// Longer than `ssh` takes to give a silent machine up: a minute.
const CUT: Duration = Duration::from_secs(100);

fn run(rehearsal: &mut Rehearsal) -> Result<()> {
    cut_off(rehearsal)?;
    full_disk(rehearsal)?;
    held_lock(rehearsal)?;
    wrong_password(rehearsal)?;
    other_host_key(rehearsal)?;
    let programs = &rehearsal.bench.programs;
    pipeline::provision_again(rehearsal.report, rehearsal.operator, programs)
}

/// The network is cut when the first thing has been changed.
fn cut_off(rehearsal: &Rehearsal) -> Result<()> {
    let lab = rehearsal.lab.attached();
    rehearsal.report.stage("network cut", |stage| {
        let mut is_cut = false;
        let said = provision(rehearsal, &[], |event| {
            let changed = event["node"] == VICTIM && event["outcome"] == "changed";
            if changed && !is_cut {
                is_cut = true;
                stage.note(format!("cut after {}", event["id"]));
                return lab.inflict_for(VICTIM, &Fault::cut(), CUT);
            }
            Ok(())
        })?;
        said.fails_alone(VICTIM, &["connection", "lost"])?;
        stage.note(&said.failure);
        Ok(())
    })?;
    lab.clear(VICTIM)?;
    heals(rehearsal)
}

/// The disk is full when a package is to be installed, and when files are to be written.
fn full_disk(rehearsal: &Rehearsal) -> Result<()> {
    let lab = rehearsal.lab.attached();
    add_package(rehearsal, "vim")?;
    rehearsal.report.stage("disk full", |stage| {
        lab.inflict(VICTIM, &Fault::DiskFull)?;
        let said = provision(rehearsal, &[], |_| Ok(()))?;
        said.fails_alone(VICTIM, &["No space left on device", "apt-get clean"])?;
        stage.note(&said.failure);
        lab.clear(VICTIM)
    })?;
    heals(rehearsal)
}

/// Somebody else installs packages.
fn held_lock(rehearsal: &Rehearsal) -> Result<()> {
    add_package(rehearsal, "curl")?;
    rehearsal.report.stage("apt lock held", |stage| {
        rehearsal.operator.look(VICTIM, &["sh", "-c", HOLD_LOCK])?;
        let mut waited = None;
        let said = provision(rehearsal, &[], |event| {
            if event["node"] == VICTIM && event["event"] == "waiting" {
                waited = event["message"].as_str().map(str::to_owned);
                rehearsal.lab.attached().type_in(VICTIM, LET_GO)?;
            }
            Ok(())
        })?;
        said.succeeds()?;
        let waited = waited.context("nobody waited for the lock")?;
        ensure!(
            waited.contains("perl") && waited.contains("/var/lib/dpkg/lock-frontend"),
            "it waited, but said `{waited}`"
        );
        stage.note(waited);
        Ok(())
    })
}

/// sudo asks for a password from now on.
fn wrong_password(rehearsal: &Rehearsal) -> Result<()> {
    const ASK: &str = "echo pi:raspberry | sudo chpasswd && \
        sudo sed -i s/NOPASSWD:// /etc/sudoers.d/010_nopasswd";
    let file = |name: &str, password: &str| -> Result<String> {
        let path = rehearsal.place.scratch.join(name);
        fs::write(&path, "")?;
        fs::remove_file(&path)?;
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        std::io::Write::write_all(&mut file?, password.as_bytes())?;
        Ok(path.display().to_string())
    };
    rehearsal.report.stage("wrong sudo password", |stage| {
        rehearsal.operator.look(VICTIM, &["sh", "-c", ASK])?;
        let none = provision(rehearsal, &[], |_| Ok(()))?;
        none.fails_alone(VICTIM, &["sudo asks for a password", "--sudo-password-file"])?;
        let wrong = file("wrong", "strawberry\n")?;
        let refused = provision(rehearsal, &["--sudo-password-file", &wrong], |_| Ok(()))?;
        refused.fails(VICTIM, &["sudo refuses the password"])?;
        stage.note(&refused.failure);
        let right = file("right", "raspberry\n")?;
        let only = ["--sudo-password-file", &right, "--limit", VICTIM];
        provision(rehearsal, &only, |_| Ok(()))?.succeeds()?;
        let back = "sudo -S -p '' sh -c 'echo %sudo ALL=\\(ALL:ALL\\) NOPASSWD: ALL > /etc/sudoers.d/010_nopasswd'";
        let back = format!("echo raspberry | {back}");
        rehearsal.operator.look(VICTIM, &["sh", "-c", &back])?;
        Ok(())
    })
}

/// Another machine answers at the node's address, as far as anybody can tell.
fn other_host_key(rehearsal: &Rehearsal) -> Result<()> {
    const OTHER: &str = "cd /etc/ssh && sudo mkdir -p kept && sudo mv ssh_host_ed25519_key* kept/ && \
        sudo ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key && sudo systemctl reload ssh";
    const BACK: &str =
        "mv -f /etc/ssh/kept/* /etc/ssh/ && rmdir /etc/ssh/kept && systemctl reload ssh";
    rehearsal.report.stage("another host key", |stage| {
        rehearsal.operator.look(VICTIM, &["sh", "-c", OTHER])?;
        let said = disconnected(rehearsal)?;
        said.fails_alone(VICTIM, &["its host key is SHA256:", "was flashed"])?;
        stage.note(&said.failure);
        // By its console, as bramble does not talk to it any more.
        rehearsal.lab.attached().type_in(VICTIM, BACK)?;
        Ok(())
    })?;
    heals(rehearsal)
}

/// Provisions once the connection that is there has been given up, over which nobody would prove who he is.
fn disconnected(rehearsal: &Rehearsal) -> Result<Said> {
    const HANG_UP: &str = "pkill --signal KILL --uid 1000 --full '^sshd'";
    rehearsal.lab.attached().type_in(VICTIM, HANG_UP)?;
    provision(rehearsal, &[], |_| Ok(()))
}

/// Adds a package to the cluster file, as a person would.
fn add_package(rehearsal: &Rehearsal, name: &str) -> Result<()> {
    let path = rehearsal.place.files().cluster();
    let mut file: toml::Table = fs::read_to_string(&path)?.parse()?;
    let packages = file
        .entry("packages")
        .or_insert_with(|| toml::Value::Array(Vec::new()));
    packages
        .as_array_mut()
        .context("packages that are no list")?
        .push(name.into());
    Ok(fs::write(&path, toml::to_string(&file)?)?)
}

/// Another run brings all nodes to what they should be, and nothing half-written is left.
fn heals(rehearsal: &Rehearsal) -> Result<()> {
    rehearsal.report.stage("healed", |stage| {
        provision(rehearsal, &[], |_| Ok(()))?.succeeds()?;
        for node in &rehearsal.cluster.nodes {
            let left = rehearsal.operator.look(
                &node.name,
                &["sh", "-c", "sudo find / -xdev -name '.bramble-*' -print"],
            )?;
            ensure!(
                left.trim().is_empty(),
                "half-written files were left on {}: {left}",
                node.name
            );
        }
        stage.note("all nodes are as they should be");
        Ok(())
    })
}
