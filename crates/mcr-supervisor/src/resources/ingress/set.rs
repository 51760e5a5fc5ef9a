//! The packet sockets of one ingress interface.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};

use mcr_api::worker::Ingress;
use mcr_core::ids::WorkerId;
use mcr_core::plan::IngressKey;
use mcr_sys::SetupError;
use mcr_sys::filter::Program;
use mcr_sys::packet::{PacketSocket, PacketStatistics, RingGeometry, SteeringGroup};
use tracing::debug;

use super::super::Refusal;
use super::super::admission::InterfaceAdmission;
use super::RingPlace;
use crate::{limits, privileged};

/// One socket for each worker.
#[derive(Debug)]
pub(super) struct IngressSet {
    pub(super) ring: RingPlace,
    mtu: u32,
    group: SteeringGroup,
    members: Vec<Member>,
    /// Whether a member may be younger than one behind it.
    disordered: bool,
    /// How long a filter the kernel takes.
    instructions: usize,
}

/// The socket at one place of the steering group.
#[derive(Debug)]
struct Member {
    socket: PacketSocket,
    /// Whether a worker was given it. A ring that nobody has read yet can be given to anyone.
    handed: Cell<bool>,
    /// The last of the group, on its way to this place.
    candidate: Option<PacketSocket>,
}

impl IngressSet {
    /// Opens the sockets and joins them; nothing is let in yet.
    pub(super) fn open(
        ring: RingPlace,
        mtu: u32,
        workers: usize,
        steering: &Program,
    ) -> Result<Self, Refusal> {
        let mut members = Vec::with_capacity(workers);
        let mut group = None;
        for _ in 0..workers {
            let (socket, joined) = open_member(&ring.key, group)?;
            group = Some(joined);
            members.push(Member { socket, handed: Cell::new(false), candidate: None });
        }
        let group = group.ok_or_else(|| Refusal::Full("0 workers".into()))?;
        // Before the filters let in anything, since until now all would go to the first.
        members[0].socket.set_steering(steering)?;
        Ok(Self { ring, mtu, group, members, disordered: false, instructions: usize::MAX })
    }

    /// Whether the members' order may be another than that of their age, in which the kernel lets
    /// them join again when their interface comes up.
    pub(super) fn is_disordered(&self) -> bool {
        self.disordered
    }

    /// Sets the filter of every socket.
    pub(super) fn admit(&mut self, admission: &InterfaceAdmission) -> Result<(), SetupError> {
        loop {
            let program = admission.program(self.ring.key.link, self.instructions);
            let mut sockets = self.members.iter().flat_map(Member::sockets);
            let Err(error) = sockets.try_for_each(|socket| socket.set_filter(&program)) else {
                return Ok(());
            };
            let shorter = program.len() / 2;
            let out_of_memory = error.cause.kind() == std::io::ErrorKind::OutOfMemory;
            if !out_of_memory || shorter < limits::FILTER_INSTRUCTIONS_FLOOR {
                return Err(error);
            }
            let interface = &self.ring.key.interface;
            debug!(%interface, "{interface}: {error}; trying {shorter} instructions");
            self.instructions = shorter;
        }
    }

    /// Lets nothing in any more: workers hold their duplicates until they have read the command to
    /// close them, and a successor may open before that.
    pub(super) fn shut(&self) {
        for socket in self.members.iter().flat_map(Member::sockets) {
            if let Err(error) = socket.set_filter(&Program::drop_all()) {
                let interface = &self.ring.key.interface;
                debug!(%interface, "{interface}: {error}");
            }
        }
    }

    pub(super) fn announcement(&self) -> Ingress {
        let RingPlace { id, place, key } = &self.ring;
        Ingress {
            ingress: *id,
            place: *place,
            ifindex: key.ifindex,
            interface: key.interface.clone(),
            link: key.link,
            mtu: self.mtu,
            slot_bytes: key.class.slot_bytes(),
            slots: key.class.slots(),
        }
    }

    pub(super) fn socket(&self, worker: WorkerId) -> Option<BorrowedFd<'_>> {
        let member = self.members.get(worker.0 as usize)?;
        Some(member.candidate.as_ref().unwrap_or(&member.socket).as_fd())
    }

    pub(super) fn mark_handed(&self, worker: WorkerId) {
        if let Some(member) = self.members.get(worker.0 as usize) {
            member.handed.set(true);
        }
    }

    /// A new socket for a worker whose old one was read by a dead process.
    pub(super) fn add_candidate(
        &mut self,
        worker: WorkerId,
        admission: Option<&mut InterfaceAdmission>,
    ) -> Result<(), Refusal> {
        let Some(member) = self.members.get_mut(worker.0 as usize) else {
            return Ok(());
        };
        if !member.handed.get() {
            return Ok(());
        }
        let (socket, _) = open_member(&self.ring.key, Some(self.group))?;
        if let Some(admission) = admission {
            socket.set_filter(&admission.program(self.ring.key.link, self.instructions))?;
        }
        member.candidate = Some(socket);
        Ok(())
    }

    pub(super) fn drop_candidate(&mut self, worker: WorkerId) {
        if let Some(member) = self.members.get_mut(worker.0 as usize) {
            member.candidate = None;
        }
    }

    pub(super) fn install_candidate(&mut self, worker: WorkerId) -> PacketStatistics {
        let is_last = worker.0 as usize + 1 == self.members.len();
        let member = self.members.get_mut(worker.0 as usize);
        let Some((member, new)) = member.and_then(|m| m.candidate.take().map(|new| (m, new)))
        else {
            return PacketStatistics::default();
        };
        let old = std::mem::replace(&mut member.socket, new);
        self.disordered |= !is_last;
        // Refused only where the dead worker's ring is still mapped, and then it ends with that.
        if let Err(error) = old.give_up_ring() {
            let interface = &self.ring.key.interface;
            debug!(%interface, worker = worker.0, "{interface}: a dead worker's ring: {error}");
        }
        old.take_statistics().unwrap_or_default()
    }
}

impl Member {
    fn sockets(&self) -> impl Iterator<Item = &PacketSocket> {
        std::iter::once(&self.socket).chain(&self.candidate)
    }
}

/// A socket that lets nothing in, last in its steering group.
fn open_member(
    key: &IngressKey,
    group: Option<SteeringGroup>,
) -> Result<(PacketSocket, SteeringGroup), SetupError> {
    let geometry = RingGeometry { slot_bytes: key.class.slot_bytes(), slots: key.class.slots() };
    let socket = privileged::packet_socket(geometry)?;
    socket.bind(key.ifindex.0)?;
    let group = socket.join_steering(group)?;
    Ok((socket, group))
}
