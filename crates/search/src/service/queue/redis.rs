//! Web and worker with Redis between them.
//!
//! Requests are entries of one stream, which worker reads as the only member of a consumer group: what it has read and not
//! acknowledged comes again when it comes back. Answers are entries of a stream for each web, kept for a minute. Nothing in Redis is
//! needed for long: whoever gets no answer asks again, and asking twice does no harm.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use ::redis::streams::{StreamId, StreamMaxlen, StreamReadReply};
use ::redis::{
    AsyncConnectionConfig, Client, Commands as _, Connection, ConnectionInfo, Pipeline, RedisError,
    cmd,
};
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};
use tracing::warn;

use super::{BATCH, Bus, Outbox, Queue, Ticket, WAIT};
use crate::service::resolved;
use crate::service::wire::{Asked, Reply};

/// Stream of requests.
const REQUESTS: &str = "bramble:requests";
/// While worker is away, the oldest beyond these are forgotten: nobody waits for them any more.
const MOST_REQUESTS: usize = 100_000;
/// Worker's consumer group.
const GROUP: &str = "ledger";
/// The one field of an entry.
const JSON: &str = "json";
/// Longer than any answer takes.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Answers that nobody takes are forgotten after that.
const KEEP_SECONDS: u64 = 60;
/// Webs that were not heard of for so long are not told of work.
const FORGET: Duration = Duration::from_secs(120);
/// How long web's reading waits for an answer to come.
const BLOCK: Duration = Duration::from_secs(2);
/// Pause before a connection is made anew.
const PAUSE: Duration = Duration::from_millis(300);

fn answers_for(web: &str) -> String {
    format!("bramble:answers:{web}")
}

/// An entry of the stream of requests.
#[derive(Serialize, Deserialize)]
struct Letter {
    web: String,
    number: u64,
    #[serde(flatten)]
    asked: Asked,
}

/// An entry of a stream of answers.
#[derive(Default, Serialize, Deserialize)]
struct Answers {
    wake: bool,
    replies: Vec<(u64, Reply)>,
}

/// Worker's end.
pub(crate) struct RedisQueue {
    connection: Connection,
    /// What was read by an earlier process and not answered is read first.
    from: &'static str,
    webs: HashMap<String, Instant>,
}

impl RedisQueue {
    pub(crate) fn connect(info: &ConnectionInfo) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let info = runtime.block_on(resolved(info))?;
        let mut connection = Client::open(info)?.get_connection_with_timeout(TIMEOUT)?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        connection.set_write_timeout(Some(TIMEOUT))?;
        let made: Result<(), RedisError> = connection.xgroup_create_mkstream(REQUESTS, GROUP, "0");
        made.or_else(|error| match error.code() {
            Some("BUSYGROUP") => Ok(()),
            _ => Err(error),
        })?;
        let webs = HashMap::new();
        Ok(RedisQueue {
            connection,
            from: "0",
            webs,
        })
    }
}

impl Queue for RedisQueue {
    fn receive(&mut self) -> Result<Vec<(Ticket, Asked)>> {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(GROUP).arg("worker");
        read.arg("COUNT")
            .arg(BATCH)
            .arg("BLOCK")
            .arg(WAIT.as_millis() as u64);
        read.arg("STREAMS").arg(REQUESTS).arg(self.from);
        let reply: Option<StreamReadReply> = read.query(&mut self.connection).context("redis")?;
        let entries: Vec<StreamId> = entries(reply);
        if entries.is_empty() {
            self.from = ">";
        }
        let mut received = Vec::with_capacity(entries.len());
        let mut damaged = Vec::new();
        for StreamId { id: entry, map, .. } in entries {
            match parse::<Letter>(&entry, &map) {
                Some(Letter { web, number, asked }) => {
                    self.webs.insert(web.clone(), Instant::now());
                    received.push((Ticket::Redis { entry, web, number }, asked));
                }
                None => damaged.push((
                    Ticket::Redis {
                        entry,
                        web: String::new(),
                        number: 0,
                    },
                    Reply::Nothing,
                )),
            }
        }
        self.answer(damaged, false)?;
        Ok(received)
    }

    fn answer(&mut self, answers: Vec<(Ticket, Reply)>, wake: bool) -> Result<()> {
        let mut letters: BTreeMap<String, Answers> = BTreeMap::new();
        let mut done = Vec::new();
        for (ticket, reply) in answers {
            if let Ticket::Redis { entry, web, number } = ticket {
                done.push(entry);
                if !web.is_empty() {
                    letters
                        .entry(web)
                        .or_default()
                        .replies
                        .push((number, reply));
                }
            }
        }
        if wake {
            self.webs.retain(|_, heard| heard.elapsed() < FORGET);
            for web in self.webs.keys() {
                letters.entry(web.clone()).or_default().wake = true;
            }
        }
        let mut pipeline = Pipeline::new();
        if !done.is_empty() {
            pipeline.xack(REQUESTS, GROUP, &done).ignore();
            pipeline.xdel(REQUESTS, &done).ignore();
        }
        for (web, letter) in &letters {
            let stream = answers_for(web);
            let json = serde_json::to_string(letter)?;
            pipeline.xadd(&stream, "*", &[(JSON, json)]).ignore();
            // Those that were read are not needed; there are few in a second, of up to a batch each.
            pipeline
                .cmd("XTRIM")
                .arg(&stream)
                .arg("MAXLEN")
                .arg("~")
                .arg(1000)
                .ignore();
            pipeline.expire(&stream, KEEP_SECONDS as i64).ignore();
        }
        if pipeline.is_empty() {
            return Ok(());
        }
        pipeline.query::<()>(&mut self.connection).context("redis")
    }
}

fn entries(reply: Option<StreamReadReply>) -> Vec<StreamId> {
    let streams = reply.into_iter().flat_map(|reply| reply.keys);
    streams.flat_map(|stream| stream.ids).collect()
}

fn parse<T: serde::de::DeserializeOwned>(
    entry: &str,
    map: &HashMap<String, ::redis::Value>,
) -> Option<T> {
    let text: String = ::redis::from_redis_value_ref(map.get(JSON)?).ok()?;
    let parsed = serde_json::from_str(&text);
    parsed
        .inspect_err(|error| warn!(entry, "cannot understand a message: {error}"))
        .ok()
}

/// Requests that wait for an answer.
type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Reply>>>>;

/// Carries what web asks to Redis and back, in tasks of their own that make their connections anew when they break.
pub(crate) fn connect_web(info: ConnectionInfo) -> Result<Bus> {
    let (bus, requests, wake) = Bus::new();
    let mut name = [0; 8];
    getrandom::fill(&mut name).context("no random numbers")?;
    let web = format!("{:016x}", u64::from_le_bytes(name));
    let waiting = Waiting::default();
    tokio::spawn(send(
        info.clone(),
        web.clone(),
        requests,
        Arc::clone(&waiting),
    ));
    tokio::spawn(receive(info, web, waiting, wake));
    Ok(bus)
}

async fn send(info: ConnectionInfo, web: String, mut requests: Outbox, waiting: Waiting) {
    let mut connection = None;
    let mut number = 0;
    let mut batch = Vec::new();
    while requests.recv_many(&mut batch, BATCH).await > 0 {
        let mut pipeline = Pipeline::new();
        let first = number;
        for (asked, to) in batch.drain(..) {
            number += 1;
            lock(&waiting).insert(number, to);
            let letter = Letter {
                web: web.clone(),
                number,
                asked,
            };
            if let Ok(json) = serde_json::to_string(&letter) {
                let most = StreamMaxlen::Approx(MOST_REQUESTS);
                pipeline
                    .xadd_maxlen(REQUESTS, most, "*", &[(JSON, json)])
                    .ignore();
            }
        }
        let sent = async {
            if connection.is_none() {
                connection = Some(connect(&info).await?);
            }
            if let Some(connection) = &mut connection {
                pipeline.query_async::<()>(connection).await?;
            }
            anyhow::Ok(())
        };
        if let Err(error) = sent.await {
            warn!("redis: {error:#}");
            connection = None;
            // Those who wait learn at once that nothing will come.
            lock(&waiting).retain(|waits, _| *waits <= first);
        }
        // Nor does anything come for those who went away.
        if number % 4096 < BATCH as u64 {
            lock(&waiting).retain(|_, to| !to.is_closed());
        }
    }
}

async fn receive(info: ConnectionInfo, web: String, waiting: Waiting, wake: watch::Sender<u64>) {
    let stream = answers_for(&web);
    let mut last = "0".to_owned();
    while !wake.is_closed() {
        let read = async {
            let mut connection = connect(&info).await?;
            loop {
                let mut read = cmd("XREAD");
                read.arg("COUNT")
                    .arg(BATCH)
                    .arg("BLOCK")
                    .arg(BLOCK.as_millis() as u64);
                read.arg("STREAMS").arg(&stream).arg(&last);
                let reply: Option<StreamReadReply> = read.query_async(&mut connection).await?;
                for StreamId { id, map, .. } in entries(reply) {
                    let Answers {
                        wake: work,
                        replies,
                    } = parse(&id, &map).unwrap_or_default();
                    last = id;
                    let mut waiting = lock(&waiting);
                    for (number, reply) in replies {
                        if let Some(to) = waiting.remove(&number) {
                            let _ = to.send(reply);
                        }
                    }
                    if work {
                        wake.send_modify(|count| *count += 1);
                    }
                }
                if wake.is_closed() {
                    return anyhow::Ok(());
                }
            }
        };
        if let Err(error) = read.await {
            warn!("redis: {error:#}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn connect(info: &ConnectionInfo) -> Result<MultiplexedConnection> {
    let info = resolved(info).await?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(TIMEOUT))
        .set_response_timeout(Some(TIMEOUT));
    let client = Client::open(info)?;
    let made = client.get_multiplexed_async_connection_with_config(&config);
    made.await.context("cannot reach redis")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
