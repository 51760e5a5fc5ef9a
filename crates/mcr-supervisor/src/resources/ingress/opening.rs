//! How packet sockets are opened and taken out of their steering group, on other threads.

use mcr_core::plan::IngressKey;
use mcr_sys::filter::Program;
use mcr_sys::packet::{PacketSocket, PacketStatistics, RingGeometry, SteeringGroup};
use tracing::debug;

use super::super::Refusal;
use crate::hands::Threads;
use crate::privileged;

/// The sockets of a set are alike, and so is one that is added later.
#[derive(Clone, Debug)]
pub(crate) struct Blueprint {
    pub(super) key: IngressKey,
    pub(super) geometry: RingGeometry,
    /// `None` until the first socket has made it.
    pub(super) group: Option<SteeringGroup>,
}

/// Sockets in the order of the workers, all in their steering group.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(super) blueprint: Blueprint,
    pub(super) sockets: Vec<PacketSocket>,
}

impl Blueprint {
    /// Opens a set of so many sockets.
    pub(super) async fn open(
        mut self,
        members: usize,
        steering: Program,
        threads: &Threads,
    ) -> Result<Opened, Refusal> {
        let geometry = self.geometry;
        let sockets = open_sockets(members, geometry, threads).await?;
        threads
            .call(move || {
                self.group = Some(join_in_order(&self.key, &sockets, &steering)?);
                Ok(Opened { blueprint: self, sockets })
            })
            .await
            .map_err(Refusal::NoThread)?
    }

    /// Opens one socket more, the last of the group.
    pub(super) async fn open_spare(self, threads: &Threads) -> Result<PacketSocket, Refusal> {
        let open = move || {
            let socket = privileged::packet_socket(self.geometry)?;
            socket.bind(self.key.ifindex.0)?;
            socket.join_steering(self.group)?;
            Ok(socket)
        };
        threads.call(open).await.map_err(Refusal::NoThread)?.map_err(Refusal::Kernel)
    }
}

/// Setting up rings is the wait: all at once. The sockets are made before, one after the other,
/// since after a link was down the kernel lets them join again in that order.
async fn open_sockets(
    members: usize,
    geometry: RingGeometry,
    threads: &Threads,
) -> Result<Vec<PacketSocket>, Refusal> {
    let bare = move || (0..members).map(|_| privileged::bare_packet_socket()).collect();
    let made: Result<Vec<_>, _> = threads.call(bare).await.map_err(Refusal::NoThread)?;
    let open = |socket| {
        let threads = threads.clone();
        let open = move || privileged::packet_ring(socket, geometry);
        tokio::spawn(async move { threads.call(open).await })
    };
    let opening: Vec<_> = made.map_err(Refusal::Kernel)?.into_iter().map(open).collect();
    let (mut sockets, mut refused) = (Vec::with_capacity(members), None);
    for socket in opening {
        match socket.await.expect("opening a socket does not panic") {
            Ok(Ok(socket)) => sockets.push(socket),
            Ok(Err(error)) => refused = Some(Refusal::Kernel(error)),
            Err(error) => refused = Some(Refusal::NoThread(error)),
        }
    }
    match refused {
        None => Ok(sockets),
        Some(refusal) => {
            threads.dispose(sockets).await;
            Err(refusal)
        }
    }
}

/// The order of joining is that of the workers. The program comes before filters let in anything,
/// since until then all frames go to the first.
fn join_in_order(
    key: &IngressKey,
    sockets: &[PacketSocket],
    steering: &Program,
) -> Result<SteeringGroup, Refusal> {
    let mut group = None;
    for socket in sockets {
        socket.bind(key.ifindex.0)?;
        group = Some(socket.join_steering(group)?);
    }
    let first = sockets.first().zip(group);
    let (first, group) = first.ok_or_else(|| Refusal::Full("0 workers".into()))?;
    first.set_steering(steering)?;
    Ok(group)
}

/// Takes a dead worker's socket out of its group. The kernel puts the last member, its successor's,
/// into the free place. Returns what the kernel had still counted for it.
pub(super) fn retire(old: &PacketSocket) -> PacketStatistics {
    // Refused only where the dead worker's ring is still mapped, and then it ends with that.
    if let Err(error) = old.give_up_ring() {
        debug!("a dead worker's ring: {error}");
    }
    old.take_statistics().unwrap_or_default()
}
