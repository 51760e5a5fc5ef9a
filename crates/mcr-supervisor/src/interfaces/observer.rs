//! Reading the interfaces, at first and whenever the kernel says that something has changed.

use std::io;
use std::thread;

use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use mcr_core::interfaces::{Interface, Interfaces};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use nix::net::if_::if_nametoindex;
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage};
use rtnetlink::{Handle, MulticastGroup};
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::listing::Listing;
use super::neighbours::Watch;
use super::{interfaces, neighbours};
use crate::event::Event;
use crate::{limits, privileged};

/// Reads the interfaces, and from then on sends [`Event::Observed`] after every change of them, and
/// [`Event::Neighbours`] of those that are watched.
///
/// It runs on a thread of its own. The kernel lists links under RTNL, within the call that asks for
/// them: also on a non-blocking socket the caller waits for whoever holds that lock.
pub(crate) async fn observe(
    events: mpsc::Sender<Event>,
    watched: mpsc::UnboundedReceiver<Watch>,
) -> io::Result<Interfaces> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let (first, read) = oneshot::channel();
    let thread = thread::Builder::new().name("network".into());
    privileged::without(|| thread.spawn(move || runtime.block_on(follow(first, events, watched))))?;
    read.await.unwrap_or_else(|_| Err(io::Error::other("its thread has ended")))
}

async fn follow(
    first: oneshot::Sender<io::Result<Interfaces>>,
    events: mpsc::Sender<Event>,
    watched: mpsc::UnboundedReceiver<Watch>,
) {
    let read = async {
        let observer = Observer::connect()?;
        let interfaces = observer.read().await.map_err(io::Error::other)?;
        Ok((observer, interfaces, wake_ups()?))
    };
    match read.await {
        Ok((observer, interfaces, wake_ups)) => {
            _ = first.send(Ok(interfaces.clone()));
            tokio::spawn(neighbours::follow(watched, events.clone()));
            follow_changes(observer, interfaces, wake_ups, events).await;
        }
        Err(error) => _ = first.send(Err(error)),
    }
}

/// A connection to the kernel's view of the network.
#[derive(Debug)]
struct Observer {
    requests: Handle,
}

impl Observer {
    /// Connects, in the network namespace of the calling thread.
    fn connect() -> io::Result<Self> {
        let (mut connection, requests, _) = rtnetlink::new_connection()?;
        // A listing without its end is no listing.
        connection.set_forward_done(true);
        tokio::spawn(connection);
        Ok(Self { requests })
    }

    /// Reads every link and address.
    ///
    /// While interfaces come and go faster than they can be listed it goes on trying: a listing
    /// with gaps would have healthy rules give up what they hold.
    async fn read(&self) -> Result<Interfaces, rtnetlink::Error> {
        loop {
            let mut links = Listing::default();
            self.list(RouteNetlinkMessage::GetLink(LinkMessage::default()), &mut links).await?;
            let mut addresses = Listing::default();
            let all = RouteNetlinkMessage::GetAddress(AddressMessage::default());
            self.list(all, &mut addresses).await?;
            if !links.was_interrupted() && !addresses.was_interrupted() {
                return Ok(interfaces(&links.links, &addresses.addresses));
            }
            debug!("the interfaces changed while they were read; reading them again");
            sleep(limits::NETWORK_PAUSE).await;
        }
    }

    async fn list(
        &self,
        all: RouteNetlinkMessage,
        listing: &mut Listing,
    ) -> Result<(), rtnetlink::Error> {
        let mut request = NetlinkMessage::from(all);
        request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut answers = self.requests.clone().request(request)?;
        while let Some(answer) = answers.next().await {
            listing.take(answer)?;
        }
        if listing.is_whole() { Ok(()) } else { Err(rtnetlink::Error::RequestFailed) }
    }
}

/// The kernel's messages that something has changed, of which only the coming counts. What it could
/// not queue (`ENOBUFS`) comes as an overrun, which is a message like any.
type WakeUps = BoxStream<'static, ()>;

fn wake_ups() -> io::Result<WakeUps> {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, _, messages) = rtnetlink::new_multicast_connection(&groups)?;
    tokio::spawn(connection);
    Ok(messages.map(drop).boxed())
}

async fn follow_changes(
    mut observer: Observer,
    mut known: Interfaces,
    mut wake_ups: WakeUps,
    events: mpsc::Sender<Event>,
) {
    loop {
        // At first, too: what changed before the messages were asked for has woken nobody.
        match observer.read().await {
            Ok(interfaces) => {
                known = with_undecoded(&known, interfaces, is_there);
                if events.send(Event::Observed(known.clone())).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                warn!(
                    "the interfaces cannot be read: {error}; trying again, and until then no \
                     change of the network is noticed"
                );
                sleep(limits::NETWORK_RETRY).await;
                if let Ok(connected) = Observer::connect() {
                    observer = connected;
                }
                continue;
            }
        }
        // A message that cannot be decoded wakes nobody, so the interfaces are read now and then.
        let woken = timeout(limits::NETWORK_REREAD, wake_ups.next()).await;
        if let Ok(None) = woken {
            warn!("the kernel's messages about interfaces ended; asking for them anew");
            sleep(limits::NETWORK_RETRY).await;
            if let Ok(again) = self::wake_ups() {
                wake_ups = again;
            }
            continue;
        }
        sleep(limits::NETWORK_PAUSE).await;
        while wake_ups.next().now_or_never().flatten().is_some() {}
    }
}

/// Adds those that were known and have not been listed, where the kernel still has them: a message
/// that cannot be decoded is left out of a listing without a word.
fn with_undecoded(
    known: &Interfaces,
    listed: Interfaces,
    is_there: impl Fn(&Interface) -> bool,
) -> Interfaces {
    let is_missing = |interface: &&Interface| listed.numbered(interface.index).is_none();
    let missing = known.iter().filter(is_missing).filter(|interface| is_there(interface));
    let missing: Vec<_> = missing.cloned().collect();
    if missing.is_empty() {
        return listed;
    }
    for Interface { name, .. } in &missing {
        warn!(
            interface = %name,
            "interface {name}: the kernel has it, and its description cannot be decoded: it is \
             taken to be as it was"
        );
    }
    listed.iter().cloned().chain(missing).collect()
}

/// Whether the kernel has an interface of this name and number (`SIOCGIFINDEX`, netdevice(7)).
fn is_there(interface: &Interface) -> bool {
    if_nametoindex(interface.name.as_str()) == Ok(interface.index.0)
}

#[cfg(test)]
mod tests {
    use mcr_core::ids::IfIndex;

    use super::*;

    fn interface(index: u32, name: &str) -> Interface {
        Interface {
            index: IfIndex(index),
            name: name.parse().unwrap(),
            link: None,
            hardware: None,
            mtu: 1500,
            up: true,
            carrier: true,
            controller: None,
            addresses: Vec::new(),
            alternatives: Vec::new(),
            networks: Vec::new(),
        }
    }

    #[test]
    fn an_interface_that_cannot_be_decoded_is_not_gone() {
        let all = || [interface(1, "lo"), interface(2, "a"), interface(3, "b")];
        let known: Interfaces = all().into_iter().collect();
        let listed = || all().into_iter().take(1).collect();
        let kept = with_undecoded(&known, listed(), |interface| interface.index == IfIndex(3));
        assert_eq!(kept, [interface(1, "lo"), interface(3, "b")].into_iter().collect());
        assert_eq!(with_undecoded(&known, listed(), |_| false), listed());
        assert!(is_there(&interface(1, "lo")) && !is_there(&interface(2, "lo")));
    }
}
