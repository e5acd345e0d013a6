//! What the parts of the service say to each other, over HTTP and through Redis alike.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::report::{NodeShare, Report};
use crate::spec::Spec;
use crate::tally::Tally;

/// Seeds in a reservation unless the job says otherwise: some seconds of work for a Raspberry Pi.
pub(crate) const DEFAULT_RESERVATION: u64 = 1 << 15;

/// `POST /api/v1/jobs`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct JobRequest {
    pub(crate) spec: Spec,
    /// Seeds in a reservation.
    #[serde(default = "default_reservation")]
    pub(crate) reservation: u64,
    /// The same request with the same key is the same job, so that asking again after a lost answer does no harm.
    #[serde(default)]
    pub(crate) key: String,
}

fn default_reservation() -> u64 {
    DEFAULT_RESERVATION
}

/// A range of seeds of one level of a job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Range {
    pub(crate) job: String,
    /// Position among the levels of the job.
    pub(crate) level: usize,
    pub(crate) start: u32,
    pub(crate) len: u64,
}

/// A range that waits to be lent, for the `epoch`-th time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offer {
    #[serde(flatten)]
    pub(crate) range: Range,
    pub(crate) epoch: u64,
    /// How long a miner may keep it before it is lent again.
    pub(crate) lease_seconds: u64,
}

/// `POST /api/v1/reservations`: what a miner says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) node: String,
    /// How long to wait for work, at most; the server may answer sooner.
    #[serde(default)]
    pub(crate) wait_seconds: u64,
}

/// ... and what it is lent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reservation {
    #[serde(flatten)]
    pub(crate) offer: Offer,
    /// When it is lent again, in seconds since 1970 by the server's clock. Miners go by `lease_seconds`.
    pub(crate) deadline: u64,
}

/// `POST /api/v1/results`: what a miner found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Submission {
    #[serde(flatten)]
    pub(crate) range: Range,
    pub(crate) epoch: u64,
    pub(crate) node: String,
    /// How long it took to compute.
    pub(crate) seconds: f64,
    pub(crate) tally: Tally,
}

/// `POST /api/v1/returns`: a reservation handed back undone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Return {
    #[serde(flatten)]
    pub(crate) range: Range,
    pub(crate) epoch: u64,
    pub(crate) node: String,
}

/// What web passes on to worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Message {
    Job {
        id: String,
        request: Box<JobRequest>,
    },
    Result(Submission),
    Return(Return),
}

/// `GET /api/v1/jobs/ID`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct JobStatus {
    pub(crate) id: String,
    pub(crate) state: State,
    pub(crate) progress: Progress,
    pub(crate) nodes: BTreeMap<String, NodeShare>,
    /// Ranges for which two results differ: somewhere a machine computes wrongly.
    pub(crate) disputes: Vec<Dispute>,
    /// The answer, when all is done.
    pub(crate) report: Option<Report>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Running,
    Done,
    /// Done, but with results that differ, so the report cannot be relied on.
    Disputed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) seeds_done: u64,
    pub(crate) seeds_total: u64,
    pub(crate) ranges_done: u64,
    pub(crate) ranges_total: u64,
}

/// Two nodes, one range, two results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Dispute {
    pub(crate) level: String,
    pub(crate) start: u32,
    pub(crate) len: u64,
    /// Whose result came first and is counted.
    pub(crate) counted: String,
    /// Whose result differs.
    pub(crate) differs: String,
}

/// The body of every answer that is not a success.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ApiError {
    pub(crate) error: String,
}
