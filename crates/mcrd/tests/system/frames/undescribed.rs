//! Frames that the kernel cannot describe to a packet ring, which then takes nothing any more.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mcr_api::control::{Command, EventKind, Events};
use mcr_lab::address::add_address;
use mcr_lab::harness::{Skip, Suite};
use mcr_lab::namespace::Namespace;
use mcr_lab::payload::payload;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;
use mcr_lab::{hiccup, link, undescribed, wait};
use mcr_sys::tun::{Begins, Offloads, Tap};

use super::{frame, input};
use crate::fixture::{Relay, SOON, delivered, on_core, rule};
use crate::variant::{Family, Variant, endpoint, matrix};

/// Registers the trial.
pub(super) fn trials(suite: Suite) -> Suite {
    let usual = [Variant::usual(), Variant { family: Family::V6, ..Variant::usual() }];
    matrix(suite, "frames::a_ring_that_a_frame_stops", &usual, a_frame_stops_the_ring)
}

/// From the frame on that stops a ring to the next that is relayed: the median, and the longest on
/// a machine that runs other trials beside.
const HEALED: Duration = Duration::from_millis(250);
const HEALED_AT_WORST: Duration = Duration::from_secs(1);

/// Between two frames of the flow: two thousand a second.
const PAUSE: Duration = Duration::from_micros(500);

/// The interface that such frames come in by.
pub(super) const TAP: &str = "tap0";

/// A flow goes on while frames of another come that stop the ring which carries both. It loses what
/// comes within the time that a new ring takes, and a flow of another interface loses nothing.
fn a_frame_stops_the_ring(variant: Variant) -> Result<()> {
    let net = RelayTopology::builder().build()?;
    let tap = tap(&net.relay, variant.family, Begins::Ethernet)?;
    Relay::run_on(variant, net, &[], |relay| {
        let outputs = [1, 2].map(|n| SocketAddr::new(variant.family.output_group(n), 6000));
        let [suffering, healthy] =
            [0, 1].map(|n| Sink::multicast(&relay.net.sinks[n], &format!("sink{n}"), outputs[n]));
        let (suffering, healthy) = (suffering?, healthy?);
        relay.add_active(&rule(input(variant), TAP, &[endpoint(outputs[0], "out0")]))?;
        relay.add_active(&rule(input(variant), "in0", &[endpoint(outputs[1], "out1")]))?;
        let other = relay.start_sending(|| relay.generator().count(20_000), input(variant))?;
        let flow = Flow::default();
        thread::scope(|scope| -> Result<()> {
            let run = || on_core(relay.cores[0], || flow.run(&tap, variant));
            let running = scope.spawn(run);
            let done = stop_it_repeatedly(relay, &tap, &flow, &suffering);
            flow.enough.store(true, Ordering::Relaxed);
            running.join().expect("it does not panic")?;
            done
        })?;
        let sent_in_all = other.finish()?;
        delivered(healthy, sent_in_all)?;
        let stats = relay.settled(0)?;
        ensure!(stats.totals.stuck_rings == 3, "{:#?}", stats.totals);
        let Events { events, .. } = relay.daemon.ask(&Command::GetEvents {})?;
        let told = events.iter().filter(|event| event.kind == EventKind::RingStuck);
        ensure!(told.count() == 3, "{events:#?}");
        let report = suffering.finish()?;
        let stream = report.stream(0);
        ensure!(stream.duplicated + stream.corrupt == 0 && report.stray_count == 0, "{report:#?}");
        Ok(())
    })
}

/// An interface whose frames bring their `virtio_net_hdr`, in the relay's namespace.
pub(super) fn tap(relay: &Namespace, family: Family, begins: Begins) -> Result<Tap> {
    let tap = relay.enter(|| Tap::open(TAP, begins));
    let tap = tap.map_err(|error| Skip::Forbidden(format!("no tap: {error}")))?;
    let address = SocketAddr::new(family.ingress(9), 0).ip();
    add_address(relay, TAP, address, if address.is_ipv4() { 24 } else { 64 })?;
    link::set_up(relay, TAP)?;
    Ok(tap)
}

fn stop_it_repeatedly(relay: &Relay, tap: &Tap, flow: &Flow, sink: &Sink) -> Result<()> {
    let variant = relay.variant;
    let mut all = Vec::new();
    for round in 1..=3 {
        flow.wait_until_relayed(sink)?;
        on_core(relay.cores[0], || undescribed::stop_ring(tap, frame(variant)))?;
        let begun = Instant::now();
        flow.wait_until_relayed(sink)?;
        let took = hiccup::bound("a ring made anew", begun, HEALED_AT_WORST)?;
        all.push(took);
        println!("round {round}, {variant}: relayed again after {took:?}");
        // The next would wait for as long.
        thread::sleep(Duration::from_millis(600));
    }
    all.sort();
    ensure!(all[1] <= HEALED, "the median of {all:?}");
    Ok(())
}

/// Single frames, one after the other.
#[derive(Debug, Default)]
struct Flow {
    sent: AtomicU64,
    enough: AtomicBool,
}

impl Flow {
    fn run(&self, tap: &Tap, variant: Variant) -> Result<()> {
        while !self.enough.load(Ordering::Relaxed) {
            let number = self.sent.load(Ordering::Relaxed);
            let bytes = frame(variant).payload(&payload(0, number, 200)).build();
            tap.receive(&bytes, Offloads::default())?;
            self.sent.store(number + 1, Ordering::Relaxed);
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn wait_until_relayed(&self, sink: &Sink) -> Result<()> {
        // The one that is being sent may have got through already.
        let sent = self.sent.load(Ordering::Relaxed) + 1;
        wait::until("what is sent now is relayed", SOON, || {
            Ok(sink.report()?.stream(0).next_sequence > sent)
        })
    }
}
