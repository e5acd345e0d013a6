//! What the parts of the service say to each other: over HTTP in its upper half, from web to worker in its lower.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::report::{NodeShare, Report};
use crate::spec::{SEEDS, Spec};
use crate::tally::Tally;

/// `POST /v1/jobs`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobRequest {
    pub(crate) spec: Spec,
    /// The most seeds in a reservation. Otherwise, each gets about a minute's work.
    #[serde(default = "all_seeds")]
    pub(crate) reservation: u64,
    /// The same request with the same key is the same job, so that asking again after a lost answer does no harm.
    #[serde(default)]
    pub(crate) key: String,
}

fn all_seeds() -> u64 {
    SEEDS
}

/// Seeds of one level of a job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Range {
    pub(crate) job: String,
    /// Position among the levels of the job.
    pub(crate) level: usize,
    pub(crate) start: u32,
    /// How many seeds from there on.
    pub(crate) len: u64,
    /// Whether `2^32 - seed` is meant as well for each of them: that makes `2 * len` seeds.
    #[serde(default)]
    pub(crate) twins: bool,
}

/// `POST /v1/reservations`: what a miner says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ask {
    pub(crate) node: String,
    /// How long to wait for work, at most; the server may answer sooner.
    #[serde(default)]
    pub(crate) wait_seconds: u64,
}

/// ... and what it is lent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reservation {
    #[serde(flatten)]
    pub(crate) range: Range,
    /// The number of this loan: a range that is lent again gets another.
    pub(crate) epoch: u64,
    /// How long a miner may keep it before it is lent again, unless it renews.
    pub(crate) lease_seconds: u64,
    /// When that is, in seconds since 1970 by the server's clock. Miners go by `lease_seconds`.
    pub(crate) deadline: u64,
}

/// `POST /v1/renewals` and `POST /v1/returns`: a reservation that goes on, or is handed back undone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hold {
    pub(crate) epoch: u64,
    pub(crate) node: String,
}

/// `POST /v1/results`: what a miner found.
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

/// `POST /v1/tokens`: somebody outside who lends power.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grant {
    /// What the node is called that has the token.
    pub(crate) name: String,
}

/// `GET /v1/jobs/ID`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct JobStatus {
    pub(crate) id: String,
    pub(crate) state: State,
    pub(crate) progress: Progress,
    pub(crate) nodes: BTreeMap<String, NodeShare>,
    /// Ranges for which results differ: somewhere a machine computes wrongly.
    pub(crate) disputes: Vec<Dispute>,
    /// The answer, when all is done.
    pub(crate) report: Option<Report>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Running,
    Done,
    /// All that is left are ranges about which nodes differ, and nobody is there who could settle it.
    Disputed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Seeds whose result counts.
    pub(crate) seeds_done: u64,
    pub(crate) seeds_total: u64,
    /// Ranges whose result counts.
    pub(crate) ranges_done: u64,
    /// Ranges with a result that another node came to as well.
    pub(crate) ranges_verified: u64,
    /// Ranges that another node should compute again. In a job that is done, nobody was there to do it.
    pub(crate) ranges_unverified: u64,
}

/// One range, several results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Dispute {
    pub(crate) level: String,
    pub(crate) start: u32,
    pub(crate) len: u64,
    /// Who came to which digest.
    pub(crate) digests: BTreeMap<String, String>,
}

/// The body of every answer that is not a success.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ApiError {
    pub(crate) error: String,
}

/// What web passes on to worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) caller: Caller,
    /// Seconds since 1970.
    pub(crate) at: f64,
    pub(crate) request: Request,
}

/// On whose behalf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Caller {
    /// May do everything.
    Admin,
    /// A node of the cluster.
    Member,
    /// Whoever has the token with this SHA-256, in hexadecimal digits.
    Token(String),
    /// Showed nothing.
    Nobody,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Request {
    /// Is anybody there?
    Ping,
    Begin {
        id: String,
        request: Box<JobRequest>,
    },
    Jobs,
    Status {
        job: String,
    },
    Spec {
        job: String,
    },
    Snapshot {
        job: String,
    },
    Lend(Ask),
    Renew(Hold),
    Return(Hold),
    Result(Submission),
    /// A token that is known by its SHA-256.
    Grant {
        name: String,
        hash: String,
    },
    Revoke {
        name: String,
    },
    Tokens,
    /// A node that computed wrongly is mended.
    Forgive {
        node: String,
    },
}

impl Request {
    /// Whether the answer grows with what is known, as that of a snapshot of a job with many ranges.
    pub(crate) fn is_for_much(&self) -> bool {
        matches!(
            self,
            Request::Jobs
                | Request::Status { .. }
                | Request::Spec { .. }
                | Request::Snapshot { .. }
                | Request::Tokens
        )
    }
}

/// What worker answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reply {
    /// A JSON document.
    Yes(String),
    /// The same, of something that was not there before.
    Made(String),
    /// There is none now.
    Nothing,
    No(Refusal, String),
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Refusal {
    /// It makes no sense.
    Bad,
    /// It needs a token, or another one.
    Unauthorized,
    /// Not for this one.
    Forbidden,
    /// No such thing.
    Missing,
    /// It contradicts what is known.
    Conflict,
    /// The loan is over.
    Gone,
}

impl Reply {
    pub(crate) fn yes(value: &impl Serialize) -> Reply {
        // Nothing here has keys that are not text, which is all that can go wrong.
        Reply::Yes(serde_json::to_string(value).unwrap_or_default())
    }
}
