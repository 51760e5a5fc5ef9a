//! An output's interface that comes and goes: the rule's other output loses nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use mcr_api::control::{Command, Rules};
use mcr_lab::generator::{Generator, RunningGenerator};
use mcr_lab::harness::Suite;
use mcr_lab::namespace::Namespace;
use mcr_lab::sink::Sink;
use mcr_lab::topology::RelayTopology;
use mcr_lab::{address, hiccup, link, wait};
use nix::sys::signal::Signal;

use super::scene::RECOVERY;
use super::switch::{NIC, Switch, endless};
use crate::fixture::{Relay, SOON, on_core, rule};
use crate::variant::{Family, Variant, endpoint, matrix};

/// Registers the trials.
pub(crate) fn trials(suite: Suite) -> Suite {
    let both = Variant::both_families();
    matrix(suite, "network::an_output_comes_and_goes", &both, an_output_comes_and_goes)
}

/// A rule to the switch's host and to a sink, its traffic, and who receives it.
struct Outputs<'a> {
    relay: &'a Relay,
    switch: Switch,
    generator: RunningGenerator,
    patient: Sink,
    healthy: Sink,
}

fn an_output_comes_and_goes(variant: Variant) -> Result<()> {
    Relay::run_on(variant, RelayTopology::builder().build()?, &[], |relay| {
        let elsewhere = Namespace::new("elsewhere")?;
        let outputs = Outputs::begin(relay)?;
        outputs.expect_problem("nic0 does not exist")?;
        outputs.returns("absent at start", || outputs.switch.plug(0))?;
        outputs.switch.unplug()?;
        outputs.expect_problem("nic0 does not exist")?;
        outputs.returns("deleted and made again", || outputs.switch.plug(0))?;
        let host = &relay.net.relay;
        let index = link::ifindex(host, NIC)?;
        outputs.returns("another of the same number", || {
            relay.daemon.signal(Signal::SIGSTOP)?;
            outputs.switch.unplug()?;
            outputs.switch.plug(index)?;
            outputs.address()?;
            relay.daemon.signal(Signal::SIGCONT)
        })?;
        link::set_down(host, NIC)?;
        outputs.expect_problem("nic0 is down")?;
        outputs.returns("down and up", || link::set_up(host, NIC))?;
        link::set_down(host, NIC)?;
        link::rename(host, NIC, "other0")?;
        outputs.expect_problem("nic0 does not exist")?;
        link::rename(host, "other0", NIC)?;
        outputs.returns("renamed", || link::set_up(host, NIC))?;
        link::move_to(host, NIC, &elsewhere)?;
        outputs.expect_problem("nic0 does not exist")?;
        link::move_to(&elsewhere, NIC, host)?;
        outputs.returns("moved away and back", || link::set_up(host, NIC))?;
        outputs.finish()
    })
}

impl<'a> Outputs<'a> {
    fn begin(relay: &'a Relay) -> Result<Self> {
        let family = relay.variant.family;
        let switch = Switch::make(&relay.net)?;
        let input = SocketAddr::new(family.group(1), 5000);
        let [to_host, to_sink] = [1, 2].map(|n| SocketAddr::new(family.output_group(n), 6000));
        let outputs = [endpoint(to_host, NIC), endpoint(to_sink, "out1")];
        relay.add(&rule(input, "in0", &outputs))?;
        let (host, ifname) = switch.host();
        let patient = Sink::multicast(host, ifname, to_host)?;
        let healthy = Sink::multicast(&relay.net.sinks[1], "sink1", to_sink)?;
        let generator = endless(Generator::new(&relay.net.source, "src0"), 0, input);
        let generator = on_core(relay.cores[0], || generator.start())?;
        Ok(Self { relay, switch, generator, patient, healthy })
    }

    fn problems(&self) -> Result<Vec<String>> {
        let Rules { rules } = self.relay.daemon.ask(&Command::ListRules {})?;
        Ok(rules.into_iter().flat_map(|rule| rule.problems).collect())
    }

    fn expect_problem(&self, words: &str) -> Result<()> {
        wait::until(words, SOON, || Ok(self.problems()?.iter().any(|text| text.contains(words))))
            .with_context(|| format!("{:?}", self.problems()))
    }

    /// Gives the relay's interface an address to send from.
    fn address(&self) -> Result<()> {
        let (address, bits): (IpAddr, u8) = match self.relay.variant.family {
            Family::V4 => ([10, 9, 0, 1].into(), 24),
            Family::V6 => ("fd00:9::1".parse()?, 64),
        };
        let host = &self.relay.net.relay;
        if address::addresses(host, NIC)?.contains(&address) {
            return Ok(());
        }
        address::add_address(host, NIC, address, bits)
    }

    /// Lets the interface come back, and waits until the output works again.
    fn returns(&self, what: &str, bring: impl FnOnce() -> Result<()>) -> Result<()> {
        bring()?;
        self.address()?;
        let (returned, sent) = (Instant::now(), self.generator.sent());
        wait::until("what is sent now arrives", SOON, || {
            Ok(self.patient.report()?.stream(0).next_sequence > sent)
        })
        .with_context(|| format!("{what}: {:?}", self.problems()))?;
        let took = hiccup::bound(what, returned, RECOVERY)?;
        println!("an output {what}, {}: sent to again after {took:?}", self.relay.variant);
        wait::until("the rule is whole again", SOON, || Ok(self.problems()?.is_empty()))
    }

    fn finish(self) -> Result<()> {
        let sent = self.generator.stop()?.total();
        self.healthy.wait_for(sent, SOON)?;
        let report = self.healthy.finish()?;
        ensure!(report.stream(0).is_perfect(sent), "of {sent} came {report:#?}");
        self.relay.settled(sent)?;
        let report = self.patient.finish()?;
        let stream = report.stream(0);
        ensure!(stream.duplicated + stream.corrupt + report.stray_count == 0, "{report:#?}");
        Ok(())
    }
}
