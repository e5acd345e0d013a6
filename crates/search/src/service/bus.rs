//! Redis as web sees it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use redis::aio::MultiplexedConnection;
use redis::streams::StreamReadReply;
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionInfo, FromRedisValue, RedisError, cmd};
use serde::Serialize;
use tokio::sync::Mutex;

use super::wire::Offer;
use super::{keys, resolved};

const TIMEOUT: Duration = Duration::from_secs(5);

/// One connection for all requests, made anew when it breaks.
pub(crate) struct Bus {
    info: ConnectionInfo,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Bus {
    pub(crate) fn new(info: ConnectionInfo) -> Self {
        Bus {
            info,
            connection: Mutex::new(None),
        }
    }

    /// Hands a message to worker.
    pub(crate) async fn send(&self, message: &impl Serialize) -> Result<()> {
        let json = serde_json::to_string(message)?;
        self.query(
            cmd("XADD")
                .arg(keys::INBOX)
                .arg("*")
                .arg(keys::JSON)
                .arg(json),
        )
        .await
    }

    /// Takes an offer off the stream and notes it as lent to `node`. `None` if there is none.
    pub(crate) async fn lend(&self, node: &str) -> Result<Option<Offer>> {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP")
            .arg(keys::MINERS)
            .arg(node)
            .arg("COUNT")
            .arg(1)
            .arg("STREAMS")
            .arg(keys::OFFERS)
            .arg(">");
        let reply: Option<StreamReadReply> = match self.query(&read).await {
            // Worker makes the group; until then there is nothing to lend.
            Err(error) if is_code(&error, "NOGROUP") => None,
            reply => reply?,
        };
        let entry = reply
            .into_iter()
            .flat_map(|reply| reply.keys)
            .flat_map(|stream| stream.ids)
            .next();
        let json: Option<String> = entry.and_then(|entry| entry.get(keys::JSON));
        json.map(|json| serde_json::from_str(&json).context("an offer"))
            .transpose()
    }

    /// A field of a job, if worker has published the job.
    pub(crate) async fn job(&self, id: &str, field: &str) -> Result<Option<String>> {
        self.query(cmd("HGET").arg(keys::job(id)).arg(field)).await
    }

    /// The ids of all jobs.
    pub(crate) async fn jobs(&self) -> Result<Vec<String>> {
        let (mut cursor, mut jobs) = (0, Vec::new());
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(keys::job("*"));
            let (next, found): (u64, Vec<String>) = self.query(&scan).await?;
            let prefix = keys::job("");
            jobs.extend(
                found
                    .iter()
                    .filter_map(|key| key.strip_prefix(&prefix))
                    .map(str::to_owned),
            );
            cursor = next;
            if cursor == 0 {
                return Ok(jobs);
            }
        }
    }

    /// Whether worker was heard of lately.
    pub(crate) async fn has_worker(&self) -> Result<bool> {
        self.query(cmd("EXISTS").arg(keys::WORKER)).await
    }

    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        let mut connection = self.connection().await?;
        match command.query_async(&mut connection).await {
            Ok(value) => Ok(value),
            Err(error) => {
                // An answer that says no comes over a good connection.
                if error.is_io_error() || error.is_timeout() || error.is_connection_dropped() {
                    self.connection.lock().await.take();
                }
                Err(error).context("redis")
            }
        }
    }

    async fn connection(&self) -> Result<MultiplexedConnection> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref() {
            return Ok(connection.clone());
        }
        let info = resolved(&self.info).await?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT));
        let made = Client::open(info)?
            .get_multiplexed_async_connection_with_config(&config)
            .await;
        let connection = made.context("cannot reach redis")?;
        Ok(slot.insert(connection).clone())
    }
}

fn is_code(error: &anyhow::Error, code: &str) -> bool {
    error
        .downcast_ref::<RedisError>()
        .is_some_and(|error| error.code() == Some(code))
}
