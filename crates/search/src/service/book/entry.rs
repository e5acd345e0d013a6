//! What is entered in the ledger. A book is what its entries make of it.

use std::sync::Arc;

use super::space::Stretch;
use crate::service::packed::Packed;
use crate::service::wire::JobRequest;

/// Something that happened.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Job {
        number: u32,
        id: String,
        request: Box<JobRequest>,
        at: f64,
    },
    /// All of a job is done.
    Ended {
        job: u32,
        at: f64,
    },
    Lent(Loan),
    /// A loan ended without a result.
    Freed {
        epoch: u64,
    },
    Result(Outcome),
    /// A node was found to compute wrongly, or is trusted anew.
    Faulty {
        node: Arc<str>,
        faulty: bool,
    },
    /// Somebody outside may lend power.
    Token {
        name: String,
        hash: String,
        at: f64,
    },
    Revoked {
        name: String,
    },
}

/// Where a range lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) job: u32,
    pub(crate) level: usize,
    pub(crate) start: u32,
}

/// A range on loan.
#[derive(Clone, Debug)]
pub(crate) struct Loan {
    pub(crate) epoch: u64,
    pub(crate) place: Place,
    pub(crate) stretch: Stretch,
    pub(crate) node: Arc<str>,
    /// When, in seconds since 1970.
    pub(crate) at: f64,
}

/// A result that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The loan that it ends.
    pub(crate) epoch: u64,
    pub(crate) place: Place,
    pub(crate) stretch: Stretch,
    pub(crate) node: Arc<str>,
    /// How long it took the node.
    pub(crate) seconds: f64,
    /// When it came, in seconds since 1970.
    pub(crate) at: f64,
    /// Whether another node is to compute it again.
    pub(crate) chosen: bool,
    pub(crate) packed: Packed,
}
