//! The search service on one machine, for `docker compose`: the same parts, without a swarm.

use serde_json::{Value, json};

use super::super::yaml;
use super::TAG;

/// What Redis is taken from where nobody says otherwise: the last with a permissive licence.
const REDIS: &str = "redis:7.2-bookworm";

/// The compose file. It listens on this machine only, and so asks nobody for a token.
pub fn seeds() -> String {
    let redis = json!({ "BRAMBLE_REDIS": "redis://messages:6379" });
    let mut web = search("seed-web", "web", &redis);
    web["ports"] = json!(["127.0.0.1:${BRAMBLE_PORT:-3000}:3000"]);
    web["depends_on"] = json!(["messages"]);

    let mut worker = search("seed-web", "worker", &redis);
    worker["environment"]["BRAMBLE_LEDGER"] = json!("/var/lib/bramble/ledger.sqlite");
    worker["environment"]["BRAMBLE_ALIVE"] = json!(super::ALIVE);
    worker["user"] = json!(format!("{0}:{0}", super::FIRST_USER));
    worker["volumes"] = json!(["ledger:/var/lib/bramble"]);
    worker["healthcheck"] = alive();
    worker["depends_on"] = json!(["messages"]);

    let server = json!({ "BRAMBLE_SERVER": "http://web:3000", "BRAMBLE_ALIVE": super::ALIVE });
    let mut miner = search("seed-miner", "miner", &server);
    miner["healthcheck"] = alive();
    miner["stop_grace_period"] = json!("90s");
    miner["depends_on"] = json!(["web"]);

    let stack = json!({
        "version": "3.8",
        "services": {
            "messages": {
                "image": format!("${{BRAMBLE_REDIS_IMAGE:-{REDIS}}}"),
                "command": ["--bind *", "--protected-mode no", "--dir /data", "--appendonly yes", "--maxmemory 96mb"],
                "volumes": ["messages:/data"],
                "restart": "unless-stopped",
            },
            "web": web,
            "worker": worker,
            "miner": miner,
        },
        "volumes": { "ledger": {}, "messages": {} },
    });
    yaml(
        "The seed search on one machine: `docker compose --file seeds-local.yml up`.",
        &stack,
    )
}

fn search(image: &str, command: &str, environment: &Value) -> Value {
    json!({
        "image": format!("{image}:{TAG}"),
        "command": [command],
        "read_only": true,
        "cap_drop": ["ALL"],
        "tmpfs": ["/tmp"],
        "environment": environment,
        "restart": "unless-stopped",
    })
}

fn alive() -> Value {
    let test = [
        "CMD",
        "/bramble-search",
        "healthcheck",
        "--alive",
        super::ALIVE,
    ];
    json!({ "test": test, "interval": "60s", "timeout": "20s", "retries": 3, "start_period": "2m" })
}
