//! Single resources: asked of the kernel, taken over when it answers, and given up.

use mcr_core::ids::{IfIndex, RuleId};
use mcr_core::plan::{Action, Fate, IngressKey, Resource};

use crate::asked::{Step, Ticket};
use crate::limits;
use crate::resources::Refusal;
use crate::resources::ingress::{NewSpare, Opened, Opening, Retired};
use crate::state::State;
use crate::workers::Workers;

/// How far a call has come.
enum Progress {
    /// It is held.
    Done,
    /// The kernel is asked, and its answer comes as an event.
    Asked,
}

impl State {
    /// Takes a step of a plan.
    pub(crate) fn act(&mut self, action: Action, workers: &mut Workers) {
        match action {
            Action::Acquire(resource) if self.waits_for_ring(&resource) => {
                let ticket = self.asked.begin(&resource);
                self.held.insert(resource.clone());
                self.asked.defer(resource.ifindex(), Step::Ask(resource, ticket));
            }
            Action::Acquire(resource) => match self.acquire(&resource, workers) {
                Ok(Progress::Done) => self.acquired(resource),
                Ok(Progress::Asked) => _ = self.held.insert(resource),
                Err(refusal) => self.refused(resource, &refusal),
            },
            Action::Release(resource) => self.give_up(resource, workers),
        }
    }

    /// Groups are joined when the ring is there, so that their first datagrams find it, and
    /// exclusions made, so that what they end has come to the ring.
    fn waits_for_ring(&self, resource: &Resource) -> bool {
        let waits = matches!(resource, Resource::Membership(_) | Resource::Exclusion(_));
        waits && self.asked.is_opening_ring(resource.ifindex())
    }

    fn acquire(&mut self, resource: &Resource, workers: &mut Workers) -> Result<Progress, Refusal> {
        if let Some(ifindex) = resource.ends_with() {
            self.devices.watch(ifindex)?;
        }
        match resource {
            Resource::Egress(key) => {
                let change = self.holdings.open_egress(key)?;
                workers.announce(change, &self.holdings);
            }
            Resource::Membership(_) | Resource::Ingress(_) | Resource::Exclusion(_) => {
                let ticket = self.asked.begin(resource);
                self.ask(resource, ticket).inspect_err(|_| self.withdraw(resource))?;
                return Ok(Progress::Asked);
            }
        }
        Ok(Progress::Done)
    }

    fn ask(&mut self, resource: &Resource, ticket: Ticket) -> Result<(), Refusal> {
        match resource {
            Resource::Membership(membership) => self.addresses.join(*membership, ticket),
            Resource::Ingress(key) => self.holdings.ingresses.begin_opening(key, ticket),
            Resource::Exclusion(entry) => {
                let received = self.holdings.ingresses.is_open_on(entry.ifindex);
                if entry.fate == Fate::Ends && !received {
                    return Err(Refusal::NotReceived(entry.interface.clone()));
                }
                self.exclusions.make(entry.clone(), ticket)
            }
            Resource::Egress(_) => Ok(()),
        }
    }

    /// The kernel has answered for a membership or an exclusion.
    pub(crate) fn take_answer(
        &mut self,
        resource: Resource,
        ticket: Ticket,
        outcome: Result<(), Refusal>,
    ) {
        let Some(rules) = self.asked.end(&resource, ticket) else {
            return;
        };
        let ifindex = resource.ifindex();
        match outcome {
            Ok(()) => self.acquired(resource),
            Err(refusal) => self.refused(resource, &refusal),
        }
        self.answer_rules(ifindex, rules);
    }

    /// The sockets of an ingress were opened, or refused.
    pub(crate) fn take_ingress(
        &mut self,
        opening: Opening,
        outcome: Result<Opened, Refusal>,
        workers: &mut Workers,
    ) {
        let resource = Resource::Ingress(opening.key.clone());
        let Some(rules) = self.asked.end(&resource, opening.ticket) else {
            self.holdings.ingresses.abandon_opening(&opening, outcome.ok());
            return;
        };
        match outcome {
            Ok(opened) => {
                let interface = self.interfaces.named(&opening.key.interface);
                let mtu = interface.map_or(0, |interface| interface.mtu);
                let change = self.holdings.take_ingress(opening, mtu, opened);
                workers.announce(change, &self.holdings);
                self.acquired(resource.clone());
            }
            Err(refusal) => {
                self.holdings.ingresses.abandon_opening(&opening, None);
                self.refused(resource.clone(), &refusal);
            }
        }
        self.take_deferred_steps(&resource);
        self.answer_rules(resource.ifindex(), rules);
    }

    /// A dead worker's socket has left its steering group.
    pub(crate) fn take_retired(&mut self, retired: &Retired, spare: Option<NewSpare>) {
        let ingresses = &mut self.holdings.ingresses;
        if let Some(spare) = spare {
            ingresses.spare_opened(spare);
        }
        if let Some(unread) = ingresses.retired(retired) {
            self.retained.keep_unread(retired.worker, unread);
        }
    }

    fn acquired(&mut self, resource: Resource) {
        let was_refused = self.problems.solved(&resource);
        if was_refused || matches!(resource, Resource::Ingress(_)) {
            self.conditions.unsettle(resource.ifindex());
        }
        self.held.insert(resource);
    }

    fn refused(&mut self, resource: Resource, refusal: &Refusal) {
        self.held.remove(&resource);
        if let Resource::Ingress(key) = &resource {
            self.include(key);
        }
        self.note_problem(resource, refusal);
    }

    fn note_problem(&mut self, resource: Resource, refusal: &Refusal) {
        let ifindex = resource.ifindex();
        if self.problems.note(resource, refusal) {
            self.conditions.unsettle(ifindex);
        }
    }

    /// Lets go on what ended at an ingress for a ring that could not be had again: it would come to
    /// nobody.
    fn include(&mut self, key: &IngressKey) {
        let ended = |resource: &&Resource| match resource {
            Resource::Exclusion(entry) => entry.ifindex == key.ifindex && entry.fate == Fate::Ends,
            _ => false,
        };
        let ended: Vec<Resource> = self.held.iter().filter(ended).cloned().collect();
        for resource in ended {
            self.withdraw(&resource);
            if let Resource::Exclusion(entry) = &resource {
                self.exclusions.remove(entry.clone());
            }
            self.held.remove(&resource);
            self.note_problem(resource, &Refusal::NotReceived(key.interface.clone()));
        }
    }

    fn give_up(&mut self, resource: Resource, workers: &mut Workers) {
        self.held.remove(&resource);
        let was_asked = self.asked.contains(&resource);
        self.withdraw(&resource);
        let is_membership = matches!(resource, Resource::Membership(_));
        if is_membership && !was_asked && self.waits_for_ring(&resource) {
            // Another membership of the group may wait for the ring, too.
            self.asked.defer(resource.ifindex(), Step::GiveUp(resource));
            return;
        }
        self.release(&resource, workers);
        if matches!(resource, Resource::Ingress(_)) {
            self.conditions.unsettle(resource.ifindex());
            self.take_deferred_steps(&resource);
        }
    }

    fn withdraw(&mut self, resource: &Resource) {
        let rules = self.asked.withdraw(resource);
        self.answer_rules(resource.ifindex(), rules);
    }

    fn release(&mut self, resource: &Resource, workers: &mut Workers) {
        let change = match resource {
            Resource::Membership(membership) => return self.addresses.leave(*membership),
            Resource::Ingress(key) => self.holdings.close_ingress(key).map(|(change, ring)| {
                let generation = self.holdings.generation();
                let ledgers = workers.ledgers();
                let ledgers = ledgers.filter_map(|(worker, _, ledger)| Some((worker, ledger?)));
                self.retained.ring_closing(&ring, generation, ledgers);
                change
            }),
            Resource::Egress(key) => self.holdings.close_egress(key),
            Resource::Exclusion(entry) => return self.exclusions.remove(entry.clone()),
        };
        if let Some(change) = change {
            workers.announce(change, &self.holdings);
        }
    }

    /// The ring that steps waited for is open, or will not be.
    fn take_deferred_steps(&mut self, ring: &Resource) {
        for step in self.asked.take_deferred(ring.ifindex()) {
            match step {
                Step::GiveUp(Resource::Membership(membership)) => self.addresses.leave(membership),
                Step::GiveUp(_) => {}
                Step::Ask(resource, ticket) => {
                    if !self.asked.counts(&resource, ticket) {
                        continue;
                    }
                    if let Err(refusal) = self.ask_on_device(&resource, ticket) {
                        self.withdraw(&resource);
                        self.refused(resource, &refusal);
                    }
                }
            }
        }
    }

    fn ask_on_device(&mut self, resource: &Resource, ticket: Ticket) -> Result<(), Refusal> {
        if let Some(ifindex) = resource.ends_with() {
            self.devices.watch(ifindex)?;
        }
        self.ask(resource, ticket)
    }

    /// These rules wait for no more answers. Many of them are told of at the next ticks.
    fn answer_rules(&mut self, ifindex: IfIndex, rules: Vec<RuleId>) {
        if rules.len() > limits::SETTLED_AT_ONCE / 4 {
            self.conditions.unsettle(ifindex);
        } else {
            self.tell_conditions(&rules);
        }
        self.answered.extend(rules);
    }
}
