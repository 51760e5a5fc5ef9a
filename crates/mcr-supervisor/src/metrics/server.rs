//! The HTTP server: a thread of its own, so many connections, one request each, in so much time.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::pages::Pages;
use crate::event::Event;
use crate::settings::StartError;
use crate::{limits, privileged};

/// The running server; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    _running: oneshot::Sender<()>,
}

impl Server {
    /// Begins to serve; `supervisor` is asked, and answers when its loop turns.
    pub(crate) fn start(
        address: SocketAddr,
        max_series: usize,
        supervisor: mpsc::Sender<Event>,
    ) -> Result<Self, StartError> {
        let refused = |cause| StartError::MetricsAddress { address, cause };
        let listener = privileged::metrics_listener(address).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        if !address.ip().is_loopback() {
            warn!(
                "metrics are served at {address} to whoever reaches it, without encryption or \
                 password: let a firewall or a proxy decide who does, or listen at 127.0.0.1"
            );
        }
        let pages = Pages::new(supervisor, max_series);
        let (running, ended) = oneshot::channel();
        let runtime =
            runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
        let serve = move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = ended => {}
                    Err(error) = accept(listener, &pages) => {
                        warn!("metrics at {address} cannot be served, restart mcrd: {error}");
                    }
                }
            });
        };
        let thread = thread::Builder::new().name("metrics".into());
        privileged::without(|| thread.spawn(serve)).map_err(refused)?;
        Ok(Self { _running: running })
    }
}

/// Takes connections in, for ever. When there are too many the oldest gives way: a client that is
/// slow, or holds connections open, cannot keep others out.
async fn accept(listener: TcpListener, pages: &Arc<Pages>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let router = pages.router();
    let mut connections: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!("the metrics' listener accepts nobody for a moment: {error}");
                sleep(limits::ACCEPT_PAUSE).await;
                continue;
            }
        };
        connections.retain(|connection| !connection.is_finished());
        while connections.len() >= limits::SCRAPERS {
            connections.pop_front().expect("it is not empty").abort();
            pages.connections_dropped.fetch_add(1, Ordering::Relaxed);
        }
        connections.push_back(tokio::spawn(serve(stream, router.clone())).abort_handle());
    }
}

/// Serves one request.
async fn serve(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::REQUEST_WAIT)
        .max_header_size(limits::REQUEST_BYTES)
        .max_buf_size(limits::REQUEST_BYTES)
        // The end of the connection is what bounds it.
        .keep_alive(false)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match timeout(limits::SCRAPE_WAIT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("a client of the metrics was dropped: {error}"),
        Err(_) => debug!("a client of the metrics was dropped: it took too long"),
    }
}
