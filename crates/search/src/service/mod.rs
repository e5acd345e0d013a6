//! The search, spread over a cluster.
//!
//! `web` puts each request of a miner or a person into a queue; `worker` takes it from there, answers it from its [`book`], and
//! writes what that changed to the [`ledger`], which is the truth. Nothing else is: what is in Redis can be lost at any time, and any
//! process can be killed, because a range without a result in the ledger is simply lent again. That a range may thus be computed twice
//! does no harm, since both must come to the same result.
//!
//! ```text
//! web ── queue ── worker ── book (rules, in memory) ── ledger (SQLite)
//! ```

mod alive;
mod book;
mod client;
mod compute;
mod crowd;
pub(crate) mod embedded;
pub(crate) mod engine;
mod explainer;
mod ledger;
pub(crate) mod manage;
pub(crate) mod miner;
mod names;
mod packed;
pub(crate) mod page;
mod queue;
mod snapshot;
pub(crate) mod submit;
mod token;
pub(crate) mod web;
mod wire;
pub(crate) mod worker;

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, anyhow};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _};
use tracing_subscriber::EnvFilter;

use crate::cli::HealthcheckArgs;
use crate::failure::Failure;
use crate::signals::stop_flag;
use client::Client;

/// Logs to standard error; `BRAMBLE_LOG` says how much, and `BRAMBLE_LOG_FORMAT=json` that programs read it.
fn log() {
    let filter = EnvFilter::try_from_env("BRAMBLE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(std::io::stderr);
    // There is no log yet that could take the complaint that there is one already.
    let _ = if std::env::var("BRAMBLE_LOG_FORMAT").is_ok_and(|format| format == "json") {
        log.json()
            .flatten_event(true)
            .with_span_list(false)
            .try_init()
    } else {
        log.with_ansi(std::io::stderr().is_terminal()).try_init()
    };
}

/// Ever longer pauses between attempts to reach a peer that is away.
struct Backoff {
    next: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(5);

    fn new() -> Self {
        Backoff { next: Self::FIRST }
    }

    /// Waits, unless or until `stop` is set.
    fn pause(&mut self, stop: &AtomicBool) {
        let until = Instant::now() + self.next;
        while !stop.load(Ordering::Relaxed) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::sleep(left.min(Duration::from_millis(50)));
        }
        self.next = (self.next * 2).min(Self::LONGEST);
    }

    fn reset(&mut self) {
        self.next = Self::FIRST;
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// Where Redis is, with its host's name left as it is.
fn redis_info(url: &str) -> Result<ConnectionInfo> {
    url.into_connection_info().with_context(|| {
        format!("{url:?} is not the address of a Redis; it should be as redis://messages:6379")
    })
}

/// The same with an address instead of a name, since Redis's client would ask the C library for it.
async fn resolved(info: &ConnectionInfo) -> Result<ConnectionInfo> {
    let ConnectionAddr::Tcp(host, port) = info.addr() else {
        return Ok(info.clone());
    };
    let addresses = names::resolve(host, *port).await?;
    let address = addresses
        .first()
        .ok_or_else(|| anyhow!("{host:?} has no address"))?;
    Ok(info.clone().set_addr(ConnectionAddr::Tcp(
        address.ip().to_string(),
        address.port(),
    )))
}

/// `healthcheck`: asks a server whether it is well, or looks for a sign of life, for containers without a shell.
pub(crate) fn healthcheck(args: &HealthcheckArgs) -> Result<(), Failure> {
    match &args.alive {
        Some(file) => Ok(alive::check(file)?),
        None => Ok(Client::new(&args.url, None).check()?),
    }
}
