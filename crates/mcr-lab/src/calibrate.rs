//! What the test bed itself carries: the ceiling of every measurement made on it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use crate::generator::Generator;
use crate::interface_counters::interface_counters;
use crate::sink::Sink;
use crate::topology::RelayTopology;

/// How long the last datagrams may be under way.
const ARRIVAL: Duration = Duration::from_secs(2);

/// The traffic to calibrate with.
#[derive(Debug, Clone, clap::Args)]
pub struct Calibration {
    /// Datagrams per second; 0 is as fast as possible.
    #[arg(long, default_value_t = 100_000)]
    rate: u64,
    /// How many datagrams to send.
    #[arg(long, default_value_t = 300_000)]
    count: u64,
    /// Size of each payload in bytes.
    #[arg(long, default_value_t = 1_000)]
    payload_bytes: usize,
    /// The group and port to send to.
    #[arg(long, default_value = "239.1.1.1:5000")]
    group: SocketAddr,
}

/// Sends from one namespace to a sink in the next, and prints what happened.
pub fn calibrate(calibration: &Calibration) -> Result<()> {
    let net = RelayTopology::builder().egress_links(1).build()?;
    let sink = Sink::multicast(&net.sinks[0], "sink0", calibration.group)?;
    let sent = Generator::new(&net.relay, "out0")
        .flow(0, calibration.group)
        .rate(calibration.rate)
        .count(calibration.count)
        .payload_bytes(calibration.payload_bytes)
        .run()?;
    // Fewer may come; the report says so.
    let _ = sink.wait_for(sent.total(), ARRIVAL);
    let report = sink.finish()?;
    let stream = report.stream(0);
    let (rate, forgiven) = (sent.packets_per_second(), sent.forgiven);
    println!("sent        {} ({rate:.0} a second, {forgiven:?} behind)", sent.total());
    println!("received    {}", stream.received);
    println!("lost        {}", stream.lost(sent.total()));
    println!("  at veth   {}", interface_counters(&net.relay, "out0")?.tx_dropped);
    println!("  at socket {}", report.socket_drops);
    println!("duplicated  {}", stream.duplicated);
    println!("reordered   {}", stream.reordered);
    let latency = stream.latency;
    let micros = |nanos: u64| nanos as f64 / 1_000.0;
    println!(
        "latency     p50 {:.1} µs, p99 {:.1} µs, max {:.1} µs",
        micros(latency.p50_ns),
        micros(latency.p99_ns),
        micros(latency.max_ns)
    );
    Ok(())
}
