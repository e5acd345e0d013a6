//! `bramble init`: a first cluster file.

use std::fs::OpenOptions;
use std::io::{BufRead, IsTerminal, Write};
use std::net::Ipv4Addr;
use std::process::ExitCode;

use anyhow::Context as _;
use bramble_cluster::spec::Cluster;

use crate::context::Context;
use crate::failure::Usage;

/// Write a cluster file.
///
/// On a terminal it asks for what the flags leave open. Addresses are counted up from the first; managers come first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bramble init
  bramble init --nas 192.168.1.2 --first-ip 192.168.1.200 --mac dc:a6:32:00:00:01 --mac dc:a6:32:00:00:02")]
pub(crate) struct Args {
    /// What the cluster is called [default: bramble].
    #[arg(long)]
    name: Option<String>,

    /// The network of the Pis [default: 192.168.1.0/24].
    #[arg(long)]
    subnet: Option<String>,

    /// The address of an NFSv4 server with an export `pi-cluster` [default: none].
    #[arg(long, value_name = "ADDRESS")]
    nas: Option<String>,

    /// How many of the Pis are managers [default: 1].
    #[arg(long, value_name = "N")]
    managers: Option<usize>,

    /// The address of the first Pi.
    #[arg(long, value_name = "ADDRESS")]
    first_ip: Option<Ipv4Addr>,

    /// The hardware address of a Pi; give one for each.
    #[arg(long, value_name = "MAC")]
    mac: Vec<String>,
}

/// All that a first file says.
#[derive(Debug)]
struct Draft {
    name: String,
    subnet: String,
    nas: Option<String>,
    managers: usize,
    first_ip: Ipv4Addr,
    macs: Vec<String>,
}

pub(crate) fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    let path = &context.cluster;
    if path.exists() {
        let usage = Usage::new(format!("{} exists, and is left as it is", path.display()));
        return Err(usage.help("name another with --cluster FILE").into());
    }
    let complete = args.first_ip.is_some() && !args.mac.is_empty();
    let draft = if complete || !std::io::stdin().is_terminal() {
        from_flags(args)?
    } else {
        ask(args)?
    };
    let text = draft.to_toml();
    // What cannot be used is not written; the errors point into the text that was meant.
    Cluster::parse(&format!("{} (not written)", path.display()), &text)?;

    let failed = || format!("cannot write {}", path.display());
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .with_context(failed)?;
    file.write_all(text.as_bytes()).with_context(failed)?;
    println!(
        "Wrote {}. Next: `bramble check`, then `bramble keys`.",
        path.display()
    );
    Ok(ExitCode::SUCCESS)
}

fn from_flags(args: &Args) -> Result<Draft, Usage> {
    let missing = |flag: &str| {
        Usage::new(format!(
            "{flag} is missing, and there is no terminal to ask on"
        ))
        .help("bramble init --first-ip ADDRESS --mac MAC --mac MAC ...")
    };
    if args.mac.is_empty() {
        return Err(missing("--mac"));
    }
    Ok(Draft {
        name: args.name.clone().unwrap_or_else(|| "bramble".to_owned()),
        subnet: args
            .subnet
            .clone()
            .unwrap_or_else(|| "192.168.1.0/24".to_owned()),
        nas: args.nas.clone(),
        managers: args.managers.unwrap_or(1),
        first_ip: args.first_ip.ok_or_else(|| missing("--first-ip"))?,
        macs: args.mac.clone(),
    })
}

/// Asks for what the flags leave open.
fn ask(args: &Args) -> anyhow::Result<Draft> {
    let name = or_ask(&args.name, "Name of the cluster", "bramble")?;
    let subnet = or_ask(&args.subnet, "Subnet", "192.168.1.0/24")?;
    let nas = Some(or_ask(
        &args.nas,
        "Address of the NFS server, or nothing",
        "",
    )?)
    .filter(|nas| !nas.is_empty());
    let first_ip = match args.first_ip {
        Some(ip) => ip,
        None => {
            let text = question("Address of the first Pi", "192.168.1.200")?;
            text.parse()
                .map_err(|_| Usage::new(format!("\"{text}\" is not an IPv4 address")))?
        }
    };
    let mut macs = args.mac.clone();
    while args.mac.is_empty() {
        let mac = question(
            &format!(
                "MAC address of Pi {}, or nothing if that is all",
                macs.len() + 1
            ),
            "",
        )?;
        if mac.is_empty() {
            break;
        }
        macs.push(mac);
    }
    let managers = match args.managers {
        Some(n) => n,
        None => {
            let text = question("How many of them are managers", "1")?;
            text.parse()
                .map_err(|_| Usage::new(format!("\"{text}\" is not a number")))?
        }
    };
    Ok(Draft {
        name,
        subnet,
        nas,
        managers,
        first_ip,
        macs,
    })
}

fn or_ask(flag: &Option<String>, what: &str, default: &str) -> anyhow::Result<String> {
    flag.clone().map_or_else(|| question(what, default), Ok)
}

/// Asks on standard error, so that standard output stays clean, and returns the answer or the default.
fn question(what: &str, default: &str) -> anyhow::Result<String> {
    match default {
        "" => eprint!("{what}: "),
        default => eprint!("{what} [{default}]: "),
    }
    let mut answer = String::new();
    let length = std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("cannot read the answer")?;
    if length == 0 {
        return Err(Usage::new("the answers ended before the questions").into());
    }
    let answer = answer.trim();
    Ok(if answer.is_empty() { default } else { answer }.to_owned())
}

impl Draft {
    fn to_toml(&self) -> String {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let mut text = format!(
            "\
# A cluster of Raspberry Pis. `bramble check` says what it will be; `bramble schema` all that can stand here.
version = 1
name = {}

[network]
subnet = {}
",
            quoted(&self.name),
            quoted(&self.subnet)
        );
        if let Some(nas) = &self.nas {
            text += &format!("\n[nas]\nserver = {}\n", quoted(nas));
        }
        for (index, mac) in self.macs.iter().enumerate() {
            let (name, role) = if index < self.managers {
                (format!("manager{}", index + 1), "role = \"manager\"\n")
            } else {
                (format!("worker{}", index + 1 - self.managers), "")
            };
            let ip = Ipv4Addr::from(u32::from(self.first_ip).wrapping_add(index as u32));
            text += &format!(
                "\n[[nodes]]\nname = \"{name}\"\n{role}mac = {}\nip = \"{ip}\"\n",
                quoted(mac)
            );
        }
        text
    }
}
