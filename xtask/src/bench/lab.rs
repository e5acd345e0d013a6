//! What a lab's machines cost, and what more of them would.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use vm_tests::measure::{self, Boots, Clones};
use vm_tests::report::Report;
use vm_tests::runner::Options;

use crate::project;
use crate::vm_test::{self, Materials};

/// The number of nodes that is asked after without being tried.
const MANY: f64 = 64.0;

/// A lab's machines: clones by how many there are, and boots beside them in the same run
#[derive(clap::Args)]
pub(super) struct Args {
    /// How many nodes to clone, each in a lab of its own
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "N,..",
        default_value = "2,4,8,16"
    )]
    nodes: Vec<usize>,
    /// In the lab of so many, boot the nodes from their disks, too: one alone, and all at once
    #[arg(long, value_name = "N", default_value_t = 2)]
    boot: usize,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    materials: Materials,
}

/// All that was measured.
#[derive(Serialize)]
struct Measured {
    clones: Vec<Clones>,
    boots: Vec<Boots>,
    /// Why there is nothing about KVM.
    kvm: String,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let bench = vm_test::build(&args.materials, &[], 1, &Report::new("bench lab"))?;
    let options = Options {
        root: project::root(),
        directory: project::target_dir().join("bench-lab"),
        cluster: None,
        nodes: None,
        times: 1,
        warm: false,
        keep: false,
        pause_on_failure: false,
    };
    let mut measured = Measured {
        clones: Vec::new(),
        boots: Vec::new(),
        kvm: kvm(),
    };
    for &nodes in &args.nodes {
        let (clones, boots) = measure::measure(&bench, &options, nodes, nodes == args.boot)?;
        measured.clones.push(clones);
        measured.boots.extend(boots);
    }
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&measured)?),
        false => print!("{}", table(&measured)),
    }
    Ok(())
}

/// Machines are ARM64, and KVM runs only what the host is.
fn kvm() -> String {
    match (std::env::consts::ARCH, Path::new("/dev/kvm").exists()) {
        ("aarch64", true) => "not measured: machines are emulated here, too",
        ("aarch64", false) => "not measured: there is no /dev/kvm",
        _ => "not measured: this machine is no ARM64, so its KVM cannot run one",
    }
    .to_owned()
}

fn table(measured: &Measured) -> String {
    let mut text = String::from("nodes  first s  all s  s/node  memory MiB  MiB/node  CPU s\n");
    for clones in &measured.clones {
        let nodes = f64::from(u32::try_from(clones.nodes).unwrap_or(u32::MAX));
        text += &format!(
            "{:>5} {:>8.1} {:>6.1} {:>7.2} {:>11.0} {:>9.0} {:>6.0}\n",
            clones.nodes,
            clones.first,
            clones.all,
            clones.all / nodes,
            clones.memory,
            clones.memory / nodes,
            clones.cpu
        );
    }
    let through = |of: fn(&Clones) -> f64| {
        let points: Vec<(f64, f64)> = measured
            .clones
            .iter()
            .map(|clones| {
                (
                    f64::from(u32::try_from(clones.nodes).unwrap_or(u32::MAX)),
                    of(clones),
                )
            })
            .collect();
        measure::line(&points)
    };
    for (what, line) in [
        ("seconds until all answer", through(|clones| clones.all)),
        ("MiB of memory", through(|clones| clones.memory)),
        ("seconds of CPU time", through(|clones| clones.cpu)),
    ] {
        let Some((at_zero, slope)) = line else {
            continue;
        };
        text += &format!(
            "{what}: {at_zero:.1} + {slope:.2} a node; {MANY} nodes would take {:.0}\n",
            at_zero + slope * MANY
        );
    }
    for boots in &measured.boots {
        let clones = measured
            .clones
            .iter()
            .find(|clones| clones.nodes == boots.nodes);
        let ratio = clones.map_or(String::new(), |clones| {
            format!(": {:.1} times as long as clones", boots.all / clones.all)
        });
        text += &format!(
            "boot of {}: {:.1} s, {:.0} s of CPU time{ratio}\n",
            boots.nodes, boots.all, boots.cpu
        );
    }
    text + &format!("KVM: {}\n", measured.kvm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_come_with_the_line_through_them() {
        let clones = |nodes, all, memory| Clones {
            nodes,
            first: all / 2.0,
            all,
            memory,
            cpu: all * 1.5,
        };
        let measured = Measured {
            clones: vec![clones(2, 10.0, 700.0), clones(8, 25.0, 1900.0)],
            boots: vec![Boots {
                nodes: 2,
                all: 45.0,
                cpu: 80.0,
            }],
            kvm: "not measured".to_owned(),
        };
        insta::assert_snapshot!(table(&measured));
    }
}
