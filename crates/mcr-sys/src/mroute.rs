//! The kernel's own multicast routing (`linux/mroute.h`), set up as the lab's peer to compare with.

use crate::abi::mroute::{
    InterfaceControl, MAXVIFS, MRT_ADD_MFC, MRT_ADD_VIF, MRT_DONE, MRT_INIT, RouteControl,
    VIFF_USE_IFINDEX,
};
use crate::error::{Doing, SetupError};
use crate::option;
use libc::IPPROTO_IP;
use socket2::{Domain, Protocol, Socket, Type};
use std::net::Ipv4Addr;

/// IGMP, the protocol of the socket through which the kernel takes multicast routes.
const IGMP: i32 = libc::IPPROTO_IGMP;

/// The one multicast router of a network namespace; its routes go when it is dropped.
#[derive(Debug)]
pub struct KernelMulticastRouter {
    socket: Socket,
}

impl KernelMulticastRouter {
    /// Becomes the router (`MRT_INIT`); needs `CAP_NET_ADMIN`. `EADDRINUSE`: there is one already.
    pub fn new_v4() -> Result<Self, SetupError> {
        let open = || {
            let kind = Type::RAW.cloexec();
            let socket = Socket::new(Domain::IPV4, kind, Some(Protocol::from(IGMP)))?;
            option::set(&socket, IPPROTO_IP, MRT_INIT, &1_i32)?;
            Ok(Self { socket })
        };
        open().doing(|| "starting the kernel's multicast router")
    }

    /// Gives an interface the number `vif` (0 to 31) by which routes name it.
    pub fn add_interface(&self, vif: u16, ifindex: u32) -> Result<(), SetupError> {
        let control = InterfaceControl {
            vif,
            flags: VIFF_USE_IFINDEX,
            threshold: 1,
            rate_limit: 0,
            ifindex: ifindex as i32,
            remote_address: [0; 4],
        };
        option::set(&self.socket, IPPROTO_IP, MRT_ADD_VIF, &control)
            .doing(|| format!("adding interface {ifindex} as multicast interface {vif}"))
    }

    /// Forwards `group` from `source`, arriving on `input`, to each of `outputs`.
    pub fn add_route(
        &self,
        group: Ipv4Addr,
        source: Ipv4Addr,
        input: u16,
        outputs: &[u16],
    ) -> Result<(), SetupError> {
        // A threshold of 1 lets every TTL above it out of that interface; 0 lets nothing out.
        let mut ttl_thresholds = [0; MAXVIFS];
        for vif in outputs {
            if let Some(threshold) = ttl_thresholds.get_mut(usize::from(*vif)) {
                *threshold = 1;
            }
        }
        let control = RouteControl {
            source: source.octets(),
            group: group.octets(),
            input_vif: input,
            ttl_thresholds,
            padding: 0,
            counters: [0; 3],
            expire: 0,
        };
        option::set(&self.socket, IPPROTO_IP, MRT_ADD_MFC, &control)
            .doing(|| format!("adding the multicast route ({source}, {group})"))
    }
}

impl Drop for KernelMulticastRouter {
    fn drop(&mut self) {
        // Closing the socket does the same; a failure leaves nothing to do.
        let _closing_does_it_too = option::set(&self.socket, IPPROTO_IP, MRT_DONE, &0_i32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_namespace::{ifindex, proc_net, with_veth_pair};

    #[test]
    fn routes_exist_while_the_router_does() {
        with_veth_pair(|_| {
            let router = KernelMulticastRouter::new_v4().unwrap();
            router.add_interface(0, ifindex("va")).unwrap();
            router.add_interface(1, ifindex("vb")).unwrap();
            let (group, source) = (Ipv4Addr::new(239, 1, 1, 1), Ipv4Addr::new(10, 0, 0, 1));
            router.add_route(group, source, 0, &[1]).unwrap();
            let cache = proc_net("ip_mr_cache");
            let route = cache.lines().nth(1).unwrap();
            assert!(route.starts_with("010101EF 0100000A 0 "), "{route}");
            assert!(route.trim_end().ends_with("1:1"), "{route}");
            drop(router);
            assert_eq!(proc_net("ip_mr_cache").lines().count(), 1);
        });
    }
}
