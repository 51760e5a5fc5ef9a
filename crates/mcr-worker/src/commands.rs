//! The supervisor's commands, carried out between batches.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use mcr_api::limits::MAX_MESSAGE_BYTES;
use mcr_api::log::{Area, Level};
use mcr_api::worker::{self, WorkerCommand, WorkerMessage};
use mcr_core::ids::{EgressId, IngressId};
use mcr_core::ledger::{CoreCounter, Header, RingCounter};
use mcr_core::replica::{Replica, SocketSet, Stale};
use mcr_core::route::{Position, Route};
use mcr_core::table::{self, OwnSocket};
use mcr_sys::packet::RingGeometry;
use mcr_sys::process::monotonic_ns;
use mcr_sys::ring::RxRing;
#[cfg(not(feature = "faults"))]
use mcr_sys::seqpacket;

use crate::data_plane::DataPlane;
use crate::egress::{self, Egress};
#[cfg(feature = "faults")]
use crate::faults::seqpacket;
use crate::ingress::{Ingress, Opened};
use crate::limits;
use crate::log::{About, Log};
use crate::mechanism::Mechanism;

/// The consequence for the loop of a look at the command socket.
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
    pub(crate) descriptors: Vec<OwnedFd>,
    pub(crate) replica: Replica,
}

/// Why a command was not carried out.
type Refusal = String;

impl Commands {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            buffer: vec![0; MAX_MESSAGE_BYTES].into_boxed_slice(),
            descriptors: Vec::with_capacity(limits::DESCRIPTORS_IN_A_COMMAND),
            replica: Replica::default(),
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
        #[cfg(feature = "faults")]
        crate::faults::attempt_ordered(mechanism, log);
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

    pub(crate) fn carry_out(
        &mut self,
        message: WorkerMessage,
        plane: &mut DataPlane,
        mechanism: &mut impl Mechanism,
        log: &Log,
    ) {
        let WorkerMessage { generation, command } = message;
        let is_change = changes_state(&command);
        tell(&command, log);
        let done = match command {
            WorkerCommand::OpenIngress(ingress) => self.open_ingress(ingress, plane, mechanism),
            WorkerCommand::CloseIngress { ingress } => {
                if self.replica.sockets_closed(SocketSet::Ingress(ingress)) {
                    begin_closing(ingress, plane);
                }
                Ok(())
            }
            WorkerCommand::OpenEgress { egress, mtu, source, ifindex, hardware } => {
                let own =
                    OwnSocket { address: source, egress: table::Egress { ifindex, hardware } };
                let opened = egress::Opened { id: egress, mtu, own };
                self.open_egress(opened, plane, mechanism)
            }
            WorkerCommand::CloseEgress { egress } => {
                if self.replica.sockets_closed(SocketSet::Egress(egress)) {
                    close_egress(egress, plane, mechanism);
                }
                Ok(())
            }
            WorkerCommand::AddRule { route } => {
                self.add_route(route, plane);
                Ok(())
            }
            WorkerCommand::RemoveRule { slot, id } => {
                if self.replica.route_removed(slot, id) {
                    plane.routes.remove(slot);
                }
                Ok(())
            }
            WorkerCommand::Pass => Ok(()),
            WorkerCommand::SyncBegin => {
                self.replica.sync_begun();
                Ok(())
            }
            WorkerCommand::SyncRules { routes } => {
                for route in routes {
                    self.add_route(route, plane);
                }
                Ok(())
            }
            WorkerCommand::SyncCommit { hash } => self
                .replica
                .sync_committed(Position { generation, hash })
                .then_some(())
                .ok_or_else(|| "a synchronisation came incomplete".into()),
            WorkerCommand::SetTraces { revision, orders } => {
                plane.tracer.set(revision, orders, &plane.counters);
                Ok(())
            }
            WorkerCommand::SetLogLevel { revision, levels } => {
                log.set_levels(levels);
                plane.counters.header(Header::LogLevels, revision);
                Ok(())
            }
            WorkerCommand::Stop => unreachable!("the caller takes it"),
        };
        match done {
            Ok(()) => {
                if is_change {
                    self.replica.change_done(generation);
                }
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
        let socket = self.descriptors.pop();
        let set = SocketSet::Ingress(command.ingress);
        if self.replica.name_sockets(set) {
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
        let ingress = Ingress::new(opened, ring);
        let (counters, record) = (&plane.counters, ingress.record);
        counters.open(record, ingress_tag(command.ingress));
        counters.set(record.of_ring(RingCounter::Slots), command.slots.into());
        counters.set(record.of_ring(RingCounter::SlotBytes), command.slot_bytes.into());
        mechanism.watch(ingress.token, ingress.ring.as_fd());
        self.replica.sockets_opened(set);
        plane.ingresses.push(ingress);
        Ok(())
    }

    fn open_egress(
        &mut self,
        opened: egress::Opened,
        plane: &mut DataPlane,
        mechanism: &mut impl Mechanism,
    ) -> Result<(), Refusal> {
        let socket = self.descriptors.pop();
        let egress::Opened { id, own, .. } = opened;
        let set = SocketSet::Egress(id);
        if self.replica.name_sockets(set) {
            return Ok(());
        }
        let socket = socket.ok_or_else(|| format!("egress {id}: no socket came along"))?;
        let DataPlane { egresses, routes, .. } = plane;
        let index = egresses.insert(Egress::new(opened, socket));
        let socket = egresses.at(index, id).expect("it was just put there").socket.as_fd();
        if let Err(error) = mechanism.admit(index as u32, socket) {
            egresses.remove(id);
            return Err(format!("egress {id}: taking in its socket: {error}"));
        }
        routes.table.insert_own(own);
        self.replica.sockets_opened(set);
        Ok(())
    }

    fn add_route(&mut self, route: Route, plane: &mut DataPlane) {
        self.replica.route_set(route.slot, route.id, route.fingerprint());
        let DataPlane { routes, egresses, counters, .. } = plane;
        routes.insert(route, egresses, counters);
    }

    /// After a commit: drops some more of what the synchronisation did not name.
    pub(crate) fn sweep(&mut self, plane: &mut DataPlane, mechanism: &mut impl Mechanism) -> Next {
        let under_way = self.replica.sweep(limits::SWEEP_AT_ONCE, |stale| match stale {
            Stale::Route(slot) => plane.routes.remove(slot),
            Stale::Sockets(SocketSet::Ingress(id)) => begin_closing(id, plane),
            Stale::Sockets(SocketSet::Egress(id)) => close_egress(id, plane, mechanism),
        });
        if under_way { Next::More } else { Next::Idle }
    }

    pub(crate) fn publish(&self, plane: &DataPlane) {
        if let Some(position) = self.replica.position() {
            plane.counters.header(Header::Routes, plane.routes.len() as u64);
            plane.counters.position(position);
        }
    }
}

/// Whether each such command is a generation of its own.
fn changes_state(command: &WorkerCommand) -> bool {
    match command {
        WorkerCommand::OpenIngress(_)
        | WorkerCommand::CloseIngress { .. }
        | WorkerCommand::OpenEgress { .. }
        | WorkerCommand::CloseEgress { .. }
        | WorkerCommand::AddRule { .. }
        | WorkerCommand::RemoveRule { .. }
        | WorkerCommand::Pass => true,
        WorkerCommand::SyncBegin
        | WorkerCommand::SyncRules { .. }
        | WorkerCommand::SyncCommit { .. }
        | WorkerCommand::SetTraces { .. }
        | WorkerCommand::SetLogLevel { .. }
        | WorkerCommand::Stop => false,
    }
}

/// Says at the level for faults what is to be done.
fn tell(command: &WorkerCommand, log: &Log) {
    let write = |about, message: &dyn Fn() -> String| {
        log.write(Level::Debug, Area::Commands, about, message);
    };
    match command {
        WorkerCommand::OpenIngress(ingress) => {
            let name = &ingress.interface;
            write(About::Interface(name), &|| format!("{name}: ingress {} opens", ingress.ingress));
        }
        WorkerCommand::AddRule { route } => {
            let (id, outputs) = (route.id, route.outputs.len());
            write(About::Rule(id), &|| format!("rule {id}: its route is set, outputs: {outputs}"));
        }
        WorkerCommand::RemoveRule { id, .. } => {
            write(About::Rule(*id), &|| format!("rule {id}: its route goes"));
        }
        WorkerCommand::SyncBegin => write(About::Worker, &|| "a synchronisation begins".into()),
        WorkerCommand::SyncCommit { .. } => {
            write(About::Worker, &|| "a synchronisation is whole".into());
        }
        _ => {}
    }
}

fn begin_closing(id: IngressId, plane: &mut DataPlane) {
    if let Some(ingress) = plane.ingresses.iter_mut().find(|ingress| ingress.id == id) {
        ingress.begin_closing(monotonic_ns());
    }
}

/// Closes the rings that were to be closed and hold nothing more. The supervisor closes its own
/// descriptors later, so that the kernel's grace periods are not this loop's.
pub(crate) fn close_read_out(plane: &mut DataPlane, mechanism: &mut impl Mechanism, now: u64) {
    let DataPlane { ingresses, counters, .. } = plane;
    ingresses.retain_mut(|ingress| {
        let is_over = ingress.is_read_out(now);
        if is_over {
            ingress.count_end(counters);
            mechanism.unwatch(ingress.token);
            counters.close(ingress.record);
        }
        !is_over
    });
}

fn close_egress(id: EgressId, plane: &mut DataPlane, mechanism: &mut impl Mechanism) {
    if let Some((index, egress)) = plane.egresses.remove(id) {
        mechanism.dismiss(index as u32);
        plane.routes.table.remove_own(egress.own);
    }
}

/// Tags are never 0, and ids may be.
pub(crate) fn ingress_tag(id: IngressId) -> u64 {
    u64::from(id.0) + 1
}

fn refuse(plane: &DataPlane, log: &Log, why: Refusal) {
    plane.counters.core(CoreCounter::CommandsRefused, 1);
    let message = || why + "; the supervisor notices, and sends everything again";
    log.write(Level::Error, Area::Commands, About::Worker, message);
}
