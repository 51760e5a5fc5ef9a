//! The supervisor's half of an ingress socket (`packet(7)`): made, bound, filtered, steered here.
//! The worker maps its ring and reads the frames.

use crate::error::{Doing, SetupError};
use crate::filter::Program;
pub use crate::limits::LONG_FRAME_QUEUE_BYTES;
use crate::{limits, option};
use libc::SOL_PACKET;
use socket2::{Domain, Socket, Type};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

#[cfg(test)]
mod tests;

/// The size of a receive ring: slots of one size, each for one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingGeometry {
    /// Bytes per slot, the ring's own header included: a power of two from 2 KiB to 128 KiB.
    pub slot_bytes: u32,
    /// Slots, filling whole 64-KiB blocks; see [`RingGeometry::covering`].
    pub slots: u32,
}

impl RingGeometry {
    /// A ring of at least `slots` slots: as many more as complete the last block.
    pub fn covering(slot_bytes: u32, slots: u32) -> Self {
        let slots_per_block = (limits::RING_BLOCK_BYTES / slot_bytes.max(1)).max(1);
        Self { slot_bytes, slots: slots.next_multiple_of(slots_per_block) }
    }

    /// Bytes of the whole ring, as mapped.
    pub fn ring_bytes(self) -> usize {
        self.slots as usize * self.slot_bytes as usize
    }

    /// What `PACKET_RX_RING` takes. Slots divide blocks, so no slot straddles two and slot `i`
    /// starts at byte `i * slot_bytes` of the mapping.
    pub(crate) fn request(self) -> libc::tpacket_req {
        libc::tpacket_req {
            tp_block_size: self.block_bytes(),
            tp_block_nr: self.slots / self.slots_per_block(),
            tp_frame_size: self.slot_bytes,
            tp_frame_nr: self.slots,
        }
    }

    fn checked(self) -> io::Result<Self> {
        let slot_range = limits::MIN_SLOT_BYTES..=limits::MAX_SLOT_BYTES;
        let possible = self.slot_bytes.is_power_of_two()
            && slot_range.contains(&self.slot_bytes)
            && (1..=limits::MAX_RING_SLOTS).contains(&self.slots)
            && self.slots.is_multiple_of(self.slots_per_block());
        possible.then_some(self).ok_or(io::ErrorKind::InvalidInput.into())
    }

    fn block_bytes(self) -> u32 {
        self.slot_bytes.max(limits::RING_BLOCK_BYTES)
    }

    fn slots_per_block(self) -> u32 {
        self.block_bytes() / self.slot_bytes
    }
}

/// A transmit ring that no packet fits into. Whoever takes over a worker has its packet sockets,
/// and sending by one asks for no privilege: any frame, by any interface. A socket with a transmit
/// ring sends what stands in there and nothing else (`packet_sendmsg`, `net/packet/af_packet.c`),
/// and these slots leave a frame 22 bytes, less than the headers of IP or ARP.
fn mute_ring() -> libc::tpacket_req {
    libc::tpacket_req {
        tp_block_size: limits::MUTE_RING_BYTES,
        tp_block_nr: 1,
        tp_frame_size: limits::MUTE_SLOT_BYTES,
        tp_frame_nr: limits::MUTE_RING_BYTES / limits::MUTE_SLOT_BYTES,
    }
}

/// The kernel's number of a steering group (`PACKET_FANOUT`), unique in its network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SteeringGroup(u16);

/// The kernel's counts of the frames that passed the filter, since the last reading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PacketStatistics {
    /// Frames that passed the filter, those dropped included.
    pub received: u64,
    /// Frames dropped because the ring was full.
    pub dropped: u64,
}

/// An `AF_PACKET` socket with a `TPACKET_V2` receive ring. It lets nothing in until
/// [`PacketSocket::set_filter`].
#[derive(Debug)]
pub struct PacketSocket {
    socket: Socket,
}

/// A packet socket that has no ring yet, and lets nothing in.
///
/// When an interface that was down comes up, the kernel lets its sockets join their steering group
/// in the order in which they were made. Making one takes no time, its ring does.
#[derive(Debug)]
pub struct BarePacketSocket(PacketSocket);

impl BarePacketSocket {
    /// Makes a socket.
    pub fn open() -> Result<Self, SetupError> {
        let socket = PacketSocket { socket: packet_socket()? };
        socket.set_filter(&Program::drop_all())?;
        Ok(Self(socket))
    }

    /// Gives it its ring. That waits for the kernel.
    pub fn with_ring(self, geometry: RingGeometry) -> Result<PacketSocket, SetupError> {
        let Self(packet_socket) = self;
        let ring = || {
            let RingGeometry { slots, slot_bytes } = geometry;
            format!("making a packet ring of {slots} slots of {slot_bytes} bytes")
        };
        let geometry = geometry.checked().doing(ring)?;
        // The version and the virtio header change a slot's layout, so they precede the ring.
        packet_socket.set(libc::PACKET_VERSION, &libc::tpacket_versions::TPACKET_V2, ring)?;
        packet_socket.set(libc::PACKET_VNET_HDR, &1_i32, ring)?;
        // Frames longer than a slot are queued whole beside it, as far as this buffer goes.
        packet_socket.set(libc::PACKET_COPY_THRESH, &1_i32, ring)?;
        packet_socket.widen_receive_buffer().doing(ring)?;
        packet_socket.set(libc::PACKET_IGNORE_OUTGOING, &1_i32, ring)?;
        packet_socket.set(libc::PACKET_RX_RING, &geometry.request(), ring).map_err(|error| {
            match error.cause.raw_os_error() {
                Some(libc::ENOMEM) => error.with_hint("not enough memory: use fewer slots"),
                _ => error,
            }
        })?;
        packet_socket.set(libc::PACKET_TX_RING, &mute_ring(), ring)?;
        Ok(packet_socket)
    }
}

impl PacketSocket {
    /// A socket with its ring, not bound to an interface yet.
    pub fn open(geometry: RingGeometry) -> Result<Self, SetupError> {
        BarePacketSocket::open()?.with_ring(geometry)
    }

    /// The queue for frames longer than a slot in bytes, as `SO_RCVBUF` asks for it; the kernel
    /// tells twice as much (socket(7)).
    pub fn long_frame_queue_bytes(&self) -> io::Result<usize> {
        Ok(self.socket.recv_buffer_size()? / 2)
    }

    /// As wide as this process may make it: past `net.core.rmem_max` only with `CAP_NET_ADMIN`.
    fn widen_receive_buffer(&self) -> io::Result<()> {
        let bytes = LONG_FRAME_QUEUE_BYTES as libc::c_int;
        option::set(&self.socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &bytes)
            .or_else(|_| self.socket.set_recv_buffer_size(LONG_FRAME_QUEUE_BYTES))
    }

    /// Starts receiving from one interface, in the place before tc and netfilter (`ETH_P_ALL`).
    pub fn bind(&self, ifindex: u32) -> Result<(), SetupError> {
        bind_link(&self.socket, ifindex, libc::ETH_P_ALL as u16)
            .doing(|| format!("binding a packet socket to interface {ifindex}"))
    }

    /// Joins a steering group, or makes one where `group` is `None`. The socket must be bound, the
    /// interface up, and all members bound alike. Until [`PacketSocket::set_steering`] the kernel
    /// gives every frame to the first member.
    pub fn join_steering(&self, group: Option<SteeringGroup>) -> Result<SteeringGroup, SetupError> {
        let unique = if group.is_none() { libc::PACKET_FANOUT_FLAG_UNIQUEID } else { 0 };
        let id = u32::from(group.map_or(0, |group| group.0));
        let join = |flags: u32| {
            let argument = id | (libc::PACKET_FANOUT_CBPF | unique | flags) << 16;
            option::set(&self.socket, SOL_PACKET, libc::PACKET_FANOUT, &argument)
        };
        // A group has a receive hook of its own, which does not know of the members'
        // PACKET_IGNORE_OUTGOING. Without the flag the admission filter alone rejects those frames.
        join(libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING)
            .or_else(|error| match error.raw_os_error() {
                Some(libc::EINVAL) => join(0),
                _ => Err(error),
            })
            .doing(|| "joining a steering group (PACKET_FANOUT)")?;
        let [state] = option::words(&self.socket, SOL_PACKET, libc::PACKET_FANOUT)
            .doing(|| "reading a steering group's number")?;
        Ok(SteeringGroup(state as u16))
    }

    /// Replaces the program that picks the member for each frame; for the whole group.
    pub fn set_steering(&self, program: &Program) -> Result<(), SetupError> {
        program
            .set_as_option(&self.socket, SOL_PACKET, libc::PACKET_FANOUT_DATA)
            .doing(|| "setting a steering program (PACKET_FANOUT_DATA)")
    }

    /// Replaces the filter atomically: every frame is judged by the old or by the new one.
    pub fn set_filter(&self, program: &Program) -> Result<(), SetupError> {
        program.attach(&self.socket).map_err(|cause| {
            let too_long = cause.raw_os_error() == Some(libc::ENOMEM);
            let what = format!("attaching a filter of {} instructions", program.len());
            let error = SetupError::new(what, cause);
            if too_long { error.with_hint("raise net.core.optmem_max") } else { error }
        })
    }

    /// Gives up the ring, and with it the place in the steering group: that is the last member's
    /// now, and this socket is the last one. Closing it would do, too, but only once nobody else
    /// holds it, and what it counted up to that moment could not be read any more
    /// (`packet_set_ring`, `net/packet/af_packet.c`).
    ///
    /// # Errors
    /// `EBUSY` while a process maps the ring.
    pub fn give_up_ring(&self) -> io::Result<()> {
        let nothing = libc::tpacket_req {
            tp_block_size: 0,
            tp_block_nr: 0,
            tp_frame_size: 0,
            tp_frame_nr: 0,
        };
        option::set(&self.socket, SOL_PACKET, libc::PACKET_RX_RING, &nothing)
    }

    /// Reads and resets the kernel's counters; see [`take_statistics`].
    pub fn take_statistics(&self) -> io::Result<PacketStatistics> {
        take_statistics(self.as_fd())
    }

    /// A second descriptor of the same socket, to hand to a worker.
    pub fn try_clone(&self) -> io::Result<OwnedFd> {
        self.as_fd().try_clone_to_owned()
    }

    fn set<T: Copy>(
        &self,
        name: libc::c_int,
        value: &T,
        what: impl FnOnce() -> String,
    ) -> Result<(), SetupError> {
        option::set(&self.socket, SOL_PACKET, name, value).doing(what)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Reads and resets the counters of a packet socket (`PACKET_STATISTICS`). Only one process may do
/// so, or each sees a part.
///
/// For `TPACKET_V2` the kernel counts a dropped frame in both numbers (`packet_getsockopt` adds the
/// drops to the packets); frames that a filter rejected are in neither.
pub fn take_statistics(socket: BorrowedFd) -> io::Result<PacketStatistics> {
    let [received, dropped] = option::words(&socket, SOL_PACKET, libc::PACKET_STATISTICS)?;
    Ok(PacketStatistics { received: received.into(), dropped: dropped.into() })
}

/// Whether this process may open packet sockets, to be said at start and not at the first rule.
pub fn packet_sockets_permitted() -> Result<(), SetupError> {
    packet_socket().map(drop)
}

/// Protocol 0: nothing is received before `bind` names a protocol and an interface.
pub(crate) fn packet_socket() -> Result<Socket, SetupError> {
    Socket::new(Domain::PACKET, Type::RAW.cloexec().nonblocking(), None)
        .doing(|| "opening a packet socket")
}

/// Binds to an interface, for frames of one protocol (`ETH_P_*`).
pub(crate) fn bind_link(socket: &Socket, ifindex: u32, protocol: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: ifindex as i32,
        ..nowhere()
    };
    // SAFETY: `address` is a live sockaddr_ll and the length is its own; the kernel only reads it.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            std::ptr::from_ref(&address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The interface that a packet socket is bound to; 0 where to none, -1 where that is gone.
pub(crate) fn bound_ifindex(socket: &Socket) -> io::Result<i32> {
    let mut address = nowhere();
    let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: `address` is exclusively borrowed and `length` is its size; the kernel writes at most
    // that many bytes, and any bit pattern is a valid sockaddr_ll.
    let result = unsafe {
        libc::getsockname(
            socket.as_raw_fd(),
            std::ptr::from_mut(&mut address).cast(),
            &raw mut length,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(address.sll_ifindex) }
}

fn nowhere() -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: 0,
        sll_protocol: 0,
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}
