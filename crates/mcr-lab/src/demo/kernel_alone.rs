//! The first act: Linux with its own multicast routing, and why that is not enough.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use mcr_sys::mroute::KernelMulticastRouter;

use super::stage::{GROUP, ROUTABLE_SOURCE, Stage};
use crate::generator::Generator;
use crate::interrupt::Interrupt;
use crate::link::ifindex;
use crate::sink::Sink;
use crate::{limits, topology, wait};

/// Streams are numbered from here; MCR's act begins at 0.
const ROUTABLE_STREAM: u32 = 1;
const UNROUTABLE_STREAM: u32 = 2;

/// What the kernel alone did with datagrams from a source with a route and from one without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KernelAlone {
    /// Datagrams sent from either source.
    pub(super) sent: u64,
    /// Delivered on each egress link, from the source with a route.
    pub(super) routable: Vec<u64>,
    /// Delivered on each egress link, from the source without.
    pub(super) unroutable: Vec<u64>,
    /// Refused by the reverse-path check, all from the source without.
    pub(super) refused: u64,
}

/// Routes the group to both egress links by the kernel, and sends from both sources.
pub(super) fn run(stage: &Stage, interrupt: &Interrupt) -> Result<KernelAlone> {
    let _router = stage.net.relay.enter(|| configure(stage))?;
    let sinks = [stage.sink_of_group(0)?, stage.sink_of_group(1)?];
    let sent = send(stage.routable_traffic(ROUTABLE_STREAM), interrupt)?;
    // The kernel's way is measured, not required: what did not come shows in the numbers.
    let _ = wait::until("the kernel forwards", limits::DEMO_ARRIVAL, || {
        Ok(sinks.iter().all(|sink| sink.received() >= sent))
    });
    let refused_before = refused_by_reverse_path(stage)?;
    send(stage.unroutable_traffic(UNROUTABLE_STREAM), interrupt)?;
    let mut refused = 0;
    let _ = wait::until("the kernel refuses", limits::DEMO_ARRIVAL, || {
        refused = refused_by_reverse_path(stage)? - refused_before;
        Ok(refused >= sent)
    });
    let delivered = |stream| -> Result<Vec<u64>> {
        sinks.iter().map(|sink: &Sink| Ok(sink.report()?.stream(stream).received)).collect()
    };
    Ok(KernelAlone {
        sent,
        routable: delivered(ROUTABLE_STREAM)?,
        unroutable: delivered(UNROUTABLE_STREAM)?,
        refused,
    })
}

/// In the relay's namespace: `in0` to `out0` and `out1`, for both sources.
fn configure(stage: &Stage) -> Result<KernelMulticastRouter> {
    let router = KernelMulticastRouter::new_v4()?;
    for (vif, ifname) in (0..).zip(["in0", "out0", "out1"]) {
        router.add_interface(vif, ifindex(&stage.net.relay, ifname)?)?;
    }
    let sources: [Ipv4Addr; 2] = [ROUTABLE_SOURCE, topology::source_v4(0)];
    for source in sources {
        router.add_route(*GROUP.ip(), source, 0, &[1, 2])?;
    }
    Ok(router)
}

fn send(traffic: Generator, interrupt: &Interrupt) -> Result<u64> {
    let running = traffic.count(limits::KERNEL_ALONE_DATAGRAMS).start()?;
    while !running.is_finished() {
        interrupt.pause(limits::WAIT_POLL)?;
    }
    Ok(running.finish()?.total())
}

/// The relay's count of datagrams refused because the way back to their source is not by the
/// interface that they came by.
fn refused_by_reverse_path(stage: &Stage) -> Result<u64> {
    let netstat = stage.net.relay.read_proc_net("netstat")?;
    counter(&netstat, "TcpExt:", "IPReversePathFilter")
        .context("the kernel does not count what the reverse-path check refuses")
}

/// `/proc/net/netstat`: for each group a line of names and then a line of numbers.
fn counter(netstat: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = netstat.lines().filter(|line| line.starts_with(group));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let place = names.split_whitespace().position(|word| word == name)?;
    numbers.split_whitespace().nth(place)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_by_its_group_and_name() {
        let netstat = "TcpExt: SyncookiesSent IPReversePathFilter\nTcpExt: 3 41\n\
                       IpExt: InNoRoutes InMcastPkts\nIpExt: 0 7\n";
        assert_eq!(counter(netstat, "TcpExt:", "IPReversePathFilter"), Some(41));
        assert_eq!(counter(netstat, "IpExt:", "InMcastPkts"), Some(7));
        assert_eq!(counter(netstat, "TcpExt:", "InMcastPkts"), None);
    }
}
