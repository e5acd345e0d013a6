//! Tokens: who may do what.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};

use crate::failure::Failure;

/// Bytes of a token that is made here.
const LEN: usize = 32;
/// A shorter one could be guessed.
const SHORTEST: usize = 16;

/// A secret that shows who asks. It is never logged.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl Token {
    /// A new one.
    pub(crate) fn new() -> Result<Self> {
        let mut bytes = [0; LEN];
        getrandom::fill(&mut bytes).context("no random numbers")?;
        Ok(Token(hex(&bytes)))
    }

    /// The first line of a file, such as a Docker secret.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let wrong = |problem: String| Failure::Usage(format!("{}: {problem}", path.display()));
        let text = fs::read_to_string(path)
            .map_err(|error| wrong(format!("cannot read the token: {error}")))?;
        let token = text.lines().next().unwrap_or_default().trim();
        let sound = || {
            ensure!(
                token.len() >= SHORTEST,
                "a token has {SHORTEST} characters at least"
            );
            ensure!(
                token.chars().all(|c| c.is_ascii_graphic()),
                "a token is made of letters, digits and punctuation"
            );
            Ok(())
        };
        sound().map_err(|error| wrong(error.to_string()))?;
        Ok(Token(token.to_owned()))
    }

    /// The same, where a file is named.
    pub(crate) fn read_any(path: Option<&Path>) -> Result<Option<Self>, Failure> {
        path.map(Token::read).transpose()
    }

    /// The secret itself, for whom it concerns.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it: tokens are long and random, so their SHA-256 tells nothing about them.
    pub(crate) fn hash(&self) -> String {
        hash(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The SHA-256 of what claims to be a token.
pub(crate) fn hash(text: &str) -> String {
    hex(&Sha256::digest(text))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_from_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let cases = [
            ("0123456789abcdef\n", Ok("0123456789abcdef")),
            (" 0123456789abcdef \nsecond line\n", Ok("0123456789abcdef")),
            ("short\n", Err("a token has 16 characters at least")),
            ("", Err("a token has 16 characters at least")),
            (
                "0123456789 abcdef",
                Err("a token is made of letters, digits and punctuation"),
            ),
        ];
        for (text, expected) in cases {
            fs::write(&path, text).unwrap();
            let found = Token::read(&path);
            match expected {
                Ok(token) => assert_eq!(found.unwrap().reveal(), token),
                Err(problem) => {
                    assert_eq!(
                        found.unwrap_err().to_string(),
                        format!("{}: {problem}", path.display())
                    );
                }
            }
        }
        let missing = Token::read(&dir.path().join("missing"))
            .unwrap_err()
            .to_string();
        assert!(missing.contains("cannot read the token"), "{missing}");
    }

    #[test]
    fn a_token_does_not_show() {
        let token = Token::new().unwrap();
        assert_eq!(token.reveal().len(), 2 * LEN);
        assert_eq!(format!("{token:?}"), "Token(..)");
        assert_ne!(token, Token::new().unwrap());
        assert_ne!(token.hash(), token.reveal());
    }
}
