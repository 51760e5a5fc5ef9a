//! What the test bed itself loses, before the relay and behind it: under load it is accounted for,
//! so that what remains is the relay's.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mcr_lab::account::StreamReport;
use mcr_lab::interface_counters::interface_counters;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;
use mcr_lab::wait;

/// How long the last datagrams may be under way on a machine that is behind.
const ARRIVAL: Duration = Duration::from_secs(30);

/// Datagrams in one run of segments, at most (`UDP_MAX_SEGMENTS` before Linux 6.10). A veth counts
/// a run that it drops as one.
const LONGEST_RUN: u64 = 64;

/// Frames dropped by the veth pairs of the usual topology, from [`VethDrops::begin`] on: their
/// queues are the processor's, so that they overflow by other traffic of the machine, too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VethDrops {
    at_begin: [u64; 3],
}

impl VethDrops {
    /// Begins to count.
    pub(crate) fn begin(net: &RelayTopology) -> Result<Self> {
        Ok(Self { at_begin: totals(net)? })
    }

    /// How many of `sent` datagrams can have come to the relay.
    pub(crate) fn reach_relay(
        &self,
        net: &RelayTopology,
        sent: u64,
    ) -> Result<RangeInclusive<u64>> {
        // The kernel's own packets may be among those dropped.
        Ok(sent - self.since(net, 0)?..=sent)
    }

    /// How many datagrams can have been lost between the relay's `outN` and its sink.
    pub(crate) fn behind_relay(&self, net: &RelayTopology, link: usize) -> Result<u64> {
        Ok(LONGEST_RUN * self.since(net, 1 + link)?)
    }

    fn since(&self, net: &RelayTopology, place: usize) -> Result<u64> {
        Ok(totals(net)?[place] - self.at_begin[place])
    }
}

fn totals(net: &RelayTopology) -> Result<[u64; 3]> {
    let links = [(&net.source, "src0"), (&net.relay, "out0"), (&net.relay, "out1")];
    let mut totals = [0; 3];
    for (place, (namespace, ifname)) in links.into_iter().enumerate() {
        totals[place] = interface_counters(namespace, ifname)?.tx_dropped;
    }
    Ok(totals)
}

/// Each of the copies that the relay sent comes to the sink once, but for what the kernel reports
/// to have dropped at the sink's socket and, at most `behind_relay`, on the way there.
pub(crate) fn accounted(sink: Sink, copies: u64, behind_relay: u64) -> Result<()> {
    let arrived = wait::until("every datagram arrives", ARRIVAL, || {
        let report = sink.report()?;
        Ok(report.received() + report.socket_drops + behind_relay >= copies)
    });
    let report = sink.finish()?;
    arrived.with_context(|| format!("{copies} sent: {report:#?}"))?;
    let sum = |of: fn(&StreamReport) -> u64| report.streams.values().map(of).sum::<u64>();
    ensure!(sum(|s| s.duplicated + s.corrupt) == 0 && report.stray_count == 0, "{report:#?}");
    let arrived = sum(|stream| stream.unique);
    let lost = copies.checked_sub(arrived).context("more datagrams than were sent")?;
    let explained = report.socket_drops..=report.socket_drops + behind_relay;
    ensure!(explained.contains(&lost), "{lost} lost, {explained:?} explained: {report:#?}");
    Ok(())
}
