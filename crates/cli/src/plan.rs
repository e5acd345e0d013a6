//! From a cluster to what must hold on each of its nodes. Pure: what is planned can be read, and is tested, as data.

mod software;

use bramble_cluster::render::stacks::BACKUPS;
use bramble_cluster::render::{docker, network, storage};
use bramble_cluster::spec::{self, Cluster, Nas, Node, SHARED_LINK};
use bramble_provision::resource::{
    Absent, AuthorizedKeys, Block, Content, Directory, DockerConfig, File, GroupMember, Lines,
    Link, Mount, Notice, Notified, PasswordHash, RoutingMesh, SwarmInit, SwarmJoin, SwarmNode,
    Units, User, WaitOnline,
};
use bramble_provision::{Plan, Resource, Role, Secret, Stage, SwarmView};

/// Has Docker wait for the shared export after a boot.
const WAIT_FOR_SHARED: &str = "/etc/systemd/system/docker.service.d/bramble-shared.conf";

/// Where managers let others join.
const SWARM_PORT: u16 = 2377;

/// The keys that go onto every node.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    /// Lets the operator in.
    pub(crate) operator: String,
    /// Lets the nodes in to each other.
    pub(crate) cluster: String,
    /// Its private half, which every node holds.
    pub(crate) cluster_private: Secret,
    /// Lets nodes into the Tailscale network, where one is wanted.
    pub(crate) tailscale: Option<Secret>,
}

/// Parts of provisioning, in the order in which they are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Part {
    /// Host name, packages, kernel and firmware.
    System,
    /// Users, keys, names of the nodes.
    Access,
    /// Mounts.
    Storage,
    /// Docker, and Tailscale.
    Engine,
    /// Reboots.
    Reboot,
    /// Membership of the swarm.
    Swarm,
}

/// All that does not need another node, from a stage on.
pub(crate) fn base(cluster: &Cluster, node: &Node, keys: &Keys, from: Part) -> Plan {
    let storage = match &cluster.nas {
        Some(nas) => shared_storage(nas, node),
        None => no_shared_storage(),
    };
    let registry = (node.name == cluster.registry.node).then(|| registry_data(cluster));
    let backups = (node.keeps_ledger() && cluster.nas.is_some()).then(|| directory(BACKUPS));
    let engine = engine(cluster).into_iter().chain(software::tailscale(keys));
    let stages = [
        (
            Part::System,
            Stage::new("system", software::system(cluster, node)),
        ),
        (Part::Access, Stage::new("access", access(cluster, keys))),
        (
            Part::Storage,
            Stage::new(
                "storage",
                storage.into_iter().chain(registry).chain(backups),
            ),
        ),
        (Part::Engine, Stage::new("engine", engine)),
    ];
    Plan {
        node: node.name.clone(),
        stages: stages
            .into_iter()
            .filter(|(stage, plan)| *stage >= from && !plan.steps.is_empty())
            .map(|(_, plan)| plan)
            .collect(),
    }
}

/// Founds the swarm. It has its mesh or none before anybody joins, who would set it up.
pub(crate) fn init(cluster: &Cluster, node: &Node) -> Plan {
    let init = SwarmInit {
        advertise: node.ip.to_string(),
    };
    plan(
        node,
        "swarm",
        [Resource::SwarmInit(init), routing_mesh(cluster)],
    )
}

/// The swarm's mesh, which `manager` sets up or takes away for all.
pub(crate) fn mesh(cluster: &Cluster, manager: &Node) -> Plan {
    plan(manager, "swarm", [routing_mesh(cluster)])
}

fn routing_mesh(cluster: &Cluster) -> Resource {
    Resource::RoutingMesh(RoutingMesh {
        wanted: cluster.docker.routing_mesh,
    })
}

/// Joins the swarm that `managers` know as `view`.
pub(crate) fn join(node: &Node, managers: &[&Node], view: &SwarmView) -> Plan {
    let token = match (&view.tokens, node.role) {
        (Some(tokens), spec::Role::Manager) => tokens.manager.clone(),
        (Some(tokens), spec::Role::Worker) => tokens.worker.clone(),
        // A check needs none.
        (None, _) => Secret::new(""),
    };
    let address = |manager: &&Node| format!("{}:{SWARM_PORT}", manager.ip);
    let join = SwarmJoin {
        advertise: node.ip.to_string(),
        managers: managers.iter().map(address).collect(),
        token,
        members: view
            .members
            .iter()
            .map(|member| member.id.clone())
            .collect(),
        mesh: view.tokens.as_ref().is_some_and(|tokens| tokens.mesh),
    };
    plan(node, "swarm", [Resource::SwarmJoin(join)])
}

/// Roles and labels of `members`, which `manager` sets for all.
pub(crate) fn members(manager: &Node, members: &[&Node]) -> Plan {
    let member = |node: &&Node| Resource::SwarmNode(member(node));
    plan(manager, "members", members.iter().map(member))
}

/// What a node is in the swarm.
pub(crate) fn member(node: &Node) -> SwarmNode {
    SwarmNode {
        name: node.name.clone(),
        role: match node.role {
            spec::Role::Manager => Role::Manager,
            spec::Role::Worker => Role::Worker,
        },
        labels: node.labels.clone(),
    }
}

fn plan(node: &Node, stage: &str, resources: impl IntoIterator<Item = Resource>) -> Plan {
    Plan {
        node: node.name.clone(),
        stages: vec![Stage::new(stage, resources)],
    }
}

/// Who may log in, and what nodes call each other.
fn access(cluster: &Cluster, keys: &Keys) -> Vec<Resource> {
    let user = &cluster.access.user;
    let home = home(user);
    let mut authorized = vec![keys.operator.clone(), keys.cluster.clone()];
    authorized.extend(cluster.access.authorized_keys.iter().cloned());
    let mut resources = vec![Resource::User(User {
        name: user.clone(),
        home: home.clone(),
        shell: "/bin/bash".into(),
    })];
    resources.extend(cluster.access.password_hash.as_ref().map(|hash| {
        Resource::PasswordHash(PasswordHash {
            user: user.clone(),
            hash: Secret::new(hash),
        })
    }));
    resources.extend([Resource::AuthorizedKeys(AuthorizedKeys {
        user: user.clone(),
        keys: authorized,
    })]);
    resources.extend(nodes_own_keys(
        cluster,
        keys.cluster_private.reveal(),
        &keys.cluster,
    ));
    resources.push(Resource::Block(Block {
        path: "/etc/hosts".into(),
        name: "hosts".into(),
        content: network::hosts(cluster),
        lines: Lines::Hosts,
        notifies: None,
    }));
    resources
}

/// The pair with which nodes reach each other.
pub(crate) fn nodes_own_keys(cluster: &Cluster, private: &str, public: &str) -> [Resource; 2] {
    let user = &cluster.access.user;
    let file = |name: &str, content, mode| {
        Resource::File(File {
            path: format!("{}/.ssh/{name}", home(user)),
            content,
            mode,
            owner: Some(user.clone()),
            notifies: None,
        })
    };
    [
        file("id_ed25519", Content::Secret(Secret::new(private)), 0o600),
        file(
            "id_ed25519.pub",
            Content::Text(format!("{}\n", public.trim_end())),
            0o644,
        ),
    ]
}

/// What all nodes see of the NAS, now and before Docker starts after a boot.
fn shared_storage(nas: &Nas, node: &Node) -> Vec<Resource> {
    let mounts = storage::mounts(nas, node);
    let shared = Nas::mount_point(&nas.shared);
    let mut resources: Vec<_> = mounts
        .iter()
        .map(|mount| directory(&mount.target))
        .collect();
    resources.extend([
        fstab(storage::fstab(nas, node)),
        Resource::File(File {
            path: WAIT_FOR_SHARED.into(),
            content: Content::Text(format!("[Unit]\nRequiresMountsFor={shared}\n")),
            mode: 0o644,
            owner: None,
            notifies: Some(Notice::SystemdReload),
        }),
    ]);
    resources.extend(mounts.into_iter().map(|mount| {
        Resource::Mount(Mount {
            path: mount.target,
            source: mount.source,
            fstype: mount.fstype.into(),
        })
    }));
    resources.push(Resource::Link(Link {
        path: SHARED_LINK.into(),
        target: shared,
    }));
    resources
}

/// Nothing is left of a NAS of an earlier cluster file that a boot would wait for. What is mounted stays until then.
fn no_shared_storage() -> Vec<Resource> {
    vec![
        fstab(String::new()),
        Resource::Absent(Absent {
            path: WAIT_FOR_SHARED.into(),
            notifies: Some(Notice::SystemdReload),
        }),
    ]
}

/// The lines of `/etc/fstab` that are ours.
fn fstab(content: String) -> Resource {
    Resource::Block(Block {
        path: "/etc/fstab".into(),
        name: "fstab".into(),
        content,
        lines: Lines::Anywhere,
        notifies: Some(Notice::SystemdReload),
    })
}

/// On the NAS it belongs to whom the server says; elsewhere to the operator, as whom the registry runs.
fn registry_data(cluster: &Cluster) -> Resource {
    let path = &cluster.registry.data;
    match cluster.nas {
        Some(_) => directory(path),
        None => Resource::Directory(Directory {
            path: path.clone(),
            mode: Some(0o755),
            owner: Some(cluster.access.user.clone()),
        }),
    }
}

/// Docker, configured before its first start.
fn engine(cluster: &Cluster) -> Vec<Resource> {
    let settings = docker::daemon(cluster)
        .as_object()
        .cloned()
        .unwrap_or_default();
    let services = ["containerd.service", "docker.service"];
    vec![
        Resource::DockerConfig(DockerConfig { settings }),
        Resource::Units(Units {
            names: services.map(String::from).to_vec(),
        }),
        // For those who ran before; what has just been started knows.
        notified(Notice::SystemdReload),
        notified(Notice::DockerRestart),
        notified(Notice::DockerReload),
        Resource::GroupMember(GroupMember {
            user: cluster.access.user.clone(),
            group: "docker".into(),
        }),
        Resource::WaitOnline(WaitOnline {}),
    ]
}

fn notified(notice: Notice) -> Resource {
    Resource::Notified(Notified { notice })
}

fn directory(path: &str) -> Resource {
    Resource::Directory(Directory {
        path: path.into(),
        mode: None,
        owner: None,
    })
}

fn home(user: &str) -> String {
    match user {
        "root" => "/root".into(),
        user => format!("/home/{user}"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bramble_provision::Tokens;

    use super::*;

    pub(crate) fn cluster(name: &str) -> Cluster {
        let path = format!(
            "{}/../../fixtures/clusters/{name}.toml",
            env!("CARGO_MANIFEST_DIR")
        );
        let text = std::fs::read_to_string(&path).unwrap();
        Cluster::parse(&path, &text).unwrap().0
    }

    fn keys() -> Keys {
        Keys {
            operator: "ssh-ed25519 AAAAOperator operator".into(),
            cluster: "ssh-ed25519 AAAACluster bramble".into(),
            cluster_private: Secret::new("the private half\n"),
            tailscale: None,
        }
    }

    fn view() -> SwarmView {
        SwarmView {
            cluster: "swarm".into(),
            tokens: Some(Tokens {
                manager: Secret::new("SWMTKN-manager"),
                worker: Secret::new("SWMTKN-worker"),
                mesh: true,
            }),
            members: vec![],
            services: vec![],
        }
    }

    #[test]
    fn base_plans() {
        for (file, node) in [
            ("eight-pi", "manager1"),
            ("eight-pi", "worker1"),
            ("two-pi", ""),
            ("three-managers", ""),
        ] {
            let cluster = cluster(file);
            let node = cluster.node(node).unwrap_or(cluster.first_manager());
            insta::assert_yaml_snapshot!(
                format!("base_{file}_{}", node.name),
                base(&cluster, node, &keys(), Part::System)
            );
        }
    }

    #[test]
    fn a_plan_of_everything() {
        let text = r#"
            version = 1
            name = "all"
            timezone = "Europe/Berlin"
            network.subnet = "192.168.1.0/24"
            updates.upgrade = "dist"
            docker.source = "docker-ce"
            tailscale.auth_key_file = "tailscale.key"
            access.password_hash = "$6$salt$00000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
            boot.poe_fan = [65, 70, 75, 80]
            boot.cmdline = ["panic=10"]
            packages = ["vim"]
            [[nodes]]
            name = "only"
            role = "manager"
            mac = "dc:a6:32:00:00:01"
            ip = "192.168.1.50"
        "#;
        let (cluster, _) = Cluster::parse("cluster.toml", text).unwrap();
        let keys = Keys {
            tailscale: Some(Secret::new("the auth key")),
            ..keys()
        };
        let node = cluster.first_manager();
        insta::assert_yaml_snapshot!("base_everything", base(&cluster, node, &keys, Part::System));

        let (script, _) =
            Cluster::parse("cluster.toml", &text.replace("docker-ce", "script")).unwrap();
        insta::assert_yaml_snapshot!("base_script", software::system(&script, node));
        let names = |from| -> Vec<String> {
            let plan = base(&cluster, node, &keys, from);
            plan.stages.into_iter().map(|stage| stage.name).collect()
        };
        assert_eq!(names(Part::Access), ["access", "storage", "engine"]);
        assert_eq!(names(Part::Swarm), [""; 0]);
    }

    #[test]
    fn swarm_plans() {
        for file in ["eight-pi", "two-pi", "three-managers"] {
            let cluster = cluster(file);
            let managers: Vec<_> = cluster.managers().collect();
            let all: Vec<_> = cluster.nodes.iter().collect();
            let others = cluster.nodes.iter().filter(|node| **node != *managers[0]);
            let plans: Vec<_> = [init(&cluster, managers[0])]
                .into_iter()
                .chain(others.map(|node| join(node, &managers[..1], &view())))
                .chain([members(managers[0], &all)])
                .collect();
            insta::assert_yaml_snapshot!(format!("swarm_{file}"), plans);
        }
    }

    #[test]
    fn steps_have_names_of_their_own() {
        for file in ["eight-pi", "two-pi", "three-managers"] {
            let cluster = cluster(file);
            for node in &cluster.nodes {
                let plan = base(&cluster, node, &keys(), Part::System);
                let mut ids: Vec<_> = plan
                    .stages
                    .iter()
                    .flat_map(|stage| &stage.steps)
                    .map(|step| &step.id)
                    .collect();
                let count = ids.len();
                ids.sort();
                ids.dedup();
                assert_eq!(ids.len(), count, "{file} {}", node.name);
            }
        }
    }
}
