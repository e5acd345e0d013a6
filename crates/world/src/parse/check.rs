//! From the file as written to a [`World`], or to all that is wrong with it.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;

use super::Problem;
use super::wire::{self, Name};
use crate::{ALL_LOCATIONS, Goal, Level, Location, MAX_LOCATIONS, MAX_POWERS, PoolEntry, World};

/// Beyond these a reader learns nothing more.
const MAX_PROBLEMS: usize = 20;

pub(super) fn world(file: wire::File) -> Result<World, Vec<Problem>> {
    let mut problems = Vec::new();
    let world = Checker::new(&file, &mut problems).world(&file);
    problems.truncate(MAX_PROBLEMS);
    if problems.is_empty() {
        Ok(world)
    } else {
        Err(problems)
    }
}

/// The names of a file, each with its position.
struct Checker<'a> {
    problems: &'a mut Vec<Problem>,
    powers: BTreeMap<&'a str, usize>,
    levels: BTreeMap<&'a str, usize>,
    locations: BTreeMap<&'a str, usize>,
    items: BTreeMap<&'a str, usize>,
}

impl<'a> Checker<'a> {
    fn new(file: &'a wire::File, problems: &'a mut Vec<Problem>) -> Self {
        Checker {
            powers: index("power", &file.powers, problems),
            levels: index("level", file.levels.get_ref(), problems),
            locations: index(
                "location",
                file.locations.iter().map(|location| &location.name),
                problems,
            ),
            items: index("item", file.items.iter().map(|item| &item.name), problems),
            problems,
        }
    }

    fn world(mut self, file: &wire::File) -> World {
        self.limits(file);
        let requires = self.requires(file);
        let pools = self.pools(file);
        let levels: Vec<Level> = file
            .levels
            .get_ref()
            .iter()
            .zip(requires.into_iter().zip(pools))
            .map(|(name, (requires, pool))| Level {
                name: name.get_ref().clone(),
                requires,
                pool,
            })
            .collect();
        if self.problems.is_empty() {
            self.can_open(file, &levels);
        }
        let location = |location: &wire::Location| Location {
            name: location.name.get_ref().clone(),
            area: location.area.clone(),
        };
        World {
            name: file.name.clone(),
            powers: file
                .powers
                .iter()
                .map(|power| power.get_ref().clone())
                .collect(),
            levels,
            locations: file.locations.iter().map(location).collect(),
            goals: self.goals(file),
        }
    }

    fn limits(&mut self, file: &wire::File) {
        if *file.version.get_ref() != 1 {
            let message = format!("version {} is not known", file.version.get_ref());
            self.report(file.version.span(), message, "this program reads version 1");
        }
        if let Some(power) = file.powers.get(MAX_POWERS) {
            self.report(
                power.span(),
                format!("more than {MAX_POWERS} powers"),
                "this is the first too many",
            );
        }
        if let Some(location) = file.locations.get(MAX_LOCATIONS) {
            self.report(
                location.name.span(),
                format!("more than {MAX_LOCATIONS} locations"),
                "this is the first too many",
            );
        }
        if let Some(level) = file.levels.get_ref().get(256) {
            self.report(
                level.span(),
                "more than 256 levels",
                "this is the first too many",
            );
        }
        if file.levels.get_ref().is_empty() {
            self.report(
                file.levels.span(),
                "no levels",
                "name at least one: levels = [\"normal\"]",
            );
        }
        if file.locations.is_empty() {
            self.report(
                file.pools.span(),
                "no locations",
                "a world needs at least one [[locations]]",
            );
        }
        let mut ids = BTreeMap::new();
        for location in &file.locations {
            if ids.insert(location.id.get_ref(), ()).is_some() {
                let message = format!("id {} is given to two locations", location.id.get_ref());
                self.report(location.id.span(), message, "ids are unique");
            }
        }
    }

    /// Per level, per location: the alternatives.
    fn requires(&mut self, file: &wire::File) -> Vec<Vec<Vec<u64>>> {
        let levels = file.levels.get_ref();
        let mut by_level = vec![Vec::new(); levels.len()];
        for location in &file.locations {
            let written = location.requires.get_ref();
            for name in written.keys() {
                self.known(name, "level", |names| &names.levels);
            }
            let mut alternatives: Option<Vec<u64>> = None;
            for (level, by_location) in levels.iter().zip(&mut by_level) {
                if let Some(lists) = written.get(level.get_ref().as_str()) {
                    let masks = lists
                        .get_ref()
                        .iter()
                        .map(|names| self.mask(names))
                        .collect();
                    alternatives = Some(without_supersets(masks));
                }
                if alternatives.is_none() {
                    let message = format!(
                        "location {:?} has no requirements at level {:?}",
                        location.name.get_ref(),
                        level.get_ref()
                    );
                    self.report(
                        location.requires.span(),
                        message,
                        "the first level cannot be left out; [[]] is always open",
                    );
                    alternatives = Some(vec![0]);
                }
                by_location.extend(alternatives.clone());
            }
        }
        by_level
    }

    fn pools(&mut self, file: &wire::File) -> Vec<Vec<PoolEntry>> {
        let pools = file.pools.get_ref();
        for name in pools.keys() {
            self.known(name, "level", |names| &names.levels);
        }
        let mut by_level = Vec::new();
        for level in file.levels.get_ref() {
            let Some(written) = pools.get(level.get_ref().as_str()) else {
                self.report(
                    level.span(),
                    format!("level {:?} has no pool", level.get_ref()),
                    "add it under [pools]",
                );
                by_level.push(Vec::new());
                continue;
            };
            let pool = self.pool(written.get_ref());
            if pool.len() != file.locations.len() {
                let message = format!(
                    "the pool of level {:?} has size {}, the world has {} locations",
                    level.get_ref(),
                    pool.len(),
                    file.locations.len()
                );
                self.report(
                    written.span(),
                    message,
                    "there must be as many items as locations",
                );
            }
            by_level.push(pool);
        }
        by_level
    }

    fn pool(&mut self, entries: &[wire::Entry]) -> Vec<PoolEntry> {
        let mut pool = Vec::new();
        for entry in entries {
            self.known(&entry.item, "item", |names| &names.items);
            let grants = self.mask(&entry.grants);
            let count = entry
                .count
                .as_ref()
                .map_or(1, |count| *count.get_ref() as usize);
            if let Some(written) = entry
                .count
                .as_ref()
                .filter(|_| count == 0 || count > MAX_LOCATIONS)
            {
                self.report(
                    written.span(),
                    format!("count = {count} is not from 1 to {MAX_LOCATIONS}"),
                    "leave the entry out if there is none",
                );
            }
            let item = PoolEntry {
                item: entry.item.get_ref().clone(),
                grants,
            };
            pool.extend(std::iter::repeat_n(item, count.min(MAX_LOCATIONS)));
        }
        pool
    }

    /// With every item in hand each location must be open, or no placement could ever be completed.
    fn can_open(&mut self, file: &wire::File, levels: &[Level]) {
        for level in levels {
            let all = level.pool.iter().fold(0, |all, entry| all | entry.grants);
            for (location, alternatives) in file.locations.iter().zip(&level.requires) {
                if alternatives.iter().any(|needed| needed & !all == 0) {
                    continue;
                }
                let message = format!(
                    "nobody can ever open {:?} at level {:?}",
                    location.name.get_ref(),
                    level.name
                );
                let missing = alternatives
                    .iter()
                    .map(|needed| needed & !all)
                    .min_by_key(|missing| missing.count_ones());
                let help = match missing {
                    Some(missing) => format!(
                        "no item of the pool grants {}",
                        names_of(missing, &file.powers)
                    ),
                    None => "it has no alternatives; [[]] is always open".to_owned(),
                };
                let requires = location.requires.get_ref();
                let span = requires
                    .get(level.name.as_str())
                    .map_or(location.requires.span(), Spanned::span);
                self.report(span, message, help);
            }
        }
    }

    fn goals(&mut self, file: &wire::File) -> Vec<Goal> {
        index(
            "goal",
            file.goals.iter().map(|goal| &goal.name),
            self.problems,
        );
        let mut goals = Vec::new();
        for goal in &file.goals {
            if goal.name.get_ref() == ALL_LOCATIONS {
                self.report(
                    goal.name.span(),
                    format!("goal {ALL_LOCATIONS:?} is built in"),
                    "choose another name",
                );
            }
            if goal.locations.is_empty() && goal.powers.is_empty() {
                let message = format!("goal {:?} asks for nothing", goal.name.get_ref());
                self.report(
                    goal.name.span(),
                    message,
                    "give it locations, powers or both",
                );
            }
            let locations = goal
                .locations
                .iter()
                .filter_map(|name| self.known(name, "location", |names| &names.locations));
            goals.push(Goal {
                name: goal.name.get_ref().clone(),
                locations: locations.collect(),
                powers: self.mask(&goal.powers),
            });
        }
        goals
    }

    fn mask(&mut self, names: &[Name]) -> u64 {
        let bits = names
            .iter()
            .filter_map(|name| self.known(name, "power", |names| &names.powers));
        // Bits that do not fit are reported by `limits`.
        bits.filter(|&bit| bit < MAX_POWERS)
            .fold(0, |mask, bit| mask | 1 << bit)
    }

    fn known(
        &mut self,
        name: &Name,
        what: &str,
        of: impl Fn(&Self) -> &BTreeMap<&'a str, usize>,
    ) -> Option<usize> {
        let position = of(self).get(name.get_ref().as_str()).copied();
        if position.is_none() {
            let help = match closest(name.get_ref(), of(self).keys()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("it is not among the {what}s of this file"),
            };
            self.report(
                name.span(),
                format!("unknown {what} {:?}", name.get_ref()),
                help,
            );
        }
        position
    }

    fn report(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem::new(span, message).help(help));
    }
}

fn index<'a>(
    what: &str,
    names: impl IntoIterator<Item = &'a Name>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<&'a str, usize> {
    let mut positions = BTreeMap::new();
    for (position, name) in names.into_iter().enumerate() {
        if name.get_ref().is_empty() {
            problems.push(Problem::new(
                name.span(),
                format!("this {what} has an empty name"),
            ));
        }
        if positions
            .insert(name.get_ref().as_str(), position)
            .is_some()
        {
            problems.push(
                Problem::new(
                    name.span(),
                    format!("{what} {:?} is there twice", name.get_ref()),
                )
                .help("names are unique"),
            );
        }
    }
    positions
}

/// An alternative that needs all another one needs opens nothing more.
fn without_supersets(mut masks: Vec<u64>) -> Vec<u64> {
    masks.sort_unstable_by_key(|mask| (mask.count_ones(), *mask));
    let mut kept: Vec<u64> = Vec::new();
    for mask in masks {
        if !kept.iter().any(|smaller| smaller & !mask == 0) {
            kept.push(mask);
        }
    }
    kept
}

fn names_of(powers: u64, names: &[Name]) -> String {
    let held = names
        .iter()
        .enumerate()
        .filter(|(bit, _)| powers >> bit & 1 == 1);
    held.map(|(_, name)| name.get_ref().as_str())
        .collect::<Vec<_>>()
        .join(" and ")
}

/// The name that a person most likely meant, if one is near.
fn closest<'a>(wrong: &str, names: impl Iterator<Item = &'a &'a str>) -> Option<&'a str> {
    names
        .map(|name| (distance(&wrong.to_lowercase(), &name.to_lowercase()), *name))
        .min()
        .filter(|(distance, name)| distance * 2 <= name.len().min(wrong.len()))
        .map(|(_, name)| name)
}

/// Levenshtein's, over characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
