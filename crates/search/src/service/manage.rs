//! `ledger` and `token`: what an administrator does now and then.

use anyhow::{Context as _, anyhow};
use serde_json::Value;

use super::client::{Answer, Client};
use super::ledger::backup;
use super::token::Token;
use super::wire::Grant;
use crate::cli::{LedgerArgs, LedgerCommand, NodeArgs, NodeCommand, TokenArgs, TokenCommand};
use crate::failure::Failure;
use crate::output;

/// `ledger restore`.
pub(crate) fn ledger(args: &LedgerArgs) -> Result<(), Failure> {
    let LedgerCommand::Restore { from, ledger } = &args.command;
    let restored = backup::restore(from, ledger)?;
    let mut told = format!("{} is now as {}\n", ledger.display(), restored.copy);
    if let Some(aside) = restored.aside {
        told += &format!("what was there is kept as {}\n", aside.display());
    }
    for other in restored.others {
        told +=
            &format!("another ledger has copies there, too: {other}; `--from FILE` takes that\n");
    }
    output::print(&told)?;
    for problem in restored.unreadable {
        output::tell(&format!("left out: {problem:#}"));
    }
    Ok(())
}

/// `token create | list | revoke`.
pub(crate) fn token(args: &TokenArgs) -> Result<(), Failure> {
    let admin = Token::read_any(args.admin.admin_token_file.as_deref())?;
    let client = Client::new(&args.admin.server, admin);
    match &args.command {
        TokenCommand::Create { name } => {
            let made: Value = done(client.post("/v1/tokens", &Grant { name: name.clone() }))?;
            let token = made["token"].as_str().context("the server gave no token")?;
            output::write(&format!("{token}\n")).with_context(|| {
                format!(
                    "the token of {name:?} is made and cannot be shown; `bramble-search token revoke {name}` takes it back, \
                     and under another name there is a new one"
                )
            })?;
            output::tell(
                "this is shown once; `bramble-search miner --server URL --token-file FILE` takes it from a file",
            );
        }
        TokenCommand::List => {
            let tokens: Vec<Value> = done(client.get("/v1/tokens"))?;
            let names = tokens.iter().filter_map(|token| token["name"].as_str());
            output::print(&names.map(|name| format!("{name}\n")).collect::<String>())?;
        }
        TokenCommand::Revoke { name } => {
            done::<Value>(client.delete(&format!("/v1/tokens/{name}")))?;
        }
    }
    Ok(())
}

/// `node forgive`.
pub(crate) fn node(args: &NodeArgs) -> Result<(), Failure> {
    let NodeCommand::Forgive { name } = &args.command;
    let admin = Token::read_any(args.admin.admin_token_file.as_deref())?;
    let client = Client::new(&args.admin.server, admin);
    let path = format!("/v1/nodes/{name}/forgive");
    done::<Value>(client.post(&path, &serde_json::json!({}))).map(drop)
}

fn done<T>(answer: anyhow::Result<Answer<T>>) -> Result<T, Failure> {
    match answer? {
        Answer::Yes(value) => Ok(value),
        Answer::Nothing => Err(anyhow!("the server answered nothing").into()),
        Answer::Refused(_, message) => Err(Failure::Usage(message)),
    }
}
