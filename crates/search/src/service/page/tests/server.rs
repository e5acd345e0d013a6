//! A server with a page, on a port of its own.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::super::view::View;
use super::super::{Page, router};
use crate::service::explainer::Explainer;
use crate::spec::{Spec, read_world};

/// A server that runs until it is dropped.
pub(super) struct Server {
    /// `127.0.0.1:PORT`
    pub(super) address: String,
    /// What the page shows.
    pub(super) views: watch::Sender<Arc<View>>,
    _stopping: watch::Sender<bool>,
    _runtime: Runtime,
}

/// The search of the samples, with the real world.
fn spec() -> Spec {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/worlds/axiom-verge.toml"
    );
    Spec {
        world: read_world(path.as_ref()).unwrap(),
        world_file: "axiom-verge.toml".to_owned(),
        fill: "guarded".to_owned(),
        rng: "dotnet".to_owned(),
        goal: "all-locations".to_owned(),
        levels: ["default", "advanced", "masochist"]
            .map(str::to_owned)
            .to_vec(),
        start: 0,
        len: 1 << 32,
        filter: None,
    }
}

impl Server {
    pub(super) fn showing(view: View) -> Server {
        Server::finding(view.clone(), view)
    }

    /// Shows `view` until it is asked for a new one, which then is `next`.
    pub(super) fn finding(view: View, next: View) -> Server {
        let (views, receiver) = watch::channel(Arc::new(view));
        let (stop, stopping) = watch::channel(false);
        let explainer = Explainer::new(Arc::new(|_| Box::pin(async { Ok(Some(spec())) })));
        let page = Page::new(receiver, stopping, explainer);
        let router = router(page.clone());
        let runtime = Runtime::new().unwrap();
        let (looks, next) = (views.clone(), Arc::new(next));
        runtime.spawn(async move {
            loop {
                page.look.notified().await;
                looks.send_replace(next.clone());
            }
        });
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Server {
            address,
            views,
            _stopping: stop,
            _runtime: runtime,
        }
    }
}
