//! `bramble schema`: the cluster file's JSON schema, for editors.

use std::process::ExitCode;

/// Print the JSON schema of the cluster file.
///
/// Editors that know Taplo or Even Better TOML complete and check with it: save it beside the cluster file and put
/// `#:schema ./cluster.schema.json` into its first line.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args) -> anyhow::Result<ExitCode> {
    println!(
        "{}",
        serde_json::to_string_pretty(&bramble_cluster::spec::schema())?
    );
    Ok(ExitCode::SUCCESS)
}
