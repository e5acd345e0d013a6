//! What to search: the same question for `run`, for the service and for its miners.

use std::path::Path;

use bramble_kernel::{Fill, Program, Random};
use bramble_world::{ALL_LOCATIONS, World};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::filter::Filter;

/// One past the last seed.
pub(crate) const SEEDS: u64 = 1 << 32;

/// A search as it travels: in names, with the world's text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spec {
    /// The world file's text.
    pub(crate) world: String,
    /// What the world file is called in errors.
    #[serde(default = "world_file")]
    pub(crate) world_file: String,
    /// An engine's name.
    pub(crate) fill: String,
    /// A generator's name.
    pub(crate) rng: String,
    /// A goal's name.
    #[serde(default = "all_locations")]
    pub(crate) goal: String,
    /// Names of levels, in the order asked for.
    pub(crate) levels: Vec<String>,
    /// The first seed.
    pub(crate) start: u32,
    /// How many seeds, at each level.
    pub(crate) len: u64,
    /// Which seeds are wanted, where not all are, in the language of `find --where`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) filter: Option<String>,
}

fn world_file() -> String {
    "world.toml".to_owned()
}

fn all_locations() -> String {
    ALL_LOCATIONS.to_owned()
}

/// A search made ready to run.
pub(crate) struct Compiled {
    pub(crate) world: World,
    /// For each level of the spec its position in the world, and its program.
    pub(crate) levels: Vec<(usize, Program)>,
    /// For each level of the spec its filter; none, if the search has no filter.
    pub(crate) filters: Vec<Filter>,
}

impl Spec {
    /// Everything that can be wrong with a search is found here.
    pub(crate) fn compile(&self) -> Result<Compiled, Failure> {
        let world = parse_world(&self.world_file, &self.world)?;
        let fill = Fill::from_name(&self.fill)
            .ok_or_else(|| unknown("fill", &self.fill, Fill::ALL.map(Fill::name)))?;
        let random = Random::from_name(&self.rng)
            .ok_or_else(|| unknown("rng", &self.rng, Random::ALL.map(Random::name)))?;
        if self.levels.is_empty() {
            return Err(Failure::Usage("no level is given".to_owned()));
        }
        if u64::from(self.start) + self.len.min(SEEDS) > SEEDS || self.len > SEEDS {
            return Err(Failure::Usage(format!(
                "the range of {} seeds from {} on goes past the last seed, {}",
                self.len,
                self.start,
                SEEDS - 1
            )));
        }
        let goal = self.goal(&world)?;
        let mut levels: Vec<(usize, Program)> = Vec::new();
        for name in &self.levels {
            let position = world.levels.iter().position(|level| level.name == *name);
            let program =
                position.and_then(|level| Program::new(&world, level, fill, random, goal));
            let Some((position, program)) = position.zip(program) else {
                return Err(unknown(
                    "level",
                    name,
                    world.levels.iter().map(|level| &level.name),
                ));
            };
            if levels.iter().any(|(other, _)| *other == position) {
                return Err(Failure::Usage(format!("level {name:?} is given twice")));
            }
            levels.push((position, program));
        }
        let filter = |text: &String| {
            let filters = levels.iter();
            filters
                .map(|(level, _)| Filter::new(text, &world, *level))
                .collect::<Result<_, _>>()
        };
        let filters = self.filter.as_ref().map(filter).transpose();
        let filters = filters.map_err(|problem| Failure::Filter(Box::new(problem)))?;
        Ok(Compiled {
            filters: filters.unwrap_or_default(),
            levels,
            world,
        })
    }

    fn goal<'a>(&self, world: &'a World) -> Result<Option<&'a bramble_world::Goal>, Failure> {
        if self.goal == ALL_LOCATIONS {
            return Ok(None);
        }
        let names = || {
            world
                .goals
                .iter()
                .map(|goal| goal.name.as_str())
                .chain([ALL_LOCATIONS])
        };
        let goal = world.goals.iter().find(|goal| goal.name == self.goal);
        goal.map(Some)
            .ok_or_else(|| unknown("goal", &self.goal, names()))
    }
}

/// A name that should have been one of some others.
pub(crate) fn unknown(
    what: &str,
    name: &str,
    known: impl IntoIterator<Item = impl AsRef<str>>,
) -> Failure {
    let known: Vec<String> = known
        .into_iter()
        .map(|name| format!("{:?}", name.as_ref()))
        .collect();
    Failure::Usage(format!(
        "unknown {what} {name:?}; there are {}",
        known.join(", ")
    ))
}

/// Reads a world file given on the command line.
pub(crate) fn read_world(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))
}

/// Parses the text of a world file.
pub(crate) fn parse_world(file: &str, text: &str) -> Result<World, Failure> {
    World::parse(file, text).map_err(|invalid| Failure::World(Box::new(invalid)))
}
