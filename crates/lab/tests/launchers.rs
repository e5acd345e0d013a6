//! A machine's life on each launcher: booted, saved, cloned, switched off and on, saved with its whole lab and restored. The machine has nothing to run, so
//! that this takes a second; what runs on machines is the scenarios' business. Containers take a Docker engine, so their
//! test is run where there is one.

use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bramble_lab::checkpoint::Checkpoint;
use bramble_lab::template::overlay;
use bramble_lab::{Backend, Board, Definition, Fault, Lab, Machine, Start, State, Waiting};
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
    fs::create_dir(place.path().join("scratch"))?;
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
    let mut lab = launch(&name, place.path(), &backend, machines)?;
    let carol = Waiting::online(["alice", "carol"], Duration::from_secs(300));
    let refused = lab.wait(&carol, |_| {}).expect_err("there is no carol");
    assert_eq!(
        refused.to_string(),
        "there is no machine carol, only alice, bob"
    );
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

    // One goes on from its template, with what was plugged in, and the other has booted.
    let saved = place.path().join("saved");
    let refused = lab
        .attached()
        .checkpoint(&saved)
        .expect_err("bob is frozen");
    assert!(
        refused.to_string().contains("bob suffers (frozen)"),
        "{refused}"
    );
    lab.attached().clear("bob")?;
    lab.attached().checkpoint(&saved)?;
    let refused = lab.attached().checkpoint(&saved).expect_err("it is there");
    assert!(
        refused.to_string().contains("is there already"),
        "{refused}"
    );
    lab.attached().inflict("alice", &Fault::PowerCut)?;
    lab.down()?;
    assert!(!place.path().join("scratch").exists());

    let checkpoint = Checkpoint::open(&saved)?;
    assert_eq!(
        (checkpoint.lab(), checkpoint.saved().machines.len()),
        (&*name, 2)
    );
    // As often as one likes, and what goes on from there can be saved, too.
    for again in ["first", "second"] {
        let lab = checkpoint.restore(&name, place.path(), &supervisor()?)?;
        let machines = lab.watch().machines();
        assert_eq!(machines.len(), 2);
        assert!(
            machines.values().all(|it| it.state == State::Online),
            "{machines:?}"
        );
        let refused = checkpoint.restore(&name, place.path(), &supervisor()?);
        assert!(refused.is_err_and(|it| it.to_string().contains("is running")));
        let refused = checkpoint.restore(&format!("{name}-too"), place.path(), &supervisor()?);
        assert!(refused.is_err_and(|it| it.to_string().contains("is in use by the lab")));
        assert!(place.path().join("logs/events.jsonl").exists());
        let saved = place.path().join(again);
        lab.attached().checkpoint(&saved)?;
        lab.down()?;
        let lab = Checkpoint::open(&saved)?.restore(&name, place.path(), &supervisor()?)?;
        lab.down()?;
    }
    Ok(())
}

fn launch(name: &str, place: &Path, backend: &Backend, machines: Vec<Machine>) -> Result<Lab> {
    let definition = Definition {
        logs: place.join("logs"),
        scratch: Some(place.join("scratch")),
        backend: backend.clone(),
        machines,
        gateway: None,
    };
    Lab::launch(name, &definition, &supervisor()?)
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

/// What runs labs for tests: a program that is built along with them.
fn supervisor() -> Result<[String; 2]> {
    let tests = std::env::current_exe()?;
    let profile = tests
        .parent()
        .and_then(Path::parent)
        .context("target/debug")?;
    let program = profile.join("examples/smallest_lab").display().to_string();
    Ok([program, "supervise".to_owned()])
}
