//! `bramble check`: is the cluster file good, and what will it give?

use std::process::ExitCode;

use bramble_cluster::spec::{Cluster, NFS_ROOT, Role, SHARED_LINK};

use crate::context::Context;
use crate::own_stacks;
use crate::text::{count, table};

/// Check the cluster file, and the stacks beside it, and say what the cluster will be.
///
/// Nothing is touched and no network is needed. Problems are printed with the line they are about, all at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bramble check
  bramble check --cluster fixtures/clusters/eight-pi.toml
  bramble check --json | jq '.nodes[].name'")]
pub(crate) struct Args {
    /// Print the cluster, with all defaults filled in, as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> anyhow::Result<ExitCode> {
    let cluster = context.cluster()?;
    let stacks = own_stacks::read(context, &cluster)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&cluster)?);
    } else {
        print!("{}", summary(&cluster));
        if !stacks.is_empty() {
            let names: Vec<_> = stacks.iter().map(|stack| &*stack.name).collect();
            println!("stacks     {}", names.join(" "));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The cluster in a screenful.
fn summary(cluster: &Cluster) -> String {
    let network = &cluster.network;
    let about = format!(
        "{}: {} on {}, router {}, domain {}\n",
        cluster.name,
        count(cluster.nodes.len(), "node"),
        network.subnet,
        network.router,
        network.domain,
    );
    format!("{about}\n{}\n{}", nodes(cluster), services(cluster))
}

fn nodes(cluster: &Cluster) -> String {
    let head = ["NODE", "ROLE", "ADDRESS", "MAC", "ALSO"].map(str::to_owned);
    let rows = cluster.nodes.iter().map(|node| {
        let role = match node.role {
            Role::Manager => "manager",
            Role::Worker => "worker",
        };
        let labels = node
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        let also: Vec<String> = node.aliases.iter().cloned().chain(labels).collect();
        [
            node.name.clone(),
            role.to_owned(),
            node.ip.to_string(),
            node.mac.to_string(),
            also.join(" "),
        ]
    });
    table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

fn services(cluster: &Cluster) -> String {
    let managers = cluster.managers().count();
    let workers = cluster.workers().count();
    let registry = &cluster.registry;
    let storage = match &cluster.nas {
        Some(nas) => {
            let (server, exports) = (nas.server, nas.exports.join(", "));
            format!(
                "{exports} of {server} below {NFS_ROOT}; {SHARED_LINK} is {}",
                nas.shared
            )
        }
        None => "none shared".to_owned(),
    };
    let mut rows = vec![
        ["account".to_owned(), account(cluster)],
        ["storage".to_owned(), storage],
        [
            "swarm".to_owned(),
            format!(
                "{}, {}",
                count(managers, "manager"),
                count(workers, "worker")
            ),
        ],
        [
            "registry".to_owned(),
            format!(
                "{} on {}, data in {}",
                registry.authority(),
                registry.node,
                registry.data
            ),
        ],
        [
            "search".to_owned(),
            format!(
                "http://{}:{}, {}",
                cluster.first_manager().ip,
                cluster.search.port,
                count(workers, "miner")
            ),
        ],
    ];
    if let Some(portainer) = &cluster.portainer {
        let page = format!("https://{}:{}", cluster.first_manager().ip, portainer.port);
        rows.push(["portainer".to_owned(), page]);
    }
    if !cluster.packages.is_empty() {
        rows.push(["packages".to_owned(), cluster.packages.join(" ")]);
    }
    table(&rows)
}

fn account(cluster: &Cluster) -> String {
    match cluster.access.authorized_keys.len() {
        0 => format!("{}, with the operator's key", cluster.access.user),
        n => format!(
            "{}, with the operator's key and {}",
            cluster.access.user,
            count(n, "other")
        ),
    }
}
