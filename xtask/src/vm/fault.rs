//! `cargo xtask vm fault`: makes the machines of a running lab suffer.

use std::time::Duration;

use anyhow::{Result, bail};
use bramble_lab::{Affliction, Attached, Direction, Fault, Impairment, Rate, Share};
use clap::ArgGroup;

/// Have something befall a machine or its link, or clear it; alone, show what is in force
///
/// What befalls a machine lasts until it is cleared, or as long as is said. A later fault of a kind takes the place of
/// an earlier one.
#[derive(clap::Args)]
#[command(
    group = ArgGroup::new("link").multiple(true).args(["latency", "jitter", "loss", "corrupt", "duplicate", "rate"]),
    group = ArgGroup::new("other").multiple(true).args([
        "cut", "cut_from", "unplug", "power_cut", "freeze", "clock", "disk_full", "disk_read_only", "disk_slow",
    ]),
    after_help = "\
Examples:
  cargo xtask vm fault worker3 --cut 60s
  cargo xtask vm fault worker3 --latency 100ms --jitter 20ms --loss 5% --rate 10mbit
  cargo xtask vm fault worker3 --loss 30% --direction to --for 5m
  cargo xtask vm fault worker3 --cut-from manager1
  cargo xtask vm fault worker3 --power-cut 30s
  cargo xtask vm fault worker3 --freeze 10s
  cargo xtask vm fault worker3 --clock=-1h
  cargo xtask vm fault household --disk-slow 200000
  cargo xtask vm fault worker3 --clear
  cargo xtask vm fault worker3 --clear link
  cargo xtask vm fault

`household` is router and NAS; `gateway` is this machine's way onto the network."
)]
pub(super) struct Args {
    /// The machine
    machine: Option<String>,

    /// Nothing gets through its link, though it sees one
    #[arg(long, value_name = "TIME", num_args = 0..=1, conflicts_with = "link")]
    cut: Option<Option<humantime::Duration>>,
    /// It and this other machine do not hear each other
    #[arg(long, value_name = "MACHINE")]
    cut_from: Option<String>,
    /// Its cable is pulled: it sees no link
    #[arg(long, value_name = "TIME", num_args = 0..=1)]
    unplug: Option<Option<humantime::Duration>>,

    /// Frames are under way for so long
    #[arg(long, value_name = "TIME")]
    latency: Option<humantime::Duration>,
    /// ... give or take so much
    #[arg(long, value_name = "TIME")]
    jitter: Option<humantime::Duration>,
    /// So many frames do not arrive
    #[arg(long, value_name = "PERCENT")]
    loss: Option<Share>,
    /// A bit of so many frames is flipped
    #[arg(long, value_name = "PERCENT")]
    corrupt: Option<Share>,
    /// So many frames arrive twice
    #[arg(long, value_name = "PERCENT")]
    duplicate: Option<Share>,
    /// Frames are sent no faster, such as 10mbit or 256kbit
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,
    /// Which frames: those to the machine, those from it, or both
    #[arg(long, value_name = "WHICH", default_value = "both")]
    direction: Direction,
    /// What chance is drawn from: the same frames suffer the same
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Its power is cut; cleared, or after TIME, it boots from its disk
    #[arg(long, value_name = "TIME", num_args = 0..=1)]
    power_cut: Option<Option<humantime::Duration>>,
    /// Switch on a machine that has switched itself off
    #[arg(long, conflicts_with_all = ["link", "other", "clear"])]
    power_on: bool,
    /// It stands still
    #[arg(long, value_name = "TIME", num_args = 0..=1)]
    freeze: Option<Option<humantime::Duration>>,
    /// Its clock jumps ahead, or back with a minus
    #[arg(long, value_name = "[-]TIME", allow_hyphen_values = true, value_parser = jump)]
    clock: Option<i64>,
    /// Its root file system is full
    #[arg(long, value_name = "TIME", num_args = 0..=1)]
    disk_full: Option<Option<humantime::Duration>>,
    /// Its root file system cannot be written to
    #[arg(long, value_name = "TIME", num_args = 0..=1)]
    disk_read_only: Option<Option<humantime::Duration>>,
    /// Its disk reads and writes no more in a second
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    disk_slow: Option<u64>,

    /// Clear all that has befallen it, or what is of one kind
    #[arg(long, value_name = "KIND", num_args = 0..=1, conflicts_with_all = ["link", "other"])]
    clear: Option<Option<Kind>>,
    /// Clear what has no time of its own after this one
    #[arg(long = "for", value_name = "TIME")]
    lasting: Option<humantime::Duration>,
    /// Show what is in force as JSON
    #[arg(long)]
    json: bool,
}

/// What can be cleared by itself; called as what inflicts it.
#[derive(Debug, Clone, Copy, PartialEq, clap::ValueEnum)]
enum Kind {
    Link,
    CutFrom,
    Unplug,
    PowerCut,
    Freeze,
    Clock,
    DiskFull,
    DiskReadOnly,
    DiskSlow,
}

impl Kind {
    fn of(fault: &Fault) -> Kind {
        match fault {
            Fault::Link { .. } => Kind::Link,
            Fault::Apart { .. } => Kind::CutFrom,
            Fault::Unplugged => Kind::Unplug,
            Fault::PowerCut => Kind::PowerCut,
            Fault::Frozen => Kind::Freeze,
            Fault::ClockJump { .. } => Kind::Clock,
            Fault::DiskFull => Kind::DiskFull,
            Fault::DiskReadOnly => Kind::DiskReadOnly,
            Fault::DiskSlow { .. } => Kind::DiskSlow,
        }
    }
}

/// Seconds from a text such as `90s` or `-1h`.
fn jump(text: &str) -> Result<i64, String> {
    let (sign, time) = match text.strip_prefix('-') {
        Some(time) => (-1, time),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let time = humantime::parse_duration(time).map_err(|error| error.to_string())?;
    i64::try_from(time.as_secs())
        .map(|seconds| sign * seconds)
        .map_err(|_| "too far".to_owned())
}

pub(super) fn run(lab: &Attached, args: &Args) -> Result<()> {
    let Some(machine) = &args.machine else {
        return show(&lab.afflictions()?, args.json);
    };
    if let Some(kind) = args.clear {
        clear(lab, machine, kind)?;
    } else if args.power_on {
        lab.power_on(machine)?;
    }
    for (fault, lasting) in faults(args) {
        match lasting {
            Some(lasting) => lab.inflict_for(machine, &fault, lasting)?,
            None => lab.inflict(machine, &fault)?,
        }
    }
    let mut in_force = lab.afflictions()?;
    in_force.retain(|affliction| affliction.machine == *machine);
    show(&in_force, args.json)
}

/// Clears all that has befallen a machine, or what is of that kind.
fn clear(lab: &Attached, machine: &str, kind: Option<Kind>) -> Result<()> {
    let Some(kind) = kind else {
        return lab.clear(machine);
    };
    let mut in_force = lab.afflictions()?;
    in_force.retain(|own| own.machine == machine && Kind::of(&own.fault) == kind);
    if in_force.is_empty() {
        if !lab.machines()?.iter().any(|own| own == machine) {
            // Which says what machines there are.
            lab.clear(machine)?;
        }
        let kind = clap::ValueEnum::to_possible_value(&kind);
        let kind = kind.as_ref().map_or("", |kind| kind.get_name());
        bail!("nothing of the kind `{kind}` has befallen {machine}");
    }
    for affliction in &in_force {
        lab.clear_one(machine, &affliction.fault)?;
    }
    Ok(())
}

/// What was asked for, and how long it is to last.
fn faults(args: &Args) -> Vec<(Fault, Option<Duration>)> {
    let lasting = args.lasting.map(Duration::from);
    let mut faults = Vec::new();
    let timed = [
        (Fault::cut(), args.cut),
        (Fault::Unplugged, args.unplug),
        (Fault::PowerCut, args.power_cut),
        (Fault::Frozen, args.freeze),
        (Fault::DiskFull, args.disk_full),
        (Fault::DiskReadOnly, args.disk_read_only),
    ];
    for (fault, asked) in timed {
        if let Some(time) = asked {
            faults.push((
                directed(fault, args.direction),
                time.map(Duration::from).or(lasting),
            ));
        }
    }
    let untimed = [
        link(args),
        args.cut_from.clone().map(|from| Fault::Apart { from }),
        args.clock.map(|seconds| Fault::ClockJump { seconds }),
        args.disk_slow
            .map(|bytes_per_second| Fault::DiskSlow { bytes_per_second }),
    ];
    faults.extend(untimed.into_iter().flatten().map(|fault| (fault, lasting)));
    // Nothing can be typed at a machine that stands still or is off.
    faults.sort_by_key(|(fault, _)| matches!(fault, Fault::Frozen | Fault::PowerCut));
    faults
}

fn directed(fault: Fault, direction: Direction) -> Fault {
    match fault {
        Fault::Link { impairment, .. } => Fault::Link {
            direction,
            impairment,
        },
        other => other,
    }
}

fn link(args: &Args) -> Option<Fault> {
    let impairment = Impairment {
        cut: false,
        latency: args.latency.map(Duration::from).unwrap_or_default(),
        jitter: args.jitter.map(Duration::from).unwrap_or_default(),
        loss: args.loss.unwrap_or_default(),
        corruption: args.corrupt.unwrap_or_default(),
        duplication: args.duplicate.unwrap_or_default(),
        rate: args.rate,
        seed: args.seed,
    };
    let clean = Impairment {
        seed: args.seed,
        ..Impairment::default()
    };
    (impairment != clean).then_some(Fault::Link {
        direction: args.direction,
        impairment,
    })
}

fn show(afflictions: &[Affliction], json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(afflictions)?);
        return Ok(());
    }
    if afflictions.is_empty() {
        println!("nothing is in force");
    }
    for Affliction {
        machine,
        fault,
        lasting,
    } in afflictions
    {
        let lasting = lasting.map_or(String::new(), |time| {
            format!(", for {} in all", humantime::format_duration(time))
        });
        println!("{machine}: {fault}{lasting}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn asked(line: &str) -> Result<Vec<String>, clap::Error> {
        let words = ["fault", "worker3"].into_iter().chain(line.split(' '));
        let command = Command::try_parse_from(words)?;
        let shown = faults(&command.args)
            .into_iter()
            .map(|(fault, lasting)| match lasting {
                Some(lasting) => format!("{fault} for {lasting:?}"),
                None => fault.to_string(),
            });
        Ok(shown.collect())
    }

    #[test]
    fn flags_are_faults() {
        let table: [(&str, &[&str]); 11] = [
            ("--cut 60s", &["link: cut for 60s"]),
            ("--cut --direction to", &["link, to only: cut"]),
            (
                "--latency 100ms --jitter 20ms --loss 5% --rate 10mbit",
                &["link: latency 100ms, jitter 20ms, loss 5%, rate 10mbit"],
            ),
            (
                "--corrupt 1% --duplicate 2% --for 1m",
                &["link: corruption 1%, duplication 2% for 60s"],
            ),
            ("--cut-from manager1", &["apart from manager1"]),
            ("--power-cut", &["power cut"]),
            (
                "--freeze 10s --clock=-1h",
                &["clock -3600 s", "frozen for 10s"],
            ),
            (
                "--unplug --disk-full 5s --for 20s",
                &["unplugged for 20s", "disk full for 5s"],
            ),
            (
                "--disk-read-only --disk-slow 4096",
                &["disk read-only", "disk at 4096 bytes/s"],
            ),
            ("--clear", &[]),
            ("--clear link", &[]),
        ];
        for (line, expected) in table {
            assert_eq!(asked(line).expect(line), expected, "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (line, why) in [
            ("--loss 5", "a share is"),
            ("--loss 120%", "a share is"),
            ("--rate 10mb", "a rate is"),
            ("--cut soon", "soon"),
            ("--clock yesterday", "yesterday"),
            ("--cut --latency 5ms", "cannot be used with"),
            ("--clear --freeze", "cannot be used with"),
            ("--clear frost", "disk-read-only"),
            ("--direction up", "a direction is"),
        ] {
            let error = asked(line).expect_err(line).to_string();
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
