//! A worker without a kernel, for mcr-fuzz: its ring is plain memory that the caller fills as a
//! kernel would, and each of its sends ends as the caller says.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mcr_api::worker::{WorkerCommand, WorkerMessage};
use mcr_core::circle;
use mcr_core::ids::{IfIndex, IngressId, WorkerId};
use mcr_core::interfaces::LinkLayer;
use mcr_core::ledger::{self, CoreCounter, RingCounter};
use mcr_core::route::{Position, Route};
use mcr_core::verdict::{DropReason, EgressError};
use mcr_sys::gather::Gather;
use mcr_sys::ledger::{LedgerMemory, LedgerWriter};
use mcr_sys::packet::RingGeometry;
use mcr_sys::ring::RxRing;
use mcr_sys::send::{Errno, Outcome, SendRequest};

use crate::circles::Circles;
use crate::commands::{Commands, Next};
use crate::counters::Counters;
use crate::data_plane::{DataPlane, Turn};
use crate::ingress::{Ingress, Opened};
use crate::log::Log;
use crate::mechanism::Mechanism;

/// The ring: the least block that the kernel gives.
const GEOMETRY: RingGeometry = RingGeometry { slot_bytes: 2_048, slots: 32 };
const SLOT_WORDS: usize = GEOMETRY.slot_bytes as usize / size_of::<u64>();

/// Bytes of a slot.
pub const SLOT_BYTES: usize = GEOMETRY.slot_bytes as usize;
/// Slots of the ring.
pub const SLOTS: usize = GEOMETRY.slots as usize;
/// The interface that its frames come in by.
pub const IFINDEX: IfIndex = IfIndex(7);

/// A worker with one ring of Ethernet frames.
#[derive(Debug)]
pub struct Worker {
    plane: DataPlane,
    commands: Commands,
    mechanism: Scripted,
    log: Log,
    ring: LedgerWriter,
    /// The slot that the kernel would fill next.
    next: usize,
}

/// A worker's counters, and its position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Frames read, by the core's and by the ring's count.
    pub frames: [u64; 2],
    /// Datagrams in them.
    pub datagrams: u64,
    /// Of these, matched.
    pub matched: u64,
    /// Of these, dropped for any reason.
    pub dropped: u64,
    /// Copies wanted.
    pub copies: u64,
    /// Copies that the kernel took.
    pub sent: u64,
    /// Copies that it did not.
    pub not_sent: u64,
    /// Commands carried out, and refused.
    pub commands: [u64; 2],
    /// Slots that are not the kernel's.
    pub slots_held: usize,
    /// Routes held.
    pub routes: usize,
}

impl Worker {
    /// With these routes.
    ///
    /// # Errors
    /// What the kernel says where there is no memory.
    pub fn new(routes: impl IntoIterator<Item = Route>) -> io::Result<Self> {
        let ledger = LedgerMemory::create("mcr-fuzz", ledger::WORDS)?;
        let counters = Counters::new(LedgerWriter::map(ledger.as_fd(), ledger::WORDS)?);
        let sightings = LedgerMemory::create("sightings", circle::WORDS)?;
        let sightings = LedgerWriter::map(sightings.as_fd(), circle::WORDS)?;
        let mut plane = DataPlane::new(counters, Circles::new(sightings));
        let memory = LedgerMemory::create("mcr-fuzz", SLOT_WORDS * SLOTS)?;
        let ring = LedgerWriter::map(memory.as_fd(), SLOT_WORDS * SLOTS)?;
        let opened = Opened {
            id: IngressId(u32::MAX),
            ifindex: IFINDEX,
            interface: "eth0".parse().map_err(io::Error::other)?,
            link: LinkLayer::Ethernet,
            place: 0,
        };
        plane.ingresses.push(Ingress::new(opened, RxRing::map(memory, GEOMETRY)?));
        let mut worker = Self {
            plane,
            commands: Commands::new(nowhere()?),
            mechanism: Scripted::default(),
            log: Log::new(nowhere()?, WorkerId(0)),
            ring,
            next: 0,
        };
        for route in routes {
            let DataPlane { routes, egresses, counters, .. } = &mut worker.plane;
            routes.insert(route, egresses, counters);
        }
        Ok(worker)
    }

    /// Fills the next slot: from its second word on with `bytes`, and then its status. False where
    /// the slot is not the kernel's.
    pub fn fill(&mut self, status: u32, bytes: &[u8]) -> bool {
        let words = &self.ring[self.next * SLOT_WORDS..][..SLOT_WORDS];
        if status_of(words) != libc::TP_STATUS_KERNEL {
            return false;
        }
        let mut slot = vec![0; SLOT_BYTES];
        let len = bytes.len().min(SLOT_BYTES - size_of::<u32>());
        slot[size_of::<u32>()..][..len].copy_from_slice(&bytes[..len]);
        slot[..size_of::<u32>()].copy_from_slice(&status.to_ne_bytes());
        for (word, bytes) in words.iter().zip(slot.as_chunks().0) {
            word.store(u64::from_ne_bytes(*bytes), Ordering::Release);
        }
        self.next = (self.next + 1) % SLOTS;
        true
    }

    /// Carries a batch; each send in it ends as the next byte of `outcomes` says: 0, or none left,
    /// is success, another one an error of that number.
    pub fn turn(&mut self, outcomes: &[u8]) -> bool {
        self.mechanism.outcomes = outcomes.to_vec();
        let turn = Turn { now: 1, until: u64::MAX };
        self.plane.turn(turn, &mut self.mechanism, &self.log)
    }

    /// Carries out a command, with a socket where it opens an egress.
    ///
    /// # Errors
    /// Where there is no socket.
    pub fn command(&mut self, message: WorkerMessage) -> io::Result<()> {
        let Self { plane, commands, mechanism, log, .. } = self;
        if matches!(message.command, WorkerCommand::OpenEgress { .. }) {
            commands.descriptors.push(nowhere()?);
        }
        commands.carry_out(message, plane, mechanism, log);
        commands.descriptors.clear();
        Ok(())
    }

    /// Ends what a synchronisation has begun to drop, and tells how far it has come; `None`: it is
    /// not whole yet.
    pub fn settle(&mut self) -> Option<Position> {
        while self.commands.sweep(&mut self.plane, &mut self.mechanism) == Next::More {}
        self.commands.publish(&self.plane);
        self.commands.replica.position()
    }

    /// Its place.
    pub fn account(&self) -> Account {
        let counters = &self.plane.counters;
        let core = |counter| counters.value(ledger::core(counter));
        let read = ledger::Record::ring(0).of_ring(RingCounter::FramesRead);
        let dropped = DropReason::ALL.iter().map(|r| counters.value(ledger::dropped(*r)));
        let errors = EgressError::ALL.iter().map(|e| counters.value(ledger::egress_error(*e)));
        let slots = self.ring.chunks(SLOT_WORDS);
        Account {
            frames: [core(CoreCounter::FramesRead), counters.value(read)],
            datagrams: core(CoreCounter::Datagrams),
            matched: core(CoreCounter::Matched),
            dropped: dropped.sum(),
            copies: core(CoreCounter::Copies),
            sent: core(CoreCounter::Sent),
            not_sent: errors.sum(),
            commands: [CoreCounter::Commands, CoreCounter::CommandsRefused].map(core),
            slots_held: slots.filter(|slot| status_of(slot) != libc::TP_STATUS_KERNEL).count(),
            routes: self.plane.routes.len(),
        }
    }
}

/// The status is a slot's first half word, in memory's order.
fn status_of(slot: &[AtomicU64]) -> u32 {
    let [a, b, c, d, ..] = slot[0].load(Ordering::Acquire).to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

/// A descriptor that takes everything and gives nothing.
fn nowhere() -> io::Result<OwnedFd> {
    let opened: File = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    Ok(opened.into())
}

/// Sends nothing, and says what it was told to say.
#[derive(Debug, Default)]
struct Scripted {
    outcomes: Vec<u8>,
}

impl Mechanism for Scripted {
    fn send_all<'a>(
        &mut self,
        _: &Gather<'_>,
        sends: impl Iterator<Item = SendRequest<'a>>,
        mut done: impl FnMut(usize, Outcome),
    ) {
        for (place, send) in sends.enumerate() {
            let outcome = match self.outcomes.pop() {
                None | Some(0) => Ok(send.payloads.len()),
                Some(errno) => Err(Errno(errno.into())),
            };
            done(place, outcome);
        }
    }

    fn admit(&mut self, _: u32, _: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }

    fn dismiss(&mut self, _: u32) {}

    fn watch(&mut self, _: u32, _: BorrowedFd<'_>) {}

    fn unwatch(&mut self, _: u32) {}

    fn mute(&mut self, _: u32) {}

    fn wait(&mut self, _: Duration) {}

    fn fired(&self, _: u32) -> bool {
        false
    }

    fn take_system_calls(&mut self) -> u64 {
        0
    }

    #[cfg(feature = "faults")]
    fn attempt(&mut self, _: mcr_sys::forbidden::Act) -> io::Result<()> {
        Ok(())
    }
}
