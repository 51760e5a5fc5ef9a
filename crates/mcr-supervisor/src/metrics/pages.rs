//! What there is to read, made at most so often however many ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::routing::get;
use hyper::body::Bytes;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::Question;
use super::exposition::{self, MEDIA_TYPE};
use super::gather::{ask, gather};
use super::health::Health;
use crate::event::Event;
use crate::limits;

/// What the pages are made from.
#[derive(Debug)]
pub(super) struct Pages {
    supervisor: mpsc::Sender<Event>,
    max_series: usize,
    /// Connections that had to make room for newer ones.
    pub(super) connections_dropped: AtomicU64,
    exposition: Mutex<Option<Made<Bytes>>>,
    health: Mutex<Option<Made<Health>>>,
}

/// Something, and when it was made.
#[derive(Debug)]
struct Made<T> {
    what: T,
    at: Instant,
}

/// The answer to a request.
type Page = (StatusCode, [(HeaderName, &'static str); 1], Bytes);

impl Pages {
    pub(super) fn new(supervisor: mpsc::Sender<Event>, max_series: usize) -> Arc<Self> {
        Arc::new(Self {
            supervisor,
            max_series,
            connections_dropped: AtomicU64::new(0),
            exposition: Mutex::default(),
            health: Mutex::default(),
        })
    }

    /// Answers GET and HEAD; everything else is refused.
    pub(super) fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .fallback(async || plain(StatusCode::NOT_FOUND, CONTENTS))
            .with_state(Arc::clone(self))
    }

    async fn exposition(&self) -> Option<Bytes> {
        fresh(&self.exposition, limits::EXPOSITION_WAIT, async || {
            let selection = gather(&self.supervisor, self.max_series).await?;
            let dropped = self.connections_dropped.load(Ordering::Relaxed);
            let text = tokio::task::spawn_blocking(move || exposition::text(selection, dropped));
            Some(text.await.ok()?.ok()?.into())
        })
        .await
    }

    async fn health(&self) -> Option<Health> {
        fresh(&self.health, limits::HEALTH_WAIT, || ask(&self.supervisor, Question::Health)).await
    }
}

const CONTENTS: &str = "there are /metrics, /healthz and /readyz\n";
const SILENT: &str = "the supervisor does not answer\n";

async fn metrics(State(pages): State<Arc<Pages>>) -> Page {
    match pages.exposition().await {
        Some(text) => (StatusCode::OK, [(CONTENT_TYPE, MEDIA_TYPE)], text),
        None => plain(StatusCode::SERVICE_UNAVAILABLE, SILENT),
    }
}

async fn healthz(State(pages): State<Arc<Pages>>) -> Page {
    match pages.health().await {
        Some(health) if health.is_alive => plain(StatusCode::OK, "alive\n"),
        Some(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "no worker relays\n"),
        None => plain(StatusCode::SERVICE_UNAVAILABLE, SILENT),
    }
}

async fn readyz(State(pages): State<Arc<Pages>>) -> Page {
    match pages.health().await {
        Some(health) if health.is_ready() => plain(StatusCode::OK, health.page()),
        Some(health) => plain(StatusCode::SERVICE_UNAVAILABLE, health.page()),
        None => plain(StatusCode::SERVICE_UNAVAILABLE, SILENT),
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Page {
    (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], text.into())
}

/// What was made lately, or else is made now; nothing where that takes too long or fails.
async fn fresh<T: Clone>(
    place: &Mutex<Option<Made<T>>>,
    patience: Duration,
    make: impl AsyncFnOnce() -> Option<T>,
) -> Option<T> {
    let outcome = async {
        // Who comes meanwhile waits here, and takes what was made for the first.
        let mut latest = place.lock().await;
        if let Some(made) = latest.as_ref().filter(|made| made.at.elapsed() < limits::PAGE_AGE) {
            return Some(made.what.clone());
        }
        *latest = None;
        let what = make().await?;
        *latest = Some(Made { what: what.clone(), at: Instant::now() });
        Some(what)
    };
    timeout(patience, outcome).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn who_comes_meanwhile_takes_what_the_first_was_made() {
        let (place, times) = (Mutex::default(), Cell::new(0));
        let make = async || {
            tokio::task::yield_now().await;
            times.set(times.get() + 1);
            Some(times.get())
        };
        let all = tokio::join!(
            fresh(&place, PATIENCE, make),
            fresh(&place, PATIENCE, make),
            fresh(&place, PATIENCE, make),
        );
        assert_eq!(all, (Some(1), Some(1), Some(1)));
        tokio::time::sleep(limits::PAGE_AGE).await;
        assert_eq!(fresh(&place, PATIENCE, make).await, Some(2));
    }

    #[tokio::test]
    async fn what_is_never_made_is_waited_for_only_so_long() {
        let place = Mutex::<Option<Made<u8>>>::default();
        let patience = Duration::from_millis(10);
        assert_eq!(fresh(&place, patience, async || pending().await).await, None);
        assert_eq!(fresh(&place, PATIENCE, async || None).await, None);
        assert_eq!(fresh(&place, PATIENCE, async || Some(7)).await, Some(7));
    }
}
