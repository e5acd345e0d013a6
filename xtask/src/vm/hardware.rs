//! `cargo xtask vm diff-hardware`: how far to trust a rehearsal.

use anyhow::Result;
use bramble_lab::hardware::{DIFFERENCES, SAME};

/// Show how a machine of a lab differs from a Raspberry Pi with a card
///
/// What it does not list is the same: root file system, units, provisioning, packages, container images.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask vm diff-hardware\n  cargo xtask vm diff-hardware --json"
)]
pub(super) struct Args {
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<()> {
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(DIFFERENCES)?),
        false => print!("{}", table()),
    }
    Ok(())
}

fn table() -> String {
    let mut text = String::new();
    for difference in DIFFERENCES {
        text += &format!(
            "{}\n  card  {}\n  lab   {}\n  so    {}\n",
            difference.what, difference.card, difference.lab, difference.so
        );
    }
    let same: Vec<&str> = SAME.iter().map(|(what, _)| *what).collect();
    text + &format!("the same\n  {}\n", same.join("\n  "))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_list_is_shown() {
        insta::assert_snapshot!(super::table());
    }
}
