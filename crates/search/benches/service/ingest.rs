//! How many results the service takes: real processes and a real Redis, and miners that only pretend to compute.
//!
//! Each miner has a connection of its own, borrows a range, hands in a result that adds up, and does so again at its next turn. At the end
//! worker is killed, and every result that was acknowledged has to be in the ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bramble_kernel::mix;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{sleep, sleep_until};

use crate::parts::{Service, world};

/// What is asked for, and what is to be shown.
pub(crate) struct Load {
    pub(crate) miners: u64,
    /// Cycles per second that all miners together try.
    pub(crate) rate: u64,
    pub(crate) seconds: u64,
}

const LEAST_CYCLES: f64 = 2000.0;
const MOST_MEMORY_MIB: u64 = 512;

pub(crate) async fn measure(load: &Load) -> Result<()> {
    let service = Service::start()?;
    let id = begin(&service.address).await?;
    println!("job {id}; connecting {} miners", load.miners);
    let tally = Arc::new(Tally::default());
    let begin = tokio::time::Instant::now() + Duration::from_secs(3 + load.miners / 1000);
    let every = Duration::from_secs_f64(load.miners as f64 / load.rate as f64);
    let mut miners = tokio::task::JoinSet::new();
    for number in 0..load.miners {
        let first = begin + every.mul_f64(number as f64 / load.miners as f64);
        let end = begin + Duration::from_secs(load.seconds);
        let (address, tally) = (service.address.clone(), Arc::clone(&tally));
        miners.spawn(async move { mine(&address, number, first, every, end, &tally).await });
    }
    sleep_until(begin + Duration::from_secs(load.seconds)).await;
    let cycles = tally.acknowledged.load(Ordering::Relaxed);
    while let Some(ended) = miners.join_next().await {
        ended??;
    }
    let memory = service.memory()?;
    let acknowledged = tally.acknowledged.load(Ordering::Relaxed);
    let (ledger, kept) = (service.ledger.clone(), service.kill());
    let durable = rusqlite::Connection::open(ledger)?.query_row(
        "SELECT count(*) FROM results",
        [],
        |row| row.get::<_, u64>(0),
    )?;
    drop(kept);

    let per_second = cycles as f64 / load.seconds as f64;
    println!(
        "{per_second:.0} cycles per second, of {} tried, for {} s",
        load.rate, load.seconds
    );
    println!("lend    {}", tally.lend.describe());
    println!("submit  {}", tally.submit.describe());
    println!(
        "memory at its peak: {}",
        memory
            .iter()
            .map(|(name, mib)| format!("{name} {mib} MiB"))
            .collect::<Vec<_>>()
            .join(", ")
    );
    println!("{acknowledged} acknowledged, {durable} in the ledger after a SIGKILL");
    ensure!(
        durable >= acknowledged,
        "results were acknowledged that are not in the ledger"
    );
    let total: u64 = memory.iter().map(|(_, mib)| mib).sum();
    ensure!(
        total < MOST_MEMORY_MIB,
        "{total} MiB are more than {MOST_MEMORY_MIB}"
    );
    ensure!(
        per_second >= LEAST_CYCLES,
        "{per_second:.0} cycles per second are less than {LEAST_CYCLES}"
    );
    Ok(())
}

#[derive(Default)]
struct Tally {
    acknowledged: AtomicU64,
    lend: Times,
    submit: Times,
}

/// How long requests took, in milliseconds.
#[derive(Default)]
struct Times(std::sync::Mutex<Vec<f32>>);

impl Times {
    fn note(&self, since: Instant) {
        let taken = since.elapsed().as_secs_f32() * 1e3;
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(taken);
    }

    fn describe(&self) -> String {
        let mut times = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        times.sort_by(f32::total_cmp);
        let at = |share: f64| {
            times
                .get((times.len() as f64 * share) as usize)
                .copied()
                .unwrap_or(f32::NAN)
        };
        format!(
            "half within {:.1} ms, 99 % within {:.1} ms, all within {:.1} ms",
            at(0.5),
            at(0.99),
            at(1.0 - 1e-9)
        )
    }
}

/// One miner: a cycle at each of its turns.
async fn mine(
    address: &str,
    number: u64,
    first: tokio::time::Instant,
    every: Duration,
    end: tokio::time::Instant,
    tally: &Tally,
) -> Result<()> {
    // Not all at once.
    sleep_until(first - every - Duration::from_secs(1)).await;
    let mut connection = connect(address).await?;
    let node = format!("miner{number}");
    let mut turn = first;
    while turn < end {
        sleep_until(turn).await;
        turn += every;
        let asked = Instant::now();
        let ask = json!({ "node": node, "wait_seconds": 0 });
        let (status, reservation) = post(&mut connection, "/v1/reservations", &ask).await?;
        if status == StatusCode::NO_CONTENT {
            continue;
        }
        ensure!(status.is_success(), "{status}: {reservation}");
        tally.lend.note(asked);
        let result = found(&reservation, &node)?;
        let submitted = Instant::now();
        let (status, answer) = post(&mut connection, "/v1/results", &result).await?;
        ensure!(status.is_success(), "{status}: {answer}");
        tally.submit.note(submitted);
        tally.acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// A result that adds up, and is the same whoever computes it.
fn found(reservation: &Value, node: &str) -> Result<Value> {
    let len = reservation["len"].as_u64().context("len")?;
    let place = reservation["level"].as_u64().context("level")? << 32
        | reservation["start"].as_u64().context("start")?;
    let mut spheres = serde_json::Map::new();
    let mut left = len;
    for number in 5..14u64 {
        let count = mix(place ^ number) % (left / 2 + 1);
        left -= count;
        spheres.insert(number.to_string(), count.into());
    }
    spheres.insert("14".to_owned(), left.into());
    let mut result = reservation.clone();
    let fields = json!({
        "node": node, "seconds": 60.0,
        "tally": {
            "scanned": len, "completable": len, "dead": 0, "stuck": 0, "unreachable": 0, "spheres": spheres,
            "digest": format!("{:016x}", mix(place)), "audit": format!("{:016x}", mix(!place)), "first_dead": [],
        },
    });
    let fields = fields.as_object().context("an object")?.clone();
    result
        .as_object_mut()
        .context("a reservation")?
        .extend(fields);
    Ok(result)
}

async fn connect(address: &str) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address)
        .await
        .context("cannot connect: is `ulimit -n` large enough?")?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn post(
    to: &mut SendRequest<Full<Bytes>>,
    path: &str,
    body: &Value,
) -> Result<(StatusCode, Value)> {
    let request = Request::post(path)
        .header("host", "ingest")
        .body(Full::from(body.to_string()))?;
    to.ready().await?;
    let response = to.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

/// A job of as many ranges as anybody could take, once the service is there.
async fn begin(address: &str) -> Result<String> {
    let spec = json!({
        "world": std::fs::read_to_string(world())?, "fill": "guarded", "rng": "pcg32",
        "levels": ["default", "advanced", "masochist"], "start": 0, "len": 1u64 << 32,
    });
    let job = json!({ "spec": spec, "reservation": 8192 });
    for _ in 0..200 {
        sleep(Duration::from_millis(100)).await;
        let Ok(mut connection) = connect(address).await else {
            continue;
        };
        if let Ok((StatusCode::CREATED, status)) = post(&mut connection, "/v1/jobs", &job).await {
            return Ok(status["id"].as_str().context("an id")?.to_owned());
        }
    }
    bail!("the service does not come up")
}
