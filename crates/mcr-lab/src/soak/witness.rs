//! The witnesses: a socket at the far end of every flow that writes down what comes.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use mcr_sys::membership::MembershipSocket;
use mcr_sys::sockaddr::Family;
use socket2::{Domain, Protocol, Socket, Type};

use super::flows::Flow;
use crate::limits;
use crate::link;
use crate::namespace::Namespace;
use crate::payload::{self, Verdict};
use crate::sink::widen_receive_buffer;

/// What one witness wrote down since the epoch began, and the last that it saw.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Sequence numbers in the order of their coming.
    pub(super) arrived: Vec<u64>,
    /// Datagrams that are not the flow's, or not whole.
    pub(super) strange: u64,
    /// When the last one was sent, in nanoseconds of the monotonic clock.
    pub(super) last_sent_ns: u64,
    /// Where it came from.
    pub(super) origin: Option<IpAddr>,
}

impl Seen {
    fn add(&mut self, stream: u32, datagram: &[u8], origin: SocketAddr) {
        match payload::verify(datagram) {
            Verdict::Intact(header) if header.stream == stream => {
                self.arrived.push(header.sequence);
                self.last_sent_ns = header.sent_at_ns;
                self.origin = Some(origin.ip());
            }
            _ => self.strange += 1,
        }
    }
}

/// The witnesses of all flows, in their order. Dropped: stopped.
#[derive(Debug)]
pub(super) struct Witnesses {
    sinks: Vec<Namespace>,
    flows: Vec<Flow>,
    seen: Vec<Arc<Mutex<Seen>>>,
    // Held for what they do; by egress link.
    memberships: Vec<Vec<MembershipSocket>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Witnesses {
    /// Begins to watch.
    pub(super) fn start(sinks: &[Namespace], flows: &[Flow]) -> Result<Self> {
        let mut witnesses = Self {
            sinks: sinks.to_vec(),
            flows: flows.to_vec(),
            seen: Vec::new(),
            memberships: sinks.iter().map(|_| Vec::new()).collect(),
            stop: Arc::new(AtomicBool::new(false)),
            threads: Vec::new(),
        };
        for flow in flows {
            let socket = listen(&sinks[usize::from(flow.egress)], flow.destination)?;
            let seen = Arc::new(Mutex::new(Seen::default()));
            let (stream, stop) = (flow.rule as u32, Arc::clone(&witnesses.stop));
            let shared = Arc::clone(&seen);
            witnesses.seen.push(seen);
            let thread = thread::Builder::new().name("soak witness".into());
            witnesses.threads.push(thread.spawn(move || watch(&socket, stream, &shared, &stop))?);
        }
        for egress in 0..sinks.len() {
            witnesses.join(egress as u8)?;
        }
        Ok(witnesses)
    }

    /// Joins the groups of a link whose interface has been made anew.
    pub(super) fn join(&mut self, egress: u8) -> Result<()> {
        let place = usize::from(egress);
        let sink = &self.sinks[place];
        let ifindex = link::ifindex(sink, &format!("sink{egress}"))?;
        let groups = self.flows.iter().filter(|flow| flow.egress == egress);
        let groups = groups.map(|flow| flow.destination.ip()).filter(IpAddr::is_multicast);
        let join = |group: IpAddr| {
            let family = if group.is_ipv4() { Family::V4 } else { Family::V6 };
            sink.enter(|| -> Result<MembershipSocket> {
                let socket = MembershipSocket::open(family)?;
                socket.join(ifindex, group, None)?;
                Ok(socket)
            })
            .with_context(|| format!("joining {group} on sink{egress}"))
        };
        self.memberships[place] = groups.map(join).collect::<Result<_>>()?;
        Ok(())
    }

    /// What a flow's witness has written down.
    pub(super) fn seen(&self, flow: usize) -> MutexGuard<'_, Seen> {
        lock(&self.seen[flow])
    }

    /// Begins a new epoch of a flow, and gives what came in the old one.
    pub(super) fn take(&self, flow: usize) -> Seen {
        let mut seen = self.seen(flow);
        let rest = Seen { arrived: Vec::new(), strange: 0, ..*seen };
        std::mem::replace(&mut seen, rest)
    }

    /// Datagrams of this epoch, of all flows.
    pub(super) fn count(&self) -> usize {
        self.seen.iter().map(|seen| lock(seen).arrived.len()).sum()
    }
}

impl Drop for Witnesses {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Whoever drops it does not ask how it went.
            let _ = thread.join();
        }
    }
}

/// Between two statements that cannot panic the record is whole.
fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Not bound to an interface: it outlives those that it receives by.
fn listen(sink: &Namespace, address: SocketAddr) -> Result<UdpSocket> {
    let open = || -> Result<UdpSocket> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        widen_receive_buffer(&socket)?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(true)?;
        }
        socket.set_read_timeout(Some(limits::RECEIVE_POLL))?;
        socket.bind(&address.into())?;
        Ok(socket.into())
    };
    sink.enter(open).with_context(|| format!("{}: listening on {address}", sink.label()))
}

fn watch(socket: &UdpSocket, stream: u32, seen: &Mutex<Seen>, stop: &AtomicBool) {
    // One byte more than what is sent: a longer one is seen to be strange.
    let mut datagram = [0; limits::soak::PAYLOAD_BYTES + 1];
    while !stop.load(Ordering::Relaxed) {
        // What fails here is the poll's end, or a report of the network's that ends nothing.
        if let Ok((bytes, origin)) = socket.recv_from(&mut datagram) {
            lock(seen).add(stream, &datagram[..bytes], origin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_flows_is_strange() {
        let mut seen = Seen::default();
        let origin = "10.2.0.1:9".parse().unwrap();
        seen.add(3, &payload::payload(3, 17, 200), origin);
        seen.add(3, &payload::payload(4, 18, 200), origin);
        let mut damaged = payload::payload(3, 19, 200);
        damaged[100] ^= 1;
        seen.add(3, &damaged, origin);
        seen.add(3, b"hello", origin);
        assert_eq!((seen.arrived.as_slice(), seen.strange), ([17].as_slice(), 3));
        assert_eq!(seen.origin, Some("10.2.0.1".parse().unwrap()));
    }
}
