//! Continuous traffic: every rule's datagrams at a steady rate, from the core of its worker, with
//! the moment of each.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Result, anyhow};
use mcr_sys::process::{monotonic_ns, pin_to_core};
use socket2::{Domain, Protocol, Socket, Type};

use super::flows::SoakRule;
use crate::limits;
use crate::namespace::Namespace;
use crate::payload::{self, Header};

/// What was sent of one rule since the epoch began.
#[derive(Debug, Clone, Default)]
pub(super) struct Sent {
    /// The first datagram's sequence number.
    pub(super) first: u64,
    /// When each was sent, in nanoseconds of the monotonic clock. Only what the kernel took has a
    /// sequence number.
    pub(super) sent_ns: Vec<u64>,
}

impl Sent {
    /// Begins a new epoch, and gives what the old one sent.
    pub(super) fn take(&mut self) -> Self {
        let next = self.first + self.sent_ns.len() as u64;
        std::mem::replace(self, Self { first: next, sent_ns: Vec::new() })
    }
}

/// A time in which the machine did not let a sender run, nor, as it is to be feared, the worker of
/// its core; nanoseconds of the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeldUp {
    /// The worker.
    pub(super) worker: usize,
    /// When the sender wanted to run.
    pub(super) from_ns: u64,
    /// When it did.
    pub(super) to_ns: u64,
}

/// What one sender writes down.
#[derive(Debug, Default)]
struct Book {
    sent: Vec<Sent>,
    held_up: Vec<HeldUp>,
}

/// The senders, one a core. Dropped: stopped.
#[derive(Debug)]
pub(super) struct Traffic {
    senders: Vec<Arc<Mutex<Book>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

/// Traffic that stands still, until this is dropped.
#[derive(Debug)]
pub(super) struct Pause<'a> {
    senders: Vec<MutexGuard<'a, Book>>,
}

impl Pause<'_> {
    /// What was sent of a rule.
    pub(super) fn rule(&mut self, rule: usize) -> &mut Sent {
        // Rules are dealt out in turns.
        let senders = self.senders.len();
        &mut self.senders[rule % senders].sent[rule / senders]
    }

    /// Times in which the machine held a sender up, since this was last asked.
    pub(super) fn take_held_up(&mut self) -> Vec<HeldUp> {
        self.senders.iter_mut().flat_map(|sender| std::mem::take(&mut sender.held_up)).collect()
    }
}

impl Traffic {
    /// Begins to send; rule N from the core of worker N modulo the number of cores, because the
    /// far end of a veth pair receives on the sender's.
    pub(super) fn start(source: &Namespace, rules: &[SoakRule], cores: &[usize]) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut traffic = Self { senders: Vec::new(), stop, threads: Vec::new() };
        for (place, &core) in cores.iter().enumerate() {
            let streams: Vec<Stream> = rules
                .iter()
                .enumerate()
                .filter(|(rule, _)| rule % cores.len() == place)
                .map(|(number, rule)| Stream::new(number as u32, rule))
                .collect();
            let sent = vec![Sent::default(); streams.len()];
            let book = Arc::new(Mutex::new(Book { sent, held_up: Vec::new() }));
            let (shared, stop) = (Arc::clone(&book), Arc::clone(&traffic.stop));
            let thread = source.spawn_thread("soak sender", move || {
                pin_to_core(core)?;
                run(place, streams, &shared, &stop);
                Ok(())
            })?;
            traffic.senders.push(book);
            traffic.threads.push(thread);
        }
        Ok(traffic)
    }

    /// Stops sending for a while. No datagram is on its way from the sender then.
    pub(super) fn pause(&self) -> Pause<'_> {
        Pause { senders: self.senders.iter().map(|sender| lock(sender)).collect() }
    }

    /// An error if a sender has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        let Some(ended) = self.threads.iter().position(JoinHandle::is_finished) else {
            return Ok(());
        };
        let joined = self.threads.swap_remove(ended).join();
        joined.map_err(|_| anyhow!("a sender has panicked"))??;
        Err(anyhow!("a sender has ended"))
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Whoever drops it does not ask how it went.
            let _ = thread.join();
        }
    }
}

/// What a sender holds is whole between two statements that cannot panic.
fn lock(sender: &Mutex<Book>) -> MutexGuard<'_, Book> {
    sender.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One rule's datagrams.
struct Stream {
    number: u32,
    destination: SocketAddr,
    ifname: String,
    /// `None` while there is no interface to send by.
    socket: Option<Socket>,
}

/// Sends one datagram of each stream in every interval. One that comes late is not made up for: a
/// burst would be lost by the test bed.
fn run(worker: usize, mut streams: Vec<Stream>, book: &Mutex<Book>, stop: &AtomicBool) {
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        if now < next {
            thread::sleep(next - now);
            continue;
        }
        let late = now - next;
        let to_ns = monotonic_ns();
        let mut book = lock(book);
        // Not before: a pause of the soak's own is no delay.
        next = next.max(Instant::now()) + limits::soak::INTERVAL;
        if late >= limits::soak::HELD_UP {
            let from_ns = to_ns.saturating_sub(late.as_nanos() as u64);
            book.held_up.push(HeldUp { worker, from_ns, to_ns });
        }
        for (stream, sent) in streams.iter_mut().zip(&mut book.sent) {
            stream.send(sent);
        }
    }
}

impl Stream {
    fn new(number: u32, rule: &SoakRule) -> Self {
        let ifname = format!("src{}", rule.ingress);
        Self { number, destination: rule.input, ifname, socket: None }
    }

    fn send(&mut self, sent: &mut Sent) {
        let Some(socket) = self.socket.take().or_else(|| self.open().ok()) else {
            return;
        };
        let mut datagram = [0; limits::soak::PAYLOAD_BYTES];
        let sequence = sent.first + sent.sent_ns.len() as u64;
        let sent_at_ns = monotonic_ns();
        payload::write(&mut datagram, Header { stream: self.number, sequence, sent_at_ns });
        // An interface that has gone never comes back for this socket: the next one is opened anew.
        if socket.send_to(&datagram, &self.destination.into()).is_ok() {
            sent.sent_ns.push(sent_at_ns);
            self.socket = Some(socket);
        }
    }

    fn open(&self) -> std::io::Result<Socket> {
        let domain = Domain::for_address(self.destination);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.bind_device(Some(self.ifname.as_bytes()))?;
        let any: SocketAddr = match self.destination {
            SocketAddr::V4(_) => {
                socket.set_multicast_ttl_v4(limits::soak::TTL)?;
                (Ipv4Addr::UNSPECIFIED, 0).into()
            }
            SocketAddr::V6(_) => {
                socket.set_multicast_hops_v6(limits::soak::TTL)?;
                (Ipv6Addr::UNSPECIFIED, 0).into()
            }
        };
        socket.bind(&any.into())?;
        Ok(socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_goes_on_where_the_last_one_ended() {
        let mut sent = Sent { first: 10, sent_ns: vec![5, 6, 7] };
        assert_eq!(sent.take().sent_ns, [5, 6, 7]);
        assert_eq!((sent.first, sent.sent_ns.len()), (13, 0));
    }
}
