//! What lies between web and worker: requests one way, answers the other.
//!
//! Web puts each request into a [`Bus`] and waits. Worker takes them from a [`Queue`], many at a time. In one process the two
//! are the ends of a channel ([`here`]); in a cluster Redis lies between them ([`redis`]).

pub(crate) mod here;
pub(crate) mod redis;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::now;
use super::wire::{Asked, Caller, Reply, Request};

/// Requests taken at once.
const BATCH: usize = 1024;
/// How long to wait for requests, so that other things are not forgotten: that loans have run out, which last minutes, and
/// that somebody wants this to end. Whatever is shorter keeps an idle Redis busy.
const WAIT: Duration = Duration::from_secs(1);
/// How long web waits for worker.
const PATIENCE: Duration = Duration::from_secs(5);

/// Requests at a time of which the answer may be large: they lie in Redis until web has read them.
const LARGE: usize = 8;

/// Worker's end.
pub(crate) trait Queue {
    /// Requests that have come, in order, each with a ticket for its answer. Waits a little if there are none.
    ///
    /// # Errors
    /// When the way is broken. Requests that were not answered may come again after that.
    fn receive(&mut self) -> Result<Vec<(Ticket, Asked)>>;

    /// Answers requests. With `wake`, lets those who wait for work know that there is some.
    fn answer(&mut self, answers: Vec<(Ticket, Reply)>, wake: bool) -> Result<()>;
}

/// Tells where an answer belongs.
pub(crate) enum Ticket {
    Here(oneshot::Sender<Reply>),
    Redis {
        /// The stream's entry.
        entry: String,
        /// Which web asked, and its number for the request.
        web: String,
        number: u64,
    },
}

/// Web's end.
#[derive(Clone)]
pub(crate) struct Bus {
    outbox: mpsc::Sender<(Asked, oneshot::Sender<Reply>)>,
    large: Arc<Semaphore>,
    /// Changes when there is new work.
    pub(crate) woken: watch::Receiver<u64>,
}

/// What a [`Bus`] is filled into.
type Outbox = mpsc::Receiver<(Asked, oneshot::Sender<Reply>)>;

impl Bus {
    fn new() -> (Self, Outbox, watch::Sender<u64>) {
        let (outbox, requests) = mpsc::channel(4 * BATCH);
        let (wake, woken) = watch::channel(0);
        let large = Arc::new(Semaphore::new(LARGE));
        let bus = Bus {
            outbox,
            large,
            woken,
        };
        (bus, requests, wake)
    }

    /// Asks worker. `None` if there was no answer in time: then it may or may not have been done.
    pub(crate) async fn ask(&self, caller: Caller, request: Request) -> Option<Reply> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked {
            caller,
            at: now(),
            request,
        };
        let ask = async {
            let _turn = match asked.request.is_for_much() {
                true => Some(self.large.acquire().await.ok()?),
                false => None,
            };
            self.outbox.send((asked, answer)).await.ok()?;
            answered.await.ok()
        };
        timeout(PATIENCE, ask).await.ok().flatten()
    }
}
