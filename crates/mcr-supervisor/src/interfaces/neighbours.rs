//! Looks at the neighbours that unicast outputs send to, by rtnetlink(7).
//!
//! A send to a neighbour that does not answer succeeds: the kernel queues the datagram, asks by ARP
//! or neighbour discovery, and drops it later. Only its table of neighbours tells.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt};
use mcr_core::ids::IfIndex;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteVia};
use rtnetlink::Handle;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::debug;

use crate::event::Event;
use crate::limits;

/// A host that an output sends to, and the interface by which it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub(crate) ifindex: IfIndex,
    pub(crate) address: IpAddr,
}

/// How a neighbour is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// The kernel has begun to ask.
    Asked,
    /// No answer came within a second.
    Unanswered,
}

/// The targets whose neighbour is silent, each with that neighbour: the target itself or a gateway.
pub(crate) type Silent = BTreeMap<Target, (IpAddr, Silence)>;

/// A change of the targets that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    Begin(Target),
    End(Target),
}

/// Sends [`Event::Neighbours`] after every change of what is silent, until nobody watches.
pub(super) async fn follow(
    mut changes: mpsc::UnboundedReceiver<Watch>,
    events: mpsc::Sender<Event>,
) -> io::Result<()> {
    let (connection, requests, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    let mut targets = BTreeSet::new();
    let mut hops = Hops::new(requests.clone());
    let mut silent = Silent::new();
    while let Some(change) = changes.recv().await {
        apply(change, &mut targets);
        while !targets.is_empty() {
            sleep(limits::NEIGHBOUR_LOOK).await;
            while let Ok(change) = changes.try_recv() {
                apply(change, &mut targets);
            }
            let neighbours = match neighbours(&requests).await {
                Ok(neighbours) => neighbours,
                Err(error) => {
                    debug!("the neighbours cannot be read: {error}");
                    continue;
                }
            };
            hops.refresh(&targets).await;
            let now = look(&hops.by_target, &neighbours, &silent);
            if now != silent {
                silent.clone_from(&now);
                if events.send(Event::Neighbours(now)).await.is_err() {
                    return Ok(());
                }
            }
        }
        silent.clear();
    }
    Ok(())
}

fn apply(change: Watch, targets: &mut BTreeSet<Target>) {
    match change {
        Watch::Begin(target) => _ = targets.insert(target),
        Watch::End(target) => _ = targets.remove(&target),
    }
}

/// A neighbour's state, and for how long it has had it.
type Seen = (NeighbourState, Duration);

/// Compares targets with the kernel's table. A neighbour for which the kernel asks anew stays
/// unanswered until it answers or the kernel forgets it.
fn look(
    hops: &BTreeMap<Target, IpAddr>,
    neighbours: &BTreeMap<Target, Seen>,
    before: &Silent,
) -> Silent {
    let silence = |target: &Target, hop: IpAddr| {
        let known = before.get(target).map(|(_, silence)| *silence);
        let (state, age) = neighbours.get(&Target { address: hop, ..*target })?;
        match state {
            NeighbourState::Failed => Some(Silence::Unanswered),
            NeighbourState::Incomplete if *age >= limits::NEIGHBOUR_LOOK => {
                Some(Silence::Unanswered)
            }
            NeighbourState::Incomplete => Some(known.unwrap_or(Silence::Asked)),
            _ => None,
        }
    };
    let found = hops.iter().map(|(target, &hop)| Some((*target, (hop, silence(target, hop)?))));
    found.flatten().collect()
}

async fn neighbours(requests: &Handle) -> Result<BTreeMap<Target, Seen>, rtnetlink::Error> {
    let listing = requests.neighbours().get().execute();
    listing.try_filter_map(async |message| Ok(seen(&message))).try_collect().await
}

fn seen(message: &NeighbourMessage) -> Option<(Target, Seen)> {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some((*address).into()),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
            Some((*address).into())
        }
        _ => None,
    })?;
    let updated = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::CacheInfo(info) => Some(info.updated),
        _ => None,
    });
    // In clock ticks, of which user space always sees a hundred a second (time(7), USER_HZ).
    let age = Duration::from_millis(10 * u64::from(updated.unwrap_or(0)));
    let target = Target { ifindex: IfIndex(message.header.ifindex), address };
    Some((target, (message.header.state, age)))
}

/// The neighbour by which each target is reached, as the kernel routes it.
#[derive(Debug)]
struct Hops {
    requests: Handle,
    by_target: BTreeMap<Target, IpAddr>,
    asked: Instant,
}

impl Hops {
    fn new(requests: Handle) -> Self {
        Self { requests, by_target: BTreeMap::new(), asked: Instant::now() }
    }

    /// Asks for those of new targets, and now and then for all, since routes change.
    async fn refresh(&mut self, targets: &BTreeSet<Target>) {
        if self.asked.elapsed() >= limits::NETWORK_REREAD {
            self.by_target.clear();
            self.asked = Instant::now();
        }
        self.by_target.retain(|target, _| targets.contains(target));
        for target in targets {
            if !self.by_target.contains_key(target) {
                let hop = self.ask(target).await.unwrap_or(target.address);
                self.by_target.insert(*target, hop);
            }
        }
    }

    /// `None`: the target is a neighbour itself, or the kernel has no route.
    async fn ask(&self, target: &Target) -> Option<IpAddr> {
        let mut request = RouteMessage::default();
        let (family, length, destination) = match target.address {
            IpAddr::V4(address) => (AddressFamily::Inet, 32, RouteAddress::Inet(address)),
            IpAddr::V6(address) => (AddressFamily::Inet6, 128, RouteAddress::Inet6(address)),
        };
        request.header.address_family = family;
        request.header.destination_prefix_length = length;
        request.attributes =
            vec![RouteAttribute::Destination(destination), RouteAttribute::Oif(target.ifindex.0)];
        let mut answers = Box::pin(self.requests.route().get(request).execute());
        let route = answers.next().await?.ok()?;
        route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(address))
            | RouteAttribute::Via(RouteVia::Inet(address)) => Some((*address).into()),
            RouteAttribute::Gateway(RouteAddress::Inet6(address))
            | RouteAttribute::Via(RouteVia::Inet6(address)) => Some((*address).into()),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKING: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_secs(2);

    fn target(last: u8) -> Target {
        Target { ifindex: IfIndex(3), address: [10, 2, 0, last].into() }
    }

    /// The silence of one target after these looks, by one neighbour's state in each.
    fn after(looks: &[Seen]) -> Option<Silence> {
        let hops = BTreeMap::from([(target(9), target(9).address)]);
        let mut silent = Silent::new();
        for seen in looks {
            silent = look(&hops, &BTreeMap::from([(target(9), *seen)]), &silent);
        }
        silent.get(&target(9)).map(|(_, silence)| *silence)
    }

    #[test]
    fn a_neighbour_is_silent_until_it_answers() {
        use NeighbourState::{Failed, Incomplete, Reachable, Stale};
        assert_eq!(after(&[(Reachable, LONG)]), None);
        assert_eq!(after(&[(Incomplete, ASKING)]), Some(Silence::Asked));
        assert_eq!(after(&[(Incomplete, ASKING), (Reachable, ASKING)]), None);
        assert_eq!(after(&[(Incomplete, LONG)]), Some(Silence::Unanswered));
        assert_eq!(after(&[(Failed, ASKING)]), Some(Silence::Unanswered));
        let again = [(Failed, ASKING), (Incomplete, ASKING)];
        assert_eq!(after(&again), Some(Silence::Unanswered), "the kernel only asks anew");
        assert_eq!(after(&[again[0], again[1], (Stale, LONG)]), None);
    }

    #[test]
    fn a_target_behind_a_gateway_shares_its_silence() {
        let far = Target { address: [192, 0, 2, 1].into(), ..target(0) };
        let hops = BTreeMap::from([(far, target(254).address), (target(9), target(9).address)]);
        let failed = BTreeMap::from([(target(254), (NeighbourState::Failed, LONG))]);
        let silent = look(&hops, &failed, &Silent::new());
        assert_eq!(silent, Silent::from([(far, (target(254).address, Silence::Unanswered))]));
        let elsewhere = Target { ifindex: IfIndex(4), ..target(254) };
        let failed = BTreeMap::from([(elsewhere, (NeighbourState::Failed, LONG))]);
        assert!(look(&hops, &failed, &Silent::new()).is_empty(), "another interface's neighbour");
    }
}
