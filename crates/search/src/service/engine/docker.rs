//! Those parts of Docker's answers that are of interest (<https://docs.docker.com/reference/api/engine/version/v1.43/>).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::service::page::view::{EngineView, Machine, Service as ServiceView};

/// What may be asked, of the engine and of the proxy alike.
pub(super) const NODES: &str = "/nodes";
pub(super) const SERVICES: &str = "/services";
pub(super) const TASKS: &str = "/tasks";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Node {
    #[serde(rename = "ID")]
    id: String,
    spec: NodeSpec,
    description: Description,
    status: Status,
    /// Managers have one.
    manager_status: Option<ManagerStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NodeSpec {
    availability: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Description {
    hostname: String,
}

/// Of a node or a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    state: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManagerStatus {
    #[serde(default)]
    leader: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Service {
    #[serde(rename = "ID")]
    id: String,
    spec: ServiceSpec,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceSpec {
    name: String,
    #[serde(default)]
    mode: Mode,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mode {
    /// Services that run once on every node have none.
    replicated: Option<Replicated>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Replicated {
    replicas: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Task {
    #[serde(rename = "ServiceID", default)]
    service_id: String,
    /// Empty while no node has been found for it.
    #[serde(rename = "NodeID", default)]
    node_id: String,
    status: Status,
    desired_state: String,
}

/// All three answers as people want them: by name.
pub(super) fn view(nodes: &[Node], services: &[Service], tasks: &[Task]) -> EngineView {
    let running = |task: &&Task| task.status.state == "running";
    let wanted = |task: &&Task| task.desired_state == "running";
    let machine = |node: &Node| {
        let mut runs = BTreeMap::new();
        for task in tasks.iter().filter(running) {
            let service = services
                .iter()
                .find(|service| service.id == task.service_id);
            if let Some(service) = service.filter(|_| task.node_id == node.id) {
                *runs.entry(service.spec.name.clone()).or_default() += 1;
            }
        }
        let manager = node.manager_status.as_ref();
        Machine {
            name: node.description.hostname.clone(),
            manager: manager.is_some(),
            leader: manager.is_some_and(|status| status.leader),
            state: node.status.state.clone(),
            availability: node.spec.availability.clone(),
            runs,
        }
    };
    let service = |service: &Service| {
        let own = || tasks.iter().filter(|task| task.service_id == service.id);
        let replicas = service.spec.mode.replicated.as_ref();
        ServiceView {
            name: service.spec.name.clone(),
            running: own().filter(wanted).filter(running).count() as u64,
            wanted: replicas.map_or_else(
                || own().filter(wanted).count() as u64,
                |replicated| replicated.replicas.unwrap_or(1),
            ),
        }
    };
    let mut view = EngineView {
        nodes: nodes.iter().map(machine).collect(),
        services: services.iter().map(service).collect(),
    };
    view.nodes
        .sort_by_key(|node| (!node.manager, node.name.clone()));
    view.services.sort_by_key(|service| service.name.clone());
    view
}
