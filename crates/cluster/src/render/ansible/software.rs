//! Tasks about packages, the firmware and the kernel.

use serde_json::{Value, json};

use crate::render::{boot, packages};
use crate::spec::{Cluster, DockerSource, Reboot, Upgrade};

/// Where the firmware reads from.
const FIRMWARE: &str = "/boot/firmware";

/// Everything up to the point where all programs are there.
pub(super) fn tasks(cluster: &Cluster) -> Vec<Value> {
    let mut tasks = sources(cluster);
    if cluster.updates.upgrade == Upgrade::Dist {
        tasks.push(json!({
            "name": "Run updates",
            "ansible.builtin.apt": {
                "upgrade": "dist",
                "update_cache": true,
                "cache_valid_time": 3600,
                "lock_timeout": 300,
            },
        }));
    }
    tasks.push(install("Install packages", names(cluster)));
    if cluster.docker.source == DockerSource::Script {
        tasks.extend(script(cluster));
    }
    if let Some(zone) = &cluster.timezone {
        tasks.push(json!({
            "name": "Set the time zone",
            "ansible.builtin.file": {
                "src": format!("/usr/share/zoneinfo/{zone}"),
                "dest": "/etc/localtime",
                "state": "link",
            },
        }));
    }
    tasks.extend(boot_partition(cluster));
    tasks
}

/// What Ansible's own modules need too, and only what this release of Debian has.
fn names(cluster: &Cluster) -> Value {
    let since = packages::since(cluster);
    let all = packages::names(cluster);
    let always = all
        .into_iter()
        .filter(|name| !since.contains_key(name))
        .chain(["python3-docker".to_owned()]);
    let always: Vec<String> = always.collect();
    if since.is_empty() {
        return json!(always);
    }
    let always: Vec<String> = always.iter().map(|name| format!("'{name}'")).collect();
    let newer = since.iter().map(|(name, release)| {
        format!(" + (['{name}'] if ansible_facts['distribution_major_version'] | int >= {release} else [])")
    });
    let newer: String = newer.collect();
    json!(format!("{{{{ [{}]{newer} }}}}", always.join(", ")))
}

fn install(name: &str, names: Value) -> Value {
    json!({
        "name": name,
        "ansible.builtin.apt": {
            "name": names,
            "install_recommends": false,
            "update_cache": true,
            "cache_valid_time": 3600,
            "lock_timeout": 300,
        },
    })
}

fn sources(cluster: &Cluster) -> Vec<Value> {
    let own = |text: &str| {
        text.replace("$ID", "{{ ansible_facts['distribution'] | lower }}")
            .replace("$CODENAME", "{{ ansible_facts['distribution_release'] }}")
    };
    let sources = packages::sources(cluster);
    let mut tasks = Vec::new();
    if !sources.is_empty() {
        tasks.push(install("Install roots of trust", json!([packages::TRUST])));
    }
    for source in sources {
        let key = format!("/etc/apt/keyrings/{}.{}", source.name, source.key_format);
        tasks.push(json!({
            "name": format!("Fetch the key of the packages of {}", source.name),
            "ansible.builtin.get_url": {
                "url": own(&source.key_url),
                "dest": key,
                "checksum": format!("sha256:{}", source.key_sha256),
                "mode": "0644",
            },
        }));
        let list = format!("/etc/apt/sources.list.d/{}.sources", source.name);
        tasks.push(json!({
            "name": format!("Name the source of the packages of {}", source.name),
            "ansible.builtin.copy": {
                "dest": list,
                "content": format!(
                    "Types: deb\nURIs: {}\nSuites: {}\nComponents: {}\nSigned-By: {key}\n",
                    own(&source.uri),
                    own("$CODENAME"),
                    source.component,
                ),
                "mode": "0644",
            },
            "notify": "Read the lists of packages",
        }));
    }
    if !tasks.is_empty() {
        tasks.push(super::flush("Have apt know of them"));
    }
    tasks
}

fn script(cluster: &Cluster) -> Vec<Value> {
    const SCRIPT: &str = "/var/lib/bramble/get-docker.sh";
    vec![
        json!({
            "name": "Make the directory of the script that installs Docker",
            "ansible.builtin.file": { "path": "/var/lib/bramble", "state": "directory", "mode": "0755" },
        }),
        json!({
            "name": "Fetch the script that installs Docker",
            "ansible.builtin.get_url": { "url": cluster.docker.script, "dest": SCRIPT, "mode": "0644", "force": false },
        }),
        json!({
            "name": "Run it",
            "ansible.builtin.command": { "cmd": format!("sh {SCRIPT}"), "creates": "/usr/bin/dockerd" },
            "environment": { "DOWNLOAD_URL": cluster.docker.mirror },
        }),
    ]
}

fn boot_partition(cluster: &Cluster) -> Vec<Value> {
    let cmdline = format!("{FIRMWARE}/cmdline.txt");
    let mut tasks = vec![json!({
        "name": "See whether this node has a boot partition",
        "ansible.builtin.stat": { "path": cmdline },
        "register": "bramble_cmdline",
    })];
    tasks.push(json!({
        "name": "Tell the kernel",
        "ansible.builtin.replace": {
            "path": cmdline,
            // Once, and on the line that there is.
            "regexp": r"\A(?!.*(?<!\S){{ item | regex_escape }}(?!\S))(.*\S)\s*\Z",
            "replace": r"\1 {{ item }}\n",
        },
        "loop": boot::kernel_words(cluster),
        "when": "bramble_cmdline.stat.exists",
        "notify": "Remember that a reboot is needed",
    }));
    let settings = boot::firmware_settings(cluster);
    if !settings.is_empty() {
        tasks.push(json!({
            "name": "Tell the firmware",
            "ansible.builtin.blockinfile": {
                "path": format!("{FIRMWARE}/config.txt"),
                "marker": "# {mark} bramble boot",
                "block": settings,
            },
            "notify": "Remember that a reboot is needed",
        }));
    }
    tasks
}

/// Into the Tailscale network, where that is wanted.
pub(super) fn tailscale(cluster: &Cluster) -> Vec<Value> {
    let Some(tailscale) = &cluster.tailscale else {
        return Vec::new();
    };
    const KEY: &str = "/run/bramble-tailscale-key";
    vec![
        json!({
            "name": "Start Tailscale now and at boot",
            "ansible.builtin.systemd_service": { "name": "tailscaled.service", "enabled": true, "state": "started" },
        }),
        json!({
            "name": "See whether this node is in the Tailscale network",
            "ansible.builtin.command": { "cmd": "tailscale status --json --peers=false" },
            "register": "bramble_tailscale",
            "changed_when": false,
            "check_mode": false,
        }),
        json!({
            "name": "Enter the Tailscale network",
            "when": "(bramble_tailscale.stdout | from_json).BackendState != 'Running'",
            "block": [
                {
                    "name": "Copy the key",
                    "ansible.builtin.copy": { "src": tailscale.auth_key_file, "dest": KEY, "mode": "0600" },
                    "diff": false,
                    "no_log": true,
                },
                {
                    "name": "Use the key",
                    "ansible.builtin.command": { "cmd": format!("tailscale up --auth-key=file:{KEY}") },
                    "changed_when": true,
                },
            ],
            "always": [
                {
                    "name": "Remove the key",
                    "ansible.builtin.file": { "path": KEY, "state": "absent" },
                },
            ],
        }),
    ]
}

/// Only where something needs it.
pub(super) fn reboot(cluster: &Cluster) -> Vec<Value> {
    if cluster.updates.reboot == Reboot::Never {
        return Vec::new();
    }
    vec![
        json!({
            "name": "See whether a reboot is needed",
            "ansible.builtin.stat": { "path": "/run/reboot-required" },
            "register": "bramble_reboot",
        }),
        json!({
            "name": "Reboot",
            "ansible.builtin.reboot": {},
            "when": "bramble_reboot.stat.exists",
            // The swarm works while more than half of its managers do.
            "throttle": 1,
        }),
    ]
}
