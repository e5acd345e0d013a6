//! Web and worker with Redis between them.
//!
//! Requests are entries of one stream, which worker reads as the only member of a consumer group: what it has read and not
//! acknowledged comes again when it comes back. Answers are entries of a stream for each web, which deletes what it has read. Nothing
//! in Redis is needed for long: whoever gets no answer asks again, and asking twice does no harm. So what nobody waits for any more
//! is forgotten, and when Redis is full all the same, who asks is told so at once.
//!
//! How old something is goes by Redis's clock alone, with which its entries are numbered. Those of the nodes may differ.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use ::redis::streams::{
    StreamId, StreamMaxlen, StreamReadReply, StreamTrimOptions, StreamTrimmingMode,
};
use ::redis::{
    AsyncConnectionConfig, Client, Commands as _, Connection, ConnectionInfo, Pipeline, RedisError,
    cmd,
};
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};
use tracing::warn;

use super::{BATCH, Bus, Outbox, PATIENCE, Queue, Ticket, WAIT};
use crate::service::wire::{Asked, Reply};
use crate::service::{now, resolved};

/// Stream of requests.
const REQUESTS: &str = "bramble:requests";
/// While worker is away, the oldest beyond these are forgotten. More do not come while anybody waits for an answer.
const MOST_REQUESTS: usize = 25_000;
/// Worker's consumer group.
const GROUP: &str = "ledger";
/// The one field of an entry.
const JSON: &str = "json";
/// Longer than any answer takes.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What is older is forgotten, requests and answers alike: nobody waits for it any more.
const KEEP: Duration = PATIENCE.saturating_mul(2);
/// How often web looks for such requests.
const SWEEP: Duration = Duration::from_secs(1);
/// The most answers that one web has not read. Each is of up to a batch of requests.
const MOST_ANSWERS: usize = 1000;
/// Bytes of replies in one answer, unless a single one is larger.
const LETTER: usize = 1 << 20;
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
    /// Bytes of the replies.
    #[serde(skip)]
    size: usize,
}

/// Worker's end.
pub(crate) struct RedisQueue {
    connection: Connection,
    /// What was read by an earlier process and not answered is read first.
    from: &'static str,
    /// When it was last read from, by Redis's clock.
    time: Time,
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
        let time: Time = cmd("TIME").query(&mut connection)?;
        let _: usize = connection.xtrim_options(REQUESTS, &older(time))?;
        let made: Result<(), RedisError> = connection.xgroup_create_mkstream(REQUESTS, GROUP, "0");
        made.or_else(|error| match error.code() {
            // A Redis that is full has had a group, and if not, reading says so.
            Some("BUSYGROUP" | "OOM") => Ok(()),
            _ => Err(error),
        })?;
        let webs = HashMap::new();
        Ok(RedisQueue {
            connection,
            from: "0",
            time,
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
        let mut pipeline = Pipeline::new();
        pipeline.add_command(read).cmd("TIME");
        let (reply, time): (Option<StreamReadReply>, Time) =
            pipeline.query(&mut self.connection).context("redis")?;
        self.time = time;
        let entries: Vec<StreamId> = entries(reply);
        if entries.is_empty() {
            self.from = ">";
        }
        let mut received = Vec::with_capacity(entries.len());
        let mut damaged = Vec::new();
        for StreamId { id: entry, map, .. } in entries {
            match parse::<Letter>(&entry, &map) {
                Some(Letter {
                    web,
                    number,
                    mut asked,
                }) => {
                    // Web's clock need not agree with ours.
                    asked.at = now() - age(&entry, time).as_secs_f64();
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
        let mut letters: BTreeMap<String, Vec<Answers>> = BTreeMap::new();
        let mut done = Vec::new();
        for (ticket, reply) in answers {
            if let Ticket::Redis { entry, web, number } = ticket {
                let awaited = age(&entry, self.time) <= PATIENCE;
                done.push(entry);
                if !web.is_empty() && awaited {
                    add(letters.entry(web).or_default(), number, reply);
                }
            }
        }
        if wake {
            self.webs.retain(|_, heard| heard.elapsed() < FORGET);
            for web in self.webs.keys() {
                let letters = letters.entry(web.clone()).or_default();
                match letters.first_mut() {
                    Some(letter) => letter.wake = true,
                    None => letters.push(Answers {
                        wake,
                        ..Answers::default()
                    }),
                }
            }
        }
        let mut pipeline = Pipeline::new();
        if !done.is_empty() {
            pipeline.xack(REQUESTS, GROUP, &done).ignore();
            pipeline.xdel(REQUESTS, &done).ignore();
        }
        for (web, letters) in &letters {
            let stream = answers_for(web);
            for letter in letters {
                let json = serde_json::to_string(letter)?;
                let most = StreamMaxlen::Approx(MOST_ANSWERS);
                pipeline
                    .xadd_maxlen(&stream, most, "*", &[(JSON, json)])
                    .ignore();
            }
            pipeline.xtrim_options(&stream, &older(self.time)).ignore();
            pipeline.expire(&stream, KEEP.as_secs() as i64).ignore();
        }
        if pipeline.is_empty() {
            return Ok(());
        }
        let sent = pipeline.query::<()>(&mut self.connection);
        sent.map_err(brief).context("redis")
    }
}

/// Puts a reply into the last letter, or into another one if that is large enough.
fn add(letters: &mut Vec<Answers>, number: u64, reply: Reply) {
    let size = match &reply {
        Reply::Yes(text) | Reply::Made(text) | Reply::No(_, text) => text.len(),
        Reply::Nothing => 0,
    };
    if letters.last().is_none_or(|last| last.size + size > LETTER) {
        letters.push(Answers::default());
    }
    if let Some(last) = letters.last_mut() {
        last.replies.push((number, reply));
        last.size += size;
    }
}

/// What went wrong, said once: a Redis that is full refuses every command of a pipeline.
fn brief(error: RedisError) -> RedisError {
    let refused = error.clone().into_server_errors();
    let first = refused.and_then(|refused| refused.first().map(|(_, first)| first.clone()));
    first.map_or(error, RedisError::from)
}

/// Seconds since 1970 and microseconds, as Redis tells them.
type Time = (u64, u64);

/// How old an entry is, of which the number begins with the milliseconds at which it was made: `1526919030474-55`.
fn age(entry: &str, (seconds, micros): Time) -> Duration {
    let made = entry
        .split_once('-')
        .and_then(|(millis, _)| millis.parse().ok());
    let now = seconds.saturating_mul(1000) + micros / 1000;
    // A clock that was set back makes nothing old.
    Duration::from_millis(made.map_or(0, |made| now.saturating_sub(made)))
}

/// Those entries that nobody waits for any more.
fn older((seconds, _): Time) -> StreamTrimOptions {
    let oldest = seconds.saturating_sub(KEEP.as_secs()).saturating_mul(1000);
    StreamTrimOptions::minid(StreamTrimmingMode::Exact, oldest.to_string())
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
    let mut swept: Option<Instant> = None;
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
                if swept.is_none_or(|swept| swept.elapsed() >= SWEEP) {
                    sweep(connection).await?;
                    swept = Some(Instant::now());
                }
                let sent = pipeline.query_async::<()>(connection).await;
                sent.map_err(brief)?;
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

/// Forgets requests that nobody waits for any more, which makes room even in a Redis that is full.
async fn sweep(connection: &mut MultiplexedConnection) -> Result<()> {
    let time: Time = cmd("TIME").query_async(connection).await?;
    let mut trim = Pipeline::new();
    trim.xtrim_options(REQUESTS, &older(time)).ignore();
    Ok(trim.query_async(connection).await?)
}

async fn receive(info: ConnectionInfo, web: String, waiting: Waiting, wake: watch::Sender<u64>) {
    let stream = answers_for(&web);
    let mut last = "0".to_owned();
    let mut taken: Vec<String> = Vec::new();
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
                let mut pipeline = Pipeline::new();
                if !taken.is_empty() {
                    pipeline.xdel(&stream, &taken).ignore();
                }
                pipeline.add_command(read);
                let (reply,): (Option<StreamReadReply>,) =
                    pipeline.query_async(&mut connection).await?;
                taken.clear();
                for StreamId { id, map, .. } in entries(reply) {
                    let Answers {
                        wake: work,
                        replies,
                        ..
                    } = parse(&id, &map).unwrap_or_default();
                    taken.push(id.clone());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_goes_by_one_clock() {
        let time = (1_526_919_030, 480_999);
        for (entry, expected) in [
            ("1526919030474-55", 6),
            ("1526919020480-0", 10_000),
            ("1526919030480-0", 0),
            ("1526919099999-0", 0),
            ("damaged", 0),
        ] {
            assert_eq!(age(entry, time), Duration::from_millis(expected), "{entry}");
        }
    }

    #[test]
    fn letters_are_of_bounded_size() {
        let reply = |size| Reply::Yes("x".repeat(size));
        let mut letters = Vec::new();
        let sizes = [10, LETTER - 10, 1, 3 * LETTER, 0, LETTER];
        for (number, size) in (0..).zip(sizes) {
            add(&mut letters, number, reply(size));
        }
        let numbers = letters.iter().map(|letter| {
            let replies = letter.replies.iter();
            replies.map(|(number, _)| *number).collect::<Vec<u64>>()
        });
        let numbers: Vec<_> = numbers.collect();
        assert_eq!(numbers, [vec![0, 1], vec![2], vec![3], vec![4, 5]]);
    }
}
