//! The ingress sockets: for each key a set, one packet socket a worker, joined to one steering
//! group in the order of the workers.
//!
//! They are opened and closed on other threads ([`crate::hands`]), because both wait in the kernel.
//! A set that is given up lets nothing in from that moment. It is closed when every worker has read
//! what is left in its ring, so that no worker's descriptor is the last one.
//!
//! A ring outlives its reader, but not its reader's place in it; so a dead worker's sockets are
//! replaced. The kernel puts the last member of a group into the place of one that leaves. A spare
//! socket stands last, where nothing is steered to, and takes the dead one's place when that
//! leaves. Of two replacements at once the second would land in the first one's place: they are
//! made one after the other, which [`crate::workers`] sees to.

mod closing;
mod fit;
mod opening;
mod replacement;
mod set;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::os::fd::BorrowedFd;

use mcr_api::control::BufferStats;
use mcr_api::worker::WorkerCommand;
use mcr_core::ids::{IfIndex, IngressId, WorkerId};
use mcr_core::limits::INGRESSES;
use mcr_core::plan::IngressKey;
use mcr_core::slots::Slots;
use mcr_sys::filter::Program;

use super::Refusal;
use super::admission::InterfaceAdmission;
use super::buffers::Buffers;
use crate::asked::Ticket;
use crate::event::Event;
use crate::hands::Hands;
use crate::rings::Rings;
use closing::Closing;
use opening::Blueprint;
use replacement::Replacement;
use set::IngressSet;

pub(crate) use opening::Opened;
pub(crate) use replacement::{NewSpare, Retired};

/// All sets, and what is wanted on each interface.
#[derive(Debug)]
pub(crate) struct Ingresses {
    sets: BTreeMap<IngressId, IngressSet>,
    by_key: HashMap<IngressKey, IngressId>,
    admissions: BTreeMap<IfIndex, InterfaceAdmission>,
    places: Slots,
    /// Sockets of each set, one for a worker, and who of them gets a frame.
    members: usize,
    steering: Program,
    rings: Rings,
    next_id: u32,
    /// Interfaces whose filters' refusals began or ended.
    refitted: BTreeSet<IfIndex>,
    /// Whether a filter is refused: nearly always none is, and rules are many.
    any_refused: bool,
    /// Shut until the first workers hold their routes: nothing is received for nobody.
    open: bool,
    closing: Closing,
    replacement: Replacement,
    hands: Hands,
    buffers: Buffers,
}

/// A ring as the ledgers know it.
#[derive(Clone, Debug)]
pub(crate) struct RingPlace {
    pub(crate) id: IngressId,
    /// The ledger's record.
    pub(crate) place: usize,
    pub(crate) key: IngressKey,
}

/// A set on its way.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) key: IngressKey,
    pub(crate) ticket: Ticket,
    place: usize,
}

impl Ingresses {
    /// For so many workers, among whom a program divides what comes.
    pub(crate) fn new(members: usize, steering: Program, rings: Rings, hands: Hands) -> Self {
        Self {
            sets: BTreeMap::new(),
            by_key: HashMap::new(),
            admissions: BTreeMap::new(),
            places: Slots::new(INGRESSES as u32),
            members,
            steering,
            rings,
            next_id: 1,
            refitted: BTreeSet::new(),
            any_refused: false,
            open: false,
            closing: Closing::default(),
            replacement: Replacement::default(),
            hands,
            buffers: Buffers::long_frames(),
        }
    }

    /// Begins to open the set of a key that has none; comes as [`Event::IngressOpened`].
    pub(crate) fn begin_opening(
        &mut self,
        key: &IngressKey,
        ticket: Ticket,
    ) -> Result<(), Refusal> {
        let place = self.places.take(1).map(|place| place.start as usize);
        let place =
            place.ok_or_else(|| Refusal::Full(format!("{INGRESSES} ingress interfaces")))?;
        let geometry = self.rings.geometry(key, place);
        let opening = Opening { key: key.clone(), ticket, place };
        let blueprint = Blueprint { key: key.clone(), geometry, group: None };
        let (members, steering) = (self.members, self.steering.clone());
        self.hands.begin(|threads| async move {
            let outcome = blueprint.open(members, steering, &threads).await;
            Event::IngressOpened { opening, outcome }
        });
        Ok(())
    }

    /// The set of a key is there.
    pub(crate) fn finish_opening(
        &mut self,
        opening: Opening,
        mtu: u32,
        opened: Opened,
    ) -> IngressId {
        let Opening { key, place, .. } = opening;
        for socket in &opened.sockets {
            if let Ok(bytes) = socket.long_frame_queue_bytes() {
                self.buffers.note(bytes);
            }
        }
        let id = IngressId(self.next_id);
        let ifindex = key.ifindex;
        let set = IngressSet::new(RingPlace { id, place, key: key.clone() }, mtu, opened);
        self.next_id += 1;
        self.by_key.insert(key, id);
        self.sets.insert(id, set);
        self.admissions.entry(ifindex).or_default();
        self.admit_on(ifindex);
        if self.rings.has_spare(place) {
            self.order_spare(id);
        }
        id
    }

    /// The set is not wanted any more, or could not be had.
    pub(crate) fn abandon_opening(&mut self, opening: &Opening, opened: Option<Opened>) {
        self.give_back_place(opening.place);
        if let Some(opened) = opened {
            self.hands.dispose_all(opened.sockets);
        }
    }

    /// Of interfaces that were down those where the frames of one worker may now be steered to
    /// another.
    pub(crate) fn disordered_among(&self, were_down: &BTreeSet<IfIndex>) -> BTreeSet<IfIndex> {
        let sets = self.sets.values().filter(|set| set.is_disordered());
        sets.map(|set| set.ring.key.ifindex).filter(|ifindex| were_down.contains(ifindex)).collect()
    }

    /// Whether frames of the interface are taken.
    pub(crate) fn is_open_on(&self, ifindex: IfIndex) -> bool {
        self.by_key.keys().any(|key| key.ifindex == ifindex)
    }

    /// Lets in what is wanted, from now on.
    pub(crate) fn open_filters(&mut self) {
        self.open = true;
        for set in self.sets.values_mut() {
            let ifindex = set.ring.key.ifindex;
            if set.admit(self.admissions.entry(ifindex).or_default()) {
                self.refitted.insert(ifindex);
            }
        }
        self.look_for_refusals();
    }

    /// A route takes this from the interface.
    pub(crate) fn want(&mut self, ifindex: IfIndex, address: IpAddr, port: u16) {
        let admission = self.admissions.entry(ifindex).or_default();
        if admission.want(address, port) {
            self.admit_on(ifindex);
        }
    }

    /// A route no longer takes this from the interface.
    pub(crate) fn unwant(&mut self, ifindex: IfIndex, address: IpAddr, port: u16) {
        if let Some(admission) = self.admissions.get_mut(&ifindex) {
            admission.unwant(address, port);
        }
    }

    /// On these interfaces, and no others, lets in one in so many of the UDP datagrams that no rule
    /// wants.
    pub(crate) fn let_strangers_in(&mut self, on: &BTreeMap<IfIndex, NonZeroU32>) {
        for ifindex in on.keys() {
            self.admissions.entry(*ifindex).or_default();
        }
        let admissions = self.admissions.iter_mut();
        let changed = admissions.filter_map(|(ifindex, admission)| {
            admission.let_strangers_in(on.get(ifindex).copied()).then_some(*ifindex)
        });
        for ifindex in changed.collect::<Vec<_>>() {
            self.admit_on(ifindex);
        }
    }

    /// At each tick: narrows the filters that let in what nobody wants any more.
    pub(crate) fn refresh_filters(&mut self) {
        let stale: Vec<IfIndex> = self
            .admissions
            .iter_mut()
            .filter_map(|(ifindex, admission)| admission.refresh().then_some(*ifindex))
            .collect();
        for ifindex in stale {
            self.admit_on(ifindex);
        }
        if self.open {
            for set in self.sets.values_mut() {
                let ifindex = set.ring.key.ifindex;
                let admission = self.admissions.get(&ifindex);
                if admission.is_some_and(|admission| set.retry(admission)) {
                    self.refitted.insert(ifindex);
                }
            }
            self.look_for_refusals();
        }
        self.admissions.retain(|_, admission| !admission.is_idle());
    }

    fn admit_on(&mut self, ifindex: IfIndex) {
        let Some(admission) = self.admissions.get(&ifindex).filter(|_| self.open) else {
            return;
        };
        for set in self.sets.values_mut().filter(|set| set.ring.key.ifindex == ifindex) {
            if set.admit(admission) {
                self.refitted.insert(ifindex);
            }
        }
        self.look_for_refusals();
    }

    fn look_for_refusals(&mut self) {
        self.any_refused = self.sets.values().any(|set| set.fit.is_refused());
    }

    /// Interfaces whose filters' refusals began or ended since this was last asked.
    pub(crate) fn take_refitted(&mut self) -> BTreeSet<IfIndex> {
        std::mem::take(&mut self.refitted)
    }

    /// Why datagrams to this destination are kept out by the interface's filter, where they are.
    pub(crate) fn filter_refusal(
        &self,
        ifindex: IfIndex,
        address: IpAddr,
        port: u16,
    ) -> Option<String> {
        if !self.any_refused {
            return None;
        }
        let mut sets = self.sets.values();
        let set = sets.find(|set| set.ring.key.ifindex == ifindex)?;
        let refusal = set.fit.refusal(address, port)?;
        let interface = &set.ring.key.interface;
        Some(format!("interface {interface} does not let this input in: {refusal}"))
    }

    /// Every ring in the order of ids.
    pub(crate) fn rings(&self) -> impl Iterator<Item = &RingPlace> {
        self.sets.values().map(|set| &set.ring)
    }

    /// How large the queues for long frames are.
    pub(crate) fn buffers(&self) -> BufferStats {
        self.buffers.stats()
    }

    /// Memory of all rings, spare ones and those being closed included.
    pub(crate) fn ring_bytes(&self) -> u64 {
        self.sets.values().chain(self.closing.sets()).map(IngressSet::ring_bytes).sum()
    }

    /// The first set after another, in the order of ids.
    pub(crate) fn after(&self, id: Option<IngressId>) -> Option<IngressId> {
        let from = id.map_or(IngressId(0), |id| IngressId(id.0 + 1));
        self.sets.range(from..).next().map(|(id, _)| *id)
    }

    /// The command that tells a worker of a set.
    pub(crate) fn command(&self, id: IngressId) -> Option<WorkerCommand> {
        self.sets.get(&id).map(|set| WorkerCommand::OpenIngress(set.announcement()))
    }

    /// The socket that a worker reads, or is to read, in a set.
    pub(crate) fn socket(&self, id: IngressId, worker: WorkerId) -> Option<BorrowedFd<'_>> {
        self.sets.get(&id)?.socket(worker)
    }

    /// A worker was sent its socket: nobody else can read that ring any more.
    pub(crate) fn mark_handed(&self, id: IngressId, worker: WorkerId) {
        if let Some(set) = self.sets.get(&id) {
            set.mark_handed(worker);
        }
    }
}
