//! An expression to tests on numbers and sets: names are looked up here.

use bramble_world::{Level, World};

use super::Problem;
use super::parse::{Expression, Name};
use super::test::{Node, Set};

pub(super) fn compile(
    expression: &Expression,
    world: &World,
    level: usize,
) -> Result<Node, Problem> {
    let Some(level) = world.levels.get(level) else {
        return Err(Problem::new(0..0, "the world has no such level"));
    };
    Names { world, level }.node(expression)
}

struct Names<'a> {
    world: &'a World,
    level: &'a Level,
}

impl Names<'_> {
    fn node(&self, expression: &Expression) -> Result<Node, Problem> {
        let all = |parts: &[Expression]| {
            let nodes = parts.iter().map(|part| self.node(part));
            nodes.collect::<Result<Vec<Node>, Problem>>()
        };
        Ok(match expression {
            Expression::State(state) => Node::State(*state),
            Expression::Spheres(compare, number) => Node::Spheres(*compare, *number),
            Expression::Placed(compare, number) => Node::Placed(*compare, *number),
            Expression::ItemAt { location, item } => Node::ItemIn {
                items: self.items(item)?,
                locations: Set::from_iter([self.location(location)?]),
            },
            Expression::LocationSphere(location, compare, number) => Node::LocationSphere {
                location: self.location(location)?,
                compare: *compare,
                number: *number,
            },
            Expression::ItemSphere(item, compare, number) => Node::ItemSphere {
                items: self.items(item)?,
                compare: *compare,
                number: *number,
            },
            Expression::ItemLocation { item, location } => Node::ItemIn {
                items: self.items(item)?,
                locations: Set::from_iter([self.location(location)?]),
            },
            Expression::ItemArea { item, area } => Node::ItemIn {
                items: self.items(item)?,
                locations: self.area(area)?,
            },
            Expression::Not(inner) => Node::Not(Box::new(self.node(inner)?)),
            Expression::All(parts) => Node::All(all(parts)?),
            Expression::Any(parts) => Node::Any(all(parts)?),
        })
    }

    /// All entries of the pool with that name.
    fn items(&self, name: &Name) -> Result<Set, Problem> {
        let pool = self.level.pool.iter().enumerate();
        let items = pool.filter(|(_, entry)| entry.item == name.text);
        let items: Set = items.map(|(index, _)| index).collect();
        if items.is_empty() {
            let what = format!("item in the pool of level {:?}", self.level.name);
            let known = self.level.pool.iter().map(|entry| entry.item.as_str());
            return Err(unknown(name, &what, known));
        }
        Ok(items)
    }

    fn location(&self, name: &Name) -> Result<usize, Problem> {
        let mut locations = self.world.locations.iter();
        let found = locations.position(|location| location.name == name.text);
        let known = self.world.locations.iter();
        found.ok_or_else(|| unknown(name, "location", known.map(|known| known.name.as_str())))
    }

    fn area(&self, name: &Name) -> Result<Set, Problem> {
        let locations = self.world.locations.iter().enumerate();
        let inside = locations.filter(|(_, location)| location.area.as_ref() == Some(&name.text));
        let inside: Set = inside.map(|(index, _)| index).collect();
        if inside.is_empty() {
            let known = self.world.locations.iter();
            let known = known.filter_map(|known| known.area.as_deref());
            return Err(unknown(name, "area", known));
        }
        Ok(inside)
    }
}

fn unknown<'a>(name: &Name, what: &str, known: impl Iterator<Item = &'a str>) -> Problem {
    let problem = Problem::new(
        name.span.clone(),
        format!("there is no {what} called {:?}", name.text),
    );
    let near = known
        .map(|known| (strsim::jaro_winkler(known, &name.text), known))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|(a, _), (b, _)| a.total_cmp(b));
    match near {
        Some((_, near)) => problem.help(format!("did you mean {near:?}?")),
        None => problem,
    }
}
