//! The smallest lab: a switch and the host's way onto it, no machines. It runs until this program ends.
//!
//! ```text
//! cargo run -p bramble-lab --example smallest_lab -- hold NAME
//! ```

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use bramble_lab::{Definition, Gateway, Lab, supervise};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        // The lab is owned by a process of its own, which is this program once more.
        ["supervise", dir] => supervise(Path::new(dir)),
        ["hold", name] => hold(name),
        _ => bail!("usage: smallest_lab hold NAME"),
    }
}

fn hold(name: &str) -> Result<()> {
    let own = std::env::current_exe()?
        .to_str()
        .context("a path that is UTF-8")?
        .to_owned();
    let logs = std::env::temp_dir().join(format!("{name}-logs"));
    let definition = Definition {
        logs,
        scratch: None,
        machines: Vec::new(),
        gateway: Some(Gateway {
            subnet: "192.168.1.0/24".to_owned(),
            address: [192, 168, 1, 254].into(),
            name_server: [192, 168, 1, 253].into(),
            forwards: Vec::new(),
        }),
    };
    let lab = Lab::launch(name, &definition, &[own, "supervise".to_owned()])?;
    println!("{}", lab.attached().name());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    lab.down()
}
