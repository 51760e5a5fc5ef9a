//! The kernel's multicast forwarding: groups go from `in0` to `out0` as they are.

use anyhow::Result;
use mcr_sys::mroute::KernelMulticastRouter;

use crate::bench::bed::{self, Bed};
use crate::link::ifindex;

/// Becomes the namespace's multicast router, for as long as the answer lives.
pub(super) fn start(bed: &Bed) -> Result<KernelMulticastRouter> {
    let interfaces = [ifindex(bed.relay(), "in0")?, ifindex(bed.relay(), "out0")?];
    bed.relay().enter(|| {
        let router = KernelMulticastRouter::new_v4()?;
        for (vif, ifindex) in (0..).zip(interfaces) {
            router.add_interface(vif, ifindex)?;
        }
        for rule in 0..bed.scenario.rules {
            router.add_route(*bed.scenario.input(rule).ip(), bed::source(0), 0, &[1])?;
        }
        Ok(router)
    })
}
