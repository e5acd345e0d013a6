//! Tokens to an expression, in which names are still names.

use std::ops::Range;

use super::Problem;
use super::lex::{Token, lex};

/// Brackets and `not` may be nested so deep; a person needs three.
const MAX_DEPTH: usize = 64;

/// A name and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) text: String,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Completable,
    Dead,
    Stuck,
    Unreachable,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    State(State),
    Spheres(Compare, u32),
    Placed(Compare, u32),
    ItemAt { location: Name, item: Name },
    LocationSphere(Name, Compare, u32),
    ItemSphere(Name, Compare, u32),
    ItemLocation { item: Name, location: Name },
    ItemArea { item: Name, area: Name },
    Not(Box<Expression>),
    All(Vec<Expression>),
    Any(Vec<Expression>),
}

pub(super) fn parse(text: &str) -> Result<Expression, Problem> {
    let mut parser = Parser {
        tokens: lex(text)?,
        at: 0,
    };
    let expression = parser.any(0)?;
    match parser.peek() {
        Token::End => Ok(expression),
        _ => Err(parser.expected("`and`, `or` or the end")),
    }
}

struct Parser {
    tokens: Vec<(Token, Range<usize>)>,
    at: usize,
}

impl Parser {
    fn any(&mut self, depth: usize) -> Result<Expression, Problem> {
        self.list("or", depth, Self::all, Expression::Any)
    }

    fn all(&mut self, depth: usize) -> Result<Expression, Problem> {
        self.list("and", depth, Self::not, Expression::All)
    }

    /// One or more, with a word between.
    fn list(
        &mut self,
        word: &str,
        depth: usize,
        part: fn(&mut Self, usize) -> Result<Expression, Problem>,
        join: fn(Vec<Expression>) -> Expression,
    ) -> Result<Expression, Problem> {
        let first = part(self, depth)?;
        if !self.is_word(word) {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.take_word(word) {
            parts.push(part(self, depth)?);
        }
        Ok(join(parts))
    }

    fn not(&mut self, depth: usize) -> Result<Expression, Problem> {
        if depth > MAX_DEPTH {
            return Err(Problem::new(self.span(), "this is nested too deep"));
        }
        if self.take_word("not") {
            return Ok(Expression::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.take_sign("(") {
            let inner = self.any(depth + 1)?;
            self.sign(")")?;
            return Ok(inner);
        }
        self.test()
    }

    fn test(&mut self) -> Result<Expression, Problem> {
        const TESTS: &str = "`completable`, `dead`, `stuck`, `unreachable`, `spheres`, `placed`, `at(..)` or `item(..)`";
        let Token::Word(word) = self.peek().clone() else {
            return Err(self.expected(TESTS));
        };
        let state = |parser: &mut Self, state| {
            parser.next();
            Ok(Expression::State(state))
        };
        match word.as_str() {
            "completable" => state(self, State::Completable),
            "dead" => state(self, State::Dead),
            "stuck" => state(self, State::Stuck),
            "unreachable" => state(self, State::Unreachable),
            "spheres" => self.number_test(Expression::Spheres),
            "placed" => self.number_test(Expression::Placed),
            "at" => self.at(),
            "item" => self.item(),
            _ => Err(self.expected(TESTS)),
        }
    }

    /// A word, then a comparison with a number.
    fn number_test(
        &mut self,
        make: impl FnOnce(Compare, u32) -> Expression,
    ) -> Result<Expression, Problem> {
        self.next();
        let compare = self.compare()?;
        Ok(make(compare, self.number()?))
    }

    fn at(&mut self) -> Result<Expression, Problem> {
        let location = self.argument("the name of a location")?;
        if self.take_sign(".") {
            if !self.is_word("sphere") {
                return Err(self.expected("`sphere`"));
            }
            return self.number_test(|compare, number| {
                Expression::LocationSphere(location, compare, number)
            });
        }
        self.equality("the name of an item", |item| Expression::ItemAt {
            location,
            item,
        })
    }

    fn item(&mut self) -> Result<Expression, Problem> {
        let item = self.argument("the name of an item")?;
        self.sign(".")?;
        if self.is_word("sphere") {
            return self
                .number_test(|compare, number| Expression::ItemSphere(item, compare, number));
        }
        if self.take_word("location") {
            return self.equality("the name of a location", |location| {
                Expression::ItemLocation { item, location }
            });
        }
        if self.take_word("area") {
            return self.equality("the name of an area", |area| Expression::ItemArea {
                item,
                area,
            });
        }
        Err(self.expected("`sphere`, `location` or `area`"))
    }

    /// A word, then a text in brackets.
    fn argument(&mut self, what: &str) -> Result<Name, Problem> {
        self.next();
        self.sign("(")?;
        let name = self.text(what)?;
        self.sign(")")?;
        Ok(name)
    }

    fn equality(
        &mut self,
        what: &str,
        make: impl FnOnce(Name) -> Expression,
    ) -> Result<Expression, Problem> {
        let equal = self.take_sign("==");
        if !equal && !self.take_sign("!=") {
            return Err(self.expected("`==` or `!=`"));
        }
        let test = make(self.text(what)?);
        Ok(match equal {
            true => test,
            false => Expression::Not(Box::new(test)),
        })
    }

    fn compare(&mut self) -> Result<Compare, Problem> {
        let compare = match self.peek() {
            Token::Sign("==") => Compare::Equal,
            Token::Sign("!=") => Compare::NotEqual,
            Token::Sign("<") => Compare::Less,
            Token::Sign("<=") => Compare::AtMost,
            Token::Sign(">") => Compare::Greater,
            Token::Sign(">=") => Compare::AtLeast,
            _ => return Err(self.expected("`==`, `!=`, `<`, `<=`, `>` or `>=`")),
        };
        self.next();
        Ok(compare)
    }

    fn number(&mut self) -> Result<u32, Problem> {
        let &Token::Number(number) = self.peek() else {
            return Err(self.expected("a number"));
        };
        self.next();
        Ok(number)
    }

    fn text(&mut self, what: &str) -> Result<Name, Problem> {
        let Token::Text(text) = self.peek().clone() else {
            return Err(self.expected(&format!("{what} in quotation marks")));
        };
        let span = self.span();
        self.next();
        Ok(Name { text, span })
    }

    fn sign(&mut self, sign: &str) -> Result<(), Problem> {
        match self.take_sign(sign) {
            true => Ok(()),
            false => Err(self.expected(&format!("`{sign}`"))),
        }
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let is_there = matches!(self.peek(), Token::Sign(found) if *found == sign);
        self.at += usize::from(is_there);
        is_there
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(found) if found == word)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_there = self.is_word(word);
        self.at += usize::from(is_there);
        is_there
    }

    fn peek(&self) -> &Token {
        self.tokens
            .get(self.at)
            .map_or(&Token::End, |(token, _)| token)
    }

    fn span(&self) -> Range<usize> {
        let last = self.tokens.get(self.at).or(self.tokens.last());
        last.map_or(0..0, |(_, span)| span.clone())
    }

    fn next(&mut self) {
        self.at += 1;
    }

    fn expected(&self, what: &str) -> Problem {
        let found = self.peek().name();
        Problem::new(self.span(), format!("expected {what}, found {found}"))
    }
}
