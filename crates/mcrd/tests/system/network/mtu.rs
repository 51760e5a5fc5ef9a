//! Another MTU: the rings' slots and the longest segments follow.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use mcr_api::control::{CoreStats, RingClass};
use mcr_lab::generator::Generator;
use mcr_lab::harness::Suite;
use mcr_lab::sink::Sink;
use mcr_lab::{identity, limits, link, wait};

use super::scene::{self, Scene, patient_input};
use super::switch::NIC;
use crate::fixture::{Relay, SOON, on_core, rule};
use crate::variant::{Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(mut suite: Suite) -> Suite {
    let both = Variant::both_families();
    suite = matrix(suite, "network::rings_follow_the_mtu", &both, rings_follow);
    matrix(suite, "network::segments_follow_the_mtu", &both, segments_follow)
}

fn rings_follow(variant: Variant) -> Result<()> {
    scene::run(variant, |scene| {
        let steps = [(9_000, RingClass::Jumbo), (3_000, RingClass::Standard)];
        for (stream, (mtu, class)) in (10..).zip(steps.into_iter().chain([steps[0]])) {
            scene.switch.set_mtu(mtu)?;
            let changed = Instant::now();
            expect_class(scene, class)?;
            scene.recovered("another MTU", NIC, changed)?;
            expect_frames_of(scene, mtu, stream)?;
        }
        scene.switch.set_mtu(1_500)?;
        let changed = Instant::now();
        expect_class(scene, RingClass::Small)?;
        scene.recovered("another MTU", NIC, changed)
    })
}

fn expect_class(scene: &Scene<'_>, class: RingClass) -> Result<()> {
    let what = format!("every worker has a {class:?} ring");
    wait::until(&what, SOON, || {
        let rings = identity::stats(&scene.relay.daemon)?.rings;
        let here = rings.iter().filter(|ring| ring.interface == NIC);
        let classes: Vec<RingClass> = here.map(|ring| ring.class).collect();
        Ok(classes == vec![class; scene.relay.cores.len()])
    })
}

/// Frames as long as the MTU lets them be are relayed.
fn expect_frames_of(scene: &Scene<'_>, mtu: u32, stream: u32) -> Result<()> {
    const FEW: u64 = 20;
    let to = patient_input(scene.relay);
    let generator = scene.switch.generator().rate(500).count(FEW);
    // Room for the headers of IPv6 and UDP.
    generator.payload_bytes(mtu as usize - 40 - 8).flow(stream, to).run()?;
    wait::until("the long ones are relayed", SOON, || Ok(scene.stream(stream)?.unique == FEW))
        .with_context(|| format!("{:?}", scene.stream(stream)))
}

/// Runs of segments that one call sends, while the egress's MTU has room for a segment. All is
/// delivered under every MTU.
fn segments_follow(variant: Variant) -> Result<()> {
    const SEGMENTS: u16 = 16;
    Relay::run(variant, |relay| {
        let input = SocketAddr::new(variant.family.group(1), 5000);
        let output = SocketAddr::new(variant.family.output_group(1), 6000);
        let sink = Sink::multicast(&relay.net.sinks[0], "sink0", output)?;
        relay.add_active(&rule(input, "in0", &[endpoint(output, "out0")]))?;
        let generator = Generator::new(&relay.net.source, "src0").flow(0, input).rate(800);
        let generator = generator.payload_bytes(1_400).segments_per_send(SEGMENTS);
        let generator = generator.count(limits::MAX_SEQUENCE);
        let running = on_core(relay.cores[0], || generator.start())?;
        expect_runs(relay, true).context("at first")?;
        for (mtu, runs) in [(1_300, false), (1_500, true), (1_400, false), (9_000, true)] {
            link::set_mtu(&relay.net.relay, "out0", mtu)?;
            expect_runs(relay, runs).with_context(|| format!("with an MTU of {mtu}"))?;
        }
        let sent = running.stop()?.total();
        sink.wait_for(sent, SOON)?;
        let report = sink.finish()?;
        ensure!(report.stream(0).is_perfect(sent), "of {sent} came {report:#?}");
        relay.settled(0).map(drop)
    })
}

/// Waits until runs go out in one piece, or only single datagrams.
fn expect_runs(relay: &Relay, wanted: bool) -> Result<()> {
    let totals = || -> Result<CoreStats> { Ok(identity::stats(&relay.daemon)?.totals) };
    let mut before = totals()?;
    wait::until("what is sent goes out as it should", SOON, || {
        let now = totals()?;
        let (sent, sends) = (now.sent - before.sent, now.sends - before.sends);
        // A few runs' worth, or the samples of two counters may stand on either side of a run.
        if sent < 10 * 16 {
            return Ok(false);
        }
        before = now;
        Ok(if wanted { sends * 4 <= sent } else { sends >= sent - 16 })
    })
}
