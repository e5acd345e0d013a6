//! `run --serve`: web, worker and a miner in one process, without Redis.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use tokio::runtime::Runtime;

use super::book::Rules;
use super::client::{Answer, Client};
use super::ledger::Ledger;
use super::miner::Miner;
use super::queue::here;
use super::submit;
use super::web;
use super::wire::{JobRequest, JobStatus};
use super::worker::Worker;
use crate::cli::RunArgs;
use crate::failure::Failure;
use crate::output;
use crate::run;
use crate::signals;
use crate::spec::{SEEDS, Spec};

/// As in a cluster, but for the share: there may be nobody else to compute again.
const RULES: Rules = Rules {
    lease: 120.0,
    target: 60.0,
    share: 0.02,
    first: 2,
    salt: 0,
};
/// How often to look whether there is more to do.
const LOOK: Duration = Duration::from_millis(100);

/// Searches as `run` does, and lets others watch and help.
pub(crate) fn main(args: &RunArgs, address: SocketAddr) -> Result<(), Failure> {
    let spec = args.search.spec()?;
    spec.compile()?;
    let stop = signals::stop_flag()?;
    let ledger = match &args.ledger {
        Some(path) => Ledger::open(path)?,
        None => Ledger::in_memory()?,
    };
    let worker = Worker::new(ledger, RULES)?;
    let (runtime, address) = start(worker, address, &stop)?;
    output::tell(&format!("watch it at http://{address}"));

    let client = || Client::new(&format!("http://{address}"), None);
    let threads = run::threads(args.threads);
    let mut miner = Miner::new(client(), "here".to_owned(), threads);
    let mining = Arc::clone(&stop);
    let miner = thread::spawn(move || miner.mine(&mining));

    let found = wait(&client(), &spec, &stop);
    let told = found.and_then(|status| submit::tell(&status, &spec, args.search.json));
    if told.is_ok() && args.stay {
        output::tell("done; it can be looked at until this is interrupted");
        while !stop.load(Ordering::Relaxed) {
            thread::sleep(LOOK);
        }
    }
    stop.store(true, Ordering::Relaxed);
    miner.join().map_err(|_| anyhow!("the miner failed"))?;
    runtime.shutdown_timeout(LOOK);
    told
}

/// Web and worker, in threads of their own. Worker ends with web.
fn start(
    mut worker: Worker,
    address: SocketAddr,
    stop: &Arc<AtomicBool>,
) -> Result<(Runtime, SocketAddr)> {
    let (bus, mut queue) = here::connect()?;
    let failed = Arc::clone(stop);
    thread::spawn(move || {
        if let Err(error) = worker.work(&mut queue) {
            output::tell(&format!("error: {error:#}"));
            failed.store(true, Ordering::Relaxed);
        }
    });
    let runtime = Runtime::new().context("cannot start")?;
    let listener = runtime.block_on(web::listen(address))?;
    let address = listener.local_addr()?;
    runtime.spawn(web::serve(
        listener,
        bus,
        web::open_gate(),
        None,
        std::future::pending(),
    ));
    Ok((runtime, address))
}

fn wait(client: &Client, spec: &Spec, stop: &AtomicBool) -> Result<JobStatus, Failure> {
    let request = JobRequest {
        spec: spec.clone(),
        reservation: SEEDS,
        key: String::new(),
    };
    let begun = match client.post::<JobStatus>("/v1/jobs", &request)? {
        Answer::Yes(status) => status,
        Answer::Nothing => return Err(anyhow!("the server answered nothing").into()),
        Answer::Refused(_, message) => return Err(Failure::Usage(message)),
    };
    submit::wait(client, begun, Duration::from_secs(30), stop)
}
