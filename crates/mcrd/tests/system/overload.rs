//! More work than a core can do: the worker sheds frames, says so, and goes on.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mcr_api::control::{Added, Command, EventKind, Events, WorkerStatus};
use mcr_lab::generator::Generator;
use mcr_lab::harness::Suite;
use mcr_lab::topology::RelayTopology;
use mcr_lab::{identity, wait};
use mcr_sys::process::realtime_scheduling_permitted;

use crate::fixture::{Relay, SOON, on_core, rule};
use crate::variant::{Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    let one = Variant { workers: 1, ..Variant::usual() };
    matrix(suite, "overload::a_worker_sheds_and_goes_on", &[one], sheds_and_goes_on)
}

/// Outputs of each of the two rules.
const OUTPUTS: u16 = 100;

/// Datagrams a second for each rule: two million copies, several times what a core sends.
const RATE: u64 = 10_000;

/// How long two full rings take at a tenth of that.
const REST: Duration = Duration::from_secs(30);

/// Payload bytes, and the MTU of the way out: too long for runs, so that each copy is a send.
const PAYLOAD_BYTES: usize = 1_300;
const EGRESS_MTU: u32 = 1_290;

/// How long the worker is watched while it is overloaded.
const WATCHED: Duration = Duration::from_secs(3);

/// The oldest sign of life of a worker whose turns are short: a third of a stall.
const OLDEST_BEAT_MS: u64 = 250;

/// A turn longer than this is a long one; a hypervisor, or the sinks' softirqs, make one in ten so.
const LONG_TURN: Duration = Duration::from_millis(2);
const LONG_ONE_IN: u128 = 10;

fn sheds_and_goes_on(variant: Variant) -> Result<()> {
    // Of a worker in real time no other program takes the core, so that its turns are its own.
    let is_realtime = realtime_scheduling_permitted().is_ok();
    let arguments: &[&str] = if is_realtime { &["--scheduling", "realtime"] } else { &[] };
    let net = RelayTopology::builder().ingress_links(2).egress_mtu(EGRESS_MTU).build()?;
    let mut relay = Relay::start_alone_with(variant, net, arguments)?;
    relay.try_out(|relay| {
        let inputs = [1, 2].map(|n| SocketAddr::new(variant.family.group(n), 5_000));
        for (link, input) in inputs.into_iter().enumerate() {
            let outputs: Vec<_> = (0..OUTPUTS).map(|n| output(variant, n)).collect();
            relay.add_active(&rule(input, &format!("in{link}"), &outputs))?;
        }
        let flow = |link: usize| {
            let generator = Generator::new(&relay.net.source, &format!("src{link}"));
            let generator = generator.rate(RATE).count(u64::MAX).payload_bytes(PAYLOAD_BYTES);
            generator.flow(link as u32, inputs[link])
        };
        let core = *mcr_sys::process::allowed_cores().last().context("a core")?;
        let flows = [0, 1].map(|link| on_core(core, || flow(link).start()));
        wait::until("it says that it is overloaded", SOON, || Ok(only(relay)?.overloaded))?;
        let long_before = identity::stats(&relay.daemon)?.totals.long_turns;
        let begun = Instant::now();
        while begun.elapsed() < WATCHED {
            let worker = only(relay)?;
            let beat = worker.heartbeat_age_ms.context("a beat")?;
            ensure!(beat <= OLDEST_BEAT_MS, "no sign of life for {beat} ms: {worker:?}");
        }
        let rule = rule(inputs[1], "in0", &[output(variant, 0)]);
        let added: Added = relay.daemon.ask(&Command::AddRule { rule })?;
        ensure!(added.applied, "a rule was not taken over in time: {added:?}");
        for flow in flows {
            flow?.stop()?;
        }
        judge(relay)?;
        let worker = only(relay)?;
        let long = identity::stats(&relay.daemon)?.totals.long_turns - long_before;
        eprintln!("overload: longest turn {} us, {long} long ones", worker.longest_turn_us);
        let most = begun.elapsed().as_nanos() / LONG_TURN.as_nanos() / LONG_ONE_IN;
        ensure!(
            !is_realtime || u128::from(long) <= most,
            "{long} of {most} long turns: {worker:?}"
        );
        Ok(())
    })?;
    relay.stop().map(drop)
}

/// Frames were shed, and that was told.
fn judge(relay: &Relay) -> Result<()> {
    wait::until("the rest in the rings is read", REST, || {
        let totals = identity::stats(&relay.daemon)?.totals;
        Ok(totals.received == totals.frames_read + totals.kernel_drops)
    })?;
    let totals = relay.settled(1)?.totals;
    ensure!(totals.kernel_drops > 0 && totals.sent > 0, "{totals:#?}");
    let events: Events = relay.daemon.ask(&Command::GetEvents {})?;
    let told = events.events.iter().filter(|event| event.kind == EventKind::WorkerOverloaded);
    ensure!(told.count() == 1, "{events:#?}");
    let shown = relay.daemon.mcrctl(&["workers"])?;
    let text = String::from_utf8(shown.stdout)?;
    ensure!(text.contains("  overloaded  "), "{text}");
    Ok(())
}

fn only(relay: &Relay) -> Result<WorkerStatus> {
    relay.workers()?.workers.into_iter().next().context("one worker")
}

fn output(variant: Variant, n: u16) -> String {
    let group = variant.family.output_group((n % 250) as u8);
    endpoint(SocketAddr::new(group, 6_000 + n / 250), "out0")
}
