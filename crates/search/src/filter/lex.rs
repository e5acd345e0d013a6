//! Text to tokens.

use std::ops::Range;

use super::Problem;

/// The smallest parts of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    Text(String),
    Number(u32),
    /// `==` and its like, brackets, the dot.
    Sign(&'static str),
    End,
}

impl Token {
    /// What it is called in errors.
    pub(super) fn name(&self) -> String {
        match self {
            Token::Word(word) => format!("`{word}`"),
            Token::Text(text) => format!("{text:?}"),
            Token::Number(number) => format!("`{number}`"),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::End => "the end".to_owned(),
        }
    }
}

/// Longer ones first.
const SIGNS: [&str; 11] = ["==", "!=", "<=", ">=", "<", ">", "(", ")", ".", "=", "!"];

/// All tokens with their places; the last is [`Token::End`].
pub(super) fn lex(text: &str) -> Result<Vec<(Token, Range<usize>)>, Problem> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let (token, len) = if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        } else if first == '"' {
            quoted(rest, at)?
        } else if first.is_ascii_digit() {
            number(rest, at)?
        } else if is_in_word(first) {
            let len = rest.find(|c| !is_in_word(c)).unwrap_or(rest.len());
            (Token::Word(rest[..len].to_owned()), len)
        } else {
            sign(rest, at)?
        };
        tokens.push((token, at..at + len));
        at += len;
    }
    tokens.push((Token::End, at..at));
    Ok(tokens)
}

fn is_in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

/// Text may hold `\"` and `\\`.
fn quoted(rest: &str, at: usize) -> Result<(Token, usize), Problem> {
    let mut text = String::new();
    let mut escaped = false;
    for (index, c) in rest.char_indices().skip(1) {
        match c {
            '"' | '\\' if escaped => text.push(c),
            _ if escaped => {
                let span = at + index - 1..at + index + c.len_utf8();
                return Err(Problem::new(span, "only `\\\"` and `\\\\` can be escaped"));
            }
            '"' => return Ok((Token::Text(text), index + 1)),
            '\\' => {}
            _ => text.push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    Err(Problem::new(at..at + rest.len(), "this text has no end")
        .help("close it with a quotation mark"))
}

fn number(rest: &str, at: usize) -> Result<(Token, usize), Problem> {
    let len = rest.find(|c| !is_in_word(c)).unwrap_or(rest.len());
    let number = rest[..len].parse().map_err(|_| {
        Problem::new(at..at + len, format!("`{}` is not a number", &rest[..len]))
            .help(format!("numbers are whole, up to {}", u32::MAX))
    })?;
    Ok((Token::Number(number), len))
}

fn sign(rest: &str, at: usize) -> Result<(Token, usize), Problem> {
    let found = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
    let unexpected = |len, help: &str| {
        let what = &rest[..len];
        Err(Problem::new(at..at + len, format!("`{what}` means nothing here")).help(help))
    };
    match found {
        Some("=") => unexpected(1, "equality is `==`"),
        Some("!") => unexpected(1, "write `not`, or `!=` to compare"),
        Some(sign) => Ok((Token::Sign(sign), sign.len())),
        None if rest.starts_with("&&") => unexpected(2, "write `and`"),
        None if rest.starts_with("||") => unexpected(2, "write `or`"),
        None if rest.starts_with('\'') => unexpected(1, "names stand in double quotation marks"),
        None => {
            let len = rest.chars().next().map_or(0, char::len_utf8);
            unexpected(
                len,
                "a filter is made of words, numbers, \"names\" and comparisons",
            )
        }
    }
}
