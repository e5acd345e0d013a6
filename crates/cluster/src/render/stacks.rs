//! Stacks for `docker stack deploy`.
//!
//! Limits are set so that one service gone wrong does not take a node with it. Nothing is reserved, so that small
//! machines schedule everything; processors are not limited, because a limit above what a node has is refused.

pub mod local;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::yaml;
use crate::spec::{Cluster, LEDGER, Portainer};

/// References of images by their short names, where they are known better than by tag: `redis` ->
/// `cluster.gov:5000/redis@sha256:...`.
pub type Images = BTreeMap<String, String>;

/// The images that the stacks need.
pub const IMAGES: [&str; 4] = ["registry", "redis", "seed-web", "seed-miner"];

/// The tag of images built together with this version.
pub const TAG: &str = env!("CARGO_PKG_VERSION");

/// Compose file format: the first with `start_interval`, which Docker 25 and later know.
const VERSION: &str = "3.12";

/// The account that services run as unless their data belongs to another.
const NOBODY: u32 = 65532;

/// The first user of a node and of a NAS, who can write to what they share.
const FIRST_USER: u32 = 1000;

/// The network of a node's own that every engine has, for services that need no other service by its name. To bring an overlay
/// network to a node takes longer than all else that the start of a container does there, and each node that has it tells all
/// others.
const BRIDGE: &str = "bridge";

/// The stack of the search.
pub const SEEDS: &str = "seeds";

/// Who may do what in the search: Docker secrets, each of one line, that the stack `seeds` finds in the swarm under `seeds_` and
/// these names. A miner with the second is one of the cluster's own.
pub const SECRETS: [&str; 2] = ["admin-token", "miner-token"];

/// Where the ledger's backups go where there is a NAS.
pub const BACKUPS: &str = "/shared/bramble-backups";

/// How Redis is set up: what it carries can be lost, so it need not be flushed at once. When it is full it says so, rather
/// than grow beyond the memory of its container: there has to be room for what is being sent and rewritten, too. Its
/// housekeeping, which counts all of its memory each time, is done once a second, not ten times: nothing here expires by
/// the tenth of a second, and idle it was a twentieth of an emulated node's processor.
const REDIS_CONF: &str = "\
bind *
protected-mode no
dir /data
appendonly yes
appendfsync everysec
hz 1
maxmemory 96mb
maxmemory-policy noeviction
save \"\"
";

/// Docker configs that the stack `seeds` finds in the swarm, by name. Configs cannot be changed, so that a name tells the content.
pub fn configs() -> BTreeMap<String, &'static str> {
    BTreeMap::from([(named("redis-conf", REDIS_CONF), REDIS_CONF)])
}

/// `seeds_redis-conf-1a2b3c4d`
fn named(name: &str, content: &str) -> String {
    let hash = Sha256::digest(content);
    let hash: String = hash
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{SEEDS}_{name}-{hash}")
}

/// The reference of an image on the cluster's registry, by tag: `cluster.gov:5000/redis:0.1.0`.
pub fn tagged(cluster: &Cluster, name: &str) -> String {
    format!("{}/{name}:{TAG}", cluster.registry.authority())
}

/// All stacks by name.
pub fn all(cluster: &Cluster, images: &Images) -> BTreeMap<&'static str, String> {
    let mut stacks = BTreeMap::from([
        ("registry", registry(cluster)),
        (SEEDS, seeds(cluster, images)),
    ]);
    if let Some(wanted) = &cluster.portainer {
        stacks.insert("portainer", portainer(cluster, wanted, images));
    }
    stacks
}

/// Portainer and an agent of it on every node. Its database may not lie on NFS, so it stays on one node.
fn portainer(cluster: &Cluster, wanted: &Portainer, images: &Images) -> String {
    // From the cluster's own registry, if they were pushed there; or else each node asks Docker Hub.
    let image = |layout: &str, name: &str| match images.get(layout) {
        Some(reference) => reference.clone(),
        None => format!("portainer/{name}:{}", wanted.tag),
    };
    let bind = |path: &str| json!({ "type": "bind", "source": path, "target": path });
    let stack = json!({
        "version": VERSION,
        "services": {
            "agent": {
                "image": image("portainer-agent", "agent"),
                "networks": ["agents"],
                "volumes": [bind("/var/run/docker.sock"), bind("/var/lib/docker/volumes")],
                "deploy": everywhere(&["node.platform.os==linux".to_owned()], "256M"),
            },
            "portainer": {
                "image": image("portainer-ce", "portainer-ce"),
                "command": ["-H", "tcp://tasks.agent:9001", "--tlsskipverify"],
                "networks": ["agents"],
                "ports": [portainer_port(cluster, wanted)],
                "volumes": [volume("data", "/data")],
                "deploy": deploy(1, &[on_node(&cluster.first_manager().name)], "256M"),
            },
        },
        "networks": { "agents": { "driver": "overlay", "attachable": true } },
        "volumes": { "data": {} },
    });
    yaml(
        &format!("Portainer for the cluster {}.", cluster.name),
        &stack,
    )
}

/// The private registry, on its node. Its own image is loaded there, as there is nothing yet to pull it from, and what
/// was loaded is known by its tag alone.
pub fn registry(cluster: &Cluster) -> String {
    let stack = json!({
        "version": VERSION,
        "services": {
            "registry": {
                "image": tagged(cluster, "registry"),
                // Owns the data, on the NAS and off it.
                "user": "1000:1000",
                "read_only": true,
                "cap_drop": ["ALL"],
                "networks": [BRIDGE],
                "ports": [on_its_node(5000, cluster.registry.port)],
                "healthcheck": health_of_its_image(),
                "volumes": [
                    { "type": "bind", "source": cluster.registry.data, "target": "/var/lib/registry" },
                ],
                "deploy": deploy(1, &[on_node(&cluster.registry.node)], "256M"),
            },
        },
        "networks": { BRIDGE: external_as(BRIDGE) },
    });
    yaml(
        &format!("The private registry of the cluster {}.", cluster.name),
        &stack,
    )
}

/// The seed search: `web` lends out ranges, miners compute them, `worker` alone writes the ledger.
pub fn seeds(cluster: &Cluster, images: &Images) -> String {
    let image = |name| reference(cluster, images, name);
    let first_manager = on_node(&cluster.first_manager().name);
    let redis = json!({ "BRAMBLE_REDIS": "redis://messages:6379", "BRAMBLE_LOG_FORMAT": "json" });

    let mut web = search(&image("seed-web"), "web", redis.clone());
    web["command"] = json!(["web", "--engine", "engine:2375"]);
    web["ports"] = json!([on_its_node(3000, cluster.search.port)]);
    web["secrets"] = json!(SECRETS.map(|name| secret(name, NOBODY)));
    web["environment"]["BRAMBLE_ADMIN_TOKEN_FILE"] = json!("/run/secrets/admin-token");
    web["environment"]["BRAMBLE_MINER_TOKEN_FILE"] = json!("/run/secrets/miner-token");
    web["healthcheck"] = health_of_its_image();
    web["deploy"] = deploy(1, std::slice::from_ref(&first_manager), "512M");

    let mut worker = search(&image("seed-web"), "worker", redis);
    worker["user"] = json!(format!("{FIRST_USER}:{FIRST_USER}"));
    worker["healthcheck"] = alive();
    worker["environment"]["BRAMBLE_LEDGER"] = json!("/var/lib/bramble/ledger.sqlite");
    worker["environment"]["BRAMBLE_ALIVE"] = json!(ALIVE);
    worker["volumes"] =
        json!([volume("ledger", "/var/lib/bramble"), { "type": "tmpfs", "target": "/tmp" }]);
    if cluster.nas.is_some() {
        worker["environment"]["BRAMBLE_BACKUP_DIR"] = json!("/backups");
        let backups = json!({ "type": "bind", "source": BACKUPS, "target": "/backups" });
        worker["volumes"]
            .as_array_mut()
            .into_iter()
            .for_each(|all| all.push(backups.clone()));
    }
    // The ledger is a directory on that node's disk.
    worker["deploy"] = deploy(1, &[format!("node.labels.{LEDGER}==true")], "512M");

    // As any miner outside the cluster does.
    let address = format!(
        "http://{}:{}",
        cluster.first_manager().ip,
        cluster.search.port
    );
    let server = json!({
        "BRAMBLE_SERVER": address,
        "BRAMBLE_NODE": "{{.Node.Hostname}}",
        "BRAMBLE_LOG_FORMAT": "json",
        "BRAMBLE_TOKEN_FILE": "/run/secrets/miner-token",
        "BRAMBLE_ALIVE": ALIVE,
    });
    let mut miner = search(&image("seed-miner"), "miner", server);
    miner["networks"] = json!([BRIDGE]);
    miner["secrets"] = json!([secret("miner-token", NOBODY)]);
    miner["volumes"] = json!([{ "type": "tmpfs", "target": "/tmp" }]);
    miner["healthcheck"] = seldom(alive());
    miner["deploy"] = deploy(
        cluster.workers().count(),
        &["node.role!=manager".to_owned()],
        "512M",
    );
    // It hands back what it has when it is stopped, for which web may need a while.
    miner["stop_grace_period"] = json!("90s");
    // One after the other, so that the search goes on meanwhile.
    miner["deploy"]["update_config"]["parallelism"] = json!(1);
    // Each takes all processors of its node.
    miner["deploy"]["placement"]["max_replicas_per_node"] = json!(1);

    let mut services = json!({
        "engine": engine(&image("seed-web"), &on_node(&cluster.first_manager().name)),
        "messages": {
            "image": reference(cluster, images, "redis"),
            "command": ["/etc/redis.conf"],
            "configs": [{ "source": "redis-conf", "target": "/etc/redis.conf" }],
            "user": format!("{NOBODY}:{NOBODY}"),
            "read_only": true,
            "cap_drop": ["ALL"],
            "networks": ["seeds"],
            "volumes": [volume("messages", "/data")],
            "healthcheck": health_of_its_image(),
            // A volume is a directory on one node, so the service stays there.
            "deploy": deploy(1, &[first_manager], "256M"),
        },
        "web": web,
        "worker": worker,
        "miner": miner,
    });
    // Each name stands for the tasks themselves. Virtual addresses forget connections that are idle for a quarter of
    // an hour, and every node would keep rules for the tasks of all others.
    for service in services
        .as_object_mut()
        .into_iter()
        .flat_map(|all| all.values_mut())
    {
        service["deploy"]["endpoint_mode"] = json!("dnsrr");
    }

    let stack = json!({
        "version": VERSION,
        "services": services,
        "networks": {
            BRIDGE: external_as(BRIDGE),
            "seeds": { "driver": "overlay" },
        },
        "volumes": { "ledger": {}, "messages": {} },
        "secrets": external(SECRETS.map(|name| (name, format!("{SEEDS}_{name}")))),
        "configs": external([("redis-conf", named("redis-conf", REDIS_CONF))]),
    });
    yaml(
        &format!("The seed search of the cluster {}.", cluster.name),
        &stack,
    )
}

/// Tells `web` what runs where, which only a manager's engine knows. It alone gets at the engine's socket, and it answers
/// three questions.
fn engine(image: &str, manager: &str) -> Value {
    let mut engine = search(image, "engine", json!({}));
    // The socket is root's. Without capabilities there is nothing else that this root may do.
    engine["user"] = json!("0:0");
    engine["healthcheck"] = seldom(health(&["healthcheck", "http://127.0.0.1:2375/healthz"]));
    let socket = "/var/run/docker.sock";
    engine["volumes"] =
        json!([{ "type": "bind", "source": socket, "target": socket, "read_only": true }]);
    engine["deploy"] = deploy(1, &[manager.to_owned()], "64M");
    engine
}

/// What all services of the search have in common.
fn search(image: &str, command: &str, environment: Value) -> Value {
    json!({
        "image": image,
        "command": [command],
        "user": format!("{NOBODY}:{NOBODY}"),
        "read_only": true,
        "cap_drop": ["ALL"],
        "networks": ["seeds"],
        "environment": environment,
    })
}

fn reference(cluster: &Cluster, images: &Images, name: &str) -> String {
    images
        .get(name)
        .cloned()
        .unwrap_or_else(|| tagged(cluster, name))
}

fn on_node(name: &str) -> String {
    format!("node.hostname=={name}")
}

/// Open on every node, as people are used to, if there is a mesh.
fn portainer_port(cluster: &Cluster, portainer: &Portainer) -> Value {
    let mut port = on_its_node(9443, portainer.port);
    if cluster.docker.routing_mesh {
        port["mode"] = json!("ingress");
    }
    port
}

/// A port open on the node where the service runs, for services that stay on theirs: no other node has to keep rules
/// for it, and who asks is seen by his own address.
fn on_its_node(target: u16, published: u16) -> Value {
    json!({ "target": target, "published": published, "protocol": "tcp", "mode": "host" })
}

fn volume(name: &str, target: &str) -> Value {
    json!({ "type": "volume", "source": name, "target": target })
}

/// What is asked is the image's own matter. Nothing counts as running before its first check: those come soon, and the
/// later ones seldom.
fn health_of_its_image() -> Value {
    json!({
        "interval": "60s",
        "timeout": "20s",
        "retries": 3,
        "start_period": "2m",
        "start_interval": "1s",
    })
}

/// What services that answer nobody touch while they work.
const ALIVE: &str = "/tmp/alive";

fn alive() -> Value {
    health(&["healthcheck", "--alive", ALIVE])
}

/// For services that nobody waits for. A check starts a program in the container, which an emulated node takes seconds for.
fn seldom(mut health: Value) -> Value {
    health["interval"] = json!("5m");
    health
}

/// The same with a question of its own, to the program of the search.
fn health(question: &[&str]) -> Value {
    let mut health = health_of_its_image();
    let test = ["CMD", "/bramble-search"];
    health["test"] = json!([&test, question].concat());
    health
}

/// A secret in a file that only `user` can read.
fn secret(name: &str, user: u32) -> Value {
    let id = user.to_string();
    json!({ "source": name, "target": name, "uid": id, "gid": id, "mode": 0o400 })
}

/// What is in the swarm already, by the name it has in a stack and the name it has there.
fn external<const N: usize>(names: [(&str, String); N]) -> Value {
    json!(BTreeMap::from(
        names.map(|(name, there)| (name, external_as(&there)))
    ))
}

fn external_as(name: &str) -> Value {
    json!({ "external": true, "name": name })
}

/// So many of a service, on nodes that meet the constraints.
fn deploy(replicas: usize, constraints: &[String], memory: &str) -> Value {
    placed(
        json!({ "mode": "replicated", "replicas": replicas }),
        constraints,
        memory,
    )
}

/// One of a service on each node that meets the constraints.
fn everywhere(constraints: &[String], memory: &str) -> Value {
    placed(json!({ "mode": "global" }), constraints, memory)
}

fn placed(mut deploy: Value, constraints: &[String], memory: &str) -> Value {
    deploy["placement"] = json!({ "constraints": constraints });
    deploy["resources"] = json!({ "limits": { "memory": memory } });
    deploy["restart_policy"] = json!({ "condition": "any", "delay": "5s" });
    // Two of a kind must not run at once: they would share a volume or a node's processors.
    deploy["update_config"] =
        json!({ "order": "stop-first", "parallelism": 0, "failure_action": "pause" });
    deploy
}
