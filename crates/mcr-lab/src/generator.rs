//! Offers UDP test traffic at a steady rate and says exactly what it sent.

mod pacer;
mod send;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};

use crate::namespace::Namespace;
use crate::{limits, payload};

/// What to send, and how. Datagrams of the flows alternate; stream N is the Nth flow.
#[derive(Debug, Clone)]
pub struct Generator {
    namespace: Namespace,
    ifname: String,
    source: Option<SocketAddr>,
    flows: Vec<Flow>,
    packets_per_second: u64,
    datagrams_per_flow: u64,
    payload_bytes: usize,
    ttl: u32,
    segments_per_send: u16,
    one_core: bool,
}

/// One stream and where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flow {
    stream: u32,
    destination: SocketAddr,
}

/// What a generator sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GeneratorReport {
    /// Datagrams of each stream; their sequence numbers are 0 up to this, without holes.
    pub sent: BTreeMap<u32, u64>,
    /// From the first datagram to the last.
    pub elapsed: Duration,
    /// Time by which the schedule was shifted because the machine was too busy to keep it.
    pub forgiven: Duration,
}

impl GeneratorReport {
    /// Datagrams of all streams.
    pub fn total(&self) -> u64 {
        self.sent.values().sum()
    }

    /// The rate that was reached, over all streams.
    pub fn packets_per_second(&self) -> f64 {
        self.total() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

impl Generator {
    /// Sends from `namespace` out of the interface `ifname`: 1,000 datagrams per flow, of 1,000
    /// bytes, at 10,000 a second, TTL 16, until told otherwise.
    pub fn new(namespace: &Namespace, ifname: &str) -> Self {
        Self {
            namespace: namespace.clone(),
            ifname: ifname.into(),
            source: None,
            flows: Vec::new(),
            packets_per_second: 10_000,
            datagrams_per_flow: 1_000,
            payload_bytes: 1_000,
            ttl: 16,
            segments_per_send: 1,
            one_core: false,
        }
    }

    /// Adds a flow to a group or host; all of one family.
    #[must_use]
    pub fn flow(mut self, stream: u32, destination: SocketAddr) -> Self {
        self.flows.push(Flow { stream, destination });
        self
    }

    /// Source address and port; else the interface's address and a free port.
    #[must_use]
    pub fn source(mut self, source: SocketAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Datagrams per second, all flows together; 0 means as fast as the kernel takes them.
    #[must_use]
    pub fn rate(mut self, packets_per_second: u64) -> Self {
        self.packets_per_second = packets_per_second;
        self
    }

    /// How many datagrams each flow gets.
    #[must_use]
    pub fn count(mut self, datagrams_per_flow: u64) -> Self {
        self.datagrams_per_flow = datagrams_per_flow;
        self
    }

    /// Size of each payload in bytes, at least [`payload::MIN_BYTES`].
    #[must_use]
    pub fn payload_bytes(mut self, bytes: usize) -> Self {
        self.payload_bytes = bytes;
        self
    }

    /// TTL or hop limit, for groups and hosts alike.
    #[must_use]
    pub fn ttl(mut self, ttl: u32) -> Self {
        self.ttl = ttl;
        self
    }

    /// Hands the kernel this many datagrams at a time as one `UDP_SEGMENT` run (at most 64, and
    /// 64 KiB); `count` must be a multiple of it.
    #[must_use]
    pub fn segments_per_send(mut self, segments: u16) -> Self {
        self.segments_per_send = segments;
        self
    }

    /// Stays on the core that it begins on. The far end of a veth pair receives on the sender's
    /// core, so this is how a NIC that spreads flows over cores treats one flow; a sender that
    /// wanders makes two cores receive it, and nothing then keeps its order.
    #[must_use]
    pub fn one_core(mut self) -> Self {
        self.one_core = true;
        self
    }

    /// Sends everything, then reports.
    pub fn run(self) -> Result<GeneratorReport> {
        self.start()?.finish()
    }

    /// Begins to send on a thread of its own.
    pub fn start(self) -> Result<RunningGenerator> {
        self.check()?;
        let socket = send::open(&self)?;
        let progress = Arc::new(Progress::default());
        let shared = Arc::clone(&progress);
        let thread = std::thread::Builder::new()
            .name("generator".into())
            .spawn(move || send::run(&self, &socket, &shared))?;
        Ok(RunningGenerator { progress, thread: Some(thread) })
    }

    fn check(&self) -> Result<()> {
        let ipv4 = self.flows.first().map(|flow| flow.destination.is_ipv4());
        ensure!(ipv4.is_some(), "the generator has no flow");
        let mixed = self.flows.iter().any(|flow| Some(flow.destination.is_ipv4()) != ipv4);
        ensure!(!mixed, "the flows of one generator have one family");
        let run_bytes = self.payload_bytes * usize::from(self.segments_per_send);
        ensure!(
            self.payload_bytes >= payload::MIN_BYTES && run_bytes <= limits::MAX_DATAGRAM_BYTES,
            "{} datagrams of {} bytes at a time: too small or too much",
            self.segments_per_send,
            self.payload_bytes,
        );
        ensure!(
            (1..=64).contains(&self.segments_per_send)
                && self.datagrams_per_flow.is_multiple_of(self.segments_per_send.into()),
            "{} datagrams do not make whole runs of {}",
            self.datagrams_per_flow,
            self.segments_per_send,
        );
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Progress {
    stop: AtomicBool,
    sent: AtomicU64,
}

/// A generator at work. Dropped: stopped.
#[derive(Debug)]
pub struct RunningGenerator {
    progress: Arc<Progress>,
    thread: Option<JoinHandle<Result<GeneratorReport>>>,
}

impl RunningGenerator {
    /// Datagrams sent so far.
    pub fn sent(&self) -> u64 {
        self.progress.sent.load(Ordering::Relaxed)
    }

    /// Whether it has sent everything, or failed.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until everything is sent.
    pub fn finish(mut self) -> Result<GeneratorReport> {
        self.join()
    }

    /// Stops early and reports what was sent.
    pub fn stop(mut self) -> Result<GeneratorReport> {
        self.progress.stop.store(true, Ordering::Relaxed);
        self.join()
    }

    fn join(&mut self) -> Result<GeneratorReport> {
        let thread = self.thread.take().ok_or_else(|| anyhow!("the generator has ended"))?;
        thread.join().map_err(|_| anyhow!("the generator's thread panicked"))?
    }
}

impl Drop for RunningGenerator {
    fn drop(&mut self) {
        self.progress.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Whoever drops it does not ask how it went.
            let _ = thread.join();
        }
    }
}
