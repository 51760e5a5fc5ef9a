//! Pages to read, made at most so often however many ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::body::Bytes;
use tokio::sync::{Mutex, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Question;
use super::exposition::{self, MEDIA_TYPE};
use super::gather::{ask, gather};
use super::health::Health;
use crate::event::Event;
use crate::limits;

/// The sources of the pages.
#[derive(Debug)]
pub(super) struct Pages {
    supervisor: mpsc::Sender<Event>,
    max_series: usize,
    /// Connections that had to make room for newer ones.
    pub(super) connections_dropped: AtomicU64,
    exposition: Latest<Bytes>,
    health: Latest<Health>,
}

/// Where the latest of something is, and who holds it makes the next.
type Latest<T> = Arc<Mutex<Option<Made<T>>>>;

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
            exposition: Latest::default(),
            health: Latest::default(),
        })
    }

    /// Answers GET and HEAD; everything else is refused. No path is one of the file system: there
    /// are these three.
    pub(super) fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .fallback(async || plain(StatusCode::NOT_FOUND, CONTENTS))
            .layer(from_fn(only_reading))
            .with_state(Arc::clone(self))
    }

    async fn exposition(self: Arc<Self>) -> Option<Bytes> {
        let latest = Arc::clone(&self.exposition);
        let make = async move {
            let selection = gather(&self.supervisor, self.max_series).await?;
            let dropped = self.connections_dropped.load(Ordering::Relaxed);
            let text = spawn_blocking(move || exposition::text(selection, dropped));
            Some(text.await.ok()?.ok()?.into())
        };
        fresh(latest, limits::EXPOSITION_WAIT, make).await
    }

    async fn health(self: Arc<Self>) -> Option<Health> {
        let latest = Arc::clone(&self.health);
        let make = async move { ask(&self.supervisor, Question::Health).await };
        fresh(latest, limits::HEALTH_WAIT, make).await
    }
}

/// Refuses what does not only read, and says with each answer what a browser may do with it: not
/// keep it, guess what it is, show it in a frame, or let it load anything.
async fn only_reading(request: Request, next: Next) -> Response {
    let mut response = match *request.method() {
        Method::GET | Method::HEAD => next.run(request).await,
        _ => {
            let refusal = plain(StatusCode::METHOD_NOT_ALLOWED, READ_ONLY);
            ([(ALLOW, "GET, HEAD")], refusal).into_response()
        }
    };
    for (name, value) in SECURITY {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

const SECURITY: [(HeaderName, &str); 6] = [
    (CACHE_CONTROL, "no-store"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

const READ_ONLY: &str = "there is only to read: GET and HEAD\n";
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
async fn fresh<T: Clone + Send + 'static>(
    latest: Latest<T>,
    patience: Duration,
    make: impl Future<Output = Option<T>> + Send + 'static,
) -> Option<T> {
    let outcome = async {
        // Who comes meanwhile waits here, and takes what was made for the first.
        let mut latest = latest.lock_owned().await;
        if let Some(made) = latest.as_ref().filter(|made| made.at.elapsed() < limits::PAGE_AGE) {
            return Some(made.what.clone());
        }
        // It is made to the end even if its client goes: or clients that go could have it made
        // again and again.
        let making = tokio::spawn(async move {
            *latest = None;
            let what = timeout(patience, make).await.ok().flatten()?;
            *latest = Some(Made { what: what.clone(), at: Instant::now() });
            Some(what)
        });
        making.await.ok().flatten()
    };
    timeout(patience, outcome).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::AtomicU32;

    use futures_util::FutureExt;
    use tokio::task::yield_now;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Counts how often it is made.
    async fn made(times: Arc<AtomicU32>) -> Option<u32> {
        yield_now().await;
        Some(times.fetch_add(1, Ordering::Relaxed) + 1)
    }

    #[tokio::test]
    async fn who_comes_meanwhile_takes_what_the_first_was_made() {
        let (latest, times) = (Latest::default(), Arc::default());
        let ask = || fresh(Arc::clone(&latest), PATIENCE, made(Arc::clone(&times)));
        assert_eq!(tokio::join!(ask(), ask(), ask()), (Some(1), Some(1), Some(1)));
        tokio::time::sleep(limits::PAGE_AGE).await;
        assert_eq!(ask().await, Some(2));
    }

    #[tokio::test]
    async fn a_client_that_goes_has_it_made_to_the_end() {
        let (latest, times) = (Latest::default(), Arc::default());
        let ask = || fresh(Arc::clone(&latest), PATIENCE, made(Arc::clone(&times)));
        for _ in 0..10 {
            let client = tokio::spawn(ask());
            yield_now().await;
            client.abort();
        }
        assert_eq!(ask().await, Some(1));
    }

    #[tokio::test]
    async fn what_is_never_made_is_waited_for_only_so_long() {
        let latest = Latest::<u8>::default();
        let ask = |patience, make| fresh(Arc::clone(&latest), patience, make);
        assert_eq!(ask(Duration::from_millis(10), pending().boxed()).await, None);
        assert_eq!(ask(PATIENCE, async { None }.boxed()).await, None);
        assert_eq!(ask(PATIENCE, async { Some(7) }.boxed()).await, Some(7));
    }

    #[tokio::test]
    async fn a_supervisor_that_does_not_answer_is_dead() {
        let (supervisor, _unread) = mpsc::channel(1);
        let pages = Pages::new(supervisor, 100);
        let (status, _, text) = healthz(State(Arc::clone(&pages))).await;
        assert_eq!((status, &*text), (StatusCode::SERVICE_UNAVAILABLE, SILENT.as_bytes()));
        let (supervisor, ended) = mpsc::channel(1);
        drop(ended);
        let (status, ..) = metrics(State(Pages::new(supervisor, 100))).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    }
}
