//! Expressions that choose scenarios, in the manner of <https://nexte.st/docs/filtersets/>.
//!
//! `test(part)`, `test(=whole)`, `when(nightly)`, `all()` and `none()` are sets of scenarios; `not A`, `A and B` and
//! `A or B`, or `!A`, `A & B` and `A | B`, combine them, and parentheses group them. `not` binds tighter than `and`, and that
//! tighter than `or`.

use std::str::FromStr;

use crate::scenario::{Scenario, When};

/// A set of scenarios.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filterset {
    /// Those whose name has this in it.
    Contains(String),
    /// The one of this name.
    Is(String),
    /// Those that are run then.
    When(When),
    /// Every one.
    All,
    /// Those that are not in another.
    Not(Box<Filterset>),
    /// Those that are in both.
    And(Box<Filterset>, Box<Filterset>),
    /// Those that are in either.
    Or(Box<Filterset>, Box<Filterset>),
}

impl Filterset {
    /// Whether a scenario is in it.
    pub fn has(&self, scenario: &Scenario) -> bool {
        match self {
            Filterset::Contains(part) => scenario.name.contains(part.as_str()),
            Filterset::Is(name) => scenario.name == name,
            Filterset::When(when) => scenario.when == *when,
            Filterset::All => true,
            Filterset::Not(other) => !other.has(scenario),
            Filterset::And(a, b) => a.has(scenario) && b.has(scenario),
            Filterset::Or(a, b) => a.has(scenario) || b.has(scenario),
        }
    }
}

impl FromStr for Filterset {
    type Err = String;

    fn from_str(text: &str) -> Result<Filterset, String> {
        let mut parser = Parser { text, at: 0 };
        let set = parser.either()?;
        match parser.rest() {
            "" => Ok(set),
            _ => Err(parser.wrong("`and`, `or` or the end")),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn either(&mut self) -> Result<Filterset, String> {
        let mut set = self.both()?;
        while self.takes("or") || self.takes("|") || self.takes("+") {
            set = Filterset::Or(Box::new(set), Box::new(self.both()?));
        }
        Ok(set)
    }

    fn both(&mut self) -> Result<Filterset, String> {
        let mut set = self.single()?;
        while self.takes("and") || self.takes("&") {
            set = Filterset::And(Box::new(set), Box::new(self.single()?));
        }
        Ok(set)
    }

    fn single(&mut self) -> Result<Filterset, String> {
        if self.takes("not") || self.takes("!") {
            return Ok(Filterset::Not(Box::new(self.single()?)));
        }
        if self.takes("(") {
            let set = self.either()?;
            return match self.takes(")") {
                true => Ok(set),
                false => Err(self.wrong("`)`")),
            };
        }
        let before = self.at;
        for (name, make) in SETS {
            if self.takes(name) && self.takes("(") {
                let start = self.at;
                let end = self.rest().find(')').ok_or_else(|| self.wrong("`)`"))?;
                let argument = self.rest()[..end].trim();
                self.at += end + 1;
                return make(argument).map_err(|why| error(self.text, start, &why));
            }
            self.at = before;
        }
        Err(self.wrong("`test(..)`, `when(..)`, `all()`, `none()`, `not` or `(`"))
    }

    /// What is left, without the spaces that it begins with.
    fn rest(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        &self.text[self.at..]
    }

    /// Goes past a word, which does not end within another.
    fn takes(&mut self, word: &str) -> bool {
        let Some(rest) = self.rest().strip_prefix(word) else {
            return false;
        };
        let is_word = |text: &str| text.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let whole = !is_word(word) || !is_word(rest);
        if whole {
            self.at += word.len();
        }
        whole
    }

    fn wrong(&mut self, expected: &str) -> String {
        self.rest();
        error(self.text, self.at, &format!("expected {expected}"))
    }
}

type Make = fn(&str) -> Result<Filterset, String>;

const SETS: [(&str, Make); 4] = [
    ("test", |name| match name.strip_prefix('=') {
        Some(name) => Ok(Filterset::Is(name.to_owned())),
        None => Ok(Filterset::Contains(name.trim_start_matches('~').to_owned())),
    }),
    ("when", |when| when.parse().map(Filterset::When)),
    ("all", |nothing| empty(nothing).map(|()| Filterset::All)),
    ("none", |nothing| {
        empty(nothing).map(|()| Filterset::Not(Box::new(Filterset::All)))
    }),
];

fn empty(argument: &str) -> Result<(), String> {
    match argument {
        "" => Ok(()),
        _ => Err("expected `)`".to_owned()),
    }
}

/// What is wrong, and where.
fn error(text: &str, at: usize, why: &str) -> String {
    let column = text[..at].chars().count();
    format!("{why}\n  {text}\n  {}^", " ".repeat(column))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::SCENARIOS;

    fn chosen(text: &str) -> Vec<&'static str> {
        let set: Filterset = text.parse().expect(text);
        let names = SCENARIOS.iter().filter(|it| set.has(it)).map(|it| it.name);
        names.collect()
    }

    #[test]
    fn sets_are_combined() {
        assert_eq!(chosen("test(=pipeline)"), ["pipeline"]);
        assert_eq!(
            chosen("test(power-cut)"),
            ["power-cut-worker", "power-cut-manager"]
        );
        assert_eq!(
            chosen("test(power-cut) and not test(manager)"),
            ["power-cut-worker"]
        );
        assert_eq!(
            chosen("test(=partition)|test(power) & !test(~worker)"),
            ["partition", "power-cut-manager"]
        );
        assert_eq!(
            chosen("(test(=partition) or test(power)) and test(worker)"),
            ["power-cut-worker"]
        );
        assert_eq!(chosen("all()").len(), SCENARIOS.len());
        assert!(chosen("none()").is_empty());
        let nightly = chosen("when(nightly)");
        assert!(nightly.contains(&"partition") && !nightly.contains(&"pipeline"));
        assert_eq!(chosen("not when(nightly)"), chosen("when( every-commit )"));
    }

    #[test]
    fn what_makes_no_sense_is_pointed_at() {
        let table = [
            "",
            "pipeline",
            "test(=pipeline",
            "test(a) test(b)",
            "test(a) andtest(b)",
            "(test(a)",
            "when(weekly)",
            "all(pipeline)",
            "not",
        ];
        let errors = table.map(|text| text.parse::<Filterset>().expect_err(text));
        insta::assert_snapshot!(errors.join("\n\n"));
    }
}
