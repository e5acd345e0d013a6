//! The same cluster for those who provision with Ansible.
//!
//! The playbook stands beside the other rendered files and reads them, so that it says nothing twice. Blocks in
//! `/etc/hosts` and `/etc/fstab` carry bramble's own marks: whoever changes tools finds nothing to change.

mod software;

use serde_json::{Map, Value, json};

use super::stacks::BACKUPS;
use super::{Keys, storage};
use crate::spec::{Cluster, NFS_ROOT, Nas, Node, Role, SHARED_LINK};

/// Hosts by their role in the swarm.
pub fn inventory(cluster: &Cluster) -> String {
    let hosts = |role: Role| -> Map<String, Value> {
        let nodes = cluster.nodes.iter().filter(|node| node.role == role);
        nodes
            .map(|node| (node.name.clone(), host(cluster, node)))
            .collect()
    };
    let mut vars = json!({
        "ansible_user": cluster.access.user,
        "ansible_python_interpreter": "/usr/bin/python3",
    });
    if let Some(nas) = &cluster.nas {
        vars["bramble_exports"] = json!(nas.exports);
        vars["bramble_fstab"] = json!("fstab");
    }
    let inventory = json!({
        "all": {
            "vars": vars,
            "children": {
                "managers": { "hosts": hosts(Role::Manager) },
                "workers": { "hosts": hosts(Role::Worker) },
            },
        },
    });
    indented(
        &format!(
            "---\n# The nodes of the cluster {}, for Ansible.\n",
            cluster.name
        ),
        &inventory,
    )
}

fn host(cluster: &Cluster, node: &Node) -> Value {
    let mut host = json!({ "ansible_host": node.ip });
    if let Some(nas) = cluster
        .nas
        .as_ref()
        .filter(|nas| nas.exports != node.exports)
    {
        host["bramble_exports"] = json!(node.exports);
        host["bramble_fstab"] = json!(storage::fstab_name(nas, node));
    }
    if !node.labels.is_empty() {
        host["swarm_labels"] = json!(node.labels);
    }
    host
}

/// All that a node needs, and the swarm.
pub fn playbook(cluster: &Cluster, keys: &Keys) -> String {
    let about = format!(
        "\
---
# Provisions the cluster {}, as `bramble provision` does. Needs the collections ansible.posix and community.docker.
#
#   export ANSIBLE_SSH_ARGS=\"-F STATE/ssh_config\"
#   ansible-playbook -i inventory.yml playbook.yml -e bramble_state=STATE
#
# STATE is the directory that `bramble keys` made.
",
        cluster.name
    );
    indented(
        &about,
        &json!([
            nodes(cluster, keys),
            swarm_start(cluster),
            swarm_join(cluster),
            swarm_roles(cluster)
        ]),
    )
}

/// YAML as Ansible's own tools want it: a list stands deeper than the key that it belongs to.
fn indented(heading: &str, value: &Value) -> String {
    let text = super::yaml_after("", value);
    let mut result = heading.to_owned();
    // Where the lists are that the line is in, as they were written.
    let mut lists: Vec<usize> = Vec::new();
    let mut key: Option<usize> = None;
    let mut literal: Option<usize> = None;
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        if literal.is_some_and(|key| indent > key || line.is_empty()) {
            result += &line_at(line, lists.len());
            continue;
        }
        let is_item = line[indent..].starts_with("- ");
        lists.retain(|list| indent > *list || (indent == *list && is_item));
        if is_item && key == Some(indent) {
            lists.push(indent);
        }
        result += &line_at(line, lists.len());
        // The place of the key in this line, after however many marks of items.
        let marks = line[indent..]
            .split("- ")
            .take_while(|part| part.is_empty())
            .count();
        let own = indent + 2 * marks;
        key = line.ends_with(':').then_some(own);
        literal = [": |", ": |-", ": |+"]
            .iter()
            .any(|end| line.ends_with(end))
            .then_some(own);
    }
    result
}

/// A line with two more blanks for each list that it is in.
fn line_at(line: &str, lists: usize) -> String {
    match line.is_empty() {
        true => "\n".to_owned(),
        false => format!("{}{line}\n", "  ".repeat(lists)),
    }
}

/// Everything that a node needs for itself.
fn nodes(cluster: &Cluster, keys: &Keys) -> Value {
    let mut tasks = identity(cluster, keys);
    if let Some(nas) = &cluster.nas {
        tasks.extend(shared_storage(nas));
    }
    tasks.push(registry_data(cluster));
    tasks.extend(backups(cluster));
    tasks.extend(engine(cluster));
    tasks.extend(software::tailscale(cluster));
    tasks.extend(software::reboot(cluster));
    json!({
        "name": "Provision every node",
        "hosts": "all",
        "become": true,
        "tasks": tasks,
        "handlers": [
            {
                "name": "Read unit files",
                "ansible.builtin.systemd_service": { "daemon_reload": true },
            },
            {
                "name": "Read the lists of packages",
                "ansible.builtin.apt": { "update_cache": true },
            },
            {
                "name": "Remember that a reboot is needed",
                "ansible.builtin.file": {
                    "path": "/run/reboot-required",
                    "state": "touch",
                    "mode": "0644",
                    "modification_time": "preserve",
                    "access_time": "preserve",
                },
            },
            {
                "name": "Restart docker",
                "ansible.builtin.systemd_service": { "name": "docker.service", "state": "restarted" },
            },
        ],
    })
}

fn identity(cluster: &Cluster, keys: &Keys) -> Vec<Value> {
    let user = &cluster.access.user;
    let home = format!("/home/{user}");
    let mut tasks = vec![json!({
        "name": "Set the hostname",
        "ansible.builtin.hostname": { "name": "{{ inventory_hostname }}", "use": "systemd" },
    })];
    tasks.extend(software::tasks(cluster));
    if let Some(hash) = &cluster.access.password_hash {
        tasks.push(json!({
            "name": "Set the password",
            "ansible.builtin.user": { "name": user, "password": hash },
            "no_log": true,
        }));
    }
    tasks.extend([
        json!({
            "name": "Let the operator and the nodes in",
            "ansible.posix.authorized_key": { "user": user, "key": "{{ item }}" },
            "loop": keys.authorized(cluster),
            "loop_control": { "label": "{{ item.split()[-1] }}" },
        }),
        json!({
            "name": "Copy the private key of the nodes",
            "ansible.builtin.copy": {
                "src": "{{ bramble_state }}/cluster_ed25519",
                "dest": format!("{home}/.ssh/id_ed25519"),
                "owner": user,
                "group": user,
                "mode": "0600",
            },
            "diff": false,
            "no_log": true,
        }),
        json!({
            "name": "Copy the public key of the nodes",
            "ansible.builtin.copy": {
                "src": "{{ bramble_state }}/cluster_ed25519.pub",
                "dest": format!("{home}/.ssh/id_ed25519.pub"),
                "owner": user,
                "group": user,
                "mode": "0644",
            },
        }),
        block(
            "Resolve the names of the nodes",
            "/etc/hosts",
            "hosts",
            "'hosts'",
        ),
    ]);
    tasks
}

/// Lines of a rendered file in somebody else's, between marks of bramble's with the name `mark`. `file` is an
/// expression for the file's name.
fn block(name: &str, path: &str, mark: &str, file: &str) -> Value {
    json!({
        "name": name,
        "ansible.builtin.blockinfile": {
            "path": path,
            "marker": format!("# {{mark}} bramble {mark}"),
            "block": format!("{{{{ lookup('ansible.builtin.file', playbook_dir ~ '/../' ~ {file}) }}}}"),
        },
    })
}

/// Runs the handlers that were notified so far.
fn flush(name: &str) -> Value {
    json!({ "name": name, "ansible.builtin.meta": "flush_handlers" })
}

fn shared_storage(nas: &Nas) -> Vec<Value> {
    let shared = Nas::mount_point(&nas.shared);
    vec![
        block(
            "Mount the exports at boot",
            "/etc/fstab",
            "fstab",
            "bramble_fstab",
        ),
        json!({
            "name": "Make the directory of settings for Docker's unit",
            "ansible.builtin.file": { "path": "/etc/systemd/system/docker.service.d", "state": "directory", "mode": "0755" },
        }),
        json!({
            "name": "Let Docker wait for the shared export",
            "ansible.builtin.copy": {
                "dest": "/etc/systemd/system/docker.service.d/bramble-shared.conf",
                "content": format!("[Unit]\nRequiresMountsFor={shared}\n"),
                "mode": "0644",
            },
            "notify": "Read unit files",
        }),
        flush("Have systemd read what was changed"),
        json!({
            "name": "Mount the exports",
            "ansible.posix.mount": {
                "src": format!("{}:/{{{{ item }}}}", nas.server),
                "path": format!("{NFS_ROOT}/{{{{ item }}}}"),
                "fstype": "nfs4",
                "opts": nas.options,
                "state": "mounted",
            },
            "loop": "{{ bramble_exports }}",
        }),
        json!({
            "name": format!("Lead {SHARED_LINK} to the shared export"),
            "ansible.builtin.file": { "src": shared, "dest": SHARED_LINK, "state": "link", "follow": false },
        }),
    ]
}

/// Where the worker of the search puts copies of its ledger.
fn backups(cluster: &Cluster) -> Option<Value> {
    let keeper = cluster.nodes.iter().find(|node| node.keeps_ledger())?;
    cluster.nas.as_ref().map(|_| {
        json!({
            "name": "Make the directory of the ledger's backups",
            "ansible.builtin.file": { "path": BACKUPS, "state": "directory" },
            "when": format!("inventory_hostname == '{}'", keeper.name),
        })
    })
}

fn registry_data(cluster: &Cluster) -> Value {
    let mut directory =
        json!({ "path": cluster.registry.data, "state": "directory", "mode": "0755" });
    // On a NAS it belongs to whom the server says.
    if cluster.nas.is_none() {
        directory["owner"] = json!(cluster.access.user);
    }
    json!({
        "name": "Make the directory of the registry",
        "ansible.builtin.file": directory,
        "when": format!("inventory_hostname == '{}'", cluster.registry.node),
    })
}

fn engine(cluster: &Cluster) -> Vec<Value> {
    vec![
        json!({
            "name": "Configure Docker",
            "ansible.builtin.copy": {
                "src": "{{ playbook_dir }}/../daemon.json",
                "dest": "/etc/docker/daemon.json",
                "mode": "0644",
            },
            "notify": "Restart docker",
        }),
        json!({
            "name": "Start Docker now and at boot",
            "ansible.builtin.systemd_service": { "name": "{{ item }}", "enabled": true, "state": "started" },
            "loop": ["containerd.service", "docker.service"],
        }),
        json!({
            "name": "Let the account use Docker",
            "ansible.builtin.user": { "name": cluster.access.user, "groups": ["docker"], "append": true },
        }),
        json!({
            "name": "See which network manager is in use",
            "ansible.builtin.stat": { "path": "/run/NetworkManager" },
            "register": "bramble_network_manager",
        }),
        json!({
            "name": "Wait for the network at boot",
            "ansible.builtin.systemd_service": {
                "name": "{{ 'NetworkManager' if bramble_network_manager.stat.exists else 'systemd-networkd' }}-wait-online.service",
                "enabled": true,
            },
        }),
        flush("Have Docker take its configuration over"),
    ]
}

fn swarm_start(cluster: &Cluster) -> Value {
    let mut tasks = vec![json!({
        "name": "Be the first manager",
        "community.docker.docker_swarm": { "state": "present", "advertise_addr": "{{ ansible_host }}" },
        "register": "bramble_swarm",
        // It has the tokens to join with.
        "no_log": true,
    })];
    if !cluster.docker.routing_mesh {
        tasks.extend(no_mesh());
    }
    json!({
        "name": "Start the swarm",
        "hosts": cluster.first_manager().name,
        "become": true,
        "tasks": tasks,
    })
}

/// The module for networks would first part each of its containers from one that it removes, and the mesh has some that
/// are none.
fn no_mesh() -> [Value; 2] {
    [
        json!({
            "name": "See whether there is a routing mesh",
            "ansible.builtin.command": { "cmd": "docker network ls --quiet --filter name=^ingress$ --filter driver=overlay" },
            "register": "bramble_mesh",
            "changed_when": false,
            "check_mode": false,
        }),
        json!({
            "name": "Do without the routing mesh",
            "ansible.builtin.command": { "cmd": "docker network rm ingress", "stdin": "y" },
            "register": "bramble_mesh_removed",
            "changed_when": "bramble_mesh_removed.rc == 0",
            // One that was removed just now is listed a little longer.
            "failed_when": "bramble_mesh_removed.rc != 0 and 'not found' not in bramble_mesh_removed.stderr",
            "when": "bramble_mesh.stdout != ''",
        }),
    ]
}

fn swarm_join(cluster: &Cluster) -> Value {
    let first = cluster.first_manager();
    let tokens = format!(
        "{{{{ hostvars['{}'].bramble_swarm.swarm_facts.JoinTokens | default({{}}) }}}}",
        first.name
    );
    let token = "{{ bramble_tokens['Manager' if inventory_hostname in groups['managers'] else 'Worker'] | default('') }}";
    json!({
        "name": "Join the swarm",
        "hosts": format!("all:!{}", first.name),
        "become": true,
        "vars": { "bramble_tokens": tokens },
        "tasks": [
            {
                "name": "Join the first manager",
                "community.docker.docker_swarm": {
                    "state": "join",
                    "advertise_addr": "{{ ansible_host }}",
                    "join_token": token,
                    "remote_addrs": [format!("{}:2377", first.ip)],
                },
                "no_log": true,
            },
        ],
    })
}

fn swarm_roles(cluster: &Cluster) -> Value {
    json!({
        "name": "Set roles and labels",
        "hosts": "all",
        "become": true,
        "gather_facts": false,
        "tasks": [
            {
                "name": "Set role and labels of each node",
                "community.docker.docker_node": {
                    "hostname": "{{ inventory_hostname }}",
                    "role": "{{ 'manager' if inventory_hostname in groups['managers'] else 'worker' }}",
                    "labels": "{{ swarm_labels | default({}) }}",
                    "labels_state": "replace",
                },
                // Only managers know of roles, and nodes that are not meant (--limit) need not be there.
                "delegate_to": cluster.first_manager().name,
                "throttle": 1,
            },
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_stand_deeper_than_their_keys_and_say_the_same() {
        let value = json!([
            {
                "block": [{ "loop": ["a", "b"], "copy": { "content": "- x:\n- y\n\n  z\n" } }, { "c": [["d"], {}] }],
                "after": { "deep": [1, { "e": [], "f": "g:" }] },
            },
            { "last": ["h"] },
        ]);
        let text = indented("", &value);
        insta::assert_snapshot!(text);
        assert_eq!(serde_yaml_ng::from_str::<Value>(&text).unwrap(), value);
    }
}
