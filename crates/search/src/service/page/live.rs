//! The page's changes as server-sent events.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, stream};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::sleep;

use super::html::Frame;
use super::view::View;
use crate::service::crowd::Guest;

/// People who look on at a time. Each costs a connection, and a rendering a second.
pub(super) const MOST_CLIENTS: usize = 64;
/// ... of one address outside. A browser shows no more pages at once.
pub(super) const MOST_OF_ONE: usize = 6;
/// Proxies and routers drop connections that are silent for a minute or so.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// No faster than people can read.
const PAUSE: Duration = Duration::from_secs(1);

/// What goes over the wire: what has changed since the last event.
#[derive(Serialize)]
struct Change<'a> {
    title: &'a str,
    html: BTreeMap<&'a str, &'a str>,
    maps: BTreeMap<&'a str, &'a str>,
}

struct Client {
    views: watch::Receiver<Arc<View>>,
    stopping: watch::Receiver<bool>,
    job: Option<String>,
    last: Option<Frame>,
    _seat: Seat,
}

/// The place of one who looks on, until it is dropped.
pub(super) struct Seat {
    _permit: OwnedSemaphorePermit,
    _guest: Option<Guest>,
}

impl Seat {
    pub(super) fn new(permit: OwnedSemaphorePermit, guest: Option<Guest>) -> Self {
        Seat {
            _permit: permit,
            _guest: guest,
        }
    }
}

/// Events for one client, until it leaves or the process is to end. Who is slow misses what lies between.
pub(super) fn events(
    views: watch::Receiver<Arc<View>>,
    stopping: watch::Receiver<bool>,
    job: Option<String>,
    seat: Seat,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let client = Client {
        views,
        stopping,
        job,
        last: None,
        _seat: seat,
    };
    let events = stream::unfold(client, async |mut client| {
        let event = client.next().await?;
        Some((Ok(event), client))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT))
}

impl Client {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if *self.stopping.borrow() {
                return None;
            }
            // The first event brings up to date a page that was kept, or whose connection was lost.
            if self.last.is_some() {
                tokio::select! {
                    changed = self.views.changed() => changed.ok()?,
                    _ = self.stopping.changed() => return None,
                }
            }
            let view = self.views.borrow_and_update().clone();
            let frame = Frame::of(&view, view.job(self.job.as_deref()).map(Arc::as_ref));
            let event = change(self.last.as_ref(), &frame)
                .and_then(|change| Event::default().event("frame").json_data(change).ok());
            let first = self.last.replace(frame).is_none();
            if !first {
                sleep(PAUSE).await;
            }
            if let Some(event) = event {
                return Some(event);
            }
        }
    }
}

/// What differs, if anything does.
fn change<'a>(last: Option<&Frame>, frame: &'a Frame) -> Option<Change<'a>> {
    fn differing<'a>(
        last: Option<&BTreeMap<String, String>>,
        now: &'a BTreeMap<String, String>,
    ) -> BTreeMap<&'a str, &'a str> {
        let parts = now.iter();
        let differs = |id: &str, part: &String| last.and_then(|last| last.get(id)) != Some(part);
        parts
            .filter(|(id, part)| differs(id, part))
            .map(|(id, part)| (id.as_str(), part.as_str()))
            .collect()
    }
    let html = differing(last.map(|last| &last.html), &frame.html);
    let maps = differing(last.map(|last| &last.maps), &frame.maps);
    (!html.is_empty() || !maps.is_empty()).then_some(Change {
        title: &frame.title,
        html,
        maps,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(parts: &[(&str, &str)]) -> Frame {
        let part = |(id, html): &(&str, &str)| ((*id).to_owned(), (*html).to_owned());
        Frame {
            html: parts.iter().map(part).collect(),
            ..Frame::default()
        }
    }

    #[test]
    fn only_what_changed_is_sent() {
        let (before, after) = (
            frame(&[("a", "1"), ("b", "1")]),
            frame(&[("a", "1"), ("b", "2")]),
        );
        let sent = |last, now| {
            let change = change(last, now)?;
            Some(change.html.into_keys().collect::<Vec<_>>())
        };
        assert_eq!(sent(None, &before), Some(vec!["a", "b"]));
        assert_eq!(sent(Some(&before), &after), Some(vec!["b"]));
        assert_eq!(sent(Some(&after), &after), None);
    }
}
