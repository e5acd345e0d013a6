//! A machine's life on each launcher: booted, saved, cloned, switched off and on. The machine has nothing to run, so
//! that this takes a second; what runs on machines is the scenarios' business. Containers take a Docker engine, so their
//! test is run where there is one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bramble_lab::template::overlay;
use bramble_lab::{Backend, Board, Definition, Fault, Lab, Machine, Start};
use bramble_store::Store;

#[test]
fn processes() -> Result<()> {
    live_through(Backend::Processes, "processes")
}

#[test]
#[ignore = "takes a Docker engine"]
fn containers() -> Result<()> {
    let store = Store::open()?;
    live_through(Backend::containers(&store)?, "containers")
}

fn live_through(backend: Backend, launcher: &str) -> Result<()> {
    let place = tempfile::tempdir()?;
    let name = format!("test-life-{launcher}-{}", std::process::id());
    let file = |name: &str| place.path().join("template").join(name);
    let (kernel, base, disk) = (file("kernel"), file("base"), file("disk.qcow2"));
    let (ram, state) = (file("ram"), file("state"));
    fs::create_dir(place.path().join("template"))?;
    fs::write(&kernel, [0; 4096])?;
    for (path, size) in [(&base, 1 << 20), (&ram, 64 << 20)] {
        File::create(path)?.set_len(size)?;
    }
    overlay(&base, "raw", &disk)?;
    let template = Machine {
        name: "template".to_owned(),
        board: Board::Virt,
        initramfs: kernel.clone(),
        kernel,
        device_tree: None,
        command_line: String::new(),
        disk: disk.clone(),
        memory: 64,
        cpus: 1,
        niceness: 0,
        start: Start::Boot { ram: ram.clone() },
    };
    let lab = launch(&name, place.path(), &backend, vec![template.clone()])?;
    until_it_says(place.path(), "template", "started")?;
    lab.attached().save("template", &state)?;
    lab.down()?;

    let clone = |name: &str, mac: &str| -> Result<Machine> {
        let scratch = place.path().join("scratch");
        let (identity, own) = (scratch.join(format!("{name}.identity")), scratch.join(name));
        fs::create_dir_all(&scratch)?;
        fs::write(&identity, [0; 512])?;
        overlay(&disk, "qcow2", &own)?;
        Ok(Machine {
            name: name.to_owned(),
            disk: own,
            niceness: 10,
            start: Start::Clone {
                ram: ram.clone(),
                state: state.clone(),
                identity,
                mac: mac.to_owned(),
            },
            ..template.clone()
        })
    };
    let machines = vec![
        clone("alice", "52:54:00:00:00:01")?,
        clone("bob", "52:54:00:00:00:02")?,
    ];
    let lab = launch(&name, place.path(), &backend, machines)?;
    for name in ["alice", "bob"] {
        until_it_says(place.path(), name, "resumed")?;
        lab.attached().inflict(name, &Fault::Frozen)?;
    }
    let usage = lab.attached().usage()?;
    assert!(usage.memory > 0 && usage.cpu > 0, "{usage:?}");

    // Switched on, it is no clone anymore, and starts from its disk.
    lab.attached().inflict("bob", &Fault::PowerCut)?;
    assert!(
        lab.attached().inflict("bob", &Fault::Frozen).is_err(),
        "it is off"
    );
    lab.attached().clear("bob")?;
    until_it_says(place.path(), "bob", "started")?;
    lab.attached().inflict("bob", &Fault::Frozen)?;
    lab.attached().clear("alice")?;
    lab.down()
}

fn launch(name: &str, place: &Path, backend: &Backend, machines: Vec<Machine>) -> Result<Lab> {
    let definition = Definition {
        logs: place.join("logs"),
        scratch: None,
        backend: backend.clone(),
        machines,
        gateway: None,
    };
    let program = example()?.display().to_string();
    Lab::launch(name, &definition, &[program, "supervise".to_owned()])
}

fn until_it_says(place: &Path, machine: &str, what: &str) -> Result<()> {
    let begin = Instant::now();
    let (machine, what) = (
        format!("\"machine\":\"{machine}\""),
        format!("\"event\":\"{what}\""),
    );
    loop {
        let events = fs::read_to_string(place.join("logs/events.jsonl"))?;
        if events
            .lines()
            .any(|line| line.contains(&machine) && line.contains(&what))
        {
            return Ok(());
        }
        if events.contains("\"gone\"") || begin.elapsed() > Duration::from_secs(300) {
            bail!("{machine} {what}: {events}");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The program that runs labs for tests, which is built along with them.
fn example() -> Result<PathBuf> {
    let tests = std::env::current_exe()?;
    let profile = tests
        .parent()
        .and_then(Path::parent)
        .context("target/debug")?;
    Ok(profile.join("examples/smallest_lab"))
}
