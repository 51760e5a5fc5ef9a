//! A million damaged frames in two storms, beside a clean flow: it loses nothing, no worker dies,
//! and each of them is counted under the reason that an oracle gives for it.
//!
//! `MCR_STORM_SEED=7 cargo test -p mcrd --test system storm` makes the same storm again.

mod oracle;

use std::collections::BTreeMap;
use std::env;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mcr_api::control::{CoreStats, Mechanism, Stats, Steering};
use mcr_api::rule::RuleSpec;
use mcr_lab::harness::Suite;
use mcr_lab::raw_sender::RawSender;
use mcr_lab::sink::{Copies, Recorder, Recording, Sink};
use mcr_lab::storm::Storm;
use mcr_lab::topology::RelayTopology;
use mcr_lab::{link, wait};

use crate::fixture::{Relay, SOON, rule};
use crate::losses::{VethDrops, accounted};
use crate::variant::{Family, Variant, endpoint};
use oracle::{Fates, Oracle};

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    // Not more: each takes half a minute, and has the machine to itself.
    let (family, io, steering) = (Family::V6, Mechanism::Poll, Steering::Hash);
    let variants = [Variant::usual(), Variant { family, io, steering, ..Variant::usual() }];
    variants.into_iter().fold(suite, |suite, variant| {
        let name = format!("storm::a_million_damaged_frames::{variant}");
        suite.trial(name, move || a_million_damaged_frames(variant))
    })
}

/// Damaged frames of a storm, of which there are two.
const FRAMES: u64 = 500_000;

/// Damaged frames a second: more than a tenth of a gigabit, and what a debug build reads, with its
/// oracle beside it, on a busy machine.
const RATE: u64 = 40_000;

/// Frames sent between two looks at the clock.
const BURST: u64 = 64;

/// Datagrams a second of each clean stream, for as long as the storm lasts.
const CLEAN_RATE: u64 = 2_000;

fn a_million_damaged_frames(variant: Variant) -> Result<()> {
    let seed = seed()?;
    eprintln!("storm: MCR_STORM_SEED={seed}");
    let mut relay = Relay::start_alone(variant, RelayTopology::builder().build()?)?;
    relay.try_out(|relay| {
        storm(relay, seed).with_context(|| format!("MCR_STORM_SEED={seed} makes it again"))
    })?;
    relay.stop().map(drop)
}

/// The seed that was asked for, or another in each run.
fn seed() -> Result<u64> {
    match env::var("MCR_STORM_SEED") {
        Ok(text) => text.parse().with_context(|| format!("MCR_STORM_SEED={text:?} is no number")),
        Err(_) => Ok(fastrand::u64(..)),
    }
}

fn storm(relay: &mut Relay, seed: u64) -> Result<()> {
    let family = relay.variant.family;
    let clean = SocketAddr::new(family.group(1), 5_000);
    let clean_output = SocketAddr::new(family.output_group(1), 6_000);
    let struck = SocketAddr::new(Family::V4.sink(1), 7_000);
    let sink = Sink::multicast(&relay.net.sinks[0], "sink0", clean_output)?;
    let recorder = Recorder::unicast(&relay.net.sinks[1], struck)?;
    let flows = Family::BOTH.map(flow);
    let mut rules = vec![rule(clean, "in0", &[endpoint(clean_output, "out0")])];
    rules.extend(flows.map(|[source, group]| RuleSpec {
        source: Some(source.ip()),
        ..rule(group, "in0", &[endpoint(struck, "out1")])
    }));
    rules.iter().try_for_each(|rule| relay.add_active(rule).map(drop))?;
    let sender = RawSender::open(&relay.net.source, "src0")?;
    wait_until_the_filter_is_exact(relay, &sender)?;

    let veth_drops = VethDrops::begin(&relay.net)?;
    let before = relay.settled(0)?.totals;
    let endless = || relay.generator().rate(CLEAN_RATE).count(u64::MAX);
    let traffic = relay.start_sending(endless, clean)?;
    let ifindex = link::ifindex(&relay.net.relay, "in0")?;
    let mac = link::mac_address(&relay.net.relay, "in0")?;
    let mut wanted = flows.map(|[source, group]| (group, Some(source.ip()))).to_vec();
    wanted.push((clean, None));
    let fates = strike(&sender, Storm::new(seed, &flows), Oracle::new(ifindex, mac, &wanted))?;
    let sent = traffic.stop()?;

    let offered = sent + fates.admitted();
    let arrived = veth_drops.reach_relay(&relay.net, offered)?;
    let after = relay.settled(before.received + arrived.start())?;
    let counted = Counted::between(&before, &after, &rules[0])?;
    eprintln!("storm: {fates}; {sent} clean datagrams; {} kernel drops", counted.kernel_drops);
    fates.check_variety()?;
    let lost_before_relay = offered - arrived.start();
    let missing = counted.check(&fates, sent)?;
    let explained = counted.kernel_drops..=counted.kernel_drops + lost_before_relay;
    ensure!(explained.contains(&missing), "{missing} uncounted of {explained:?}: {counted:#?}");
    let behind = |link| veth_drops.behind_relay(&relay.net, link);
    accounted(sink, counted.clean, behind(0)?)?;
    let recording = recorder.finish()?;
    check_relayed(&fates, &recording, missing + behind(1)?)
}

/// Whose datagrams the storm damages: far from all that the clean flow has.
fn flow(family: Family) -> [SocketAddr; 2] {
    [SocketAddr::new(family.source(0), 4_000), SocketAddr::new(family.group(200), 5_999)]
}

/// When rules come fast, the filter lets in more than they want, until the next tick.
fn wait_until_the_filter_is_exact(relay: &Relay, sender: &RawSender) -> Result<()> {
    let strangers = Family::BOTH.map(|family| {
        let [source, group] = flow(family);
        mcr_lab::frame::FrameBuilder::udp(source, SocketAddr::new(family.group(201), group.port()))
            .build()
    });
    let mut received = relay.settled(0)?.totals.received;
    wait::until("the filter keeps strangers out", SOON, || {
        strangers.iter().try_for_each(|frame| sender.send(frame))?;
        let now = relay.settled(0)?.totals.received;
        Ok(std::mem::replace(&mut received, now) == now)
    })
}

/// Sends the storm, and says what must come of each frame.
fn strike(sender: &RawSender, mut storm: Storm, mut oracle: Oracle) -> Result<Fates> {
    let start = Instant::now();
    for number in 0..FRAMES {
        let frame = storm.frame();
        oracle.judge(&frame)?;
        sender.send(&frame).with_context(|| format!("frame {number}"))?;
        if number % BURST == 0 {
            let due = Duration::from_secs_f64(number as f64 / RATE as f64);
            thread::sleep(due.saturating_sub(start.elapsed()));
        }
    }
    let rate = FRAMES as f64 / start.elapsed().as_secs_f64();
    eprintln!("storm: {FRAMES} damaged frames at {rate:.0} a second");
    Ok(oracle.fates)
}

/// What the daemon counted during the storm.
#[derive(Debug)]
struct Counted {
    kernel_drops: u64,
    clean: u64,
    /// What was relayed of the storm.
    good: u64,
    drops: BTreeMap<String, u64>,
}

impl Counted {
    fn between(before: &CoreStats, after: &Stats, clean: &RuleSpec) -> Result<Self> {
        let Stats { totals, rules, .. } = after;
        let clean = rules.iter().find(|rule| rule.input == clean.input).context("its rule")?;
        let since = |(name, count): (&String, &u64)| (name.clone(), count - before.drops[name]);
        Ok(Self {
            kernel_drops: totals.kernel_drops - before.kernel_drops,
            clean: clean.packets,
            good: totals.matched - before.matched - clean.packets,
            drops: totals.drops.iter().map(since).collect(),
        })
    }

    /// No counter is higher than it must be. Returns by how much they are lower altogether.
    fn check(&self, fates: &Fates, clean: u64) -> Result<u64> {
        let below = |name: &str, expected: u64, counted: u64| {
            let below = expected.checked_sub(counted);
            below.with_context(|| format!("{name}: {counted} instead of {expected}; {self:#?}"))
        };
        let mut missing = below("the clean flow", clean, self.clean)?;
        missing += below("the storm's good", fates.good(), self.good)?;
        for (name, &counted) in &self.drops {
            missing += below(name, fates.dropped(name), counted)?;
        }
        Ok(missing)
    }
}

/// What was relayed of the storm is what is good in it, byte by byte, and no more often.
fn check_relayed(fates: &Fates, recording: &Recording, lost: u64) -> Result<()> {
    let count = |payloads: &Copies| payloads.values().sum::<u64>();
    for (payload, &count) in &recording.payloads {
        let good = fates.relayed.get(payload).copied().unwrap_or(0);
        ensure!(count <= good, "{count} copies of {good} good ones of {payload:02x?}");
    }
    let missing = count(&fates.relayed) - count(&recording.payloads);
    let explained: RangeInclusive<u64> = 0..=recording.socket_drops + lost;
    ensure!(explained.contains(&missing), "{missing} not relayed, {explained:?} explained");
    Ok(())
}
