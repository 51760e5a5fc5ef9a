//! The supervisor's commands, carried out between batches.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mcr_api::limits::MAX_MESSAGE_BYTES;
use mcr_api::log::Level;
use mcr_api::worker::{self, WorkerCommand, WorkerMessage};
use mcr_core::ids::{EgressId, IngressId, RuleSlot};
use mcr_core::ledger::{CoreCounter, Header, RingCounter};
use mcr_core::route::{Fingerprint, Kind, Route};
use mcr_sys::packet::RingGeometry;
use mcr_sys::process::monotonic_ns;
use mcr_sys::ring::RxRing;
#[cfg(not(feature = "faults"))]
use mcr_sys::seqpacket;

use crate::data_plane::DataPlane;
use crate::egress::Egress;
#[cfg(feature = "faults")]
use crate::faults::seqpacket;
use crate::ingress::{Ingress, Opened};
use crate::limits;
use crate::log::Log;
use crate::mechanism::Mechanism;
use crate::progress::Progress;

/// What follows for the loop from looking at the command socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// No command is waiting.
    Idle,
    /// There may be more commands or more to sweep.
    More,
    /// The supervisor asks the worker to end.
    Stop,
    /// The supervisor is gone.
    Orphaned,
}

/// The worker's end of the command socket and what it has led to.
#[derive(Debug)]
pub(crate) struct Commands {
    socket: OwnedFd,
    buffer: Box<[u8]>,
    descriptors: Vec<OwnedFd>,
    progress: Progress,
}

/// Why a command was not carried out.
type Refusal = String;

impl Commands {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            buffer: vec![0; MAX_MESSAGE_BYTES].into_boxed_slice(),
            descriptors: Vec::with_capacity(limits::DESCRIPTORS_IN_A_COMMAND),
            progress: Progress::default(),
        }
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Carries out the next few commands, and a step of sweeping.
    pub(crate) fn turn(
        &mut self,
        plane: &mut DataPlane,
        mechanism: &mut impl Mechanism,
        log: &Log,
    ) -> Next {
        let mut next = self.sweep(plane, mechanism);
        let mut system_calls = 0;
        let until = monotonic_ns() + limits::COMMANDS_FOR.as_nanos() as u64;
        while monotonic_ns() < until {
            system_calls += 1;
            let received =
                seqpacket::recv(self.socket.as_fd(), &mut self.buffer, &mut self.descriptors);
            let message = match received {
                Ok(Some(bytes)) => worker::decode(&self.buffer[..bytes]),
                Ok(None) => return Next::Orphaned,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    refuse(plane, log, format!("receiving a command: {error}"));
                    continue;
                }
            };
            next = Next::More;
            match message {
                Ok(WorkerMessage { command: WorkerCommand::Stop, .. }) => return Next::Stop,
                Ok(message) => self.carry_out(message, plane, mechanism, log),
                Err(error) => refuse(plane, log, error.to_string()),
            }
            self.descriptors.clear();
        }
        plane.counters.core(CoreCounter::SystemCalls, system_calls);
        self.publish(plane);
        next
    }

    fn carry_out(
        &mut self,
        message: WorkerMessage,
        plane: &mut DataPlane,
        mechanism: &mut impl Mechanism,
        log: &Log,
    ) {
        let done = match message.command {
            WorkerCommand::OpenIngress(ingress) => self.open_ingress(ingress, plane, mechanism),
            WorkerCommand::CloseIngress { ingress } => {
                self.close_ingress(ingress, plane, mechanism);
                Ok(())
            }
            WorkerCommand::OpenEgress { egress, mtu, source } => {
                self.open_egress(egress, mtu, source, plane)
            }
            WorkerCommand::CloseEgress { egress } => {
                self.close_egress(egress, plane);
                Ok(())
            }
            WorkerCommand::AddRule { route } => {
                self.add_route(route, plane);
                Ok(())
            }
            WorkerCommand::RemoveRule { slot, id } => {
                self.forget(plane.routes.remove(slot, id, &plane.counters));
                Ok(())
            }
            WorkerCommand::SyncBegin => {
                self.progress.sync_begun();
                Ok(())
            }
            WorkerCommand::SyncRules { routes } => {
                for route in routes {
                    self.add_route(route, plane);
                }
                Ok(())
            }
            WorkerCommand::SyncCommit => {
                self.progress.sync_committed(message.generation);
                Ok(())
            }
            WorkerCommand::SetLogLevel { level } => {
                log.set_level(level);
                Ok(())
            }
            WorkerCommand::Stop => unreachable!("the caller takes it"),
        };
        match done {
            Ok(()) => {
                self.progress.command_done(message.generation);
                plane.counters.core(CoreCounter::Commands, 1);
            }
            Err(why) => refuse(plane, log, why),
        }
    }

    fn open_ingress(
        &mut self,
        command: worker::Ingress,
        plane: &mut DataPlane,
        mechanism: &mut impl Mechanism,
    ) -> Result<(), Refusal> {
        let epoch = self.progress.epoch();
        let socket = self.descriptors.pop();
        if let Some(held) = plane.ingresses.iter_mut().find(|i| i.id == command.ingress) {
            held.epoch = epoch;
            return Ok(());
        }
        let socket =
            socket.ok_or_else(|| format!("ingress {}: no socket came along", command.ingress))?;
        let geometry = RingGeometry { slot_bytes: command.slot_bytes, slots: command.slots };
        let ring = RxRing::map(socket, geometry)
            .map_err(|error| format!("{}: mapping its ring: {error}", command.interface))?;
        let opened = Opened {
            id: command.ingress,
            ifindex: command.ifindex,
            interface: command.interface,
            link: command.link,
            place: command.place,
        };
        let ingress = Ingress::new(opened, ring, epoch);
        let (counters, record) = (&plane.counters, ingress.record);
        counters.open(record, ingress_tag(command.ingress));
        counters.set(record.of_ring(RingCounter::Slots), command.slots.into());
        counters.set(record.of_ring(RingCounter::SlotBytes), command.slot_bytes.into());
        mechanism.watch(ingress.token, ingress.ring.as_fd());
        self.progress.gained(Fingerprint::of(Kind::Ingress, command.ingress.0));
        plane.ingresses.push(ingress);
        Ok(())
    }

    fn close_ingress(
        &mut self,
        id: IngressId,
        plane: &mut DataPlane,
        mechanism: &mut impl Mechanism,
    ) {
        let Some(index) = plane.ingresses.iter().position(|i| i.id == id) else {
            return;
        };
        let ingress = plane.ingresses.swap_remove(index);
        ingress.count_statistics(&plane.counters);
        mechanism.unwatch(ingress.token);
        plane.counters.close(ingress.record);
        self.progress.lost(Fingerprint::of(Kind::Ingress, id.0));
    }

    fn open_egress(
        &mut self,
        id: EgressId,
        mtu: u32,
        source: SocketAddr,
        plane: &mut DataPlane,
    ) -> Result<(), Refusal> {
        let epoch = self.progress.epoch();
        let socket = self.descriptors.pop();
        if let Some(held) = plane.egresses.by_id_mut(id) {
            held.epoch = epoch;
            return Ok(());
        }
        let socket = socket.ok_or_else(|| format!("egress {id}: no socket came along"))?;
        plane.egresses.insert(Egress::new(id, socket, source, mtu, epoch));
        plane.routes.table.insert_own(source);
        self.progress.gained(Fingerprint::of(Kind::Egress, id.0));
        Ok(())
    }

    fn close_egress(&mut self, id: EgressId, plane: &mut DataPlane) {
        if let Some(egress) = plane.egresses.remove(id) {
            plane.routes.table.remove_own(egress.source);
            self.progress.lost(Fingerprint::of(Kind::Egress, id.0));
        }
    }

    fn add_route(&mut self, route: Route, plane: &mut DataPlane) {
        let epoch = self.progress.epoch();
        let DataPlane { routes, egresses, counters, .. } = plane;
        let (gained, lost) = routes.insert(route, epoch, egresses, counters);
        self.progress.gained(gained);
        self.forget(lost);
    }

    fn forget(&mut self, fingerprint: Option<Fingerprint>) {
        if let Some(fingerprint) = fingerprint {
            self.progress.lost(fingerprint);
        }
    }

    /// After a commit: drops some more of what the synchronisation did not name.
    fn sweep(&mut self, plane: &mut DataPlane, mechanism: &mut impl Mechanism) -> Next {
        let Some(from) = self.progress.sweep_from() else {
            return Next::Idle;
        };
        let (epoch, end) = (self.progress.epoch(), plane.routes.slots());
        let to = end.min(from + limits::SWEEP_AT_ONCE);
        for slot in from..to {
            self.forget(plane.routes.sweep(RuleSlot(slot as u32), epoch, &plane.counters));
        }
        if to == end {
            // The sockets last, when no route names them any more.
            while let Some(stale) = plane.ingresses.iter().find(|i| i.epoch != epoch) {
                self.close_ingress(stale.id, plane, mechanism);
            }
            while let Some(stale) = plane.egresses.stale(epoch) {
                self.close_egress(stale, plane);
            }
        }
        self.progress.swept_to(to, end);
        Next::More
    }

    fn publish(&self, plane: &DataPlane) {
        if self.progress.is_settled() {
            plane.counters.header(Header::Routes, plane.routes.len() as u64);
            plane.counters.header(Header::Hash, self.progress.hash().0);
            plane.counters.header(Header::Generation, self.progress.generation());
        }
    }
}

/// Tags are never 0, and ids may be.
pub(crate) fn ingress_tag(id: IngressId) -> u64 {
    u64::from(id.0) + 1
}

fn refuse(plane: &DataPlane, log: &Log, why: Refusal) {
    plane.counters.core(CoreCounter::CommandsRefused, 1);
    log.write(Level::Error, "commands", why);
}
