//! `bramble`: the operator's tool. A verb is one module with its `Args` and a `run`.

// First, as macros are known to what comes after them.
#[macro_use]
mod output;

mod advice;
mod agent;
mod check;
mod completions;
mod context;
mod drift;
mod exec;
mod failure;
mod flash;
mod forget;
mod image;
mod init;
mod keys;
mod layout;
mod own_stacks;
mod plan;
mod provision;
mod registry;
mod rekey;
mod remote;
mod render;
mod report;
mod schema;
mod search;
mod ssh;
mod stack;
mod state;
mod status;
mod text;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use context::Context;

/// Turns one cluster.toml into a working Raspberry Pi cluster.
#[derive(Debug, Parser)]
#[command(name = "bramble", version, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    context: Context,

    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  bramble init                      write a cluster.toml, asking for what it must know
  bramble check                     say what is wrong with it, or what it will give
  bramble keys                      make the cluster's keys, once
  bramble render --out rendered     write hosts, fstab, DHCP reservations, stacks, ...
  bramble flash --base card.img.zst worker1=/dev/sdb
                                    write a node's SD card
  bramble provision --check --diff  show what would change on the nodes
  bramble drift                     show what on the nodes is no longer as the file says
  bramble provision                 bring the nodes to what the file says, all at once
  bramble stack deploy registry     deploy a stack, and wait until it runs
  bramble status                    show how the nodes are, and what runs where

Exit codes: 0 done, 1 failed, 2 wrong usage or an unusable cluster file.";

#[derive(Debug, Subcommand)]
enum Verb {
    Init(init::Args),
    Check(check::Args),
    Keys(keys::Args),
    Render(render::Args),
    Flash(flash::Args),
    Provision(provision::Args),
    Drift(drift::Args),
    Forget(forget::Args),
    Rekey(rekey::Args),
    Image(image::Args),
    Stack(stack::Args),
    Search(search::Args),
    Status(status::Args),
    Ssh(ssh::Args),
    Exec(exec::Args),
    Schema(schema::Args),
    Completions(completions::Args),
}

fn main() -> ExitCode {
    let Cli { context, verb } = Cli::parse();
    let outcome = match verb {
        Verb::Init(args) => init::run(&context, &args),
        Verb::Check(args) => check::run(&context, &args),
        Verb::Keys(args) => keys::run(&context, &args),
        Verb::Render(args) => render::run(&context, &args),
        Verb::Flash(args) => flash::run(&context, &args),
        Verb::Provision(args) => provision::run(&context, &args),
        Verb::Drift(args) => drift::run(&context, &args),
        Verb::Forget(args) => forget::run(&context, &args),
        Verb::Rekey(args) => rekey::run(&context, &args),
        Verb::Image(args) => image::run(&context, &args),
        Verb::Stack(args) => stack::run(&context, &args),
        Verb::Search(args) => search::run(&context, &args),
        Verb::Status(args) => status::run(&context, &args),
        Verb::Ssh(args) => ssh::run(&context, &args),
        Verb::Exec(args) => exec::run(&context, &args),
        Verb::Schema(args) => schema::run(&args),
        Verb::Completions(args) => completions::run(&args, &mut Cli::command()),
    };
    match outcome {
        Ok(code) if output::is_complete() => code,
        // What is missing was said.
        Ok(_) => ExitCode::FAILURE,
        Err(error) => failure::report(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a help's end that call `bramble`, as words, without what is said about them.
    fn examples(help: &str) -> Vec<Vec<String>> {
        let lines = help.lines().map(str::trim);
        lines
            .filter(|line| line.starts_with("bramble "))
            .map(|line| {
                let end = [" | ", " > ", "  "].iter().filter_map(|end| line.find(end));
                words(&line[..end.min().unwrap_or(line.len())])
            })
            .collect()
    }

    /// As a shell splits them, as far as the examples make use of that.
    fn words(line: &str) -> Vec<String> {
        let quoted = line.split('\'').enumerate();
        let words = quoted.flat_map(|(index, part)| match index % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        });
        words.collect()
    }

    /// Whether `bramble` takes it, or says what was asked for.
    fn is_taken<T: Parser>(words: impl IntoIterator<Item = String>) -> Result<(), String> {
        match T::try_parse_from(words) {
            Err(error) if error.use_stderr() => Err(error.to_string()),
            _ => Ok(()),
        }
    }

    /// What `bramble search` only hands on.
    fn handed_on(arguments: &[String]) -> impl Iterator<Item = String> {
        let before = [
            "bramble-search",
            "submit",
            "--server",
            "http://manager1:3000",
        ];
        let before = before.into_iter().map(str::to_owned);
        before.chain(arguments.iter().cloned())
    }

    fn check(command: &clap::Command) -> usize {
        let help = command.get_after_help().map(ToString::to_string);
        let examples = examples(&help.unwrap_or_default());
        for example in &examples {
            assert_eq!(is_taken::<Cli>(example.clone()), Ok(()), "{example:?}");
            if let [_, verb, arguments @ ..] = &example[..]
                && verb == "search"
            {
                let submit = handed_on(arguments);
                let taken = is_taken::<bramble_search::cli::Args>(submit);
                assert_eq!(taken, Ok(()), "{example:?}");
            }
        }
        examples.len() + command.get_subcommands().map(check).sum::<usize>()
    }

    #[test]
    fn the_examples_are_ones_that_bramble_takes() {
        let checked = check(&Cli::command());
        assert!(checked > 40, "{checked}");
    }
}
