//! Secrets have no place in a cluster file, which is kept in version control and shown to others.
//!
//! They are found in the text, before anything else reads it, and blanked out, so that no error message repeats them.

use std::ops::Range;

/// A secret found in a file.
pub(super) struct Secret {
    /// Where to point at.
    pub(super) span: Range<usize>,
    /// What it seems to be.
    pub(super) what: &'static str,
    /// What must not be shown.
    hidden: Range<usize>,
}

/// How secrets begin that give themselves away, and what they are.
const TOKENS: [(&str, &str); 8] = [
    ("SWMTKN-", "a token to join a swarm"),
    ("tskey-", "a Tailscale key"),
    ("ghp_", "a GitHub token"),
    ("github_pat_", "a GitHub token"),
    ("glpat-", "a GitLab token"),
    ("dckr_pat_", "a Docker Hub token"),
    ("AGE-SECRET-KEY-", "an age key"),
    ("PuTTY-User-Key-File-", "a private key"),
];

/// Endings of keys whose value is a secret.
const SECRET_KEYS: [&str; 13] = [
    "psk",
    "pwd",
    "passcode",
    "api_key",
    "join_token",
    "password_hash",
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
    let known: Vec<Range<usize>> = secrets.iter().map(|secret| secret.hidden.clone()).collect();
    let is_new = |secret: &Secret| {
        known
            .iter()
            .all(|known| secret.hidden.end <= known.start || known.end <= secret.hidden.start)
    };
    secrets.extend(tokens(text).chain(credentials(text)).filter(is_new));
    let mut blanked = text.to_owned().into_bytes();
    for secret in &secrets {
        let mut line_begins = false;
        for byte in &mut blanked[secret.hidden.clone()] {
            line_begins = *byte == b'\n' || (line_begins && *byte == b' ');
            // Line ends keep the lines, quotes and comment signs keep the TOML, indentation keeps the YAML.
            if !line_begins && !matches!(*byte, b'\r' | b'"' | b'\'' | b'#') {
                *byte = b'*';
            }
        }
    }
    let blanked = String::from_utf8(blanked).expect("whole characters were replaced by ASCII ones");
    (blanked, secrets)
}

/// Private keys in PEM armour, in values and in comments. They are pointed at by their first line.
fn private_keys(text: &str) -> Vec<Secret> {
    let mut found = Vec::new();
    for (begin, _) in text.match_indices("-----BEGIN ") {
        let line_end = text[begin..]
            .find('\n')
            .map_or(text.len(), |length| begin + length);
        let Some(header) = text[begin..line_end].find("PRIVATE KEY-----") else {
            continue;
        };
        let body = begin + header + "PRIVATE KEY-----".len();
        let end = match text[body..].find("-----END ") {
            Some(length) => body + length,
            None => {
                line_end
                    + text[line_end..]
                        .split_inclusive('\n')
                        .take_while(|line| is_base64(line))
                        .map(str::len)
                        .sum::<usize>()
            }
        };
        found.push(Secret {
            span: begin..body,
            what: "a private key",
            hidden: body..end,
        });
    }
    found
}

/// Tokens that are known by how they begin, wherever they stand.
fn tokens(text: &str) -> impl Iterator<Item = Secret> {
    TOKENS.iter().flat_map(move |(begin, what)| {
        text.match_indices(begin).filter_map(move |(at, _)| {
            let end = word_end(text, at);
            // Talk of such a token is none: `tskey-...`.
            (end - at >= begin.len() + 8).then_some(Secret {
                span: at..end,
                what,
                hidden: at..end,
            })
        })
    })
}

/// Names and passwords in web addresses: `https://ari:hunter2@example.org`.
fn credentials(text: &str) -> impl Iterator<Item = Secret> {
    text.match_indices("://").filter_map(|(at, scheme)| {
        let start = at + scheme.len();
        let authority = text[start..]
            .split(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\''))
            .next()?;
        let (login, _) = authority.rsplit_once('@')?;
        let password = start + login.find(':')? + 1;
        let hidden = password..start + login.len();
        (!hidden.is_empty()).then_some(Secret {
            span: hidden.clone(),
            what: "a password",
            hidden,
        })
    })
}

/// Where the word ends that begins at `at`.
fn word_end(text: &str, at: usize) -> usize {
    let in_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    text[at..]
        .find(|c| !in_word(c))
        .map_or(text.len(), |length| at + length)
}

/// Whether a line, commented or not, is of the kind that keys consist of. An empty one may stand between them.
fn is_base64(line: &str) -> bool {
    let line = line.trim_start_matches([' ', '\t', '#']).trim_end();
    line.bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='))
}

/// String values of keys that name a secret: `password = "hunter2"`.
fn secret_fields(text: &str) -> Vec<Secret> {
    let mut found = Vec::new();
    for (equals, _) in text.match_indices('=') {
        let key = text[..equals].trim_end_matches([' ', '\t', '"', '\'']);
        let key = key
            .rsplit(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-'))
            .next()
            .unwrap_or_default();
        let key = key.to_ascii_lowercase().replace('-', "_");
        let after = &text[equals + 1..];
        let value = after.trim_start_matches([' ', '\t']);
        // Hashes have their scheme between dollar signs.
        let is_hash =
            key.ends_with("hash") && value.trim_start_matches(['"', '\'']).starts_with('$');
        if is_hash || !SECRET_KEYS.iter().any(|secret| key.ends_with(secret)) {
            continue;
        }
        let start = equals + 1 + (after.len() - value.len());
        let line = value.lines().next().unwrap_or_default().trim_end();
        // In a comment, what has no quotes is prose.
        let in_comment = text[..equals]
            .lines()
            .next_back()
            .is_some_and(|line| line.contains('#'));
        let bare = if in_comment { 0 } else { line.len() };
        let span = start..start + string_length(value).unwrap_or(bare);
        if !span.is_empty() {
            found.push(Secret {
                span: span.clone(),
                what: "a password or token",
                hidden: span,
            });
        }
    }
    found
}

/// Length of the TOML string that `text` starts with, quotes included. An unclosed one ends with the line.
fn string_length(text: &str) -> Option<usize> {
    let quote = ["\"\"\"", "'''", "\"", "'"]
        .into_iter()
        .find(|quote| text.starts_with(quote))?;
    let inner = &text[quote.len()..];
    let closing = inner
        .match_indices(quote)
        .map(|(at, _)| at)
        .find(|at| !inner[..*at].ends_with('\\'));
    let line_end = text.find('\n').unwrap_or(text.len());
    match closing.map(|at| quote.len() + at + quote.len()) {
        Some(length) if quote.len() == 3 || length <= line_end => Some(length),
        _ => Some(line_end),
    }
}
