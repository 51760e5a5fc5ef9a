//! What ends at the ingress because a rule takes it exclusively: held by the supervisor alone, in
//! descriptors alone, so that the kernel undoes it whatever ends the daemon.

use std::collections::{BTreeMap, BTreeSet};

use mcr_core::ids::IfIndex;
use mcr_core::plan::{Exclusion, Fate};
use mcr_sys::SetupError;
use mcr_sys::exclusion::{self, IngressLink, Taken};
use tracing::debug;

use super::{Refusal, link_header};
use crate::{limits, privileged};

/// All entries, and the interfaces at whose ingress they are looked up.
#[derive(Debug, Default)]
pub(crate) struct Exclusions {
    /// Made for the first exclusive rule: most daemons have none, and may lack the right to it.
    kernel: Option<exclusion::Exclusions>,
    links: BTreeMap<IfIndex, Link>,
    /// What goes on, known from the beginning: it matters as soon as there is an exclusive rule.
    exceptions: BTreeSet<Exclusion>,
}

/// The program at an interface's ingress.
#[derive(Debug)]
struct Link {
    _link: IngressLink,
    /// The entries for whose sake it is there.
    entries: u32,
}

impl Exclusions {
    /// Makes an entry; there is no other in its place.
    pub(crate) fn make(&mut self, entry: &Exclusion) -> Result<(), Refusal> {
        privileged::change_exclusions(|| self.make_permitted(entry))
    }

    fn make_permitted(&mut self, entry: &Exclusion) -> Result<(), Refusal> {
        match entry.fate {
            Fate::Ends => self.end(entry).map_err(Refusal::NotExclusive),
            Fate::GoesOn => {
                if let Some(kernel) = &self.kernel {
                    kernel.set(&taken(entry), exclusion::Fate::GoesOn)?;
                }
                self.exceptions.insert(entry.clone());
                Ok(())
            }
        }
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, entry: &Exclusion) {
        let kernel = self.kernel.as_ref();
        let removed =
            kernel.map(|kernel| privileged::change_exclusions(|| kernel.remove(&taken(entry))));
        if let Some(Err(error)) = removed {
            let interface = &entry.interface;
            debug!(%interface, "{interface}: no entry taken out of the ingress table: {error}");
        }
        match entry.fate {
            Fate::GoesOn => {
                self.exceptions.remove(entry);
            }
            Fate::Ends => {
                if let Some(link) = self.links.get_mut(&entry.ifindex) {
                    link.entries -= 1;
                    if link.entries == 0 {
                        self.links.remove(&entry.ifindex);
                    }
                }
            }
        }
    }

    fn end(&mut self, entry: &Exclusion) -> Result<(), SetupError> {
        let mut kernel = match self.kernel.take() {
            Some(kernel) => kernel,
            None => with_exceptions(&self.exceptions)?,
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
