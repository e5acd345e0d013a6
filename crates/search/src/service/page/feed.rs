//! Keeps what the page shows up to date.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::super::explainer::Explainer;
use super::super::snapshot::Snapshot;
use super::super::wire::State;
use super::super::{engine, now};
use super::Page;
use super::view::{EngineView, View};

/// How often to look while somebody looks on, and otherwise.
const BUSY: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_secs(5);
/// How often to ask what runs where.
const ENGINE: Duration = Duration::from_secs(5);

/// Whoever knows of jobs.
pub(crate) trait Source: Send + Sync + 'static {
    /// The ids of all jobs, oldest first.
    fn jobs(&self) -> impl Future<Output = Result<Vec<String>>> + Send;
    /// A job as it is now. `None` if there is no such job.
    fn snapshot(&self, job: &str) -> impl Future<Output = Result<Option<Snapshot>>> + Send;
}

/// Where a proxy for Docker's engine is: host and port.
pub(crate) type EnginePlace = (String, u16);

/// A page that shows what `source` knows, until the runtime ends.
pub(crate) fn page(
    source: impl Source,
    explainer: Arc<Explainer>,
    place: Option<EnginePlace>,
    stopping: watch::Receiver<bool>,
) -> Arc<Page> {
    let (views, receiver) = watch::channel(Arc::new(View::default()));
    let page = Page::new(receiver, stopping, explainer);
    let machines = watch::channel(None);
    if let Some(place) = place {
        tokio::spawn(ask_engine(place, machines.0));
    }
    tokio::spawn(follow(source, page.clone(), views, machines.1));
    page
}

async fn follow(
    source: impl Source,
    page: Arc<Page>,
    views: watch::Sender<Arc<View>>,
    machines: watch::Receiver<Option<EngineView>>,
) {
    // What has ended stays as it is.
    let mut ended = BTreeMap::new();
    loop {
        let jobs = look(&source, &mut ended).await;
        let jobs = jobs.unwrap_or_else(|error| {
            warn!("the page cannot be brought up to date: {error:#}");
            views.borrow().jobs.clone()
        });
        let view = View {
            at: now(),
            jobs,
            engine: machines.borrow().clone(),
        };
        views.send_replace(Arc::new(view));
        sleep(BUSY).await;
        if page.clients() == 0 {
            // Whether somebody asks or not.
            let _ = timeout(QUIET - BUSY, page.look.notified()).await;
        }
    }
}

async fn look(
    source: &impl Source,
    ended: &mut BTreeMap<String, Arc<Snapshot>>,
) -> Result<Vec<Arc<Snapshot>>> {
    let mut jobs = Vec::new();
    for id in source.jobs().await? {
        if let Some(known) = ended.get(&id) {
            jobs.push(known.clone());
            continue;
        }
        let Some(snapshot) = source.snapshot(&id).await? else {
            continue;
        };
        let snapshot = Arc::new(snapshot);
        if snapshot.job.state == State::Done {
            ended.insert(id, snapshot.clone());
        }
        jobs.push(snapshot);
    }
    Ok(jobs)
}

async fn ask_engine((host, port): EnginePlace, machines: watch::Sender<Option<EngineView>>) {
    let mut reached = None;
    loop {
        let began = Instant::now();
        let answer = engine::ask(&host, port).await;
        // Said once, not every time.
        match &answer {
            Ok(_) if reached != Some(true) => info!("asking {host}:{port} what runs where"),
            Err(error) if reached != Some(false) => {
                warn!("what runs where is not known: {error:#}")
            }
            _ => {}
        }
        reached = Some(answer.is_ok());
        machines.send_replace(answer.ok());
        sleep(ENGINE.saturating_sub(began.elapsed())).await;
    }
}
