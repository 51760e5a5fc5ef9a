//! The generator: sends a scenario's flows at a steady rate, every datagram a frame of its own.
//!
//! One flow goes as `runs`, which the kernel splits into frames before the interface: the
//! cheapest way, and the frames reach the relay as from a NIC that coalesces interrupts. Flows that
//! alternate datagram by datagram cannot: they go as `frames`, at over twice the price. What is
//! compared is sent alike. All frames have valid checksums.

mod frames;
mod runs;

use std::hint;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::pacer::Pacer;
use super::scenario::{Path, Scenario};
use crate::limits;
use crate::namespace::Namespace;
use frames::Frames;
use runs::Runs;

/// Sends the flows of one scenario.
#[derive(Debug)]
pub(super) struct Traffic {
    links: Vec<Link>,
    /// Datagrams sent at a time, at least.
    burst: u64,
}

/// One interface, and how the flows leave by it.
#[derive(Debug)]
enum Link {
    Runs(Runs),
    Frames(Frames),
}

/// What was sent in one phase.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Offered {
    /// Datagrams sent; their numbers are 0 up to this.
    pub(super) sent: u64,
    /// How long that took.
    pub(super) elapsed: Duration,
}

impl Offered {
    /// The rate reached.
    pub(super) fn per_second(&self) -> f64 {
        self.sent as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

impl Traffic {
    /// Opens the interfaces `src0`, `src1`, ... of `namespace`.
    pub(super) fn open(namespace: &Namespace, scenario: &Scenario) -> Result<Self> {
        let open = |link: usize| -> Result<Link> {
            Ok(if scenario.interleaved {
                Link::Frames(Frames::open(namespace, scenario, link)?)
            } else {
                Link::Runs(Runs::open(namespace, scenario, link)?)
            })
        };
        let burst = match scenario.path {
            Path::SuperFrames => limits::BENCH_SUPER_FRAME,
            _ => 1,
        };
        Ok(Self { links: (0..scenario.workers).map(open).collect::<Result<_>>()?, burst })
    }

    /// Sends for `duration` at `per_second`, as datagrams of step `step`.
    pub(super) fn send(
        &mut self,
        step: u32,
        per_second: f64,
        duration: Duration,
    ) -> Result<Offered> {
        let mut pacer = Pacer::new(per_second, self.burst);
        let start = Instant::now();
        let (mut sent, mut batches) = (0, 0);
        loop {
            let elapsed = start.elapsed();
            if elapsed >= duration {
                return Ok(Offered { sent, elapsed });
            }
            let due = pacer.due(elapsed, sent);
            if due == 0 {
                pause(pacer.pause(elapsed, sent));
                continue;
            }
            let count = due.min(limits::BENCH_FRAMES_AT_ONCE as u64) as usize;
            let links = self.links.len();
            sent += self.links[batches % links].send(step, sent, count)?;
            batches += 1;
        }
    }
}

impl Link {
    /// Sends up to `count` datagrams from number `first` on; returns how many.
    fn send(&mut self, step: u32, first: u64, count: usize) -> Result<u64> {
        match self {
            Self::Runs(runs) => runs.send(step, first, count),
            Self::Frames(frames) => frames.send(step, first, count),
        }
    }
}

/// Waits: asleep where there is time, else awake, because a sleep ends some 60 µs late.
fn pause(pause: Duration) {
    match pause.checked_sub(limits::BENCH_SLEEP_MARGIN) {
        Some(sleep) if !sleep.is_zero() => thread::sleep(sleep),
        _ => hint::spin_loop(),
    }
}
