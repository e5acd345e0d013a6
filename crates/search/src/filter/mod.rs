//! The language of `find --where`: what a seed should be like.
//!
//! ```text
//! filter   = or
//! or       = and { "or" and }
//! and      = not { "and" not }
//! not      = "not" not | "(" or ")" | test
//! test     = "completable" | "dead" | "stuck" | "unreachable"
//!          | ("spheres" | "placed") compare NUMBER
//!          | "at" "(" TEXT ")" ("==" | "!=") TEXT             what lies at a location
//!          | "at" "(" TEXT ")" "." "sphere" compare NUMBER    when a location is collected
//!          | "item" "(" TEXT ")" "." "sphere" compare NUMBER  when an item is first collected
//!          | "item" "(" TEXT ")" "." ("location" | "area") ("==" | "!=") TEXT
//! compare  = "==" | "!=" | "<" | "<=" | ">" | ">="
//! ```
//!
//! A filter is parsed, then its names are looked up in the world, and what is left is numbers and sets: that is done once. What it
//! says of where items lie is also made into a [`Wanted`], so that most seeds need not be
//! worked out to the end.

mod compile;
mod lex;
mod parse;
mod problem;
mod test;
#[cfg(test)]
mod tests;

use bramble_kernel::{Seed, Wanted};
use bramble_world::World;

pub(crate) use problem::Problem;
use test::Node;

/// A filter made ready for a level of a world.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    node: Node,
    wanted: Wanted,
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// The first thing that is wrong with it, and where.
    pub(crate) fn new(text: &str, world: &World, level: usize) -> Result<Filter, Problem> {
        let expression = parse::parse(text).map_err(|problem| problem.within(text))?;
        let node = compile::compile(&expression, world, level);
        let node = node.map_err(|problem| problem.within(text))?;
        let mut wanted = Wanted::default();
        if let Some(level) = world.levels.get(level) {
            node.demand(level, &mut wanted);
        }
        Ok(Filter { node, wanted })
    }

    /// What can be told of the seeds from where items are placed.
    pub(crate) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Whether a seed is such a one.
    pub(crate) fn accepts(&self, seed: &Seed<'_>) -> bool {
        self.node.holds(seed)
    }
}

/// Parses a filter without a world, for those who throw all kinds of text at it.
pub fn check_syntax(text: &str) -> Result<(), String> {
    let problem = parse::parse(text).err();
    problem.map_or(Ok(()), |problem| Err(problem.within(text).to_string()))
}
