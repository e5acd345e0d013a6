//! `explain`: one seed in full.

use std::fmt::Write as _;

use bramble_kernel::{Arrangement, Verdict};
use bramble_world::{UNFILLED, World};
use serde::Serialize;

use crate::cli::ExplainArgs;
use crate::failure::Failure;
use crate::output;
use crate::spec::{Spec, read_world};

/// One seed as it is told to programs.
#[derive(Serialize)]
pub(crate) struct Explanation<'a> {
    pub(crate) verdict: &'static str,
    pub(crate) reason: Option<&'static str>,
    pub(crate) spheres: u8,
    pub(crate) placed: usize,
    pub(crate) placement: Vec<Place<'a>>,
}

#[derive(Serialize)]
pub(crate) struct Place<'a> {
    pub(crate) location: &'a str,
    pub(crate) item: Option<&'a str>,
    pub(crate) sphere: Option<u8>,
    #[serde(skip)]
    pub(crate) grants: Vec<&'a str>,
}

pub(crate) fn main(args: &ExplainArgs) -> Result<(), Failure> {
    let spec = Spec {
        world: read_world(&args.question.world)?,
        world_file: args.question.world.display().to_string(),
        fill: args.question.fill.clone(),
        rng: args.question.rng.clone(),
        goal: args.question.goal.clone(),
        levels: vec![args.level.clone()],
        start: args.seed,
        len: 1,
        filter: None,
    };
    let compiled = spec.compile()?;
    for (level, program) in &compiled.levels {
        let explanation = Explanation::new(&compiled.world, *level, &program.arrange(args.seed));
        let told = match args.json {
            true => serde_json::to_string(&explanation).map_err(anyhow::Error::from)? + "\n",
            false => explanation.text(&spec),
        };
        output::print(&told)?;
    }
    Ok(())
}

impl<'a> Explanation<'a> {
    pub(crate) fn new(world: &'a World, level: usize, found: &Arrangement) -> Self {
        let (verdict, reason) = match found.verdict {
            Verdict::Completable => ("completable", None),
            Verdict::Stuck => ("dead", Some("stuck")),
            Verdict::Unreachable => ("dead", Some("unreachable")),
        };
        let pool = world.levels.get(level).map_or(&[][..], |level| &level.pool);
        let held = found.items.iter().zip(&found.sphere);
        let place = |(location, (&item, &sphere)): (&'a bramble_world::Location, (&u8, &u8))| {
            let entry = Some(item)
                .filter(|&item| item != UNFILLED)
                .and_then(|item| pool.get(usize::from(item)));
            let powers = world.powers.iter().enumerate();
            let granted =
                powers.filter(|(bit, _)| entry.is_some_and(|entry| entry.grants >> bit & 1 == 1));
            Place {
                location: &location.name,
                item: entry.map(|entry| entry.item.as_str()),
                sphere: Some(sphere).filter(|&sphere| sphere > 0),
                grants: granted.map(|(_, power)| power.as_str()).collect(),
            }
        };
        let placement: Vec<Place<'a>> = world.locations.iter().zip(held).map(place).collect();
        let placed = placement
            .iter()
            .filter(|place| place.item.is_some())
            .count();
        Explanation {
            verdict,
            reason,
            spheres: found.spheres,
            placed,
            placement,
        }
    }

    fn text(&self, spec: &Spec) -> String {
        let mut out = String::new();
        let reason = self
            .reason
            .map(|reason| format!(" ({reason})"))
            .unwrap_or_default();
        let places = self.placement.len();
        let head = format!(
            "seed {}: {}{reason}, {} spheres, {} of {places} placed",
            spec.start, self.verdict, self.spheres, self.placed
        );
        writeln!(out, "{head}").unwrap_or_default();
        for sphere in (1..=self.spheres).map(Some).chain([None]) {
            let places: Vec<&Place<'_>> = self
                .placement
                .iter()
                .filter(|place| place.sphere == sphere)
                .collect();
            if places.is_empty() {
                continue;
            }
            let title = sphere.map_or("never collected".to_owned(), |sphere| {
                format!("sphere {sphere}")
            });
            writeln!(out, "\n{title}").unwrap_or_default();
            let width = places
                .iter()
                .map(|place| place.location.chars().count())
                .max()
                .unwrap_or(0);
            for place in places {
                let grants = if place.grants.is_empty() {
                    String::new()
                } else {
                    format!("  + {}", place.grants.join(", "))
                };
                writeln!(
                    out,
                    "  {:width$}  {}{grants}",
                    place.location,
                    place.item.unwrap_or("-")
                )
                .unwrap_or_default();
            }
        }
        out + &format!(
            "\nThis holds for the model in {} with engine {}, rng {} and goal {}.\n",
            spec.world_file, spec.fill, spec.rng, spec.goal
        )
    }
}
