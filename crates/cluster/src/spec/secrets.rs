//! Secrets have no place in a cluster file, which is kept in version control and shown to others.
//!
//! They are found in the text, before anything else reads it, and blanked out, so that no error message repeats them.

use std::ops::Range;

/// A secret found in a file.
pub(super) struct Secret {
    /// The line it stands in or starts at.
    pub(super) span: Range<usize>,
    /// What it seems to be.
    pub(super) what: &'static str,
}

/// Endings of keys whose value is a secret.
const SECRET_KEYS: [&str; 7] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "auth_key",
    "private_key",
];

/// Returns the text with every secret replaced by as many asterisks, so that all positions stay what they were.
pub(super) fn blank_out(text: &str) -> (String, Vec<Secret>) {
    let mut secrets = private_keys(text);
    secrets.extend(secret_fields(text));
    let mut blanked = text.to_owned().into_bytes();
    for secret in &secrets {
        for byte in &mut blanked[secret.span.clone()] {
            // Newlines keep the lines, quotes keep the TOML.
            if !matches!(*byte, b'\n' | b'\r' | b'"' | b'\'') {
                *byte = b'*';
            }
        }
    }
    let blanked = String::from_utf8(blanked).expect("whole characters were replaced by ASCII ones");
    (blanked, secrets)
}

/// Private keys in PEM armour, in values and in comments.
fn private_keys(text: &str) -> Vec<Secret> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(begin) = text[at..].find("-----BEGIN ").map(|offset| at + offset) {
        let header = text[begin..].lines().next().unwrap_or_default();
        at = begin + 1;
        if header.contains("PRIVATE KEY-----") {
            // Without its end, all that follows may belong to it.
            let end = text[begin..]
                .find("-----END ")
                .map_or(text.len(), |offset| begin + offset);
            found.push(Secret {
                span: begin..end,
                what: "a private key",
            });
            at = end;
        }
    }
    found
}

/// String values of keys that name a secret: `password = "hunter2"`.
fn secret_fields(text: &str) -> Vec<Secret> {
    let mut found = Vec::new();
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        if let Some((key, value)) = line.split_once('=') {
            let name = key.trim().trim_matches(['"', '\'']).to_ascii_lowercase();
            let opening = value.find(['"', '\'']);
            if let Some(quote) =
                opening.filter(|_| SECRET_KEYS.iter().any(|secret| name.ends_with(secret)))
            {
                let start = line_start + key.len() + 1 + quote;
                let length = value[quote..].trim_end().len();
                found.push(Secret {
                    span: start..start + length,
                    what: "a password or token",
                });
            }
        }
        line_start += line.len();
    }
    found
}
