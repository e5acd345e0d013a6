//! Redis as worker sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result};
use redis::streams::{StreamId, StreamPendingCountReply, StreamRangeReply, StreamReadReply};
use redis::{Client, Commands as _, Connection, ConnectionInfo, Pipeline, RedisError, cmd};
use tracing::warn;

use super::snapshot::Snapshot;
use super::wire::{JobRequest, JobStatus, Message, Offer};
use super::{keys, resolved};

/// How long a read of the inbox waits for something to come.
const BLOCK: Duration = Duration::from_millis(500);
/// Longer than any answer takes.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Messages taken at once.
const BATCH: usize = 256;
/// After this time without a sign worker counts as away.
const HEARTBEAT_SECONDS: u64 = 15;

/// A connection that has found, or made, both consumer groups.
pub(crate) struct Queue {
    connection: Connection,
    /// Jobs whose spec was published over this connection.
    announced: BTreeSet<String>,
}

/// An entry of the inbox; `None` if it cannot be understood.
pub(crate) struct Received {
    pub(crate) entry: String,
    pub(crate) message: Option<Message>,
}

/// An offer on the stream.
pub(crate) struct Offered {
    pub(crate) entry: String,
    /// `None` if it cannot be understood.
    pub(crate) offer: Option<Offer>,
    /// How long it has been on loan.
    pub(crate) lent_for: Option<Duration>,
}

impl Queue {
    pub(crate) fn connect(info: &ConnectionInfo) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let info = runtime.block_on(resolved(info))?;
        let connection = Client::open(info)?.get_connection_with_timeout(TIMEOUT)?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        connection.set_write_timeout(Some(TIMEOUT))?;
        let mut queue = Queue {
            connection,
            announced: BTreeSet::new(),
        };
        for (stream, group) in [(keys::INBOX, keys::LEDGER), (keys::OFFERS, keys::MINERS)] {
            let made: Result<(), RedisError> =
                queue.connection.xgroup_create_mkstream(stream, group, "0");
            made.or_else(|error| {
                if error.code() == Some("BUSYGROUP") {
                    Ok(())
                } else {
                    Err(error)
                }
            })?;
        }
        Ok(queue)
    }

    /// Messages that were read before but not acknowledged: the process ended in between.
    pub(crate) fn unfinished(&mut self) -> Result<Vec<Received>> {
        self.read("0")
    }

    /// New messages. Waits a little if there are none.
    pub(crate) fn receive(&mut self) -> Result<Vec<Received>> {
        self.read(">")
    }

    fn read(&mut self, from: &str) -> Result<Vec<Received>> {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP")
            .arg(keys::LEDGER)
            .arg("worker")
            .arg("COUNT")
            .arg(BATCH);
        read.arg("BLOCK")
            .arg(BLOCK.as_millis() as u64)
            .arg("STREAMS")
            .arg(keys::INBOX)
            .arg(from);
        let reply: Option<StreamReadReply> = read.query(&mut self.connection)?;
        let entries = reply
            .into_iter()
            .flat_map(|reply| reply.keys)
            .flat_map(|stream| stream.ids);
        Ok(entries
            .map(|entry| Received {
                message: parse(&entry),
                entry: entry.id,
            })
            .collect())
    }

    /// Removes messages that are dealt with.
    pub(crate) fn finish(&mut self, received: &[Received]) -> Result<()> {
        let entries: Vec<&str> = received
            .iter()
            .map(|received| received.entry.as_str())
            .collect();
        self.remove(keys::INBOX, keys::LEDGER, &entries)
    }

    /// Everything on offer and on loan.
    pub(crate) fn offers(&mut self) -> Result<Vec<Offered>> {
        let entries: StreamRangeReply = self.connection.xrange_all(keys::OFFERS)?;
        let pending: StreamPendingCountReply =
            self.connection
                .xpending_count(keys::OFFERS, keys::MINERS, "-", "+", 100_000)?;
        let lent: BTreeMap<String, usize> = pending
            .ids
            .into_iter()
            .map(|entry| (entry.id, entry.last_delivered_ms))
            .collect();
        let offered = |entry: StreamId| Offered {
            offer: parse(&entry),
            lent_for: lent
                .get(&entry.id)
                .map(|&ms| Duration::from_millis(ms as u64)),
            entry: entry.id,
        };
        Ok(entries.ids.into_iter().map(offered).collect())
    }

    pub(crate) fn withdraw(&mut self, entries: &[String]) -> Result<()> {
        self.remove(
            keys::OFFERS,
            keys::MINERS,
            &entries.iter().map(String::as_str).collect::<Vec<_>>(),
        )
    }

    pub(crate) fn offer(&mut self, offers: &[Offer]) -> Result<()> {
        let mut pipeline = Pipeline::new();
        for offer in offers {
            pipeline
                .xadd(
                    keys::OFFERS,
                    "*",
                    &[(keys::JSON, serde_json::to_string(offer)?)],
                )
                .ignore();
        }
        self.run(&pipeline)
    }

    /// Lets web know of a job.
    pub(crate) fn publish(
        &mut self,
        request: &JobRequest,
        status: &JobStatus,
        snapshot: &Snapshot,
    ) -> Result<()> {
        let mut fields = vec![
            ("status", serde_json::to_string(status)?),
            ("snapshot", serde_json::to_string(snapshot)?),
        ];
        // The spec is large and stays as it is.
        if self.announced.insert(status.id.clone()) {
            fields.push(("spec", serde_json::to_string(&request.spec)?));
        }
        Ok(self
            .connection
            .hset_multiple(keys::job(&status.id), &fields)?)
    }

    pub(crate) fn beat(&mut self) -> Result<()> {
        Ok(self
            .connection
            .set_ex(keys::WORKER, "here", HEARTBEAT_SECONDS)?)
    }

    fn remove(&mut self, stream: &str, group: &str, entries: &[&str]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut pipeline = Pipeline::new();
        pipeline
            .xack(stream, group, entries)
            .ignore()
            .xdel(stream, entries)
            .ignore();
        self.run(&pipeline)
    }

    fn run(&mut self, pipeline: &Pipeline) -> Result<()> {
        if pipeline.is_empty() {
            return Ok(());
        }
        pipeline.query::<()>(&mut self.connection).context("redis")
    }
}

fn parse<T: serde::de::DeserializeOwned>(entry: &StreamId) -> Option<T> {
    let text: Option<String> = entry.get(keys::JSON);
    let parsed = text.as_deref().map(serde_json::from_str).transpose();
    parsed
        .inspect_err(|error| warn!(entry = entry.id, "cannot understand a message: {error}"))
        .ok()
        .flatten()
}
