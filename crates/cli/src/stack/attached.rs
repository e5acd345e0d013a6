//! What the search finds in the swarm beside its images: tokens as Docker secrets, and Docker configs.
//!
//! Tokens are made here once, kept in the state directory, and go to a manager by standard input. Neither secrets nor configs can be
//! changed in a swarm, so what is there is compared and kept.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use bramble_cluster::render::stacks::{self, SECRETS, SEEDS};
use bramble_cluster::spec::Cluster;
use sha2::{Digest as _, Sha256};

use crate::context::Context;
use crate::failure::Usage;
use crate::keys::publish;
use crate::remote::{Remote, quoted};
use crate::state::{State, private_dir};

/// Bytes of a token, before they are written as digits.
const TOKEN: usize = 32;

/// The file of a token in the state directory.
pub(crate) fn token_file(state: &State, name: &str) -> PathBuf {
    state.dir().join("search").join(name)
}

/// Makes sure that the swarm has all that the stack of the search asks for.
///
/// # Errors
/// It has a token that is not the one of the state directory.
pub(super) fn provide(
    context: &Context,
    cluster: &Cluster,
    remote: &Remote,
    manager: &str,
) -> anyhow::Result<()> {
    for (name, content) in stacks::configs() {
        let command = format!(
            "sudo -n docker config inspect {0} >/dev/null 2>&1 || sudo -n docker config create {0} - >/dev/null",
            quoted(&name)
        );
        remote.output(manager, &command, content.as_bytes())?;
    }
    let state = context.state(cluster)?;
    for name in SECRETS {
        let file = token_file(&state, name);
        let token = token(&file)?;
        let there = format!("{SEEDS}_{name}");
        let command = secret_command(&there, &fingerprint(&token));
        let found = remote.output(manager, &command, token.as_bytes())?;
        if found.trim() != fingerprint(&token) {
            let usage = Usage::new(format!(
                "the swarm has another {name} than {}",
                file.display()
            ));
            return Err(usage
                .help(format!(
                    "copy the file from where the search was deployed first; to exchange the token, `bramble stack rm {SEEDS}` \
                     and `docker secret rm {there}` on {manager}, then deploy again"
                ))
                .into());
        }
    }
    Ok(())
}

/// Makes the secret from standard input, unless it is there, and prints the fingerprint of the one that is.
fn secret_command(name: &str, fingerprint: &str) -> String {
    let name = quoted(name);
    let inspect = "sudo -n docker secret inspect --format '{{index .Spec.Labels \"fingerprint\"}}'";
    format!(
        "{inspect} {name} 2>/dev/null || \
         {{ sudo -n docker secret create --label fingerprint={fingerprint} {name} - >/dev/null && echo {fingerprint}; }}"
    )
}

/// Tells one token from another, and nothing about either: they are long and random.
fn fingerprint(token: &str) -> String {
    let hash = Sha256::digest(token);
    hash.iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The token in a file, which is made if it is missing.
fn token(file: &PathBuf) -> anyhow::Result<String> {
    match fs::read_to_string(file) {
        Ok(token) => return Ok(token.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
    let mut bytes = [0; TOKEN];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("no random numbers: {error}"))?;
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if let Some(dir) = file.parent() {
        private_dir(dir)?;
    }
    publish(file, format!("{token}\n").as_bytes(), 0o600)?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_made_once_and_for_its_owner_alone() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let file = token_file(&State::at(dir.path().join("state")), SECRETS[0]);
        let made = token(&file)?;
        assert_eq!(made.len(), 2 * TOKEN);
        assert_eq!(token(&file)?, made);
        assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
        Ok(())
    }

    #[test]
    fn a_secret_is_never_in_a_command() {
        let command = secret_command("seeds_admin-token", &fingerprint("top secret"));
        assert!(!command.contains("top secret"));
        insta::assert_snapshot!(command, @r#"sudo -n docker secret inspect --format '{{index .Spec.Labels "fingerprint"}}' seeds_admin-token 2>/dev/null || { sudo -n docker secret create --label fingerprint=9d3b319476557b16 seeds_admin-token - >/dev/null && echo 9d3b319476557b16; }"#);
    }
}
