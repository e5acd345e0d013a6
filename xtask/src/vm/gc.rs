//! `cargo xtask vm gc`: what is left of labs that were killed together with their supervisors.

use anyhow::Result;
use bramble_lab::{Remains, remains};

/// Remove what labs have left that were killed
///
/// A lab that ends, in whatever way, takes everything of its own along. When its supervisor is killed as well, its
/// machines still end, but sockets and disks stay, and perhaps a container that was still being made. The next lab
/// removes directories by itself; this removes all of it, by the run's id. Labs that run are left alone.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask vm gc --dry-run\n  cargo xtask vm gc")]
pub(super) struct Args {
    /// Only show it
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let found = remains()?;
    if found.is_empty() {
        println!("nothing is left of any lab");
    }
    for left in &found {
        print!("{}", shown(left));
        if !args.dry_run {
            left.clear_away()?;
        }
    }
    if args.dry_run && !found.is_empty() {
        println!("nothing was removed; without --dry-run it is");
    }
    Ok(())
}

fn shown(left: &Remains) -> String {
    let processes = left.processes.iter().map(|(id, line)| {
        let program = line.split(' ').next().unwrap_or_default();
        format!("process {id} {program}")
    });
    let containers = left.containers.iter().map(|(id, machine)| {
        let short: String = id.chars().take(12).collect();
        format!("container {short} {machine}")
    });
    let directories = left
        .directories
        .iter()
        .map(|path| path.display().to_string());
    let all = processes.chain(containers).chain(directories);
    let lines: Vec<String> = all.map(|what| format!("{}: {what}\n", left.lab)).collect();
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_named() {
        let left = Remains {
            lab: "eight-pi".to_owned(),
            processes: vec![(4711, "qemu-system-aarch64 -nodefaults".to_owned())],
            containers: vec![("0123456789abcdef".to_owned(), "worker3".to_owned())],
            directories: vec!["/run/user/1000/bramble-lab/eight-pi".into()],
        };
        insta::assert_snapshot!(shown(&left));
    }
}
