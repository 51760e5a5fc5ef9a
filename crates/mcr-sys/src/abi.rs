//! Kernel structures and constants that libc lacks or gives in another type than the calls take,
//! each with its header. What libc has is used from there.

pub(crate) mod bpf;

// The layout on which the wrappers of libc's own types rely (linux/if_packet.h, linux/filter.h).
const _: () = {
    assert!(size_of::<libc::tpacket_req>() == 16);
    assert!(size_of::<libc::tpacket2_hdr>() == 32);
    assert!(size_of::<libc::tpacket_stats>() == 8);
    assert!(size_of::<libc::sock_filter>() == 8);
    assert!(size_of::<libc::sock_fprog>() == 16);
    assert!(size_of::<libc::sockaddr_ll>() == 20);
    assert!(size_of::<libc::ip_mreqn>() == 12);
};

/// `struct group_req` (`linux/in.h`) with the address as bytes, so that no union is needed.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct GroupRequest {
    pub(crate) interface: u32,
    pub(crate) padding: u32,
    pub(crate) group: [u8; STORAGE_BYTES],
}

/// `struct group_source_req` (`linux/in.h`).
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct GroupSourceRequest {
    pub(crate) interface: u32,
    pub(crate) padding: u32,
    pub(crate) group: [u8; STORAGE_BYTES],
    pub(crate) source: [u8; STORAGE_BYTES],
}

/// Bytes of a `sockaddr_storage` (`linux/socket.h`).
pub(crate) const STORAGE_BYTES: usize = size_of::<libc::sockaddr_storage>();

const _: () = {
    assert!(STORAGE_BYTES == 128);
    assert!(size_of::<GroupRequest>() == size_of::<libc::group_req>());
    assert!(size_of::<GroupSourceRequest>() == size_of::<libc::group_source_req>());
    assert!(std::mem::offset_of!(libc::group_req, gr_group) == 8);
    assert!(std::mem::offset_of!(libc::group_source_req, gsr_source) == 8 + STORAGE_BYTES);
};

/// Bytes of `struct virtio_net_hdr` (`linux/virtio_net.h`), which with `PACKET_VNET_HDR` stands
/// before each frame of a packet socket.
pub(crate) const VNET_HEADER_BYTES: usize = 10;

/// The option that holds an ICMP socket's filter, at level `SOL_RAW` (`linux/icmp.h`).
pub(crate) const ICMP_FILTER: libc::c_int = 1;
/// The same at level `IPPROTO_ICMPV6` (`linux/icmpv6.h`).
pub(crate) const ICMPV6_FILTER: libc::c_int = 1;
/// ICMP destination unreachable (RFC 792).
pub(crate) const ICMP_DEST_UNREACH: u8 = 3;
/// `ICMPv6` destination unreachable (RFC 4443).
pub(crate) const ICMPV6_DEST_UNREACH: u8 = 1;

/// `linux/mroute.h`: the kernel's multicast routing.
#[cfg(feature = "lab")]
pub(crate) mod mroute {
    pub(crate) const MRT_INIT: libc::c_int = 200;
    pub(crate) const MRT_DONE: libc::c_int = MRT_INIT + 1;
    pub(crate) const MRT_ADD_VIF: libc::c_int = MRT_INIT + 2;
    pub(crate) const MRT_ADD_MFC: libc::c_int = MRT_INIT + 4;
    pub(crate) const VIFF_USE_IFINDEX: u8 = 0x8;
    pub(crate) const MAXVIFS: usize = 32;

    /// `struct vifctl`, with the union's `vifc_lcl_ifindex`.
    #[derive(Clone, Copy)]
    #[repr(C)]
    pub(crate) struct InterfaceControl {
        pub(crate) vif: u16,
        pub(crate) flags: u8,
        pub(crate) threshold: u8,
        pub(crate) rate_limit: u32,
        pub(crate) ifindex: i32,
        pub(crate) remote_address: [u8; 4],
    }

    /// `struct mfcctl`.
    #[derive(Clone, Copy)]
    #[repr(C, align(4))]
    pub(crate) struct RouteControl {
        pub(crate) source: [u8; 4],
        pub(crate) group: [u8; 4],
        pub(crate) input_vif: u16,
        pub(crate) ttl_thresholds: [u8; MAXVIFS],
        pub(crate) padding: u16,
        pub(crate) counters: [u32; 3],
        pub(crate) expire: i32,
    }

    const _: () = {
        assert!(size_of::<InterfaceControl>() == 16);
        assert!(size_of::<RouteControl>() == 60);
        assert!(std::mem::offset_of!(RouteControl, counters) == 44);
    };
}
