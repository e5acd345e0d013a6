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
/// How often to ask what runs where while somebody looks on, and otherwise: it is the swarm's manager that answers.
const ENGINE: Duration = Duration::from_secs(5);
const SELDOM: Duration = Duration::from_secs(60);

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
    if let Some((host, port)) = place {
        let page = page.clone();
        tokio::spawn(async move {
            let name = format!("{host}:{port}");
            follow_engine(&name, || engine::ask(&host, port), &page, machines.0).await;
        });
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

/// Keeps up to date what `ask` says, which is called `name`.
async fn follow_engine<F>(
    name: &str,
    ask: impl Fn() -> F,
    page: &Page,
    machines: watch::Sender<Option<EngineView>>,
) where
    F: Future<Output = Result<EngineView>>,
{
    let mut reached = None;
    loop {
        let began = Instant::now();
        let answer = ask().await;
        // Said once, not every time.
        match &answer {
            Ok(_) if reached != Some(true) => info!("asking {name} what runs where"),
            Err(error) if reached != Some(false) => {
                warn!("what runs where is not known: {error:#}")
            }
            _ => {}
        }
        reached = Some(answer.is_ok());
        machines.send_replace(answer.ok());
        sleep(ENGINE.saturating_sub(began.elapsed())).await;
        if page.clients() == 0 {
            let _ = timeout(SELDOM - ENGINE, page.seen.notified()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use anyhow::bail;

    use super::*;

    /// Time stands still but for those who wait.
    #[tokio::test(start_paused = true)]
    async fn the_engine_is_asked_often_only_while_somebody_looks_on() {
        let (_views, views) = watch::channel(Arc::new(View::default()));
        let (_stop, stopping) = watch::channel(false);
        let explainer = Explainer::new(Arc::new(|_| Box::pin(async { Ok(None) })));
        let page = Page::new(views, stopping, explainer);
        let began = Instant::now();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let ask = || {
            asked.lock().expect("asked").push(began.elapsed().as_secs());
            async { bail!("nobody there") }
        };
        let looking = async {
            sleep(Duration::from_secs(62)).await;
            page.view();
            sleep(Duration::from_secs(100)).await;
            let _seat = page.seat(None);
            sleep(Duration::from_secs(12)).await;
        };
        let following = follow_engine("it", ask, &page, watch::channel(None).0);
        let _ = timeout(Duration::from_secs(174), async {
            tokio::join!(following, looking)
        })
        .await;
        // Each minute; when somebody has looked; and every five seconds from when one sits down.
        assert_eq!(
            *asked.lock().expect("asked"),
            [0, 60, 65, 125, 162, 167, 172]
        );
    }
}
