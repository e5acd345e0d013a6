//! What is to hold on one node.

use serde::{Deserialize, Serialize};

use crate::Resource;

/// Everything one node is to be, as data: made by the operator's side, carried out by the node's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The node it was made for, as people call it.
    pub node: String,
    /// Groups of resources, in order.
    pub stages: Vec<Stage>,
}

/// A named part of a plan; times are reported by stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// `base`, `swarm`.
    pub name: String,
    /// In the order in which they must come to hold.
    pub steps: Vec<Step>,
}

/// One resource, with the name under which it is reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Unique within the plan: `mount /mnt/nfs/plex`.
    pub id: String,
    /// What must hold.
    pub resource: Resource,
}

impl Stage {
    /// A stage whose steps carry their resources' own titles.
    pub fn new(name: &str, resources: impl IntoIterator<Item = Resource>) -> Self {
        let steps = resources
            .into_iter()
            .map(|resource| Step {
                id: resource.title(),
                resource,
            })
            .collect();
        Self {
            name: name.into(),
            steps,
        }
    }
}
