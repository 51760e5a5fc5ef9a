//! The packet sockets of one ingress interface.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};

use mcr_api::worker::Ingress;
use mcr_core::ids::WorkerId;
use mcr_sys::filter::Program;
use mcr_sys::packet::PacketSocket;
use tracing::{debug, info, warn};

use super::super::Refusal;
use super::super::admission::InterfaceAdmission;
use super::RingPlace;
use super::fit::Fit;
use super::opening::{Blueprint, Opened};

/// One socket for each worker.
#[derive(Debug)]
pub(super) struct IngressSet {
    pub(super) ring: RingPlace,
    pub(super) blueprint: Blueprint,
    mtu: u32,
    members: Vec<Member>,
    pub(super) spare: Spare,
    /// Whether a member may be younger than one behind it.
    disordered: bool,
    pub(super) fit: Fit,
}

/// A socket that is ready for the next worker that dies: the last of the group, where nothing is
/// steered to.
#[derive(Debug)]
pub(super) enum Spare {
    /// There is none, and none on its way.
    None,
    /// It is being opened.
    Opening,
    Ready(PacketSocket),
    /// It could not be had.
    Refused(Refusal),
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
    /// Takes opened sockets over, which let nothing in yet.
    pub(super) fn new(ring: RingPlace, mtu: u32, opened: Opened) -> Self {
        let Opened { blueprint, sockets } = opened;
        let member = |socket| Member { socket, handed: Cell::new(false), candidate: None };
        Self {
            ring,
            blueprint,
            mtu,
            members: sockets.into_iter().map(member).collect(),
            spare: Spare::None,
            disordered: false,
            fit: Fit::default(),
        }
    }

    /// Whether the members' order may be another than that of their age, in which the kernel lets
    /// them join again when their interface comes up.
    pub(super) fn is_disordered(&self) -> bool {
        self.disordered
    }

    /// Sets the filter of each socket that is somebody's. Returns whether a refusal began or ended.
    pub(super) fn admit(&mut self, admission: &InterfaceAdmission) -> bool {
        let wanted = admission.wanted_by_filter(self.ring.key.link);
        let members = &self.members;
        let changed = self.fit.set(&wanted, || members.iter().flat_map(Member::sockets));
        self.log_fit(changed);
        changed
    }

    /// Asks again for what the kernel had no room for. Returns whether a refusal ended.
    pub(super) fn retry(&mut self, admission: &InterfaceAdmission) -> bool {
        let wanted = admission.wanted_by_filter(self.ring.key.link);
        let members = &self.members;
        let changed = self.fit.retry(&wanted, || members.iter().flat_map(Member::sockets));
        self.log_fit(changed);
        changed
    }

    fn log_fit(&self, changed: bool) {
        let interface = &self.ring.key.interface;
        match self.fit.error() {
            Some(error) if changed => warn!(
                %interface,
                "{interface}: {error}; newer rules do not receive, older ones do; trying again"
            ),
            None if changed => info!(%interface, "{interface}: the filter fits now"),
            _ => {}
        }
    }

    /// Lets nothing in any more: workers read what is in their rings before they close them, and a
    /// successor may open before that.
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
        let geometry = self.blueprint.geometry;
        Ingress {
            ingress: *id,
            place: *place,
            ifindex: key.ifindex,
            interface: key.interface.clone(),
            link: key.link,
            mtu: self.mtu,
            slot_bytes: geometry.slot_bytes,
            slots: geometry.slots,
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

    /// Whether a worker that starts has a ring here that nobody has read.
    pub(super) fn is_ready_for(&self, worker: WorkerId) -> bool {
        let member = self.members.get(worker.0 as usize);
        member.is_none_or(|member| !member.handed.get() || member.candidate.is_some())
    }

    /// Gives the spare socket to a worker whose own was read by a dead process.
    ///
    /// # Errors
    /// Why there is no spare.
    pub(super) fn replace_with_spare(
        &mut self,
        worker: WorkerId,
        admission: Option<&InterfaceAdmission>,
    ) -> Result<(), Refusal> {
        if self.is_ready_for(worker) {
            return Ok(());
        }
        let socket = match std::mem::replace(&mut self.spare, Spare::None) {
            Spare::Ready(socket) => socket,
            Spare::Refused(refusal) => return Err(refusal),
            on_its_way => {
                self.spare = on_its_way;
                return Ok(());
            }
        };
        if let Some(admission) = admission {
            self.fit.set_one(&admission.wanted_by_filter(self.ring.key.link), &socket)?;
        }
        if let Some(member) = self.members.get_mut(worker.0 as usize) {
            member.candidate = Some(socket);
        }
        Ok(())
    }

    /// Takes away the socket of a worker that has died before it took its place.
    pub(super) fn take_candidate(&mut self, worker: WorkerId) -> Option<PacketSocket> {
        self.members.get_mut(worker.0 as usize)?.candidate.take()
    }

    /// Memory of its rings, the spare one's included.
    pub(super) fn ring_bytes(&self) -> u64 {
        let members = self.members.iter().flat_map(Member::sockets).count();
        let spares = usize::from(matches!(self.spare, Spare::Ready(_)));
        ((members + spares) * self.blueprint.geometry.ring_bytes()) as u64
    }

    /// Everything to be closed.
    pub(super) fn into_sockets(self) -> impl Iterator<Item = PacketSocket> {
        let spare = match self.spare {
            Spare::Ready(socket) => Some(socket),
            Spare::None | Spare::Opening | Spare::Refused(_) => None,
        };
        let members = self.members.into_iter();
        members.flat_map(|member| [Some(member.socket), member.candidate]).flatten().chain(spare)
    }

    /// Puts a worker's new socket into its place. Returns the old one, which has yet to leave the
    /// steering group.
    pub(super) fn install_candidate(&mut self, worker: WorkerId) -> Option<PacketSocket> {
        let is_last = worker.0 as usize + 1 == self.members.len();
        let member = self.members.get_mut(worker.0 as usize)?;
        let new = member.candidate.take()?;
        self.disordered |= !is_last;
        Some(std::mem::replace(&mut member.socket, new))
    }
}

impl Member {
    fn sockets(&self) -> impl Iterator<Item = &PacketSocket> {
        std::iter::once(&self.socket).chain(&self.candidate)
    }
}
