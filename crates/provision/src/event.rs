//! What the node says while it applies a plan: one JSON object per line.

use serde::{Deserialize, Serialize};

use crate::{LocalSwarm, Member, Ran};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Another apply is under way on this node; this one goes on when it has ended.
    Waiting {
        /// For what.
        message: String,
    },
    /// A resource is being looked at.
    Started {
        /// The stage it belongs to.
        stage: String,
        /// The step's id.
        id: String,
    },
    /// A resource has been dealt with.
    Finished {
        /// The stage it belongs to.
        stage: String,
        /// The step's id.
        id: String,
        /// How it ended.
        #[serde(flatten)]
        outcome: Outcome,
        /// How long it took.
        milliseconds: u64,
    },
    /// The end of the plan.
    Summary(Summary),
}

/// How one resource ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It was as it should be.
    Satisfied,
    /// It was changed.
    Changed {
        /// Why it had to be.
        reason: String,
        /// A unified diff where one was asked for and there is one to show.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        diff: Option<String>,
        /// What was run to change it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        commands: Vec<Ran>,
    },
    /// It would have been changed, had this not been a check.
    WouldChange {
        /// Why.
        reason: String,
        /// As above.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        diff: Option<String>,
    },
    /// It could not be checked or changed; what comes after it was not tried.
    Failed {
        /// What is wrong, and what to do where that is known.
        error: String,
        /// What was run, the failing command last.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        commands: Vec<Ran>,
    },
}

/// Counts of resources by how they ended, and what the operator's side needs to know next.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Were as they should be.
    pub satisfied: usize,
    /// Were changed.
    pub changed: usize,
    /// Would have been changed.
    pub would_change: usize,
    /// Failed: none or one, since a failure ends the plan.
    pub failed: usize,
    /// Came after the failure.
    pub skipped: usize,
    /// Another one after every boot.
    #[serde(default)]
    pub boot_id: String,
    /// Whether something that was changed, now or earlier, takes a reboot to be in use.
    #[serde(default)]
    pub needs_reboot: bool,
    /// The node's place in a swarm; `None` where no engine answers.
    pub swarm: Option<LocalSwarm>,
    /// All nodes of its swarm, as far as it is a manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<Member>>,
    /// Whether its swarm has a routing mesh, as far as it is a manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mesh: Option<bool>,
}
