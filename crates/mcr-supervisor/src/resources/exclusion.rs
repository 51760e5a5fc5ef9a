//! Entries for exclusive rules: held by the supervisor alone, in descriptors alone, so that the
//! kernel undoes it whatever ends the daemon. A thread makes and removes them, for attaching and
//! detaching a program wait for RTNL.

use std::collections::{BTreeMap, BTreeSet};

use mcr_core::ids::IfIndex;
use mcr_core::plan::{Exclusion, Fate, Resource};
use mcr_sys::SetupError;
use mcr_sys::exclusion::{self, IngressLink, Taken};
use tokio::sync::mpsc;
use tracing::debug;

use super::{Refusal, link_header};
use crate::asked::Ticket;
use crate::event::Event;
use crate::hands::{Hands, Rights, Serial};
use crate::{limits, privileged};

/// The way to the entries.
#[derive(Debug)]
pub(crate) struct Exclusions(Serial<Entries>);

impl Exclusions {
    pub(crate) fn new(hands: &Hands) -> Self {
        Self(hands.serial("exclusions", Rights::Kept, Entries::default()))
    }

    /// Makes an entry; the answer comes as [`Event::Acquired`].
    pub(crate) fn make(&mut self, entry: Exclusion, ticket: Ticket) -> Result<(), Refusal> {
        let make = move |entries: &mut Entries, events: &mpsc::Sender<Event>| {
            let outcome = entries.make(&entry);
            let resource = Resource::Exclusion(entry);
            // Without a supervisor there is nobody to be told.
            _ = events.blocking_send(Event::Acquired { resource, ticket, outcome });
        };
        self.0.order(make).map_err(Refusal::NoThread)
    }

    /// Takes an entry out, after all that was ordered before.
    pub(crate) fn remove(&mut self, entry: Exclusion) {
        let interface = entry.interface.clone();
        if let Err(error) = self.0.order(move |entries, _| entries.remove(&entry)) {
            debug!(%interface, "{interface}: no entry taken out of the ingress table: {error}");
        }
    }

    /// Takes every entry out.
    pub(crate) fn clear(&mut self) {
        if let Err(error) = self.0.order(|entries, _| *entries = Entries::default()) {
            debug!("the ingress programs end with mcrd: {error}");
        }
    }
}

/// All entries, and the interfaces at whose ingress they are looked up.
#[derive(Debug, Default)]
struct Entries {
    /// Made for the first exclusive rule: most daemons have none, and may lack the right to it.
    kernel: Option<exclusion::Exclusions>,
    links: BTreeMap<IfIndex, Link>,
    made: BTreeSet<Exclusion>,
}

/// The program at an interface's ingress.
#[derive(Debug)]
struct Link {
    _link: IngressLink,
    /// The entries for whose sake it is there.
    entries: u32,
}

impl Entries {
    /// Makes an entry; there is no other in its place.
    fn make(&mut self, entry: &Exclusion) -> Result<(), Refusal> {
        let made = privileged::change_exclusions(|| self.make_permitted(entry));
        if made.is_ok() {
            self.made.insert(entry.clone());
        }
        made
    }

    fn make_permitted(&mut self, entry: &Exclusion) -> Result<(), Refusal> {
        match entry.fate {
            Fate::Ends => self.end(entry).map_err(Refusal::NotExclusive),
            Fate::GoesOn => {
                if let Some(kernel) = &self.kernel {
                    kernel.set(&taken(entry), exclusion::Fate::GoesOn)?;
                }
                Ok(())
            }
        }
    }

    /// Takes an entry out, if it was made.
    fn remove(&mut self, entry: &Exclusion) {
        if !self.made.remove(entry) {
            return;
        }
        let kernel = self.kernel.as_ref();
        let removed =
            kernel.map(|kernel| privileged::change_exclusions(|| kernel.remove(&taken(entry))));
        if let Some(Err(error)) = removed {
            let interface = &entry.interface;
            debug!(%interface, "{interface}: no entry taken out of the ingress table: {error}");
        }
        if entry.fate == Fate::Ends
            && let Some(link) = self.links.get_mut(&entry.ifindex)
        {
            link.entries -= 1;
            if link.entries == 0 {
                self.links.remove(&entry.ifindex);
            }
        }
    }

    fn end(&mut self, entry: &Exclusion) -> Result<(), SetupError> {
        let mut kernel = match self.kernel.take() {
            Some(kernel) => kernel,
            // Exceptions that were made before there was a table: they matter from now on.
            None => with_exceptions(&self.made)?,
        };
        let ended = end_in(&mut kernel, &mut self.links, entry);
        self.kernel = Some(kernel);
        ended
    }
}

/// The entry and, on its interface, the program: both or, if the kernel refuses one, neither.
fn end_in(
    kernel: &mut exclusion::Exclusions,
    links: &mut BTreeMap<IfIndex, Link>,
    entry: &Exclusion,
) -> Result<(), SetupError> {
    let Exclusion { ifindex, interface, link, .. } = entry;
    if let Some(link) = links.get_mut(ifindex) {
        kernel.set(&taken(entry), exclusion::Fate::Ends)?;
        link.entries += 1;
        return Ok(());
    }
    let attached = kernel.attach(interface.as_str(), ifindex.0, link_header(*link))?;
    kernel.set(&taken(entry), exclusion::Fate::Ends)?;
    links.insert(*ifindex, Link { _link: attached, entries: 1 });
    Ok(())
}

fn with_exceptions(exceptions: &BTreeSet<Exclusion>) -> Result<exclusion::Exclusions, SetupError> {
    let kernel = exclusion::Exclusions::create(limits::EXCLUSIONS)?;
    for entry in exceptions {
        kernel.set(&taken(entry), exclusion::Fate::GoesOn)?;
    }
    Ok(kernel)
}

fn taken(entry: &Exclusion) -> Taken {
    Taken {
        ifindex: entry.ifindex.0,
        address: entry.address,
        port: entry.port,
        source: entry.source,
    }
}
