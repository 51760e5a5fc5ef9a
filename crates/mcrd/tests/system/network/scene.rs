//! Two rules under steady traffic: something befalls the interface of one, and the other must not
//! notice.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mcr_api::control::{Command, RuleState, RuleStatus, Rules};
use mcr_lab::account::StreamReport;
use mcr_lab::generator::{Generator, RunningGenerator};
use mcr_lab::sink::Sink;
use mcr_lab::tap::RawTap;
use mcr_lab::topology::RelayTopology;
use mcr_lab::{hiccup, igmp, wait};

use super::switch::{NIC, Switch, endless};
use crate::fixture::{Relay, SOON, on_core, rule};
use crate::membership::{RecordType, wait_for_report};
use crate::variant::{Variant, endpoint};

/// How long a rule may take to work again once its interface is back.
pub(super) const RECOVERY: Duration = Duration::from_secs(1);

/// The stream of the rule that something befalls, and that of the other.
const PATIENT: u32 = 0;
const HEALTHY: u32 = 1;

/// The rules, their traffic, and what comes of it.
pub(super) struct Scene<'a> {
    pub(super) relay: &'a Relay,
    pub(super) switch: Switch,
    patient: Stream,
    healthy: Stream,
    /// The patient's rule.
    rule: u64,
}

/// Something sent without end, and who counts what arrives.
struct Stream {
    generator: RunningGenerator,
    sink: Sink,
}

/// Runs a trial on a relay with one rule from the switch's host, which it may harm, and one that it
/// may not. Ends with the accounts: no duplicate of either, no loss of the latter.
pub(super) fn run(
    variant: Variant,
    trial: impl FnOnce(&mut Scene<'_>) -> Result<()>,
) -> Result<()> {
    Relay::run_on(variant, RelayTopology::builder().build()?, &[], |relay| play(relay, trial))
}

/// The trial on a relay that is there.
pub(super) fn play(relay: &Relay, trial: impl FnOnce(&mut Scene<'_>) -> Result<()>) -> Result<()> {
    let switch = Switch::make(&relay.net)?;
    switch.plug(0)?;
    let mut scene = Scene::begin(relay, switch)?;
    scene.wait_until_relayed()?;
    trial(&mut scene)?;
    scene.finish()
}

impl<'a> Scene<'a> {
    /// Adds the rules and begins to send; `nic0` need not be there yet.
    pub(super) fn begin(relay: &'a Relay, switch: Switch) -> Result<Self> {
        let family = relay.variant.family;
        let outputs = [1, 2].map(|n| SocketAddr::new(family.output_group(n), 6000));
        let sink =
            |at: usize| Sink::multicast(&relay.net.sinks[at], &format!("sink{at}"), outputs[at]);
        let patient_sink = sink(0)?;
        let healthy_sink = sink(1)?;
        relay.add_active(&rule(healthy_input(relay), "in0", &[endpoint(outputs[1], "out1")]))?;
        let patient = rule(patient_input(relay), NIC, &[endpoint(outputs[0], "out0")]);
        let rule = relay.add(&patient)?.rule;
        let generator = Generator::new(&relay.net.source, "src0");
        let generator = endless(generator, HEALTHY, healthy_input(relay));
        let healthy = Stream::begin(generator, healthy_sink, relay.cores[0])?;
        let generator = endless(switch.generator(), PATIENT, patient_input(relay));
        let last = *relay.cores.last().context("a relay has a worker")?;
        let patient = Stream::begin(generator, patient_sink, last)?;
        Ok(Self { relay, switch, patient, healthy, rule })
    }

    /// The patient's rule as the daemon shows it.
    pub(super) fn status(&self) -> Result<RuleStatus> {
        let Rules { rules } = self.relay.daemon.ask(&Command::ListRules {})?;
        rules.into_iter().find(|rule| rule.id == self.rule).context("the patient's rule")
    }

    /// Waits until the rule is in such a state, with such a problem or none.
    pub(super) fn wait_for_status(&self, state: RuleState, problem: Option<&str>) -> Result<()> {
        let what = format!("the rule is {state:?} with {problem:?}");
        wait::until(&what, SOON, || {
            let status = self.status()?;
            let shown = match problem {
                Some(words) => status.problems.iter().any(|text| text.contains(words)),
                None => status.problems.is_empty(),
            };
            Ok(status.state == state && shown)
        })
        .with_context(|| format!("{:?}", self.status()))
    }

    /// How many datagrams of the patient's stream were sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.patient.generator.sent()
    }

    /// Waits until something is relayed that the host sends after this call.
    pub(super) fn wait_until_relayed(&self) -> Result<()> {
        let sent = self.sent();
        wait::until("what is sent now is relayed", SOON, || {
            Ok(self.stream(PATIENT)?.next_sequence > sent)
        })
        .with_context(|| format!("{:?}", self.status()))
    }

    /// Waits until the rule works again, whose interface came back at `returned`: datagrams pass,
    /// the kernel lists the group, and the network was told of it. Says how long the first took.
    pub(super) fn recovered(&self, what: &str, ifname: &str, returned: Instant) -> Result<()> {
        self.wait_until_relayed()?;
        let took = hiccup::bound(what, returned, RECOVERY)?;
        println!("{what}, {}: relayed again after {took:?}", self.relay.variant);
        let group = patient_input(self.relay).ip();
        igmp::wait_for_member(&self.relay.net.relay, ifname, group, SOON)?;
        self.wait_for_status(RuleState::Active, None)?;
        self.relay.wait_in_sync()
    }

    /// Listens at the host, to begin before what is to be reported.
    pub(super) fn listen(&self) -> Result<RawTap> {
        let (host, ifname) = self.switch.host();
        RawTap::open(host, ifname)
    }

    /// Waits until the relay has told the network that it wants the patient's group.
    pub(super) fn wait_until_reported(&self, tap: &RawTap) -> Result<()> {
        let group = patient_input(self.relay).ip();
        wait_for_report(tap, RecordType::ChangeToExclude, group, &[])
    }

    /// What has come of one of the streams to the patient's output so far, by its number; the
    /// patient's own is 0.
    pub(super) fn stream(&self, number: u32) -> Result<StreamReport> {
        Ok(self.patient.sink.report()?.stream(number))
    }

    /// Ends the traffic and looks at the accounts.
    pub(super) fn finish(self) -> Result<()> {
        let Self { relay, patient, healthy, .. } = self;
        let sent = healthy.generator.stop()?.total();
        let arrived = healthy.sink.wait_for(sent, SOON);
        let report = healthy.sink.finish()?;
        let whole = report.stream(HEALTHY).is_perfect(sent) && report.stray_count == 0;
        arrived.with_context(|| format!("the other rule's stream: {report:#?}"))?;
        ensure!(whole, "of {sent} of the other rule came {report:#?}");
        patient.generator.stop()?;
        relay.settled(sent)?;
        let report = patient.sink.finish()?;
        let stream = report.stream(PATIENT);
        let clean = stream.duplicated + stream.corrupt == 0 && report.stray_count == 0;
        ensure!(clean && report.socket_drops == 0, "{report:#?}");
        Ok(())
    }
}

impl Stream {
    fn begin(generator: Generator, sink: Sink, core: usize) -> Result<Self> {
        Ok(Self { generator: on_core(core, || generator.start())?, sink })
    }
}

/// The input of the rule that something befalls.
pub(super) fn patient_input(relay: &Relay) -> SocketAddr {
    SocketAddr::new(relay.variant.family.group(1), 5000)
}

/// The input of the other.
fn healthy_input(relay: &Relay) -> SocketAddr {
    SocketAddr::new(relay.variant.family.group(2), 5000)
}
