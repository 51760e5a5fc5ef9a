//! The benchmark's sink: cheap, because it shares a core with the generator.
//!
//! Two packet rings hear `sink0`: one keeps the beginning of every frame of one datagram, the other
//! keeps super-frames whole, for the stamps in all their segments. No socket is bound and no group
//! joined, so the kernel throws the frames away early after that. The time of arrival is the
//! kernel's stamp, taken on the relay's core as the frame enters the interface: the sink's own
//! delays cost no accuracy. (UDP sockets with `UDP_GRO` take each datagram that came alone through
//! the kernel's IP and UDP layers and a copy of its own, and so took the core from the generator
//! where a relay sends single frames, as the kernel's forwarding does.)

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use mcr_sys::capture::{CaptureRing, Captured, Wanted};
use mcr_sys::packet::RingGeometry;
use nix::sys::socket::SockProtocol;

use super::book::{Book, Received};
use super::scenario::Scenario;
use crate::namespace::Namespace;
use crate::{limits, packet_socket, payload};

/// Where the parts of a frame stand that the sink looks at: Ethernet, IPv4 without options, UDP.
const ETHERTYPE: usize = 12;
const IP: usize = 14;
const UDP: usize = IP + 20;
const PAYLOAD: usize = UDP + 8;

/// The thread that reads what came, and its book.
#[derive(Debug)]
pub(super) struct Sink {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    book: Mutex<Book>,
    received: AtomicU64,
    dropped: AtomicU64,
    stop: AtomicBool,
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink {
    /// Hears all that any peer may deliver in `scenario` on the interface `ifname`.
    pub(super) fn open(namespace: &Namespace, ifname: &str, scenario: &Scenario) -> Result<Self> {
        let alone = (PAYLOAD + scenario.payload) as u32;
        let rings = [
            ring(
                namespace,
                ifname,
                limits::BENCH_SINK_SLOTS,
                &Wanted { lengths: alone..=alone, kept_bytes: limits::BENCH_SINK_KEPT_BYTES },
            )?,
            ring(
                namespace,
                ifname,
                limits::BENCH_SINK_RUNS,
                &Wanted {
                    lengths: alone + 1..=u32::MAX,
                    kept_bytes: limits::MAX_FRAME_BYTES as u32,
                },
            )?,
        ];
        let shared = Arc::new(Shared::default());
        let (reader, payload_bytes) = (Arc::clone(&shared), scenario.payload);
        let thread = thread::Builder::new()
            .name("bench-sink".into())
            .spawn(move || read(rings, payload_bytes, &reader))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// From now on datagrams of this step are entered, and no others.
    pub(super) fn begin(&self, step: u32, scenario: &Scenario) {
        *self.shared.book() = Book::new(step, scenario.fan_out, scenario.flows);
    }

    /// Waits until no more comes, and closes the step's book.
    pub(super) fn finish(&self) -> Result<Received> {
        let (start, mut last) = (Instant::now(), self.received());
        loop {
            thread::sleep(limits::BENCH_QUIET);
            let now = self.received();
            let failed = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
            if failed {
                return Err(anyhow!("the benchmark's sink has ended"));
            }
            if now == last || start.elapsed() > limits::BENCH_DRAIN {
                return Ok(std::mem::take(&mut *self.shared.book()).close());
            }
            last = now;
        }
    }

    /// Frames that the sink's rings had no room for since they were made.
    pub(super) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Datagrams read so far, of whatever step.
    pub(super) fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its failure has been reported by `finish`.
            let _ = thread.join();
        }
    }
}

fn ring(namespace: &Namespace, ifname: &str, slots: u32, wanted: &Wanted) -> Result<CaptureRing> {
    let socket = packet_socket::open(namespace, ifname, Some(SockProtocol::EthAll))?;
    let whole = wanted.kept_bytes > limits::BENCH_SINK_KEPT_BYTES;
    let slot_bytes = if whole { limits::BENCH_RUN_SLOT_BYTES } else { 2 * 1024 };
    Ok(CaptureRing::new(socket, RingGeometry::covering(slot_bytes, slots), wanted)?)
}

fn read(rings: [CaptureRing; 2], payload_bytes: usize, shared: &Shared) -> Result<()> {
    let [mut alone, mut runs] = rings;
    while !shared.stop.load(Ordering::Relaxed) {
        let mut book = shared.book();
        let mut cut = 0;
        for _ in 0..limits::BENCH_SINK_SLOTS {
            let entered = next_ring(&mut alone, &mut runs).take(|frame| {
                cut += u64::from(is_cut(frame));
                enter(&mut book, payload_bytes, frame)
            });
            match entered {
                Some(datagrams) => shared.received.fetch_add(datagrams, Ordering::Relaxed),
                None => break,
            };
        }
        drop(book);
        for ring in [&alone, &runs] {
            cut += ring.take_statistics().context("the sink's counters")?.dropped;
        }
        shared.dropped.fetch_add(cut, Ordering::Relaxed);
        thread::sleep(limits::BENCH_SINK_INTERVAL);
    }
    Ok(())
}

/// The ring with the older frame, so that frames are entered in the order of their arrival.
fn next_ring<'a>(alone: &'a mut CaptureRing, runs: &'a mut CaptureRing) -> &'a mut CaptureRing {
    loop {
        // Frames come to both rings in one order. So whatever is seen in one ring, nothing older
        // is still to come to the other, if that is looked at afterwards: hence runs twice.
        let run = runs.next_at_ns();
        let single = alone.next_at_ns();
        if run != runs.next_at_ns() {
            continue;
        }
        return match (single, run) {
            (Some(single), Some(run)) if run < single => runs,
            (None, Some(_)) => runs,
            _ => alone,
        };
    }
}

/// Enters the datagrams of a frame, which all have the same length; returns their number.
fn enter(book: &mut Book, payload_bytes: usize, frame: &Captured<'_>) -> u64 {
    let bytes = frame.bytes;
    if bytes.len() < PAYLOAD + payload::MIN_BYTES || !is_plain_udp(bytes) {
        return 0;
    }
    let port = u16::from_be_bytes([bytes[UDP + 2], bytes[UDP + 3]]);
    let copy = usize::from(port.wrapping_sub(Scenario::port_of_copy(0)));
    let mut datagrams = 0;
    for datagram in bytes[PAYLOAD..].chunks(payload_bytes) {
        if let Some(header) = payload::read_header(datagram) {
            book.add(copy, &header, frame.received_at_ns);
        }
        datagrams += 1;
    }
    datagrams
}

/// Whether a super-frame did not fit its slot, so that stamps are missing.
fn is_cut(frame: &Captured<'_>) -> bool {
    let kept = frame.bytes.len() as u32;
    kept != limits::BENCH_SINK_KEPT_BYTES && kept < frame.original_len
}

/// Whether the frame is Ethernet, IPv4 of 20 bytes and UDP, as all of the benchmark's are.
fn is_plain_udp(frame: &[u8]) -> bool {
    frame[ETHERTYPE..][..2] == [0x08, 0x00] && frame[IP] == 0x45 && frame[IP + 9] == 17
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::stamp::Stamp;
    use crate::frame::FrameBuilder;

    #[test]
    fn every_segment_is_entered_with_its_copy() {
        let datagrams: Vec<u8> = (0..3_u64)
            .flat_map(|number| {
                let mut datagram = payload::payload(0, 0, 100);
                let stamp = Stamp { step: 1, flow: 0, number };
                payload::write_header(&mut datagram, stamp.header(1_000));
                datagram
            })
            .collect();
        let mut book = Book::new(1, 2, 1);
        let to = format!("239.2.0.0:{}", Scenario::port_of_copy(1)).parse().unwrap();
        let bytes =
            FrameBuilder::udp("10.2.0.1:9".parse().unwrap(), to).payload(&datagrams).build();
        let frame = Captured {
            bytes: &bytes,
            original_len: bytes.len() as u32,
            received_at_ns: 5_000,
            checksum_missing: false,
        };
        assert_eq!(enter(&mut book, 100, &frame), 3);
        let received = book.close();
        assert_eq!((received.unique, received.reordered), (3, 0));
        assert_eq!(received.latency.latency().max_ns, 4_000);
    }
}
