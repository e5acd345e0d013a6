//! What a Docker engine says about its swarm.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Secret, System, engine::Engine};

/// What a node does in a swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Takes part in decisions, and runs tasks too.
    Manager,
    /// Runs tasks.
    Worker,
}

/// Whether a node is given tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Availability {
    /// It is.
    Active,
    /// It keeps those it has.
    Pause,
    /// It gives up those it has.
    Drain,
}

/// A node's own view of its membership.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalSwarm {
    /// `inactive`, `pending`, `active`, `error` or `locked`.
    pub state: String,
    /// Its id in the swarm; empty outside of one, and where it was not worth asking.
    pub id: String,
    /// Whether it is a manager.
    pub manager: bool,
    /// What went wrong, where something did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// A manager's view of its swarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SwarmView {
    /// The swarm's own id.
    pub cluster: String,
    /// The secrets with which others can join, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Tokens>,
    /// All nodes, by host name.
    pub members: Vec<Member>,
    /// All services, by name.
    pub services: Vec<Service>,
}

/// The secrets with which a node joins, and what comes with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tokens {
    /// For those that become managers.
    pub manager: Secret,
    /// For the others.
    pub worker: Secret,
    /// Whether the swarm has a routing mesh, which every member sets up when it joins.
    #[serde(default)]
    pub mesh: bool,
}

/// A node, as managers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its id in the swarm.
    pub id: String,
    /// Its host name.
    pub hostname: String,
    /// Its address, as the managers see it.
    pub address: String,
    /// What it does.
    pub role: Role,
    /// Whether it is given tasks.
    pub availability: Availability,
    /// `ready`, `down`, `unknown` or `disconnected`.
    pub state: String,
    /// Whether it leads the managers.
    pub leader: bool,
    /// Labels that placement constraints can name.
    pub labels: BTreeMap<String, String>,
}

/// A service and its tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// `STACK_NAME`.
    pub name: String,
    /// The stack it was deployed with, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// The image its tasks run.
    pub image: String,
    /// How many tasks there should be.
    pub desired: u64,
    /// How many are running.
    pub running: u64,
    /// `updating`, `completed`, `rollback_started`, ...; empty when it was never updated.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub update: String,
    /// Those that should be running, and those that failed lately.
    pub tasks: Vec<Task>,
}

/// One run of a service's container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The image it runs.
    pub image: String,
    /// Host name of the node it was given to; empty while it waits for one.
    pub node: String,
    /// `pending`, `preparing`, `running`, `failed`, ...
    pub state: String,
    /// Whether it is still wanted.
    pub wanted: bool,
    /// Why it is not running, in the engine's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// When that was said, as the engine writes it: sorts by time.
    pub since: String,
}

impl LocalSwarm {
    /// Asks the node's engine.
    pub fn of(system: &System) -> Result<Self, Error> {
        Ok(Self::from_info(&Engine::connect(system)?.get("/info")?))
    }

    /// What the engine says by itself, or else what it answers when asked: without an id where all is well, which
    /// costs the engine next to nothing.
    pub(crate) fn at_a_glance(engine: &Engine) -> Result<Self, Error> {
        let (state, manager) = match engine.swarm.as_deref() {
            Some("inactive") => ("inactive", false),
            Some("active/manager") => ("active", true),
            Some("active/worker") => ("active", false),
            _ => return Ok(Self::from_info(&engine.get("/info")?)),
        };
        Ok(Self {
            state: state.into(),
            id: String::new(),
            manager,
            error: String::new(),
        })
    }

    pub(crate) fn from_info(info: &Value) -> Self {
        let swarm = &info["Swarm"];
        Self {
            state: text(&swarm["LocalNodeState"]),
            id: text(&swarm["NodeID"]),
            manager: swarm["ControlAvailable"].as_bool().unwrap_or(false),
            error: text(&swarm["Error"]),
        }
    }

    /// Whether it is a working part of a swarm.
    pub fn is_active(&self) -> bool {
        self.state == "active"
    }
}

impl SwarmView {
    /// Asks the node's engine, which must be a manager.
    pub fn of(system: &System, with_tokens: bool) -> Result<Self, Error> {
        let engine = Engine::connect(system)?;
        let swarm = engine.get("/swarm")?;
        let members = members(&engine)?;
        let services = engine.get("/services?status=true")?;
        let tasks = match list(&services) {
            [] => Value::Null,
            _ => engine.get("/tasks")?,
        };
        let mut services: Vec<_> = list(&services)
            .iter()
            .map(|service| Service::parse(service, list(&tasks), &members))
            .collect();
        services.sort_by(|a, b| a.name.cmp(&b.name));
        let token = |role: &str| Secret::new(text(&swarm["JoinTokens"][role]));
        let tokens = match with_tokens {
            false => None,
            true => Some(Tokens {
                manager: token("Manager"),
                worker: token("Worker"),
                mesh: mesh(&engine)?.is_some(),
            }),
        };
        Ok(Self {
            cluster: text(&swarm["ID"]),
            tokens,
            members,
            services,
        })
    }
}

/// The id of the network that is the routing mesh, of which a swarm has one or none.
pub(crate) fn mesh(engine: &Engine) -> Result<Option<String>, Error> {
    let networks = engine.get("/networks")?;
    let mesh = list(&networks)
        .iter()
        .find(|network| network["Ingress"] == true);
    Ok(mesh.map(|network| text(&network["Id"])))
}

/// All nodes of the swarm that `engine` manages.
pub(crate) fn members(engine: &Engine) -> Result<Vec<Member>, Error> {
    let mut members: Vec<_> = list(&engine.get("/nodes")?)
        .iter()
        .map(Member::parse)
        .collect();
    members.sort_by(|a, b| a.hostname.cmp(&b.hostname));
    Ok(members)
}

impl Member {
    fn parse(node: &Value) -> Self {
        let spec = &node["Spec"];
        let labels = spec["Labels"].as_object().into_iter().flatten();
        Self {
            id: text(&node["ID"]),
            hostname: text(&node["Description"]["Hostname"]),
            address: text(&node["Status"]["Addr"]),
            role: match spec["Role"].as_str() {
                Some("manager") => Role::Manager,
                _ => Role::Worker,
            },
            availability: match spec["Availability"].as_str() {
                Some("pause") => Availability::Pause,
                Some("drain") => Availability::Drain,
                _ => Availability::Active,
            },
            state: text(&node["Status"]["State"]),
            leader: node["ManagerStatus"]["Leader"].as_bool().unwrap_or(false),
            labels: labels
                .map(|(key, value)| (key.clone(), text(value)))
                .collect(),
        }
    }
}

impl Service {
    fn parse(service: &Value, tasks: &[Value], members: &[Member]) -> Self {
        let spec = &service["Spec"];
        let id = &service["ID"];
        let count = |key: &str| service["ServiceStatus"][key].as_u64().unwrap_or(0);
        let mut tasks: Vec<_> = tasks
            .iter()
            .filter(|task| task["ServiceID"] == *id)
            .map(|task| Task::parse(task, members))
            .collect();
        tasks.sort_by(|a, b| (!a.wanted, &a.node, &b.since).cmp(&(!b.wanted, &b.node, &a.since)));
        Self {
            name: text(&spec["Name"]),
            stack: spec["Labels"]["com.docker.stack.namespace"]
                .as_str()
                .map(Into::into),
            image: text(&spec["TaskTemplate"]["ContainerSpec"]["Image"]),
            desired: count("DesiredTasks"),
            running: count("RunningTasks"),
            update: text(&service["UpdateStatus"]["State"]),
            tasks,
        }
    }
}

impl Task {
    fn parse(task: &Value, members: &[Member]) -> Self {
        let status = &task["Status"];
        let node = members.iter().find(|member| task["NodeID"] == *member.id);
        Self {
            image: text(&task["Spec"]["ContainerSpec"]["Image"]),
            node: node
                .map(|member| member.hostname.clone())
                .unwrap_or_default(),
            state: text(&status["State"]),
            wanted: task["DesiredState"] == "running",
            error: text(&status["Err"]),
            since: text(&status["Timestamp"]),
        }
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().into()
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
