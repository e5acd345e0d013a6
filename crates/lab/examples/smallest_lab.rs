//! The smallest lab: a switch, the host's way onto it, and one machine with nothing to run. It runs until this
//! program ends.
//!
//! ```text
//! cargo run -p bramble-lab --example smallest_lab -- hold NAME [containers]
//! ```

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use bramble_lab::template::overlay;
use bramble_lab::{Backend, Board, Definition, Fault, Gateway, Lab, Machine, Start, supervise};
use bramble_store::Store;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        // The lab is owned by a process of its own, which is this program once more.
        ["supervise", dir] => supervise(Path::new(dir)),
        ["hold", name] => hold(name, Backend::Processes),
        ["hold", name, "containers"] => hold(name, Backend::containers(&Store::open()?)?),
        _ => bail!("usage: smallest_lab hold NAME [containers]"),
    }
}

fn hold(name: &str, backend: Backend) -> Result<()> {
    let own = std::env::current_exe()?
        .to_str()
        .context("a path that is UTF-8")?
        .to_owned();
    let place = std::env::temp_dir().join(name);
    let scratch = place.join("scratch");
    fs::create_dir_all(&scratch)?;
    let definition = Definition {
        logs: place.join("logs"),
        machines: vec![blank(&scratch)?],
        scratch: Some(scratch),
        backend,
        gateway: Some(Gateway {
            subnet: "192.168.1.0/24".to_owned(),
            address: [192, 168, 1, 254].into(),
            name_server: [192, 168, 1, 253].into(),
            forwards: Vec::new(),
        }),
    };
    let lab = Lab::launch(name, &definition, &[own, "supervise".to_owned()])?;
    // Once it stands still, its QEMU has answered, and it costs nothing.
    lab.attached().inflict("blank", &Fault::Frozen)?;
    println!("{}", lab.attached().name());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    lab.down()
}

/// A machine whose kernel is no kernel.
fn blank(scratch: &Path) -> Result<Machine> {
    let (kernel, base, disk) = (
        scratch.join("kernel"),
        scratch.join("base"),
        scratch.join("disk.qcow2"),
    );
    fs::write(&kernel, [0; 4096])?;
    File::create(&base)?.set_len(1 << 20)?;
    overlay(&base, "raw", &disk)?;
    Ok(Machine {
        name: "blank".to_owned(),
        board: Board::Virt,
        initramfs: kernel.clone(),
        kernel,
        device_tree: None,
        command_line: String::new(),
        disk,
        memory: 64,
        cpus: 1,
        niceness: 0,
        start: Start::Cold {
            mac: "52:54:00:00:00:01".to_owned(),
        },
    })
}
