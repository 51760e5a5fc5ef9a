//! All that the supervisor does with privilege.
//!
//! At its start it gives up what no call below needs ([`settle`]). Of the rest only the right to
//! end workers is always in force; every other is in force within these calls. Where a capability
//! is missing the kernel refuses the call, which says so, or does with less. Rules come and go, so
//! that all that a rule may ask for is kept until the end: to allow less, start the daemon with
//! less.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;

use mcr_api::worker::launch::{Sandbox, Scheduling};
use mcr_sys::SetupError;
use mcr_sys::activity::ActivityWatch;
use mcr_sys::device::DeviceWatch;
use mcr_sys::icmp::UnreachableReports;
use mcr_sys::packet::{self, BarePacketSocket, PacketSocket, RingGeometry};
use mcr_sys::privileges::{self, Capability, in_force};
use mcr_sys::process;
use mcr_sys::sockaddr::Family;
use mcr_sys::udp::{EgressOptions, EgressSocket};
use nix::unistd::{Gid, Uid};
use tokio::process::{Child, Command};

use crate::control::{ControlSocket, SocketError};

/// Packet sockets and raw ICMP sockets, without which there is no relay.
const RAW: &[Capability] = &[Capability::CAP_NET_RAW];
/// Packet sockets; their queue for long frames beyond `net.core.rmem_max`.
const INGRESS: &[Capability] = &[Capability::CAP_NET_RAW, Capability::CAP_NET_ADMIN];
/// Send buffers beyond `net.core.wmem_max`; source ports below 1024.
const EGRESS: &[Capability] = &[Capability::CAP_NET_ADMIN, Capability::CAP_NET_BIND_SERVICE];
/// Ports below 1024: of the metrics.
const LOW_PORT: &[Capability] = &[Capability::CAP_NET_BIND_SERVICE];
/// Programs at the ingress, for exclusive rules.
const EXCLUSION: &[Capability] = &[Capability::CAP_BPF, Capability::CAP_NET_ADMIN];
/// A control socket of another owner or group, which is opened to that once it is theirs.
const CONTROL: &[Capability] = &[Capability::CAP_CHOWN, Capability::CAP_FOWNER];
/// The rights by which a worker gives itself up: its user, its groups, its bounding set.
const WORKER: &[Capability] =
    &[Capability::CAP_SETUID, Capability::CAP_SETGID, Capability::CAP_SETPCAP];
/// Real-time scheduling, which a worker asks for itself.
const REALTIME: &[Capability] = &[Capability::CAP_SYS_NICE];
/// The end of a worker that runs as another user. It is always in force: the kernel asks for it
/// when it ends the workers of a supervisor that was killed (`PR_SET_PDEATHSIG` of `prctl(2)`).
const KILL: &[Capability] = &[Capability::CAP_KILL];

/// Gives up for ever what no call of this module needs. To be called before there is a second
/// thread; and then [`settle`], once there is a control socket.
pub(crate) fn settle_at_start(scheduling: Scheduling) -> Result<(), SetupError> {
    privileges::settle(&[&kept(scheduling), CONTROL].concat(), KILL)
}

/// Gives up for ever what only the start needs.
pub(crate) fn settle(scheduling: Scheduling) -> Result<(), SetupError> {
    privileges::settle(&kept(scheduling), KILL)
}

fn kept(scheduling: Scheduling) -> Vec<Capability> {
    let mut kept = [RAW, INGRESS, EGRESS, LOW_PORT, EXCLUSION, WORKER, KILL].concat();
    if scheduling == Scheduling::Realtime {
        kept.extend(REALTIME);
    }
    kept
}

/// Calls on a thread that holds no privilege, as do those that it starts.
pub(crate) fn without<T: Send>(call: impl FnOnce() -> T + Send) -> T {
    let outcome = thread::scope(|scope| {
        let renounced = scope.spawn(|| {
            privileges::renounce();
            call()
        });
        renounced.join()
    });
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Whether there can be a relay, to be said at start.
pub(crate) fn packet_sockets_permitted() -> Result<(), SetupError> {
    in_force(RAW, packet::packet_sockets_permitted)
}

/// Whether workers may have real-time scheduling, to be said at start.
pub(crate) fn realtime_permitted() -> Result<(), SetupError> {
    in_force(REALTIME, process::realtime_scheduling_permitted)
}

pub(crate) fn packet_socket(geometry: RingGeometry) -> Result<PacketSocket, SetupError> {
    in_force(INGRESS, || PacketSocket::open(geometry))
}

pub(crate) fn bare_packet_socket() -> Result<BarePacketSocket, SetupError> {
    in_force(RAW, BarePacketSocket::open)
}

pub(crate) fn packet_ring(
    socket: BarePacketSocket,
    geometry: RingGeometry,
) -> Result<PacketSocket, SetupError> {
    in_force(INGRESS, || socket.with_ring(geometry))
}

pub(crate) fn device_watch(ifindex: u32) -> Result<DeviceWatch, SetupError> {
    in_force(RAW, || DeviceWatch::open(ifindex))
}

pub(crate) fn unreachable_reports(family: Family) -> Result<UnreachableReports, SetupError> {
    in_force(RAW, || UnreachableReports::open(family))
}

pub(crate) fn egress_socket(options: &EgressOptions) -> Result<EgressSocket, SetupError> {
    in_force(EGRESS, || EgressSocket::open(options))
}

pub(crate) fn metrics_listener(address: SocketAddr) -> io::Result<TcpListener> {
    in_force(LOW_PORT, || TcpListener::bind(address))
}

/// Listens for clients; only before [`settle`] may the socket be another user's.
pub(crate) fn control_socket(
    path: &Path,
    owner: Option<Uid>,
    group: Option<Gid>,
) -> Result<(ControlSocket, UnixListener), SocketError> {
    in_force(CONTROL, || ControlSocket::bind(path, owner, group))
}

/// Changes what ends at the ingress.
pub(crate) fn change_exclusions<T>(change: impl FnOnce() -> T) -> T {
    in_force(EXCLUSION, change)
}

/// Starts a worker's process. It begins with what it gives itself up with, and with what it asks
/// for real-time scheduling by; within its sandbox it has neither.
pub(crate) fn spawn(
    command: &mut Command,
    scheduling: Scheduling,
    sandbox: Sandbox,
) -> io::Result<Child> {
    let mut passed_on = Vec::new();
    if sandbox == Sandbox::On {
        passed_on.extend(WORKER);
    }
    if scheduling == Scheduling::Realtime {
        passed_on.extend(REALTIME);
    }
    privileges::passed_on(&passed_on, || command.spawn())
}

/// Watches what a worker's process does. To be called as soon as it is there: what it becomes in
/// its sandbox may be hidden, and what it begins with from whoever has less in force (`hidepid=`).
pub(crate) fn watch_activity(pid: u32) -> io::Result<ActivityWatch> {
    in_force(&[WORKER, REALTIME].concat(), || ActivityWatch::open(pid))
}
