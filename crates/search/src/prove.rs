//! `prove`: whether an engine can get stuck at all.

use std::fmt::Write as _;

use bramble_kernel::{DeadEnd, Fill, Proof, Unprovable, prove};
use bramble_world::{Level, World};
use serde::Serialize;

use crate::cli::ProveArgs;
use crate::failure::Failure;
use crate::output;
use crate::report::thousands;
use crate::spec::{parse_world, read_world, unknown};

/// What is told to programs.
#[derive(Serialize)]
struct Verdict<'a> {
    level: &'a str,
    fill: &'a str,
    can_get_stuck: bool,
    /// How likely that is with fair draws.
    probability: f64,
    states: u64,
    counterexample: Option<Vec<Placing<'a>>>,
}

#[derive(Serialize)]
struct Placing<'a> {
    location: &'a str,
    item: &'a str,
}

pub(crate) fn main(args: &ProveArgs) -> Result<(), Failure> {
    let file = args.world.display().to_string();
    let world = parse_world(&file, &read_world(&args.world)?)?;
    let fill = Fill::from_name(&args.fill)
        .ok_or_else(|| unknown("fill", &args.fill, Fill::ALL.map(Fill::name)))?;
    let all: Vec<String> = world
        .levels
        .iter()
        .map(|level| level.name.clone())
        .collect();
    let mut verdicts = Vec::new();
    for name in if args.levels.is_empty() {
        &all
    } else {
        &args.levels
    } {
        let index = all.iter().position(|known| known == name);
        let index = index.ok_or_else(|| unknown("level", name, &all))?;
        let level = &world.levels[index];
        let proof = prove(&world, index, fill).map_err(|why| refuse(why, fill))?;
        if args.json {
            verdicts.push(verdict(&world, level, fill, &proof));
        } else {
            output::print(&text(&world, level, fill, &proof, &file))?;
        }
    }
    if args.json {
        let json = serde_json::to_string(&verdicts).map_err(anyhow::Error::from)?;
        output::print(&(json + "\n"))?;
    }
    Ok(())
}

fn refuse(why: Unprovable, fill: Fill) -> Failure {
    Failure::Usage(match why {
        Unprovable::NoSuchLevel => "the world has no such level".to_owned(),
        Unprovable::TooManyStates => "this world has too many states to visit them all".to_owned(),
        Unprovable::Engine => format!(
            "nothing can be proved about {}: only forward, guarded and ladder go from state to state. shuffle never gets stuck, \
             and whether assumed does depends on which items lie where",
            fill.name()
        ),
    })
}

fn verdict<'a>(world: &'a World, level: &'a Level, fill: Fill, proof: &Proof) -> Verdict<'a> {
    Verdict {
        level: &level.name,
        fill: fill.name(),
        can_get_stuck: proof.dead_end.is_some(),
        probability: proof.stuck,
        states: proof.states,
        counterexample: proof
            .dead_end
            .as_ref()
            .map(|end| placings(world, level, end)),
    }
}

fn placings<'a>(world: &'a World, level: &'a Level, end: &DeadEnd) -> Vec<Placing<'a>> {
    let placing = |&(location, item): &(usize, usize)| {
        Some(Placing {
            location: &world.locations.get(location)?.name,
            item: &level.pool.get(item)?.item,
        })
    };
    end.placed.iter().filter_map(placing).collect()
}

fn text(world: &World, level: &Level, fill: Fill, proof: &Proof, file: &str) -> String {
    let mut out = String::new();
    let (engine, states) = (fill.name(), thousands(proof.states));
    let Some(end) = &proof.dead_end else {
        return format!(
            "{}: {engine} never gets stuck\n  {states} states (powers held, items placed) can be reached, and in each there is an open location and an item for it.\n  \
             So every seed of every generator fills all locations, each of them reachable: none is dead.\n  \
             This holds for the model in {file}.\n\n",
            level.name
        );
    };
    let placed = placings(world, level, end);
    let held = world.powers.iter().enumerate();
    let held: Vec<&str> = held
        .filter(|(bit, _)| end.powers >> bit & 1 == 1)
        .map(|(_, power)| power.as_str())
        .collect();
    let why = match end.open {
        0 => "no location is open".to_owned(),
        open => format!("{open} location is open, and no item that is left may be placed there"),
    };
    let mut write = || -> std::fmt::Result {
        writeln!(out, "{}: {engine} can get stuck", level.name)?;
        writeln!(
            out,
            "  {states} states (powers held, items placed) can be reached. With fair draws {:.4} % of all fills get stuck.",
            100.0 * proof.stuck
        )?;
        writeln!(out, "  For example after")?;
        let width = placed
            .iter()
            .map(|placing| placing.location.chars().count())
            .max();
        let width = width.unwrap_or(0);
        for placing in &placed {
            writeln!(out, "    {:width$}  {}", placing.location, placing.item)?;
        }
        if placed.is_empty() {
            writeln!(out, "    nothing at all")?;
        }
        let held = match held.is_empty() {
            true => "no powers".to_owned(),
            false => held.join(", "),
        };
        writeln!(out, "  with {held}: {why}.")?;
        writeln!(out, "  This holds for the model in {file}.\n")
    };
    write().unwrap_or_default();
    out
}
