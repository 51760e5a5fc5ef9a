//! Those who look at a relay while it is measured: statistics and metrics each second, events, and
//! a trace.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mcr_api::control::{Command, Request, RuleReference, Selection, TraceOrder};

use crate::limits::BENCH_TRACED_ONE_IN;
use crate::namespace::Namespace;

/// Where a watched relay exports its metrics, in its own namespace.
pub(super) const METRICS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// How often statistics and metrics are asked for.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often it is looked whether to end.
const LOOK: Duration = Duration::from_millis(20);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The watchers at work. Dropped: gone.
#[derive(Debug)]
pub(super) struct Watchers {
    ended: Arc<AtomicBool>,
    /// Whole rounds of answers read.
    rounds: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Watchers {
    /// Begins to watch a daemon with a rule 1, in its namespace, by its control socket. Answers are
    /// read and not looked at, so that it costs the traffic's core little.
    pub(super) fn start(namespace: &Namespace, control: &Path) -> Result<Self> {
        let (ended, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (control, ends, counts) = (control.to_owned(), ended.clone(), rounds.clone());
        let thread = namespace.spawn_thread("watchers", move || watch(&control, &ends, &counts))?;
        Ok(Self { ended, rounds, thread: Some(thread) })
    }

    /// An error where nobody watched.
    pub(super) fn check(&self) -> Result<()> {
        let alive = self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
        let rounds = self.rounds.load(Ordering::Relaxed);
        ensure!(alive && rounds > 0, "nobody watches the relay any more, after {rounds} rounds");
        Ok(())
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What went wrong there, `check` has said.
            _ = thread.join();
        }
    }
}

fn watch(control: &PathBuf, ended: &AtomicBool, rounds: &AtomicU64) -> Result<()> {
    let _events = request(control, Command::Subscribe { after: None })?;
    let mut stream = UnixStream::connect(control)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let one_in = Some(BENCH_TRACED_ONE_IN);
    let trace = TraceOrder { rule: Some(RuleReference::Id(1)), one_in, ..TraceOrder::default() };
    while !ended.load(Ordering::Relaxed) {
        let begun = Instant::now();
        for command in
            [Command::EnableTrace(trace.clone()), Command::GetStats(Selection::default())]
        {
            stream.write_all(&Request { id: 1, command }.to_line())?;
            read_line(&mut stream)?;
        }
        scrape()?;
        rounds.fetch_add(1, Ordering::Relaxed);
        while begun.elapsed() < INTERVAL && !ended.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK);
        }
    }
    Ok(())
}

/// A connection on which this was asked, and the first line of the answer read.
fn request(control: &Path, command: Command) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(control)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&Request { id: 1, command }.to_line())?;
    read_line(&mut stream)?;
    Ok(stream)
}

fn read_line(stream: &mut UnixStream) -> Result<()> {
    let mut part = vec![0; 256 * 1024];
    loop {
        let bytes = stream.read(&mut part)?;
        ensure!(bytes > 0, "the daemon closed the connection");
        if part[..bytes].ends_with(b"\n") {
            return Ok(());
        }
    }
}

fn scrape() -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&METRICS, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: relay\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    ensure!(answer.ends_with(b"# EOF\n"), "{} bytes are no whole exposition", answer.len());
    Ok(())
}
